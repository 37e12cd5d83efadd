//! A folder of photographs: `DIR/anna/1.jpg`, `DIR/anna/2.jpg`, one folder per person;
//! `DIR/bob.jpg`, one file per person. Both may be mixed. Entries that are neither folders nor JPEG
//! or PNG files by name are ignored.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Why there are no photographs.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A folder or file cannot be read.
    #[error("cannot read {path}: {reason}")]
    Unreadable {
        /// Folder or file.
        path: PathBuf,
        /// The system's error.
        reason: io::Error,
    },
    /// There are no photographs.
    #[error("{0} holds no JPEG or PNG photographs, nor folders of them")]
    Empty(PathBuf),
}

/// Returns the photographs by person, both in the order of their names.
pub fn photographs(dir: &Path) -> Result<BTreeMap<String, Vec<PathBuf>>, FolderError> {
    let mut people: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for entry in entries(dir)? {
        let files = if entry.is_dir() { entries(&entry)? } else { vec![entry.clone()] };
        let name = if entry.is_dir() { entry.file_name() } else { entry.file_stem() };
        let name = name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let photographs: Vec<PathBuf> = files.into_iter().filter(|f| is_photograph(f)).collect();
        if !photographs.is_empty() {
            people.entry(name).or_default().extend(photographs);
        }
    }
    if people.is_empty() { Err(FolderError::Empty(dir.to_owned())) } else { Ok(people) }
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, FolderError> {
    let unreadable = |reason| FolderError::Unreadable { path: dir.to_owned(), reason };
    let mut paths = std::fs::read_dir(dir)
        .map_err(unreadable)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(unreadable)?;
    paths.sort();
    Ok(paths)
}

fn is_photograph(file: &Path) -> bool {
    let extension = file.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    matches!(extension.as_deref(), Some("jpg" | "jpeg" | "png")) && file.is_file()
}
