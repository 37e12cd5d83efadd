//! The command line. Every command is a few lines that call the library.
//!
//! Standard output holds the result alone, as JSON; standard error holds progress and problems.

use clap::{Args, Parser, Subcommand};
use doorward::calibrate::{self, CalibrateError};
use doorward::camera::{self, CommandError};
use doorward::config::{self, Config, ConfigError, EditError};
use doorward::daemon::{self, DaemonError, Local, LocalError};
use doorward::doctor;
use doorward::evaluate::{self, EvaluateError};
use doorward::face::{Analyzer, FaceError};
use doorward::import::{self, ImportError};
use doorward::mqtt::{self, Call, CallError, RemoveError};
use doorward::service::{Body, Credentials};
use serde_json::{Map, Value, json};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tracing_subscriber::EnvFilter;

/// Face recognition at a door.
///
/// Exit codes: 0 done and yes; 1 done and no (another face, a check that failed); 2 the command line
/// or the configuration is wrong; 3 the request was refused; 4 something broke or cannot be reached.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    /// Configuration file [default: /etc/doorward/doorward.toml, if there is one]. Every key can
    /// also be set by a variable: DOORWARD__MQTT__HOST is host in [mqtt].
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the daemon until SIGTERM or SIGINT.
    Run,
    /// Holds the strike's line for the daemon, which starts this itself.
    #[command(hide = true)]
    HoldStrike { profile: String, lock: String },
    /// Unlocks the door once.
    Unlock {
        /// Why, for the log.
        reason: String,
    },
    /// Stores the face in a picture under a subject.
    Enroll {
        #[command(flatten)]
        picture: Picture,
        /// Id of the subject; without one a UUID is made.
        #[arg(long)]
        subject_id: Option<String>,
        /// Keep the subject's other templates and add this one.
        #[arg(long)]
        add: bool,
    },
    /// Compares the face in a picture with one subject (1:1).
    Verify {
        #[command(flatten)]
        picture: Picture,
        /// Id of the subject.
        #[arg(long)]
        subject_id: String,
        /// basic, moderate or high: false-match rate 1e-3, 1e-4 or 1e-6.
        #[arg(long)]
        threshold: Option<String>,
    },
    /// Looks for the face in a picture among all subjects (1:N).
    Search {
        #[command(flatten)]
        picture: Picture,
        /// Most subjects to name, 1–10.
        #[arg(long)]
        limit: Option<u32>,
        /// Lowest similarity to name, 0–100.
        #[arg(long)]
        threshold: Option<f64>,
        /// Answer the stored crops too.
        #[arg(long)]
        return_image: bool,
    },
    /// Says whether a picture shows a living face, or a print or a screen.
    Liveness {
        #[command(flatten)]
        picture: Picture,
    },
    /// Compares the faces in two pictures (1:1).
    Compare {
        /// The reference: a file, an http(s) URL.
        image_1: String,
        /// The probe, to which the checks apply.
        image_2: String,
        /// basic, moderate or high.
        #[arg(long)]
        threshold: Option<String>,
        #[command(flatten)]
        fields: Fields,
    },
    /// Sends a request through the broker, as another system would. Where the daemon asks for a key,
    /// the variables DOORWARD_APP_ID and DOORWARD_API_KEY hold it.
    Call {
        /// enroll, verify, search, compare, subject/list, health, …
        operation: String,
        /// The fields, as a JSON object.
        #[arg(default_value = "{}")]
        body: String,
        /// Picture file, sent as the field `image`.
        #[arg(long, value_name = "FILE")]
        image: Option<PathBuf>,
        /// Seconds to wait for the answer.
        #[arg(long, default_value_t = 30)]
        timeout: u64,
    },
    /// Who is enrolled.
    #[command(subcommand)]
    Gallery(Gallery),
    /// Applications: who may ask under service.auth = "app-key", for what, and how much.
    #[command(subcommand)]
    App(App),
    /// What was done at this door and by whom, line by line, chained by hashes.
    #[command(subcommand)]
    Audit(Audit),
    /// Home Assistant.
    #[command(subcommand)]
    Homeassistant(Homeassistant),
    /// Accuracy on labelled photographs: JSON on standard output, progress on standard error.
    #[command(subcommand)]
    Evaluate(evaluate::Command),
    /// What the thresholds mean for your own people and camera, as JSON: FMR and FNMR over the
    /// similarity, and the door's threshold at the present gallery size.
    Calibrate(calibrate::Command),
    #[command(subcommand)]
    Camera(camera::Command),
    /// Prints what to add to a report of a fault: processor, models, versions.
    Doctor,
    /// The configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Args)]
struct Picture {
    /// A JPEG or PNG file, an http(s) URL, or `camera:`.
    image: String,
    #[command(flatten)]
    fields: Fields,
}

#[derive(Args)]
struct Fields {
    /// Any other field of the request, such as validate_quality=true. A VALUE that reads as JSON is
    /// that (true, 82, "82"), any other is text. May be given several times.
    #[arg(long = "field", value_name = "NAME=VALUE")]
    fields: Vec<String>,
}

#[derive(Subcommand)]
enum Gallery {
    /// Lists subjects by id.
    List {
        /// Most subjects to list, 1–100.
        #[arg(long)]
        limit: Option<u32>,
        /// Where the previous page ended.
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Changes what is known of a subject, such as the groups that open doors to it.
    Update {
        /// Id of the subject.
        subject_id: String,
        /// All its groups; an empty one (`--groups ""`): none.
        #[arg(long, value_delimiter = ',')]
        groups: Option<Vec<String>>,
        #[command(flatten)]
        fields: Fields,
    },
    /// Removes a subject with its templates and crops.
    Delete {
        /// Id of the subject.
        subject_id: String,
    },
    /// Enrolls a folder of photographs: one folder a person, or one file a person.
    Import {
        /// The folder; names of folders and files become subject ids.
        dir: PathBuf,
    },
}

#[derive(Subcommand)]
enum App {
    /// Makes an application and prints its App-ID and its API-Key. The key is shown this once.
    Create {
        /// What people call it: letters, digits, `.`, `_`, `-`, `:`, `@`.
        name: String,
        /// In testing mode: with quotas, 100 of each kind unless --quota says otherwise.
        #[arg(long)]
        testing: bool,
        /// How many of each kind, as search=100,verify=50; of a kind that is not named, none.
        #[arg(long, value_delimiter = ',', requires = "testing")]
        quota: Option<Vec<String>>,
        /// What it may ask for: enroll, verify, search, liveness, compare, subject, unlock, admin
        /// [default: all but admin and unlock].
        #[arg(long, value_delimiter = ',')]
        allow: Option<Vec<String>>,
    },
    /// Lists the applications, their permissions, and what is used up and left of their quotas.
    List,
    /// Removes an application: its key is worth nothing from the next request on.
    Revoke {
        /// Its name or its App-ID.
        app: String,
    },
    /// Gives an application another API-Key and prints it; the old one is worth nothing from the
    /// next request on.
    Rotate {
        /// Its name or its App-ID.
        app: String,
    },
}

#[derive(Subcommand)]
enum Audit {
    /// Lists lines as JSON, one a line, oldest first, each with its hash.
    List {
        /// Only what was written since: Unix seconds, or an age such as 90m, 24h, 7d.
        #[arg(long, value_parser = since)]
        since: Option<f64>,
    },
    /// Looks at every line: prints the number of lines and the head hash, or the first line that is
    /// not as it was written.
    Verify {
        /// A line that was noted before, and its hash: says whether it still has it.
        #[arg(long, value_name = "LINE:HASH", value_parser = noted)]
        noted: Option<(u64, String)>,
    },
}

#[derive(Subcommand)]
enum Homeassistant {
    /// Removes this door from Home Assistant. A daemon with homeassistant.discovery = true brings it
    /// back when it connects.
    Remove,
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Says whether the configuration can stand.
    Check,
    /// Prints every key with its help and present value as a TOML file; secrets are masked.
    Print,
}

/// What went wrong, by its exit code.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    #[error(transparent)]
    Local(#[from] LocalError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Remove(#[from] RemoveError),
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error(transparent)]
    Face(#[from] FaceError),
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    #[error(transparent)]
    Calibrate(#[from] CalibrateError),
    #[error(transparent)]
    Camera(#[from] CommandError),
    #[error(transparent)]
    Edit(#[from] EditError),
    #[error("cannot write {path}: {reason}")]
    Plot { path: PathBuf, reason: std::io::Error },
    #[error("cannot print the configuration: {0}")]
    Print(#[from] toml::ser::Error),
    #[error("the system refused: {0}")]
    System(#[from] std::io::Error),
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_)
            | Self::Usage(_)
            | Self::Camera(CommandError::NoCamera | CommandError::Settings(_))
            | Self::Edit(EditError::Text { .. }) => ExitCode::from(2),
            Self::Daemon(error) | Self::Local(LocalError::Files(error))
                if error.is_configuration() =>
            {
                ExitCode::from(2)
            }
            Self::Call(CallError::Connect(_)) | Self::Remove(RemoveError::Connect(_)) => {
                ExitCode::from(2)
            }
            _ => ExitCode::from(4),
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    run(cli).unwrap_or_else(|failure| {
        eprintln!("doorward: {failure}");
        failure.exit_code()
    })
}

fn run(cli: Cli) -> Result<ExitCode, Failure> {
    if let Command::HoldStrike { profile, lock } = &cli.command {
        // Before the configuration is read: a mistake in it must not keep the line from being held.
        daemon::hold_strike(profile, lock)?;
        return Ok(ExitCode::SUCCESS);
    }
    let config = Config::load(cli.config.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // Every command checks the level, and the daemon alone logs at it: on the command line only
    // what an answer does not say is of interest.
    let level = log_filter(&config.log.level)?;
    match cli.command {
        Command::Run => log_to_stderr(level),
        _ => log_to_stderr(log_filter("error")?),
    }
    match cli.command {
        Command::Run => {
            let file = cli.config;
            runtime.block_on(daemon::run(config, || Config::load(file.as_deref())))?;
            // A picture on its way from a URL may take 15 s; nobody waits for it any more.
            runtime.shutdown_timeout(Duration::from_secs(1));
            Ok(ExitCode::SUCCESS)
        }
        Command::HoldStrike { .. } => Ok(ExitCode::SUCCESS),
        Command::Unlock { reason } => {
            let mut body = Map::new();
            set(&mut body, "reason", Some(reason));
            runtime.block_on(local(&config, "unlock", body))
        }
        Command::Enroll { picture, subject_id, add } => {
            let mut body = picture.body()?;
            set(&mut body, "subject_id", subject_id);
            set(&mut body, "mode", add.then_some("add"));
            runtime.block_on(local(&config, "enroll", body))
        }
        Command::Verify { picture, subject_id, threshold } => {
            let mut body = picture.body()?;
            set(&mut body, "subject_id", Some(subject_id));
            set(&mut body, "threshold", threshold);
            runtime.block_on(local(&config, "verify", body))
        }
        Command::Search { picture, limit, threshold, return_image } => {
            let mut body = picture.body()?;
            set(&mut body, "limit", limit);
            set(&mut body, "threshold", threshold);
            set(&mut body, "return_image", return_image.then_some(true));
            runtime.block_on(local(&config, "search", body))
        }
        Command::Liveness { picture } => {
            runtime.block_on(local(&config, "liveness", picture.body()?))
        }
        Command::Compare { image_1, image_2, threshold, fields } => {
            let mut body = fields.body()?;
            set(&mut body, "image_1", Some(image_field(&image_1)?));
            set(&mut body, "image_2", Some(image_field(&image_2)?));
            set(&mut body, "threshold", threshold);
            runtime.block_on(local(&config, "compare", body))
        }
        Command::Call { operation, body, image, timeout } => {
            let mut body: Map<String, Value> = serde_json::from_str(&body)
                .map_err(|error| Failure::Usage(format!("the body is no JSON object: {error}")))?;
            if let Some(file) = image {
                set(&mut body, "image", Some(image_field(&file.to_string_lossy())?));
            }
            let call = Call {
                operation,
                body: Body::Json(Value::Object(body).to_string().into_bytes()),
                credentials: Credentials {
                    app_id: std::env::var("DOORWARD_APP_ID").ok(),
                    api_key: std::env::var("DOORWARD_API_KEY").ok(),
                },
                timeout: Duration::from_secs(timeout),
            };
            let answer = runtime.block_on(mqtt::call(&daemon::client_settings(&config)?, call))?;
            print(&answer)
        }
        Command::Gallery(Gallery::List { limit, cursor }) => {
            let mut body = Map::new();
            set(&mut body, "limit", limit);
            set(&mut body, "cursor", cursor);
            runtime.block_on(local(&config, "subject/list", body))
        }
        Command::Gallery(Gallery::Update { subject_id, groups, fields }) => {
            let mut body = fields.body()?;
            set(&mut body, "subject_id", Some(subject_id));
            set(&mut body, "groups", groups.map(filled));
            runtime.block_on(local(&config, "subject/update", body))
        }
        Command::App(app) => {
            let (operation, body) = app.request();
            runtime.block_on(local(&config, operation, body))
        }
        Command::Audit(Audit::Verify { noted }) => {
            let mut body = Map::new();
            let (line, hash) = noted.unzip();
            set(&mut body, "line", line);
            set(&mut body, "hash", hash);
            runtime.block_on(local(&config, "audit/verify", body))
        }
        Command::Audit(Audit::List { since }) => runtime.block_on(audit_list(&config, since)),
        Command::Homeassistant(Homeassistant::Remove) => {
            runtime.block_on(mqtt::remove(&daemon::client_settings(&config)?))?;
            eprintln!("removed");
            Ok(ExitCode::SUCCESS)
        }
        Command::Gallery(Gallery::Delete { subject_id }) => {
            let mut body = Map::new();
            set(&mut body, "subject_id", Some(subject_id));
            runtime.block_on(local(&config, "subject/delete", body))
        }
        Command::Gallery(Gallery::Import { dir }) => {
            let report = runtime.block_on(async {
                let local = Local::connect(&config).await?;
                Ok::<_, Failure>(import::import(&local, &dir).await?)
            })?;
            out(format_args!("{}\n", report.to_json()))?;
            Ok(if report.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
        }
        Command::Evaluate(evaluate) => {
            let result = evaluate.run(Arc::new(Analyzer::load()?))?;
            out(format_args!("{result}\n"))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Camera(camera) => {
            let result = camera.run(&config.camera)?;
            out(format_args!("{result:#}\n"))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Doctor => {
            out(format_args!("{:#}\n", doctor::report()?))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Calibrate(calibrate::Command { part: None, dir, plot }) => {
            let dir = dir.ok_or_else(|| Failure::Usage("name a folder".into()))?;
            // The gallery is let go of before the work begins.
            let stats = runtime.block_on(async {
                Local::connect(&config).await?.ask("stats", &json!({})).await
            })?;
            let templates = stats["gallery"]["templates"].as_u64();
            let templates = templates.ok_or_else(|| Failure::Usage(format!("stats: {stats}")))?;
            let templates = templates as usize;
            let analyzer = Analyzer::load()?;
            let target_fpir = config.search.target_fpir;
            let found = calibrate::people(&analyzer, &dir, templates, target_fpir)?;
            out(format_args!("{:#}\n", found.to_json()))?;
            draw(plot.as_deref(), || found.to_svg())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Calibrate(calibrate::Command { part: Some(part), .. }) => {
            let calibrate::Part::Liveness { live, spoof, plot, write } = part;
            let file = Config::file(cli.config.as_deref());
            if write && file.is_none() {
                let why = "--write: there is no configuration file; name one with --config";
                return Err(Failure::Usage(why.into()));
            }
            let found = calibrate::liveness(&Analyzer::load()?, &live, &spoof)?;
            // First what took minutes to find; a file may fail.
            out(format_args!("{:#}\n", found.to_json()))?;
            draw(plot.as_deref(), || found.to_svg())?;
            if let Some(file) = file.filter(|_| write) {
                let point = found.operating_point();
                config::set_in_file(file, "liveness", "operating_point", point)?;
                eprintln!("written to {}: it counts from the daemon's next start", file.display());
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Config(ConfigCommand::Check) => {
            daemon::check(&config)?;
            eprintln!("the configuration can stand");
            Ok(ExitCode::SUCCESS)
        }
        Command::Config(ConfigCommand::Print) => {
            out(format_args!("{}", config.to_commented_toml()?))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl App {
    fn request(self) -> (&'static str, Map<String, Value>) {
        let mut body = Map::new();
        let operation = match self {
            Self::Create { name, testing, quota, allow } => {
                set(&mut body, "name", Some(name));
                set(&mut body, "testing", Some(testing));
                set(&mut body, "quota", quota.map(filled));
                set(&mut body, "allow", allow.map(filled));
                "app/create"
            }
            Self::List => "app/list",
            Self::Revoke { app } => {
                set(&mut body, "app", Some(app));
                "app/revoke"
            }
            Self::Rotate { app } => {
                set(&mut body, "app", Some(app));
                "app/rotate"
            }
        };
        (operation, body)
    }
}

impl Picture {
    fn body(&self) -> Result<Map<String, Value>, Failure> {
        let mut body = self.fields.body()?;
        set(&mut body, "image", Some(image_field(&self.image)?));
        Ok(body)
    }
}

impl Fields {
    /// `NAME=VALUE`: a value that reads as JSON is that, any other is text.
    fn body(&self) -> Result<Map<String, Value>, Failure> {
        let mut body = Map::new();
        for field in &self.fields {
            let (name, value) = field
                .split_once('=')
                .ok_or_else(|| Failure::Usage(format!("--field {field}: not NAME=VALUE")))?;
            let value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
            body.insert(name.to_owned(), value);
        }
        Ok(body)
    }
}

fn set(body: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        body.insert(name.to_owned(), value.into());
    }
}

/// A list of the command line, where a single empty entry stands for none.
fn filled(entries: Vec<String>) -> Vec<String> {
    entries.into_iter().filter(|entry| !entry.is_empty()).collect()
}

/// URLs and `camera:` go as they are, files as base64.
fn image_field(image: &str) -> Result<String, Failure> {
    if image.starts_with("http://") || image.starts_with("https://") || image == "camera:" {
        return Ok(image.to_owned());
    }
    import::image_field(image.as_ref()).map_err(|error| Failure::Usage(error.to_string()))
}

/// Draws if there is a file to draw to.
fn draw(file: Option<&Path>, svg: impl FnOnce() -> String) -> Result<(), Failure> {
    let Some(path) = file else { return Ok(()) };
    std::fs::write(path, svg()).map_err(|reason| Failure::Plot { path: path.to_owned(), reason })
}

async fn local(
    config: &Config,
    operation: &str,
    body: Map<String, Value>,
) -> Result<ExitCode, Failure> {
    let answer = Local::connect(config).await?.ask(operation, &Value::Object(body)).await?;
    print(&answer)
}

/// Prints the lines of the audit log, page by page.
async fn audit_list(config: &Config, since: Option<f64>) -> Result<ExitCode, Failure> {
    let door = Local::connect(config).await?;
    let mut line = json!(1);
    loop {
        let body = json!({ "line": line, "since": since, "limit": 500 });
        let page = door.ask("audit/list", &body).await?;
        let Some(lines) = page["lines"].as_array() else { return print(&page) };
        for line in lines {
            out(format_args!("{line}\n"))?;
        }
        match page.get("next") {
            Some(next) => line = next.clone(),
            None => return Ok(ExitCode::SUCCESS),
        }
    }
}

/// Unix seconds, or how long ago: `90m`, `24h`, `7d`.
fn since(text: &str) -> Result<f64, String> {
    let why = || format!("{text:?} is neither Unix seconds nor an age such as 90m, 24h, 7d");
    let number =
        |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    let unit = match text.chars().last() {
        Some('s') => 1.0,
        Some('m') => 60.0,
        Some('h') => 3600.0,
        Some('d') => 86_400.0,
        _ => return number(text).ok_or_else(why),
    };
    let age = number(&text[..text.len() - 1]).ok_or_else(why)? * unit;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok((now.as_secs_f64() - age).max(0.0))
}

/// `17:9f2c…`: a line and its hash.
fn noted(text: &str) -> Result<(u64, String), String> {
    let of_hash = |hash: &str| hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
    text.split_once(':')
        .filter(|(_, hash)| of_hash(hash))
        .and_then(|(line, hash)| Some((line.parse().ok()?, hash.to_owned())))
        .ok_or_else(|| format!("{text:?} is not LINE:HASH, with a hash of 64 hexadecimal digits"))
}

/// Writes to standard output; a reader that has left is an error and no panic.
fn out(text: std::fmt::Arguments) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    Ok(out.write_fmt(text).and_then(|()| out.flush())?)
}

/// Prints an answer and says by the exit code what it is.
fn print(answer: &Value) -> Result<ExitCode, Failure> {
    out(format_args!("{answer:#}\n"))?;
    // A spoof is a success of the operation liveness, and a no.
    let spoof = answer["status_code"] == "FACE-401" && answer["liveness"]["status"] == false;
    Ok(match answer["status"].as_u64() {
        Some(200) if spoof || answer.get("error_code").is_some() => ExitCode::from(1),
        Some(200) => ExitCode::SUCCESS,
        Some(400..=499) => ExitCode::from(3),
        _ => ExitCode::from(4),
    })
}

fn log_filter(level: &str) -> Result<EnvFilter, Failure> {
    let quiet = mqtt::QUIET_LOGS.join(",");
    EnvFilter::try_new(format!("{quiet},{level}"))
        .map_err(|error| Failure::Usage(format!("log.level {level:?}: {error}")))
}

fn log_to_stderr(filter: EnvFilter) {
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        // A journal or a file is no place for colours.
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}
