//! The command line. Every command is a few lines that call the library.
//!
//! Standard output holds the result alone, as JSON; standard error holds progress and problems.

mod commands;

use clap::Parser;
use commands::{
    Audit, Cli, Command, ConfigCommand, Gallery, Homeassistant, filled, image_field, set,
};
use doorward::calibrate::{self, CalibrateError};
use doorward::camera::CommandError;
use doorward::config::{self, Config, ConfigError, EditError};
use doorward::contract::{
    Answer, AuditPage, Body, Credentials, Mode, Operation, Outcome, Reindexed, Templates, field,
};
use doorward::daemon::{self, DaemonError, Local, LocalError};
use doorward::doctor;
use doorward::evaluate::EvaluateError;
use doorward::face::{Analyzer, FaceError};
use doorward::import::{self, ImportError};
use doorward::log::Log;
use doorward::mqtt::{self, Call, CallError, RemoveError};
use serde::Serialize;
use serde_json::{Map, Value};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

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
    doorward::nn::give_back_large_buffers();
    let cli = Cli::parse();
    let log = match Log::start() {
        Ok(log) => log,
        Err(error) => {
            eprintln!("doorward: no thread for the log: {error}");
            return ExitCode::from(4);
        }
    };
    log.take_panics();
    let _last_lines = log.flushed_at_end();
    run(cli, &log).unwrap_or_else(|failure| {
        log.say(format_args!("doorward: {failure}"));
        failure.exit_code()
    })
}

fn run(Cli { config: file, command }: Cli, log: &Log) -> Result<ExitCode, Failure> {
    let config = Config::load(file.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // Every command checks the level, and the daemon alone logs at it: on the command line only
    // what an answer does not say is of interest.
    let level = log_filter(&config.log.level)?;
    match command {
        Command::Run => log_lines(level, log),
        _ => log_lines(log_filter("error")?, log),
    }
    match command {
        Command::Run => {
            runtime.block_on(daemon::run(config, || Config::load(file.as_deref())))?;
            // A picture on its way from a URL may take 15 s, a disk that hangs for ever; nobody waits
            // for them any more, and the end of this process ends their threads.
            runtime.shutdown_timeout(Duration::from_millis(300));
            Ok(ExitCode::SUCCESS)
        }
        Command::Unlock { reason } => {
            let mut body = Map::new();
            set(&mut body, field::REASON, Some(reason));
            runtime.block_on(local(&config, Operation::Unlock, body))
        }
        Command::Enroll { picture, subject_id, add } => {
            let mut body = picture.body()?;
            set(&mut body, field::SUBJECT_ID, subject_id);
            set(&mut body, field::MODE, add.then_some(Mode::Add.name()));
            runtime.block_on(local(&config, Operation::Enroll, body))
        }
        Command::Verify { picture, subject_id, threshold } => {
            let mut body = picture.body()?;
            set(&mut body, field::SUBJECT_ID, Some(subject_id));
            set(&mut body, field::THRESHOLD, threshold);
            runtime.block_on(local(&config, Operation::Verify, body))
        }
        Command::Search { picture, limit, threshold, return_image } => {
            let mut body = picture.body()?;
            set(&mut body, field::LIMIT, limit);
            set(&mut body, field::THRESHOLD, threshold);
            set(&mut body, field::RETURN_IMAGE, return_image.then_some(true));
            runtime.block_on(local(&config, Operation::Search, body))
        }
        Command::Liveness { picture } => {
            runtime.block_on(local(&config, Operation::Liveness, picture.body()?))
        }
        Command::Compare { image_1, image_2, threshold, fields } => {
            let mut body = fields.body()?;
            set(&mut body, field::IMAGE_1, Some(image_field(&image_1)?));
            set(&mut body, field::IMAGE_2, Some(image_field(&image_2)?));
            set(&mut body, field::THRESHOLD, threshold);
            runtime.block_on(local(&config, Operation::Compare, body))
        }
        Command::Call { operation, body, image, timeout } => {
            let mut body: Map<String, Value> = serde_json::from_str(&body)
                .map_err(|error| Failure::Usage(format!("the body is no JSON object: {error}")))?;
            if let Some(file) = image {
                set(&mut body, field::IMAGE, Some(image_field(&file.to_string_lossy())?));
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
            match Answer::from_json(answer.clone()) {
                Some(answer) => print(&answer),
                None => {
                    out(format_args!("{answer:#}\n"))?;
                    Ok(ExitCode::from(4))
                }
            }
        }
        Command::Gallery(Gallery::List { limit, cursor }) => {
            let mut body = Map::new();
            set(&mut body, field::LIMIT, limit);
            set(&mut body, field::CURSOR, cursor);
            runtime.block_on(local(&config, Operation::SubjectList, body))
        }
        Command::Gallery(Gallery::Update { subject_id, groups, fields }) => {
            let mut body = fields.body()?;
            set(&mut body, field::SUBJECT_ID, Some(subject_id));
            set(&mut body, field::GROUPS, groups.map(filled));
            runtime.block_on(local(&config, Operation::SubjectUpdate, body))
        }
        Command::App(app) => {
            let (operation, body) = app.request();
            runtime.block_on(local(&config, operation, body))
        }
        Command::Audit(Audit::Verify { noted }) => {
            let mut body = Map::new();
            let (line, hash) = noted.unzip();
            set(&mut body, field::LINE, line);
            set(&mut body, field::HASH, hash);
            runtime.block_on(local(&config, Operation::AuditVerify, body))
        }
        Command::Audit(Audit::List { since }) => runtime.block_on(audit_list(&config, since)),
        Command::Homeassistant(Homeassistant::Remove) => {
            runtime.block_on(mqtt::remove(&daemon::client_settings(&config)?))?;
            eprintln!("removed");
            Ok(ExitCode::SUCCESS)
        }
        Command::Gallery(Gallery::Delete { subject_id }) => {
            let mut body = Map::new();
            set(&mut body, field::SUBJECT_ID, Some(subject_id));
            runtime.block_on(local(&config, Operation::SubjectDelete, body))
        }
        Command::Gallery(Gallery::Reindex { dry_run }) => {
            runtime.block_on(reindex(&config, dry_run))
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
                Local::connect(&config).await?.ask(Operation::Stats, Map::new()).await
            })?;
            let templates = stats.read::<Templates>();
            let unread = || Failure::Usage(format!("stats: {}", stats.with_status()));
            let templates = templates.ok_or_else(unread)?.in_gallery() as usize;
            let analyzer = Analyzer::load()?;
            let target_fpir = config.search.target_fpir;
            let found = calibrate::people(&analyzer, &dir, templates, target_fpir)?;
            out(format_args!("{:#}\n", found.to_json()))?;
            draw(plot.as_deref(), || found.to_svg())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Calibrate(calibrate::Command { part: Some(part), .. }) => {
            let calibrate::Part::Liveness { live, spoof, plot, write } = part;
            let file = Config::file(file.as_deref());
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

/// Draws if there is a file to draw to.
fn draw(file: Option<&Path>, svg: impl FnOnce() -> String) -> Result<(), Failure> {
    let Some(path) = file else { return Ok(()) };
    std::fs::write(path, svg()).map_err(|reason| Failure::Plot { path: path.to_owned(), reason })
}

async fn local(
    config: &Config,
    operation: Operation,
    body: Map<String, Value>,
) -> Result<ExitCode, Failure> {
    print(&Local::connect(config).await?.ask(operation, body).await?)
}

/// Prints the lines of the audit log, page by page.
async fn audit_list(config: &Config, since: Option<f64>) -> Result<ExitCode, Failure> {
    let door = Local::connect(config).await?;
    let mut line = 1;
    loop {
        let mut body = Map::new();
        set(&mut body, field::LINE, Some(line));
        set(&mut body, field::SINCE, since);
        set(&mut body, field::LIMIT, Some(500));
        let answer = door.ask(Operation::AuditList, body).await?;
        let Some(page) = answer.read::<AuditPage>() else { return print(&answer) };
        for line in page.lines {
            out(format_args!("{line}\n"))?;
        }
        match page.next {
            Some(next) => line = next,
            None => return Ok(ExitCode::SUCCESS),
        }
    }
}

/// Embeds stored crops by the present model, portion by portion, and prints what came of all of them.
async fn reindex(config: &Config, dry_run: bool) -> Result<ExitCode, Failure> {
    let gallery = Local::connect(config).await?;
    let mut done = Reindexed::default();
    loop {
        let mut body = Map::new();
        set(&mut body, field::DRY_RUN, Some(dry_run));
        set(&mut body, field::CURSOR, done.cursor.take());
        let answer = gallery.ask(Operation::GalleryReindex, body).await?;
        let Some(portion) = answer.read::<Reindexed>() else { return print(&answer) };
        done.add(portion);
        if done.cursor.is_none() {
            break;
        }
    }
    let complete = done.is_complete();
    let report = ReindexReport { dry_run, done };
    out(format_args!("{:#}\n", serde_json::to_value(report).map_err(std::io::Error::from)?))?;
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// What `gallery reindex` prints.
#[derive(Serialize)]
struct ReindexReport {
    dry_run: bool,
    #[serde(flatten)]
    done: Reindexed,
}

/// Writes to standard output; a reader that has left is an error and no panic.
fn out(text: std::fmt::Arguments) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    Ok(out.write_fmt(text).and_then(|()| out.flush())?)
}

/// Prints an answer and says by the exit code what it is.
fn print(answer: &Answer) -> Result<ExitCode, Failure> {
    out(format_args!("{:#}\n", answer.with_status()))?;
    Ok(match answer.outcome() {
        Outcome::Done => ExitCode::SUCCESS,
        Outcome::No => ExitCode::from(1),
        Outcome::Refused => ExitCode::from(3),
        Outcome::Failed => ExitCode::from(4),
    })
}

fn log_filter(level: &str) -> Result<Targets, Failure> {
    // A lone word would be taken for the name of a target, of which everything is logged.
    let is_level = |level: &str| !level.is_empty() && level.parse::<LevelFilter>().is_ok();
    let wrong =
        level.split(',').find(|part| !is_level(part.rsplit('=').next().unwrap_or("").trim()));
    let why = |what: &str| {
        Failure::Usage(format!(
            "log.level {level:?}: {what}; wanted is off, error, warn, info, debug or trace, also of a \
             part alone, as in info,doorward::mqtt=debug"
        ))
    };
    if let Some(part) = wrong {
        return Err(why(&format!("{part:?} names no level")));
    }
    let quiet = mqtt::QUIET_LOGS.join(",");
    format!("{quiet},{level}").parse().map_err(|error| why(&format!("{error}")))
}

fn log_lines(filter: Targets, log: &Log) {
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        // A journal or a file is no place for colours.
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(log.clone())
        .finish()
        .with(filter)
        .init();
}
