//! The report that a training program writes next to a model: its out-of-fold errors, as a table.
//!
//! Each place where the report counts errors of a kind in [`ERRORS`] is a row, named by the path to
//! it. Other fields are ignored.

use super::tables::{of, table};
use crate::workspace::root;
use std::path::PathBuf;
use toml::{Table, Value};

/// The field that counts errors, the field with the total, and the kind of error.
const ERRORS: [(&str, &str, &str); 6] = [
    ("missed", "positives", "missed where it is"),
    ("false", "negatives", "said where it is not"),
    ("refused", "live", "live refused (BPCER)"),
    ("refused", "n", "live refused (BPCER)"),
    ("passed", "attacks", "spoofs let in (APCER)"),
    ("passed", "n", "spoofs let in (APCER)"),
];
/// Fields that name a table in an array.
const NAMES: [&str; 5] = ["set", "fitted_on", "judged", "name", "species"];

/// The report cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}; `cargo xtask train-{name}` writes it")]
pub struct ReportError {
    name: String,
    path: PathBuf,
    reason: String,
}

/// The report of one model.
pub struct Report {
    name: String,
    table: Table,
    text: String,
}

impl Report {
    /// Reads `models/NAME.toml`.
    pub fn read(name: &str) -> Result<Self, ReportError> {
        let path = root().join("models").join(name).with_extension("toml");
        let text = std::fs::read_to_string(&path).map_err(|error| error.to_string());
        let read = text.and_then(|text| {
            let table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
            Ok(Self { name: name.to_owned(), table, text })
        });
        read.map_err(|reason| ReportError { name: name.to_owned(), path, reason })
    }

    /// Returns true if the model was fitted on this set.
    pub fn knows(&self, set: &str) -> bool {
        self.text.contains(set)
    }

    /// Returns every count of errors, with the command that made them.
    pub fn table(&self) -> String {
        let mut rows = Vec::new();
        walk(&self.table, &mut Vec::new(), &mut rows);
        let header = ["out-of-fold", "errors", "k of n, share (95 % interval)"];
        let command = format!("cargo xtask train-{}    # writes models/{0}.toml", self.name);
        format!("{}\n```sh\n{command}\n```\n", table(&header, &rows))
    }
}

/// Walks depth first; tables in arrays are named by these fields.
fn walk(table: &Table, way: &mut Vec<String>, rows: &mut Vec<Vec<String>>) {
    let whole = |name: &str| table.get(name)?.as_integer()?.try_into().ok();
    for (k, n, what) in ERRORS {
        // A set without subjects of this class gives no row.
        if let (Some(k), Some(n @ 1..)) = (whole(k), whole(n)) {
            let way: Vec<&str> =
                way.iter().map(String::as_str).filter(|name| *name != "out_of_fold").collect();
            rows.push(vec![way.join(", "), what.to_owned(), of(k, n, None)]);
        }
    }
    for (name, value) in table {
        let tables: Vec<&Table> = match value {
            Value::Table(table) => vec![table],
            Value::Array(items) => items.iter().filter_map(Value::as_table).collect(),
            _ => continue,
        };
        for table in tables {
            let named = NAMES.iter().filter_map(|key| table.get(*key)?.as_str());
            let depth = way.len();
            way.push(name.clone());
            way.extend(named.map(str::to_owned));
            walk(table, way, rows);
            way.truncate(depth);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_of_errors_is_a_row() {
        let table: Table = "[file]\nname = \"x\"\nbytes = 9\n\
                            [[attack]]\nset = \"nuaa\"\nspecies = \"print\"\npassed = 0\nn = 5\n\
                            [[group]]\nname = \"7\"\nlive = 4\nrefused = 1\nattacks = 0\npassed = 0\n\
                            [out_of_fold.veil]\npositives = 4\nmissed = 2\nnegatives = 0\nfalse = 0\n"
            .parse()
            .unwrap();
        let mut rows = Vec::new();
        walk(&table, &mut Vec::new(), &mut rows);
        let short: Vec<String> =
            rows.iter().map(|row| format!("{}: {} {}", row[0], row[1], &row[2][..6])).collect();
        assert_eq!(
            short,
            [
                "attack, nuaa, print: spoofs let in (APCER) 0 of 5",
                "group, 7: live refused (BPCER) 1 of 4",
                "veil: missed where it is 2 of 4"
            ]
        );
    }
}
