//! A folder of photographs: `DIR/anna/1.jpg`, `DIR/anna/2.jpg`, one folder per person;
//! `DIR/bob.jpg`, one file per person. Both may be mixed. Every other entry is skipped and reported
//! with the reason: other formats, deeper folders, and what systems leave behind, such as
//! `.DS_Store`, `._1.jpg` and `@eaDir`.

use serde::Serialize;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Folders and files of file servers and systems: thumbnails, wastebaskets, snapshots. So are names
/// that start with a dot.
const OF_SYSTEMS: [&str; 11] = [
    "@eaDir",
    "@Recycle",
    "@Recently-Snapshot",
    "#recycle",
    "#snapshot",
    "$RECYCLE.BIN",
    "System Volume Information",
    "lost+found",
    "Thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
];
/// Extensions of photographs; `jfif` and `jpe` are JPEG.
const PHOTOGRAPHS: [&str; 5] = ["jpg", "jpeg", "png", "jfif", "jpe"];
/// Extensions of pictures in formats that are not read.
const OTHER_PICTURES: [&str; 14] = [
    "heic", "heif", "avif", "webp", "gif", "bmp", "tif", "tiff", "jp2", "jxl", "svg", "dng", "cr2",
    "nef",
];

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
    /// Everything else.
    pub ignored: Vec<Ignored>,
}

/// An entry that is not read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ignored {
    /// File or folder; of a folder, all that is in it.
    pub file: PathBuf,
    /// Why, and what to do.
    pub reason: &'static str,
}

/// Reads a folder.
pub fn read(dir: &Path) -> Result<Folder, FolderError> {
    let mut folder = Folder::default();
    for entry in entries(dir)? {
        // Not opened: what a system keeps there may be unreadable.
        let is_dir = entry.is_dir() && !is_of_the_system(&entry);
        let files = if is_dir { entries(&entry)? } else { vec![entry.clone()] };
        let mut photographs = Vec::new();
        for file in files {
            match why_ignored(&file) {
                None => photographs.push(file),
                Some(reason) => folder.ignored.push(Ignored { file, reason }),
            }
        }
        if photographs.is_empty() {
            let reason = "a folder without JPEG or PNG photographs";
            folder.ignored.extend(is_dir.then_some(Ignored { file: entry, reason }));
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
    let mut paths = std::fs::read_dir(dir)
        .map_err(unreadable)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(unreadable)?;
    paths.sort();
    Ok(paths)
}

fn is_of_the_system(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.') || OF_SYSTEMS.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Returns why an entry is not read as a photograph; `None` if it is. Links are followed.
fn why_ignored(file: &Path) -> Option<&'static str> {
    let extension = file.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    let is_one_of = |known: &[&str]| known.iter().any(|it| Some(*it) == extension.as_deref());
    if is_of_the_system(file) {
        Some("hidden, or left by a system or file server")
    } else if file.is_dir() {
        Some("a folder in the folder of a person: move its photographs up")
    } else if !file.exists() {
        Some("a link to nothing")
    } else if !file.is_file() {
        Some("not a file")
    } else if is_one_of(&PHOTOGRAPHS) {
        None
    } else if is_one_of(&OTHER_PICTURES) {
        Some("a picture of another format: save it as JPEG or PNG")
    } else {
        Some("not a JPEG or PNG file by its name")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_that_is_not_read_is_named_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in ["anna/2024", "empty", "@eaDir/anna", "@Recycle", "#recycle", ".git", "phone"]
        {
            std::fs::create_dir_all(at(folder)).unwrap();
        }
        for file in [
            "anna/1.jpg",
            "anna/2.heic",
            "anna/2024/3.jpg",
            "anna/._1.jpg",
            "bob.PNG",
            "carl.jfif",
            "list.csv",
            "@eaDir/x.jpg",
            "@Recycle/dora.jpg",
            ".DS_Store",
            "Thumbs.db",
            "phone/1.HEIC",
        ] {
            std::fs::write(at(file), "").unwrap();
        }
        std::os::unix::fs::symlink(at("bob.PNG"), at("anna/link.jpg")).unwrap();
        std::os::unix::fs::symlink(at("nowhere"), at("gone.jpg")).unwrap();
        std::os::unix::fs::symlink(at("anna"), at("eva")).unwrap();
        let folder = read(dir.path()).unwrap();
        assert_eq!(folder.people["anna"], [at("anna/1.jpg"), at("anna/link.jpg")]);
        assert_eq!(folder.people["eva"], [at("eva/1.jpg"), at("eva/link.jpg")]);
        let people: Vec<_> = folder.people.keys().map(String::as_str).collect();
        assert_eq!(people, ["anna", "bob", "carl", "eva"]);

        let ignored = |name: &str| {
            let found: Vec<_> = folder.ignored.iter().filter(|it| it.file == at(name)).collect();
            assert_eq!(found.len(), 1, "{name}: {:?}", folder.ignored);
            found[0].reason
        };
        let cases = [
            ("anna/2.heic", "another format"),
            ("phone/1.HEIC", "another format"),
            ("phone", "without JPEG"),
            ("empty", "without JPEG"),
            ("anna/2024", "move its photographs up"),
            ("anna/._1.jpg", "hidden"),
            (".DS_Store", "hidden"),
            (".git", "hidden"),
            ("@eaDir", "file server"),
            ("@Recycle", "file server"),
            ("#recycle", "file server"),
            ("Thumbs.db", "file server"),
            ("list.csv", "by its name"),
            ("gone.jpg", "link to nothing"),
        ];
        for (name, reason) in cases {
            assert!(ignored(name).contains(reason), "{name}: {}", ignored(name));
        }
        // Those of anna, by the link to its folder, as well.
        assert_eq!(folder.ignored.len(), cases.len() + 3, "{:?}", folder.ignored);
        assert!(matches!(read(&at("empty")), Err(FolderError::Empty(_))));
        assert!(read(&at("missing")).is_err_and(|error| error.is_missing()));
    }
}
