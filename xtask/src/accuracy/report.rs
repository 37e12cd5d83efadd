//! The report that a training program writes beside a model: its out-of-fold errors, as a table.
//!
//! Wherever the report has a table with the whole numbers `k` and `n`, `k` of `n` went wrong or
//! right there, and the way to it says what. More fields are of no interest here.

use super::tables::{of, table};
use crate::workspace::root;
use std::path::PathBuf;
use toml::{Table, Value};

/// No report.
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

    /// Whether the model was fitted on this set.
    pub fn knows(&self, set: &str) -> bool {
        self.text.contains(set)
    }

    /// Every `k` of `n`, with the command that made them.
    pub fn table(&self) -> String {
        let mut rows = Vec::new();
        walk(&self.table, &mut Vec::new(), &mut rows);
        let rows: Vec<Vec<String>> =
            rows.into_iter().map(|(way, k, n)| vec![way, of(k, n, None)]).collect();
        let mut text = table(&["out-of-fold", "k of n, share (95 % interval)"], &rows);
        text +=
            &format!("\n```sh\ncargo xtask train-{}    # writes models/{0}.toml\n```\n", self.name);
        text
    }
}

/// Depth first, in the order of the file's names.
fn walk(table: &Table, way: &mut Vec<String>, rows: &mut Vec<(String, u64, u64)>) {
    let whole = |name: &str| table.get(name)?.as_integer()?.try_into().ok();
    if let (Some(k), Some(n)) = (whole("k"), whole("n")) {
        let mut way = way.clone();
        way.extend(
            ["name", "source", "species"]
                .iter()
                .filter_map(|name| table.get(*name).and_then(Value::as_str).map(str::to_owned)),
        );
        rows.push((way.join(", ").replace('_', " "), k, n));
    }
    for (name, value) in table {
        let tables: Vec<&Table> = match value {
            Value::Table(table) => vec![table],
            Value::Array(items) => items.iter().filter_map(Value::as_table).collect(),
            _ => continue,
        };
        way.push(name.clone());
        for table in tables {
            walk(table, way, rows);
        }
        way.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_k_of_n_is_a_row() {
        let table: Table =
            "[file]\nbytes = 9\n[out_of_fold.nuaa.bpcer]\nk = 1\nn = 20\nrate = 0.05\n\
                            [[out_of_fold.species]]\nname = \"print\"\nk = 0\nn = 5\n"
                .parse()
                .unwrap();
        let mut rows = Vec::new();
        walk(&table, &mut Vec::new(), &mut rows);
        assert_eq!(
            rows,
            [
                ("out of fold, nuaa, bpcer".into(), 1, 20),
                ("out of fold, species, print".into(), 0, 5)
            ]
        );
    }
}
