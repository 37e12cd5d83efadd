//! Sets one key in the configuration file and keeps everything else: comments, order, permissions.
//! The file is replaced as a whole or not at all.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use toml_edit::{DocumentMut, Item, Table, TomlError, Value};

/// Why a key was not set; the file is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The file cannot be read, or not replaced.
    #[error("cannot change the configuration {path}: {reason}; it is unchanged")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        reason: io::Error,
    },
    /// The file is not TOML, or has something else in the section's place.
    #[error("cannot set a key in {path} ({reason}); the file is unchanged: write by hand {wanted}")]
    Text {
        /// The file.
        path: PathBuf,
        /// Why the key cannot be set.
        reason: String,
        /// The setting.
        wanted: String,
    },
}

/// Sets `section.key` in a TOML file to a value, durably. A symbolic link stays a link: the file
/// it points to is replaced, with the same mode and owner.
pub fn set_in_file(
    file: &Path,
    section: &str,
    key: &str,
    value: impl Into<Value>,
) -> Result<(), EditError> {
    let value = value.into();
    let failed = |reason| EditError::File { path: file.to_owned(), reason };
    let file = fs::canonicalize(file).map_err(failed)?;
    let text = fs::read_to_string(&file).map_err(failed)?;
    let changed = set(&text, section, key, value.clone()).map_err(|reason| EditError::Text {
        path: file.clone(),
        reason,
        wanted: format!("{section}.{key} = {value}"),
    })?;
    replace(&file, changed.as_bytes()).map_err(failed)
}

/// Returns the text with the key set; the inner error says why it cannot be set.
fn set(text: &str, section: &str, key: &str, value: Value) -> Result<String, String> {
    // The parser's own display quotes the line, which may hold a password.
    let mut document: DocumentMut =
        text.parse().map_err(|error: TomlError| error.message().trim_end().to_owned())?;
    if !document.contains_key(section) {
        append(&mut document, section);
    }
    let entry = &mut document[section];
    let table = entry.as_table_like_mut().ok_or_else(|| format!("{section} is not a section"))?;
    let mut item = toml_edit::value(value);
    // A comment behind the old value stays there.
    if let (Some(old), Some(new)) = (table.get(key).and_then(Item::as_value), item.as_value_mut()) {
        *new.decor_mut() = old.decor().clone();
    }
    table.insert(key, item);
    Ok(document.to_string())
}

/// Appends an empty section, below the comments at the end of the document.
fn append(document: &mut DocumentMut, section: &str) {
    let mut table = Table::new();
    let comments = document.trailing().as_str().unwrap_or_default();
    if !(document.is_empty() && comments.is_empty()) {
        table.decor_mut().set_prefix(format!("{comments}\n"));
    }
    document.set_trailing("");
    document.insert(section, Item::Table(table));
}

/// Writes a new file next to the old one and renames it over: a reader sees one or the other, also
/// after a power cut.
fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let before = fs::metadata(file)?;
    let dir = file.parent().unwrap_or(Path::new("/"));
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new-{}", std::process::id()));
    let new = dir.join(name);
    let written = (|| {
        // It may hold secrets: no other user may read it before it has the old file's mode.
        let mut out = File::options().write(true).create_new(true).mode(0o600).open(&new)?;
        out.write_all(bytes)?;
        let made = out.metadata()?;
        if (made.uid(), made.gid()) != (before.uid(), before.gid()) {
            fchown(&out, Some(before.uid()), Some(before.gid()))?;
        }
        out.set_permissions(Permissions::from_mode(before.mode() & 0o7777))?;
        out.sync_all()?;
        fs::rename(&new, file)
    })();
    match written {
        // The new file is in place; whether the folder's entry survives a power cut depends on the
        // disk.
        Ok(()) => drop(File::open(dir).and_then(|dir| dir.sync_all())),
        Err(_) => drop(fs::remove_file(&new)),
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(text: &str, value: f64) -> Result<String, String> {
        set(text, "liveness", "operating_point", value.into())
    }

    #[test]
    fn only_the_existing_value_is_replaced() {
        let text = "# mine\n[liveness] # this camera\noperating_point = 0.5 # measured\n\n[log]\nlevel = \"info\"\n";
        assert_eq!(point(text, -1.25).unwrap(), text.replace("0.5", "-1.25"));
        let inline = "liveness = { operating_point = 1 }\n";
        assert_eq!(point(inline, 2.0).unwrap(), "liveness = { operating_point = 2.0 }\n");
        let dotted = "liveness.operating_point = 1 # one\n";
        assert_eq!(point(dotted, 2.0).unwrap(), "liveness.operating_point = 2.0 # one\n");
    }

    #[test]
    fn a_missing_key_goes_to_the_end_of_its_section_or_a_new_one() {
        for (text, expected) in [
            (
                "[ liveness] # a\n# b\n[log]\n",
                "[ liveness] # a\noperating_point = 1.0\n# b\n[log]\n",
            ),
            (
                "[liveness]\nenabled = true\n\n[log]\n",
                "[liveness]\nenabled = true\noperating_point = 1.0\n\n[log]\n",
            ),
            ("[liveness]", "[liveness]\noperating_point = 1.0\n"),
            ("", "[liveness]\noperating_point = 1.0\n"),
            (
                "[log]\nlevel = 'info'",
                "[log]\nlevel = 'info'\n\n[liveness]\noperating_point = 1.0\n",
            ),
            (
                "[log]\nlevel = '''\n[liveness]\n'''\n[liveness]\n",
                "[log]\nlevel = '''\n[liveness]\n'''\n[liveness]\noperating_point = 1.0\n",
            ),
            (
                "liveness.enabled = true\n",
                "liveness.enabled = true\nliveness.operating_point = 1.0\n",
            ),
        ] {
            assert_eq!(point(text, 1.0).unwrap(), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_not_a_section_is_refused() {
        assert_eq!(point("liveness = 1\n", 1.0).unwrap_err(), "liveness is not a section");
        assert!(point("[[liveness]]\n", 1.0).is_err());
    }

    #[test]
    fn a_syntax_error_does_not_quote_the_line() {
        let error = point("password = \"swordfish\n", 1.0).unwrap_err();
        assert!(!error.contains("swordfish"), "{error}");
    }

    #[test]
    fn the_file_keeps_its_mode_and_a_link_stays_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("a.toml"), dir.path().join("b.toml"));
        fs::write(&file, "# mine\n").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        set_in_file(&link, "liveness", "operating_point", 0.25).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(
            fs::read_to_string(&file).unwrap(),
            "# mine\n\n[liveness]\noperating_point = 0.25\n"
        );
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is left behind");
    }
}
