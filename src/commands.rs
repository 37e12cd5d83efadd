//! The command line's arguments, and the fields of the requests made from them.

mod body;
mod failure;
mod http;
mod people;
mod results;
mod runner;
mod times;

pub use body::{Body, filled, image_field};
pub use failure::Failure;
pub use http::Http;
pub use results::show;
pub use runner::{AuditFilter, Runner};

use clap::{Args, Parser, Subcommand};
use doorward::contract::{Operation, field};
use doorward::{camera, evaluate};
use doorward_evaluate::calibrate;
use serde_json::json;
use std::path::PathBuf;

/// Face recognition at a door.
///
/// Exit codes: 0 done and yes; 1 done and no (another face, a check that failed); 2 the
/// command line or the configuration is wrong; 3 the request was refused; 4 something failed or
/// cannot be reached.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    /// Configuration file [default: /etc/doorward/doorward.toml, if there is one]. Every key can
    /// also be set by a variable: DOORWARD__MQTT__HOST is host in [mqtt].
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// JSON also on a terminal, where `search`, `gallery list` and `audit list` print lines for
    /// people.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Runs the daemon until SIGTERM or SIGINT.
    Run,
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
        /// Return the stored crops too.
        #[arg(long)]
        return_image: bool,
    },
    /// Checks whether a picture shows a living face, or a print or a screen.
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
    /// Sends a request through the broker, as another system would. If the daemon requires a key,
    /// it is read from the variables DOORWARD_APP_ID and DOORWARD_API_KEY.
    Call(Call),
    /// The enrolled subjects.
    #[command(subcommand)]
    Gallery(Gallery),
    /// Applications: their permissions and quotas under service.auth = "app-key".
    #[command(subcommand)]
    App(App),
    /// The audit log: who did what at this door, line by line, chained by hashes.
    #[command(subcommand)]
    Audit(Audit),
    /// The HTTP interface.
    #[command(subcommand)]
    Http(Http),
    /// The webhook, which gets events by HTTP.
    #[command(subcommand)]
    Webhook(Webhook),
    /// Home Assistant.
    #[command(subcommand)]
    Homeassistant(Homeassistant),
    /// Accuracy on labelled photographs: JSON on standard output, progress on standard error.
    #[command(subcommand)]
    Evaluate(evaluate::Command),
    /// The effect of the thresholds on your own people and camera, as JSON: FMR and FNMR over the
    /// similarity, and the door's threshold at the present gallery size.
    Calibrate(calibrate::Command),
    #[command(subcommand)]
    Camera(camera::Command),
    /// Checks configuration, data folder, disk, clock, camera, board, broker and daemon, and prints
    /// processor, models and versions, for a bug report. Exit code 1 when a check failed.
    Doctor,
    /// The configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Args)]
pub struct Call {
    /// enroll, verify, search, compare, subject/list, health, …
    pub operation: String,
    /// The fields, as a JSON object.
    #[arg(default_value = "{}")]
    pub body: String,
    /// Picture file, sent as the field `image`.
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,
    /// Seconds to wait for the answer.
    #[arg(long, default_value_t = 30)]
    pub timeout: u64,
}

#[derive(Args)]
pub struct Picture {
    /// A JPEG or PNG file, an http(s) URL, or `camera:`.
    image: String,
    #[command(flatten)]
    fields: Fields,
}

#[derive(Args)]
pub struct Fields {
    /// Any other field of the request, such as validate_quality=true. A VALUE that is JSON is sent
    /// as JSON (true, 82, "82"), any other as text. May be given several times.
    #[arg(long = "field", value_name = "NAME=VALUE")]
    fields: Vec<String>,
}

#[derive(Subcommand)]
pub enum Gallery {
    /// Lists subjects by id: all of them on a terminal, else the JSON of one page.
    List {
        /// Most subjects to list in one page, 1–100.
        #[arg(long)]
        limit: Option<u32>,
        /// Where the previous page ended.
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Changes the data of subjects, such as their groups, which open doors.
    Update {
        /// Ids of the subjects.
        #[arg(required = true)]
        subject_ids: Vec<String>,
        /// All its groups; an empty entry (`--groups ""`) means no groups.
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
    /// Embeds the stored crops of templates of another model again, with the present model.
    /// Templates of different models are never compared: until then, a subject without other
    /// templates is not recognised. Exit code 1 when some could not be embedded: enroll those
    /// subjects again.
    Reindex {
        /// Change nothing, and report what would be done.
        #[arg(long)]
        dry_run: bool,
    },
    /// Removes the bytes of deleted and replaced faces from the gallery's file: writes the file
    /// again without them, and overwrites the old one. The daemon does it at its start and stop,
    /// and every quarter of an hour, if a face was deleted.
    Scrub,
    /// Enrolls a folder of photographs: one folder per person, or one file per person.
    Import {
        /// The folder; names of folders and files become subject ids. A name that cannot be an id,
        /// such as Jörg Müller, gets one (Jorg-Muller), and the subject keeps the name.
        dir: PathBuf,
        /// CSV file with a first line id,name,groups: the id and the data of the folder that is
        /// named by id or by name. Several groups are separated by `;`.
        #[arg(long, value_name = "CSV")]
        names: Option<PathBuf>,
        /// Groups of all imported subjects that have none in the list. Groups open doors.
        #[arg(long, value_delimiter = ',')]
        groups: Option<Vec<String>>,
    },
}

#[derive(Subcommand)]
pub enum App {
    /// Makes an application and prints its App-ID and its API-Key. The key is shown only this once.
    Create {
        /// Its name: letters, digits, `.`, `_`, `-`, `:`, `@`.
        name: String,
        /// In testing mode: with quotas, 100 of each kind unless --quota says otherwise.
        #[arg(long)]
        testing: bool,
        /// The quota of each kind, as search=100,verify=50; a kind that is not named gets none.
        #[arg(long, value_delimiter = ',', requires = "testing")]
        quota: Option<Vec<String>>,
        /// Its permissions: enroll, verify, search, liveness, compare, subject, unlock, admin
        /// [default: all but admin and unlock].
        #[arg(long, value_delimiter = ',')]
        allow: Option<Vec<String>>,
    },
    /// Lists the applications, their permissions, and the used and remaining quotas.
    List,
    /// Shows one application.
    Get {
        /// Its name or its App-ID.
        app: String,
    },
    /// Changes an application's mode, quota or permissions; its key stays valid.
    Update {
        /// Its name or its App-ID.
        app: String,
        /// Into live mode: without quotas.
        #[arg(long, conflicts_with_all = ["testing", "quota"])]
        live: bool,
        /// Into testing mode, with 100 of each kind unless --quota says otherwise.
        #[arg(long)]
        testing: bool,
        /// The quota of each kind, as search=100,verify=50, in testing mode; a kind that is not
        /// named gets none. What was used stays counted.
        #[arg(long, value_delimiter = ',')]
        quota: Option<Vec<String>>,
        /// All its permissions, in place of the present ones.
        #[arg(long, value_delimiter = ',')]
        allow: Option<Vec<String>>,
    },
    /// Removes an application: its key is invalid from the next request on.
    Revoke {
        /// Its name or its App-ID.
        app: String,
    },
    /// Gives an application another API-Key and prints it; the old key is invalid from the next
    /// request on, unless --grace is given.
    Rotate {
        /// Its name or its App-ID.
        app: String,
        /// How long the old key stays valid beside the new one: 90m, 24h, 7d; at most 30d.
        #[arg(long, value_name = "TIME", value_parser = times::duration)]
        grace: Option<u64>,
    },
}

#[derive(Subcommand)]
pub enum Audit {
    /// Lists lines as JSON, one per line, oldest first, each with its hash.
    List {
        /// Only lines written since: Unix seconds, an age such as 90m, 24h, 7d, or a local date
        /// such as 2026-11-29 or 2026-11-29T14:00.
        #[arg(long, value_parser = times::parse)]
        since: Option<f64>,
        /// Only lines written before: as --since.
        #[arg(long, value_parser = times::parse)]
        until: Option<f64>,
        /// Only lines about this subject.
        #[arg(long, value_name = "ID")]
        subject: Option<String>,
        /// Only lines of this kind: access, spoof, door, subject/update, start, … `subject` and
        /// `application` name all kinds that begin with it.
        #[arg(long)]
        kind: Option<String>,
    },
    /// Verifies every line: prints the number of lines and the head hash, or the first line that
    /// was changed.
    Verify {
        /// A line that was noted before, and its hash: checks that the line still has this hash.
        #[arg(long, value_name = "LINE:HASH", value_parser = noted)]
        noted: Option<(u64, String)>,
    },
}

#[derive(Subcommand)]
pub enum Webhook {
    /// Sends a test event to webhook.url, signed as every event, and prints the server's answer.
    /// Exit code 4 unless the server acknowledges it.
    Test,
}

#[derive(Subcommand)]
pub enum Homeassistant {
    /// Removes this door from Home Assistant. A daemon with homeassistant.discovery = true
    /// publishes it again when it connects.
    Remove,
}

#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Checks the configuration.
    Check,
    /// Prints every key with its help and present value as a TOML file; secrets are masked.
    Print,
}

impl App {
    /// Returns the operation and its fields.
    pub fn request(self) -> (Operation, Body) {
        let body = Body::default();
        match self {
            Self::Create { name, testing, quota, allow } => {
                let body = body.with(field::NAME, Some(name)).with(field::TESTING, Some(testing));
                let body = body.with(field::QUOTA, quota.map(filled));
                (Operation::ApplicationCreate, body.with(field::ALLOW, allow.map(filled)))
            }
            Self::List => (Operation::ApplicationList, body),
            Self::Update { app, live, testing, quota, allow } => {
                let body = body.with(field::APP, Some(app));
                let body = body.with(field::TESTING, (live || testing).then_some(testing));
                let body = body.with(field::QUOTA, quota.map(filled));
                (Operation::ApplicationUpdate, body.with(field::ALLOW, allow.map(filled)))
            }
            Self::Get { app } => (Operation::ApplicationGet, body.with(field::APP, Some(app))),
            Self::Revoke { app } => {
                (Operation::ApplicationRevoke, body.with(field::APP, Some(app)))
            }
            Self::Rotate { app, grace } => {
                let body = body.with(field::APP, Some(app)).with(field::GRACE_SECONDS, grace);
                (Operation::ApplicationRotate, body)
            }
        }
    }
}

impl Picture {
    /// Returns its fields, the picture included.
    pub fn body(&self) -> Result<Body, Failure> {
        Ok(self.fields.body()?.with(field::IMAGE, Some(image_field(&self.image)?)))
    }
}

impl Fields {
    /// Parses `NAME=VALUE`: a value that is JSON is sent as JSON, any other as text.
    pub fn body(&self) -> Result<Body, Failure> {
        let mut body = Body::default();
        for field in &self.fields {
            let (name, value) = field
                .split_once('=')
                .ok_or_else(|| Failure::Usage(format!("--field {field}: not NAME=VALUE")))?;
            let value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
            body = body.with(name, Some(value));
        }
        Ok(body)
    }
}

/// Parses `17:9f2c…`: a line and its hash.
fn noted(text: &str) -> Result<(u64, String), String> {
    let of_hash = |hash: &str| hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
    text.split_once(':')
        .filter(|(_, hash)| of_hash(hash))
        .and_then(|(line, hash)| Some((line.parse().ok()?, hash.to_owned())))
        .ok_or_else(|| format!("{text:?} is not LINE:HASH, with a hash of 64 hexadecimal digits"))
}
