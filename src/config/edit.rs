//! Sets one key in the configuration file and keeps everything else: comments, order, permissions.
//! The file is replaced as a whole or not at all.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

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
    /// The file is not TOML, or is written in a way in which a key cannot be set in place.
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

/// Sets `section.key` in a TOML file to a number, durably. A symbolic link stays a link: the file
/// it points to is replaced, with the same mode and owner.
pub fn set_in_file(file: &Path, section: &str, key: &str, value: f64) -> Result<(), EditError> {
    let failed = |reason| EditError::File { path: file.to_owned(), reason };
    let file = fs::canonicalize(file).map_err(failed)?;
    let text = fs::read_to_string(&file).map_err(failed)?;
    let changed = set(&text, section, key, value).map_err(|reason| EditError::Text {
        path: file.clone(),
        reason,
        wanted: format!("{section}.{key} = {value:?}"),
    })?;
    replace(&file, changed.as_bytes()).map_err(failed)
}

/// Returns the text with the key set; the inner error says why it cannot be set.
fn set(text: &str, section: &str, key: &str, value: f64) -> Result<String, String> {
    let mut wanted: Table = text.parse().map_err(|error| message(&error))?;
    let changed = match place(text, section, key)? {
        Place::Value(range) => {
            format!("{}{value:?}{}", &text[..range.start], &text[range.end..])
        }
        Place::Section(end) => {
            let line = if text[..end].ends_with('\n') { "" } else { "\n" };
            format!("{}{line}{key} = {value:?}\n{}", &text[..end], &text[end..])
        }
        Place::None => {
            let line = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
            format!("{text}{line}\n[{section}]\n{key} = {value:?}\n")
        }
    };
    // A multi-line string may hold a header, and keys may be dotted: so the result is read back,
    // and must be the old file with only this key changed.
    let table = wanted.entry(section).or_insert_with(|| Value::Table(Table::new()));
    let table = table.as_table_mut().ok_or_else(|| format!("{section} is not a section"))?;
    table.insert(key.to_owned(), Value::Float(value));
    match changed.parse::<Table>() {
        Ok(read) if read == wanted => Ok(changed),
        _ => Err(format!("[{section}] is written in an unusual way")),
    }
}

/// Returns the parser's message without the line, which may hold a password.
fn message(error: &toml::de::Error) -> String {
    error.message().trim_end().to_owned()
}

/// Where the key belongs.
enum Place {
    /// The key exists: the bytes of its value.
    Value(std::ops::Range<usize>),
    /// The section exists: the byte after the line of its header.
    Section(usize),
    /// Neither exists.
    None,
}

fn place(text: &str, section: &str, key: &str) -> Result<Place, String> {
    let parsed = DeTable::parse(text).map_err(|error| message(&error))?;
    let Some(found) = parsed.get_ref().get(section) else { return Ok(Place::None) };
    let present: Option<&Spanned<DeValue>> =
        found.get_ref().as_table().and_then(|table| table.get(key));
    if let Some(value) = present {
        return Ok(Place::Value(value.span()));
    }
    let header = format!("[{section}]");
    let mut end = 0;
    for line in text.split_inclusive('\n') {
        end += line.len();
        if line.split('#').next().is_some_and(|line| line.trim() == header) {
            return Ok(Place::Section(end));
        }
    }
    Err(format!("no line {header}"))
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
        set(text, "liveness", "operating_point", value)
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
    fn a_missing_key_goes_below_its_header_or_to_the_end() {
        assert_eq!(
            point("[ liveness]\n", 1.0).unwrap_err(),
            "no line [liveness]",
            "an unusual header is refused, not guessed at"
        );
        assert_eq!(
            point("[liveness] # a\n# b\n[log]\n", 1.0).unwrap(),
            "[liveness] # a\noperating_point = 1.0\n# b\n[log]\n"
        );
        assert_eq!(point("[liveness]", 1.0).unwrap(), "[liveness]\noperating_point = 1.0\n");
        assert_eq!(point("", 1.0).unwrap(), "\n[liveness]\noperating_point = 1.0\n");
        assert_eq!(
            point("[log]\nlevel = 'info'", 1.0).unwrap(),
            "[log]\nlevel = 'info'\n\n[liveness]\noperating_point = 1.0\n"
        );
    }

    #[test]
    fn a_header_inside_a_string_is_not_a_header() {
        let text = "[log]\nlevel = '''\n[liveness]\n'''\n[liveness]\n";
        assert!(point(text, 1.0).is_err());
        assert!(point("[liveness\n", 1.0).is_err());
        assert!(point("liveness = 1\n", 1.0).is_err());
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
