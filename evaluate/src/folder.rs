//! A folder of photographs: `DIR/anna/1.jpg`, `DIR/anna/2.jpg`, one folder per person;
//! `DIR/bob.jpg`, one file per person. Both may be mixed. Entries that are neither folders nor JPEG
//! or PNG files by name are ignored and reported. Files that systems leave behind, such as
//! `.DS_Store`, `._1.jpg` and `@eaDir`, are not even reported.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Folders and files of file servers: thumbnails, wastebaskets.
const OF_SYSTEMS: [&str; 4] = ["@eaDir", "#recycle", "Thumbs.db", "desktop.ini"];

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

impl FolderError {
    /// True if the folder or file does not exist.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Unreadable { reason, .. } if reason.kind() == io::ErrorKind::NotFound)
    }
}

/// The content of a folder.
#[derive(Debug, Default, PartialEq)]
pub struct Folder {
    /// The photographs by person, both in the order of their names.
    pub people: BTreeMap<String, Vec<PathBuf>>,
    /// Entries that are not photographs, and folders without any or below a person's.
    pub ignored: Vec<PathBuf>,
}

/// Reads a folder.
pub fn read(dir: &Path) -> Result<Folder, FolderError> {
    let mut folder = Folder::default();
    for entry in entries(dir)? {
        let is_dir = entry.is_dir();
        let files = if is_dir { entries(&entry)? } else { vec![entry.clone()] };
        let (photographs, others): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|f| is_photograph(f));
        folder.ignored.extend(others);
        if photographs.is_empty() {
            folder.ignored.extend(is_dir.then_some(entry));
            continue;
        }
        let name = if is_dir { entry.file_name() } else { entry.file_stem() };
        let name = name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        folder.people.entry(name).or_default().extend(photographs);
    }
    if folder.people.is_empty() { Err(FolderError::Empty(dir.to_owned())) } else { Ok(folder) }
}

/// Returns the photographs by person, both in the order of their names.
pub fn photographs(dir: &Path) -> Result<BTreeMap<String, Vec<PathBuf>>, FolderError> {
    read(dir).map(|folder| folder.people)
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, FolderError> {
    let unreadable = |reason| FolderError::Unreadable { path: dir.to_owned(), reason };
    let paths = std::fs::read_dir(dir)
        .map_err(unreadable)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(unreadable)?;
    let mut paths: Vec<PathBuf> =
        paths.into_iter().filter(|path| !is_of_the_system(path)).collect();
    paths.sort();
    Ok(paths)
}

fn is_of_the_system(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.') || OF_SYSTEMS.iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn is_photograph(file: &Path) -> bool {
    let extension = file.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    matches!(extension.as_deref(), Some("jpg" | "jpeg" | "png")) && file.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_that_are_not_photographs_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in ["anna/old", "empty", "@eaDir", ".git"] {
            std::fs::create_dir_all(at(folder)).unwrap();
        }
        for file in
            ["anna/1.jpg", "anna/2.heic", "anna/._1.jpg", "bob.PNG", "list.csv", "@eaDir/x.jpg"]
        {
            std::fs::write(at(file), "").unwrap();
        }
        let folder = read(dir.path()).unwrap();
        assert_eq!(folder.people["anna"], [at("anna/1.jpg")]);
        assert_eq!(folder.people["bob"], [at("bob.PNG")]);
        assert_eq!(folder.people.len(), 2);
        let ignored = ["anna/2.heic", "anna/old", "empty", "list.csv"].map(at);
        assert_eq!(folder.ignored, ignored);
        assert!(matches!(read(&at("empty")), Err(FolderError::Empty(_))));
        assert!(read(&at("missing")).is_err_and(|error| error.is_missing()));
    }
}
