//! Enrolls a folder of photographs.
//!
//! `DIR/anna/1.jpg`, `DIR/anna/2.jpg`: one folder per person; the first photograph replaces what
//! was stored under `anna`, the others are added. `DIR/bob.jpg`: one file per person. Both may be
//! mixed. Entries that are neither folders nor JPEG or PNG files by name are ignored.

use crate::contract::{Mode, Operation, Outcome, field};
use crate::daemon::{Local, LocalError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use doorward_evaluate::folder::{FolderError, photographs};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::io;
use std::path::{Path, PathBuf};

/// Largest file worth sending: the service refuses more than 5 MiB with a code of its own.
pub const MAX_FILE: u64 = 6 << 20;

/// Why no photograph, or not every one, was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The photographs cannot be read, or there are none.
    #[error(transparent)]
    Photographs(#[from] FolderError),
    /// The service cannot be reached.
    #[error(transparent)]
    Local(#[from] LocalError),
}

/// The result of an import.
#[derive(Debug, Default)]
pub struct Report {
    /// Subjects with at least one photograph enrolled.
    pub subjects: usize,
    /// Photographs enrolled.
    pub enrolled: usize,
    /// Photographs that were not enrolled, and why.
    pub failed: Vec<(PathBuf, String)>,
}

impl Report {
    /// `{"subjects", "enrolled", "failed": [{"file", "reason"}]}`
    pub fn to_json(&self) -> Value {
        let failed: Vec<Value> = self
            .failed
            .iter()
            .map(|(file, reason)| json!({ "file": file.to_string_lossy(), "reason": reason }))
            .collect();
        json!({ "subjects": self.subjects, "enrolled": self.enrolled, "failed": failed })
    }
}

/// Enrolls every photograph below `dir`, with progress on standard error.
pub async fn import(local: &Local, dir: &Path) -> Result<Report, ImportError> {
    let people = photographs(dir)?;
    let progress = ProgressBar::new(people.values().map(Vec::len).sum::<usize>() as u64);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} photographs, {eta}") {
        progress.set_style(style);
    }
    let mut report = Report::default();
    for (subject, files) in people {
        let mut mode = Mode::Replace;
        for file in files {
            match enroll(local, &subject, &file, mode).await? {
                Ok(()) => {
                    report.subjects += usize::from(mode == Mode::Replace);
                    report.enrolled += 1;
                    mode = Mode::Add;
                }
                Err(reason) => report.failed.push((file, reason)),
            }
            progress.inc(1);
        }
    }
    progress.finish_and_clear();
    Ok(report)
}

/// Enrolls one photograph. The inner error says why it was refused.
async fn enroll(
    local: &Local,
    subject: &str,
    file: &Path,
    mode: Mode,
) -> Result<Result<(), String>, ImportError> {
    let image = match image_field(file) {
        Ok(image) => image,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let fields =
        [(field::IMAGE, image.as_str()), (field::SUBJECT_ID, subject), (field::MODE, mode.name())];
    let body = fields.map(|(name, value)| (name.to_owned(), Value::from(value)));
    let answer = local.ask(Operation::Enroll, body.into_iter().collect()).await?;
    if answer.outcome() == Outcome::Done {
        return Ok(Ok(()));
    }
    let code = answer.error_code().unwrap_or("no answer");
    Ok(Err(match answer.reason() {
        Some(why) => format!("{code}: {why}"),
        None => code.to_owned(),
    }))
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
