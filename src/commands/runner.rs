//! The commands that need more than one call of the library.

use super::results::{complete_or_not, draw, out, print};
use super::{Body, Call, Failure, image_field};
use doorward::config::{self, Config};
use doorward::contract::{self, Answer, AuditPage, Operation, Reindexed, Templates, field};
use doorward::daemon::{self, Local};
use doorward::face::Analyzer;
use doorward::import;
use doorward::mqtt;
use doorward_evaluate::calibrate;
use serde::Serialize;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::runtime::Runtime;

/// The context of a command.
pub struct Runner {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// The configuration from file and environment.
    pub config: Config,
    /// Runs the network tasks.
    pub runtime: Runtime,
}

impl Runner {
    /// Runs the daemon to its end.
    pub fn daemon(self) -> Result<ExitCode, Failure> {
        let Self { file, config, runtime } = self;
        runtime.block_on(daemon::run(config, || Config::load(file.as_deref())))?;
        // Fetching a picture from a URL may take 15 s, and a hanging disk never ends. The results
        // are not needed: the end of this process ends their threads.
        runtime.shutdown_timeout(Duration::from_millis(300));
        Ok(ExitCode::SUCCESS)
    }

    /// Executes one operation, in the running daemon or in this process.
    pub fn local(&self, operation: Operation, Body(body): Body) -> Result<ExitCode, Failure> {
        let answer = self
            .runtime
            .block_on(async { Local::connect(&self.config).await?.ask(operation, body).await })?;
        print(&answer)
    }

    /// Executes one operation through the broker.
    pub fn call(&self, call: Call) -> Result<ExitCode, Failure> {
        let body: Map<String, Value> = serde_json::from_str(&call.body)
            .map_err(|error| Failure::Usage(format!("the body is no JSON object: {error}")))?;
        let image = call.image.map(|file| image_field(&file.to_string_lossy())).transpose()?;
        let Body(body) = Body(body).with(field::IMAGE, image);
        let call = mqtt::Call {
            operation: call.operation,
            body: contract::Body::Json(Value::Object(body).to_string().into_bytes()),
            credentials: contract::Credentials {
                app_id: std::env::var("DOORWARD_APP_ID").ok(),
                api_key: std::env::var("DOORWARD_API_KEY").ok(),
            },
            timeout: Duration::from_secs(call.timeout),
        };
        let settings = daemon::client_settings(&self.config)?;
        let answer = self.runtime.block_on(mqtt::call(&settings, call))?;
        match Answer::from_json(answer.clone()) {
            Some(answer) => print(&answer),
            None => {
                out(format_args!("{answer:#}\n"))?;
                Ok(ExitCode::from(4))
            }
        }
    }

    /// Removes the door from Home Assistant.
    pub fn remove_from_homeassistant(&self) -> Result<ExitCode, Failure> {
        self.runtime.block_on(mqtt::remove(&daemon::client_settings(&self.config)?))?;
        eprintln!("removed");
        Ok(ExitCode::SUCCESS)
    }

    /// Enrolls a folder of photographs.
    pub fn import(&self, dir: &Path) -> Result<ExitCode, Failure> {
        let report = self.runtime.block_on(async {
            let local = Local::connect(&self.config).await?;
            Ok::<_, Failure>(import::import(&local, dir).await?)
        })?;
        out(format_args!("{}\n", report.to_json()))?;
        Ok(complete_or_not(report.failed.is_empty()))
    }

    /// Prints the lines of the audit log, page by page.
    pub fn audit_list(&self, since: Option<f64>) -> Result<ExitCode, Failure> {
        self.runtime.block_on(async {
            let local = Local::connect(&self.config).await?;
            let mut line = 1;
            loop {
                let body = Body::default().with(field::LINE, Some(line)).with(field::SINCE, since);
                let Body(body) = body.with(field::LIMIT, Some(500));
                let answer = local.ask(Operation::AuditList, body).await?;
                let Some(page) = answer.read::<AuditPage>() else { return print(&answer) };
                for line in page.lines {
                    out(format_args!("{line}\n"))?;
                }
                match page.next {
                    Some(next) => line = next,
                    None => return Ok(ExitCode::SUCCESS),
                }
            }
        })
    }

    /// Embeds stored crops again in batches, and prints the total result.
    pub fn reindex(&self, dry_run: bool) -> Result<ExitCode, Failure> {
        self.runtime.block_on(reindex(&self.config, dry_run))
    }

    /// Prints what the thresholds mean for the people in a folder.
    pub fn calibrate_people(
        &self,
        dir: Option<PathBuf>,
        plot: Option<PathBuf>,
    ) -> Result<ExitCode, Failure> {
        let dir = dir.ok_or_else(|| Failure::Usage("name a folder".into()))?;
        // The gallery is released before the work begins.
        let stats = self.runtime.block_on(async {
            Local::connect(&self.config).await?.ask(Operation::Stats, Map::new()).await
        })?;
        let templates = stats.read::<Templates>();
        let unread = || Failure::Usage(format!("stats: {}", stats.with_status()));
        let templates = templates.ok_or_else(unread)?.in_gallery();
        let target_fpir = self.config.search.target_fpir;
        let found = calibrate::people(&Analyzer::load()?, &dir, templates as usize, target_fpir)?;
        out(format_args!("{:#}\n", found.to_json()))?;
        draw(plot.as_deref(), || found.to_svg())?;
        Ok(ExitCode::SUCCESS)
    }

    /// Finds the operating point of liveness that fits this camera.
    pub fn calibrate_liveness(&self, part: calibrate::Part) -> Result<ExitCode, Failure> {
        let calibrate::Part::Liveness { live, spoof, plot, write } = part;
        let file = Config::file(self.file.as_deref());
        if write && file.is_none() {
            let why = "--write: there is no configuration file; name one with --config";
            return Err(Failure::Usage(why.into()));
        }
        let found = calibrate::liveness(&Analyzer::load()?, &live, &spoof)?;
        // Prints first what took minutes to find; writing the file may fail.
        out(format_args!("{:#}\n", found.to_json()))?;
        draw(plot.as_deref(), || found.to_svg())?;
        if let Some(file) = file.filter(|_| write) {
            let point = found.operating_point();
            config::set_in_file(file, "liveness", "operating_point", point)?;
            eprintln!("written to {}: it takes effect at the daemon's next start", file.display());
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Checks the configuration.
    pub fn check_config(&self) -> Result<ExitCode, Failure> {
        daemon::check(&self.config)?;
        for warning in daemon::warnings(&self.config) {
            eprintln!("warning: {warning}");
        }
        eprintln!("the configuration is valid");
        Ok(ExitCode::SUCCESS)
    }
}

async fn reindex(config: &Config, dry_run: bool) -> Result<ExitCode, Failure> {
    let gallery = Local::connect(config).await?;
    let mut done = Reindexed::default();
    loop {
        let body = Body::default().with(field::DRY_RUN, Some(dry_run));
        let Body(body) = body.with(field::CURSOR, done.cursor.take());
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
    Ok(complete_or_not(complete))
}

/// The output of `gallery reindex`.
#[derive(Serialize)]
struct ReindexReport {
    dry_run: bool,
    #[serde(flatten)]
    done: Reindexed,
}
