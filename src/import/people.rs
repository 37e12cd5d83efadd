//! Gives the people of a folder their ids, names and groups: by a CSV list, else by the names of
//! the folders.

use crate::contract::{MAX_ID, is_id};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Why the list of people cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    /// The file cannot be read, or a line has other columns.
    #[error(
        "cannot use the list {path}: {reason}; it is a CSV file whose first line is id,name,groups"
    )]
    Csv {
        /// The file.
        path: PathBuf,
        /// The reader's error.
        reason: csv::Error,
    },
    /// An id that no subject can have.
    #[error("{path}, line {line}: {id:?} cannot be an id: use 1 to 128 of A-Z a-z 0-9 . _ - : @")]
    Id {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The entry.
        id: String,
    },
    /// Two lines are of one person.
    #[error("{path}, line {line}: {name:?} occurs twice")]
    Twice {
        /// The file.
        path: PathBuf,
        /// The second line, from 1.
        line: u64,
        /// Id or name.
        name: String,
    },
}

impl PeopleError {
    /// True if the file does not exist.
    pub fn is_missing(&self) -> bool {
        match self {
            Self::Csv { reason, .. } => match reason.kind() {
                csv::ErrorKind::Io(error) => error.kind() == std::io::ErrorKind::NotFound,
                _ => false,
            },
            _ => false,
        }
    }
}

/// A person with photographs.
#[derive(Clone, Debug, PartialEq)]
pub struct Person {
    /// Id of the subject.
    pub id: String,
    /// Name to set.
    pub name: Option<String>,
    /// Groups to set.
    pub groups: Option<Vec<String>>,
    /// The photographs.
    pub files: Vec<PathBuf>,
}

/// The people of a folder and a list.
pub(super) struct People {
    pub found: Vec<Person>,
    /// Ids of the list without photographs.
    pub without_photographs: Vec<String>,
}

/// A line of the list.
#[derive(Debug, Deserialize)]
struct Row {
    id: String,
    #[serde(default)]
    name: String,
    /// Separated by `;` or `,`.
    #[serde(default)]
    groups: String,
}

impl Row {
    fn groups(&self) -> Option<Vec<String>> {
        let groups: Vec<String> =
            self.groups.split([';', ',']).map(str::trim).map(str::to_owned).collect();
        let groups: Vec<String> = groups.into_iter().filter(|group| !group.is_empty()).collect();
        (!groups.is_empty()).then_some(groups)
    }
}

/// Gives each folder or file its id: that of its line in the list, whose `id` or `name` is the
/// folder's name; else the name itself, in ASCII.
pub(super) fn people(
    folders: BTreeMap<String, Vec<PathBuf>>,
    list: Option<&Path>,
    groups: Option<&[String]>,
) -> Result<People, PeopleError> {
    let mut rows = list.map(read).transpose()?.unwrap_or_default();
    let mut taken: BTreeSet<String> = rows.iter().map(|row| row.id.clone()).collect();
    taken.extend(folders.keys().filter(|name| is_id(name)).cloned());
    let mut found = Vec::new();
    for (folder, files) in folders {
        let row = rows
            .iter()
            .position(|row| row.id == folder)
            .or_else(|| rows.iter().position(|row| row.name == folder));
        let person = match row.map(|at| rows.remove(at)) {
            Some(row) => Person {
                groups: row.groups().or_else(|| groups.map(<[String]>::to_vec)),
                name: Some(row.name).filter(|name| !name.is_empty()),
                id: row.id,
                files,
            },
            None => {
                let groups = groups.map(<[String]>::to_vec);
                let is_id = is_id(&folder);
                let id = if is_id { folder.clone() } else { ascii_id(&folder, &mut taken) };
                Person { id, name: (!is_id).then_some(folder), groups, files }
            }
        };
        found.push(person);
    }
    Ok(People { found, without_photographs: rows.into_iter().map(|row| row.id).collect() })
}

fn read(path: &Path) -> Result<Vec<Row>, PeopleError> {
    let failed = |reason| PeopleError::Csv { path: path.to_owned(), reason };
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .flexible(true)
        .from_path(path)
        .map_err(failed)?;
    let headers = reader.headers().map_err(failed)?.clone();
    let mut rows: Vec<Row> = Vec::new();
    let mut names = BTreeSet::new();
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(failed)? {
        let line = record.position().map_or(0, csv::Position::line);
        let row: Row = record.deserialize(Some(&headers)).map_err(failed)?;
        if !is_id(&row.id) {
            return Err(PeopleError::Id { path: path.to_owned(), line, id: row.id });
        }
        for name in [&row.id, &row.name] {
            if !name.is_empty() && *name != row.id && !names.insert(name.clone()) {
                return Err(PeopleError::Twice { path: path.to_owned(), line, name: name.clone() });
            }
        }
        if rows.iter().any(|earlier| earlier.id == row.id) {
            return Err(PeopleError::Twice { path: path.to_owned(), line, name: row.id });
        }
        rows.push(row);
    }
    Ok(rows)
}

/// Writes a name as an id: `Jörg Müller` as `Jorg-Muller`. A number tells equal ids apart.
fn ascii_id(name: &str, taken: &mut BTreeSet<String>) -> String {
    let ascii = deunicode::deunicode_with_tofu(name, "-");
    let allowed = |c: char| if is_id(c.encode_utf8(&mut [0; 4])) { c } else { '-' };
    let words: String = ascii.chars().map(allowed).collect();
    let words: Vec<&str> = words.split('-').filter(|word| !word.is_empty()).collect();
    let mut base = words.join("-");
    // Room for the number.
    base.truncate(MAX_ID - 8);
    if base.is_empty() {
        base.push_str("person");
    }
    let numbered = (2..).map(|number| format!("{base}-{number}"));
    let id = std::iter::once(base.clone()).chain(numbered).find(|id| !taken.contains(id));
    let id = id.unwrap_or(base);
    taken.insert(id.clone());
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(names: &[&str]) -> BTreeMap<String, Vec<PathBuf>> {
        names.iter().map(|&name| (name.to_owned(), vec![PathBuf::from(name)])).collect()
    }

    fn listed(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("people.csv");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn folder_names_that_are_not_ids_become_names() {
        let names = ["Jorg-Muller", "Jörg Müller", "Jörg  Müller", "anna", "张伟", "??"];
        let people = people(folders(&names), None, None).unwrap();
        let ids: Vec<(&str, Option<&str>)> = people
            .found
            .iter()
            .map(|person| (person.id.as_str(), person.name.as_deref()))
            .collect();
        assert_eq!(
            ids,
            [
                ("person", Some("??")),
                ("Jorg-Muller", None),
                ("Jorg-Muller-2", Some("Jörg  Müller")),
                ("Jorg-Muller-3", Some("Jörg Müller")),
                ("anna", None),
                ("Zhang-Wei", Some("张伟")),
            ]
        );
    }

    #[test]
    fn lines_of_the_list_are_found_by_id_or_name() {
        let text = "id,name,groups\n17,Jörg Müller,staff; night\n18,Anna,\nanna,,\n19,Gone,staff\n";
        let (_dir, path) = listed(text);
        let groups = ["family".to_owned()];
        let found = people(folders(&["Jörg Müller", "anna"]), Some(&path), Some(&groups)).unwrap();
        let person = |at: usize| found.found[at].clone();
        assert_eq!(person(0).id, "17");
        assert_eq!(person(0).name.as_deref(), Some("Jörg Müller"));
        assert_eq!(person(0).groups.unwrap(), ["staff", "night"]);
        assert_eq!((person(1).id.as_str(), person(1).name), ("anna", None));
        assert_eq!(person(1).groups.unwrap(), ["family"]);
        assert_eq!(found.without_photographs, ["18", "19"]);
    }

    #[test]
    fn wrong_lists_name_the_line() {
        for (text, said) in [
            ("id,name\nok,A\nno id,B\n", "line 3: \"no id\""),
            ("id,name\na,A\na,B\n", "line 3: \"a\" occurs twice"),
            ("id,name\na,A\nb,A\n", "line 3: \"A\" occurs twice"),
            ("name,groups\nA,x\n", "missing field `id`"),
        ] {
            let (_dir, path) = listed(text);
            let error = people(folders(&["a"]), Some(&path), None).err().unwrap().to_string();
            assert!(error.contains(said), "{error}");
        }
        let error = people(folders(&["a"]), Some(Path::new("/nowhere.csv")), None).err().unwrap();
        assert!(error.is_missing(), "{error}");
    }
}
