//! Enrolls a folder of photographs.
//!
//! `DIR/anna/1.jpg`, `DIR/anna/2.jpg`: one folder per person; the first photograph replaces what
//! was stored under `anna`, the others are added. `DIR/bob.jpg`: one file per person. Both may be
//! mixed. A folder such as `Jörg Müller` gets the id `Jorg-Muller`, and the subject its name. Must
//! never omit a photograph, a person or a line of the list without reporting it.

mod people;

pub use people::{PeopleError, Person};

use crate::contract::{Answer, Mode, Operation, Outcome, field};
use crate::daemon::{Local, LocalError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use doorward_evaluate::folder::{self, FolderError, Ignored};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::{Map, Value};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Largest file worth sending: the service refuses more than 5 MiB with a code of its own.
pub const MAX_FILE: u64 = 6 << 20;
/// Time between lines of progress where standard error is not a terminal.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Why no photograph, or not every one, was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The photographs cannot be read, or there are none.
    #[error(transparent)]
    Photographs(#[from] FolderError),
    /// The list of people cannot be used.
    #[error(transparent)]
    People(#[from] PeopleError),
    /// The service cannot be reached.
    #[error(transparent)]
    Local(#[from] LocalError),
}

/// The result of an import.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Subjects with at least one photograph enrolled.
    pub subjects: usize,
    /// Photographs enrolled.
    pub enrolled: usize,
    /// Enrolled faces that another subject has as well.
    pub duplicates: Vec<Duplicate>,
    /// Photographs that were not enrolled, and subjects whose name or groups were refused.
    pub failed: Vec<Failed>,
    /// Entries of the folder that were not read, each with the reason.
    pub ignored: Vec<Ignored>,
    /// The number of them.
    pub ignored_entries: usize,
    /// Ids of the list without photographs.
    pub without_photographs: Vec<String>,
}

/// An enrolled face that another subject has as well.
#[derive(Debug, Serialize)]
pub struct Duplicate {
    /// The photograph.
    pub file: PathBuf,
    /// Its subject.
    pub subject_id: String,
    /// The other subject.
    pub duplicate_of: String,
    /// 0–100.
    pub similarity: f64,
}

/// A photograph or folder, and why it was refused.
#[derive(Debug, Serialize)]
pub struct Failed {
    /// The photograph, or the person's folder.
    pub file: PathBuf,
    /// Code and reason.
    pub reason: String,
}

impl Report {
    /// True if all photographs and people of the folder and the list are enrolled.
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty() && self.without_photographs.is_empty()
    }
}

/// Enrolls every photograph below `dir`, with progress on standard error. Subjects get the names
/// and groups of `list`, a CSV file; a subject without groups there gets `groups`.
pub async fn import(
    local: &Local,
    dir: &Path,
    list: Option<&Path>,
    groups: Option<&[String]>,
) -> Result<Report, ImportError> {
    let folder = folder::read(dir)?;
    let people = people::people(folder.people, list, groups)?;
    let mut report = Report {
        ignored_entries: folder.ignored.len(),
        ignored: folder.ignored,
        without_photographs: people.without_photographs,
        ..Report::default()
    };
    let mut progress = Progress::new(people.found.iter().map(|person| person.files.len()).sum());
    for person in &people.found {
        let before = report.enrolled;
        for file in &person.files {
            let mode = if report.enrolled == before { Mode::Replace } else { Mode::Add };
            enroll(local, person, file, mode, &mut report).await?;
            progress.step();
        }
        if report.enrolled > before {
            report.subjects += 1;
            describe(local, person, &mut report).await?;
        }
    }
    progress.bar.finish_and_clear();
    Ok(report)
}

/// Enrolls one photograph.
async fn enroll(
    local: &Local,
    person: &Person,
    file: &Path,
    mode: Mode,
    report: &mut Report,
) -> Result<(), ImportError> {
    let image = match image_field(file) {
        Ok(image) => image,
        Err(error) => {
            report.failed.push(Failed { file: file.to_owned(), reason: error.to_string() });
            return Ok(());
        }
    };
    let fields = [
        (field::IMAGE, image.as_str()),
        (field::SUBJECT_ID, &person.id),
        (field::MODE, mode.name()),
    ];
    let body = fields.map(|(name, value)| (name.to_owned(), Value::from(value)));
    let answer = local.ask(Operation::Enroll, body.into_iter().collect()).await?;
    if let Some(reason) = refusal(&answer) {
        report.failed.push(Failed { file: file.to_owned(), reason });
        return Ok(());
    }
    report.enrolled += 1;
    report.duplicates.extend(answer.duplicate_of().map(|other| Duplicate {
        file: file.to_owned(),
        subject_id: person.id.clone(),
        duplicate_of: other.subject_id,
        similarity: other.similarity,
    }));
    Ok(())
}

/// Sets the name and the groups of a subject, if they are given.
async fn describe(local: &Local, person: &Person, report: &mut Report) -> Result<(), ImportError> {
    let mut body = Map::new();
    body.extend(person.name.clone().map(|name| (field::NAME.to_owned(), name.into())));
    body.extend(person.groups.clone().map(|groups| (field::GROUPS.to_owned(), groups.into())));
    if body.is_empty() {
        return Ok(());
    }
    body.insert(field::SUBJECT_ID.to_owned(), person.id.clone().into());
    let answer = local.ask(Operation::SubjectUpdate, body).await?;
    let file = || person.files.first().cloned().unwrap_or_default();
    report.failed.extend(refusal(&answer).map(|reason| Failed { file: file(), reason }));
    Ok(())
}

/// Returns why a request was not done: code and reason.
pub fn refusal(answer: &Answer) -> Option<String> {
    if answer.outcome() == Outcome::Done {
        return None;
    }
    let code = answer.error_code().unwrap_or("no answer");
    Some(match answer.reason() {
        Some(why) => format!("{code}: {why}"),
        None => code.to_owned(),
    })
}

/// A bar on a terminal, a line every few seconds elsewhere.
struct Progress {
    bar: ProgressBar,
    told: Option<Instant>,
}

impl Progress {
    fn new(photographs: usize) -> Self {
        let bar = ProgressBar::new(photographs as u64);
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} photographs, {eta}")
        {
            bar.set_style(style);
        }
        let told = (!io::stderr().is_terminal()).then(Instant::now);
        Self { bar, told }
    }

    fn step(&mut self) {
        self.bar.inc(1);
        if self.told.is_some_and(|told| told.elapsed() >= TELL_EVERY) {
            eprintln!("{} of {} photographs", self.bar.position(), self.bar.length().unwrap_or(0));
            self.told = Some(Instant::now());
        }
    }
}

/// Reads a picture file as the field `image` of a request.
pub fn image_field(file: &Path) -> Result<String, FolderError> {
    let unreadable = |reason| FolderError::Unreadable { path: file.to_owned(), reason };
    let size = std::fs::metadata(file).map_err(unreadable)?.len();
    if size > MAX_FILE {
        return Err(unreadable(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("{size} bytes; at most 5 MiB are accepted"),
        )));
    }
    Ok(STANDARD.encode(std::fs::read(file).map_err(unreadable)?))
}
