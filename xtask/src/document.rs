//! A Markdown file with places for tables: `<!-- table NAME -->` and `<!-- end NAME -->` on lines
//! of their own. The text between them is generated; everything else is written by hand.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why a table could not be put into its place.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The file cannot be read or written.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        reason: io::Error,
    },
    /// The file has no such place.
    #[error("{path} has no lines `<!-- table {name} -->` and, below, `<!-- end {name} -->`")]
    NoPlace {
        /// The file.
        path: PathBuf,
        /// The place.
        name: String,
    },
}

/// The file and its text.
pub struct Document {
    path: PathBuf,
    text: String,
}

impl Document {
    /// Reads the file.
    pub fn read(path: &Path) -> Result<Self, DocumentError> {
        let text = fs::read_to_string(path)
            .map_err(|reason| DocumentError::File { path: path.to_owned(), reason })?;
        Ok(Self { path: path.to_owned(), text })
    }

    /// Puts a table into the place of this name.
    pub fn replace(&mut self, name: &str, table: &str) -> Result<(), DocumentError> {
        let (begin, end) = (format!("<!-- table {name} -->\n"), format!("<!-- end {name} -->\n"));
        let place = self.text.find(&begin).and_then(|at| {
            let from = at + begin.len();
            Some((from, from + self.text[from..].find(&end)?))
        });
        let Some((from, to)) = place else {
            return Err(DocumentError::NoPlace { path: self.path.clone(), name: name.to_owned() });
        };
        self.text.replace_range(from..to, &format!("\n{}\n\n", table.trim()));
        Ok(())
    }

    /// Writes the file back.
    pub fn write(&self) -> Result<(), DocumentError> {
        fs::write(&self.path, &self.text)
            .map_err(|reason| DocumentError::File { path: self.path.clone(), reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_text_between_the_marks_changes() {
        let text =
            "# A\n<!-- table x -->\nold\n<!-- end x -->\nprose\n<!-- table y -->\n<!-- end y -->\n";
        let mut document = Document { path: "a.md".into(), text: text.into() };
        document.replace("x", "| new |\n").unwrap();
        let expected = text.replace("old\n", "\n| new |\n\n");
        assert_eq!(document.text, expected);
        document.replace("x", "| new |").unwrap();
        assert_eq!(document.text, expected, "a second time changes nothing");
        assert!(document.replace("z", "").unwrap_err().to_string().contains("table z"));
    }
}
