//! The commands that need more than one call of the library.

use super::results::{complete_or_not, draw, exit_code, out, print};
use super::{Body, Call, Failure, image_field, people};
use doorward::config::{self, Config};
use doorward::contract::{
    self, Answer, AuditPage, Operation, Reindexed, SubjectPage, Templates, field,
};
use doorward::daemon::{self, Local};
use doorward::doctor;
use doorward::face::Analyzer;
use doorward::import;
use doorward::mqtt;
use doorward::webhook::Attempt;
use doorward_evaluate::calibrate;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::runtime::Runtime;

/// The context of a command.
pub struct Runner {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// The configuration from file and environment.
    pub config: Config,
    /// Runs the network tasks.
    pub runtime: Runtime,
    /// True if results are printed in lines for people.
    pub for_people: bool,
}

/// The lines of the audit log to print.
pub struct AuditFilter {
    /// Unix seconds.
    pub since: Option<f64>,
    /// Unix seconds.
    pub until: Option<f64>,
    /// Id of a subject.
    pub subject: Option<String>,
    /// An action, or the part before its `/`.
    pub kind: Option<String>,
}

impl AuditFilter {
    fn passes(&self, line: &Value) -> bool {
        let is_of = |action: &str, kind: &str| {
            action == kind || action.split_once('/').is_some_and(|(first, _)| first == kind)
        };
        let action = line["action"].as_str().unwrap_or_default();
        self.kind.as_deref().is_none_or(|kind| is_of(action, kind))
            && self.subject.as_deref().is_none_or(|id| line["subject_id"] == id)
            && self.until.is_none_or(|until| line["time"].as_f64().is_none_or(|time| time < until))
    }
}

impl Runner {
    /// Runs the daemon to its end.
    pub fn daemon(self) -> Result<ExitCode, Failure> {
        let Self { file, config, runtime, .. } = self;
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
        match people::matches(&answer).filter(|_| self.for_people) {
            Some(lines) => {
                out(format_args!("{lines}"))?;
                Ok(exit_code(&answer))
            }
            None => print(&answer),
        }
    }

    /// Lists subjects: as a table of all pages for people, else the JSON of one page.
    pub fn list(&self, mut body: Body) -> Result<ExitCode, Failure> {
        if !self.for_people {
            return self.local(Operation::SubjectList, body);
        }
        let one_page = body.0.contains_key(field::LIMIT);
        self.runtime.block_on(async {
            let local = Local::connect(&self.config).await?;
            let mut subjects = Vec::new();
            let cursor = loop {
                let answer = local.ask(Operation::SubjectList, body.0.clone()).await?;
                let Some(page) = answer.read::<SubjectPage>() else { return print(&answer) };
                subjects.extend(page.subjects);
                match page.cursor {
                    Some(cursor) if !one_page => body = body.with(field::CURSOR, Some(cursor)),
                    cursor => break cursor,
                }
            };
            let stats = local.ask(Operation::Stats, Map::new()).await?;
            let total = stats.read::<Templates>().map_or(0, Templates::subjects);
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            out(format_args!("{}", people::table(&subjects, now.as_secs_f64())))?;
            let shown = subjects.len();
            eprintln!("{shown} of {total} subjects");
            if let Some(cursor) = cursor {
                eprintln!("next page: --cursor {cursor}");
            }
            Ok(ExitCode::SUCCESS)
        })
    }

    /// Changes subjects: prints the answer for one, a report for several.
    pub fn update(&self, subject_ids: &[String], body: &Body) -> Result<ExitCode, Failure> {
        let of = |id: &String| body.clone().with(field::SUBJECT_ID, Some(id.clone()));
        if let [id] = subject_ids {
            return self.local(Operation::SubjectUpdate, of(id));
        }
        self.runtime.block_on(async {
            let local = Local::connect(&self.config).await?;
            let (mut updated, mut failed) = (0, Vec::new());
            for id in subject_ids {
                let Body(body) = of(id);
                match import::refusal(&local.ask(Operation::SubjectUpdate, body).await?) {
                    None => updated += 1,
                    Some(reason) => failed.push(json!({ "subject_id": id, "reason": reason })),
                }
            }
            let complete = failed.is_empty();
            out(format_args!("{:#}\n", json!({ "updated": updated, "failed": failed })))?;
            Ok(complete_or_not(complete))
        })
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

    /// Sends a test event to the webhook.
    pub fn test_webhook(&self) -> Result<ExitCode, Failure> {
        let none = || Failure::Usage("there is no webhook: set webhook.url".into());
        let client = daemon::webhook_client(&self.config)?.ok_or_else(none)?;
        let attempt = client.test(&self.config.device.id);
        out(format_args!("{:#}\n", attempt.to_json()))?;
        Ok(match attempt {
            Attempt::Acknowledged { .. } => ExitCode::SUCCESS,
            _ => ExitCode::from(4),
        })
    }

    /// Removes the door from Home Assistant.
    pub fn remove_from_homeassistant(&self) -> Result<ExitCode, Failure> {
        self.runtime.block_on(mqtt::remove(&daemon::client_settings(&self.config)?))?;
        eprintln!("removed");
        Ok(ExitCode::SUCCESS)
    }

    /// Enrolls a folder of photographs.
    pub fn import(
        &self,
        dir: &Path,
        names: Option<&Path>,
        groups: Option<&[String]>,
    ) -> Result<ExitCode, Failure> {
        let report = self.runtime.block_on(async {
            let local = Local::connect(&self.config).await?;
            Ok::<_, Failure>(import::import(&local, dir, names, groups).await?)
        })?;
        let complete = report.is_complete();
        out(format_args!("{:#}\n", serde_json::to_value(report).map_err(std::io::Error::from)?))?;
        Ok(complete_or_not(complete))
    }

    /// Prints the lines of the audit log, page by page.
    pub fn audit_list(&self, filter: &AuditFilter) -> Result<ExitCode, Failure> {
        let since = filter.since;
        self.runtime.block_on(async {
            let local = Local::connect(&self.config).await?;
            let mut line = 1;
            loop {
                let body = Body::default().with(field::LINE, Some(line)).with(field::SINCE, since);
                let Body(body) = body.with(field::LIMIT, Some(500));
                let answer = local.ask(Operation::AuditList, body).await?;
                let Some(page) = answer.read::<AuditPage>() else { return print(&answer) };
                for line in page.lines.iter().filter(|line| filter.passes(line)) {
                    match self.for_people {
                        true => out(format_args!("{}", people::audit_line(line)))?,
                        false => out(format_args!("{line}\n"))?,
                    }
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

    /// Checks what a terminal needs, and prints the report.
    pub fn doctor(&self) -> Result<ExitCode, Failure> {
        let file = Config::file(self.file.as_deref());
        let report = self.runtime.block_on(doctor::report(&self.config, file))?;
        out(format_args!("{:#}\n", report.json))?;
        Ok(complete_or_not(!report.has_failed))
    }

    /// Checks the configuration.
    pub fn check_config(&self) -> Result<ExitCode, Failure> {
        daemon::check(&self.config)?;
        let mut warnings = daemon::warnings(&self.config);
        warnings.extend(doctor::problems(&self.config, Config::file(self.file.as_deref())));
        for warning in warnings {
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
