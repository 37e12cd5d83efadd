//! Prints the table of keys: the commented file that `doorward config print` writes, and the tables
//! of `docs/configuration.md`.

use super::keys::{Config, KEYS, SECTIONS};
use super::row::{Key, Kind, Rule};
use crate::secret::MASK;
use toml::{Table, Value};

/// Separates columns; escaped inside a cell.
const COLUMN: char = '|';

impl Config {
    /// Returns the configuration as a commented TOML file with every key; secrets are masked.
    pub fn to_commented_toml(&self) -> Result<String, toml::ser::Error> {
        let (present, defaults) = (Table::try_from(self)?, Table::try_from(Self::default())?);
        let mut text = String::new();
        for (section, about) in SECTIONS {
            text += &format!("#{about}\n[{section}]\n");
            for key in keys_of(section) {
                for line in key.help.lines() {
                    text += &format!("#{line}\n");
                }
                let default = value_of(&defaults, key);
                text += &format!("# ({}; default {default})\n", values(key));
                match value_of(&present, key) {
                    // Printed empty, so that the mask is not read back as the secret.
                    Value::Array(secrets) if key.kind == Kind::Secrets && !secrets.is_empty() => {
                        text += &format!("{} = [] # {} {MASK}\n", key.name, secrets.len());
                    }
                    value if value.as_str() == Some(MASK) => {
                        text += &format!("{} = \"\" # {MASK}\n", key.name);
                    }
                    value => text += &format!("{} = {value}\n", key.name),
                }
            }
            text.push('\n');
        }
        Ok(text)
    }

    /// Returns the keys as Markdown, one table per section.
    pub fn reference() -> Result<String, toml::ser::Error> {
        let defaults = Table::try_from(Self::default())?;
        let mut text = String::new();
        for (section, about) in SECTIONS {
            text += &format!("## `[{section}]`\n\n{}\n\n", about.trim());
            text += "| key | value | default | what it does |\n|---|---|---|---|\n";
            for key in keys_of(section) {
                let help: Vec<&str> = key.help.lines().map(str::trim).collect();
                let cells = [
                    format!("`{}`", key.name),
                    values(key),
                    format!("`{}`", value_of(&defaults, key)),
                    help.join(" "),
                ];
                let cells = cells.map(|cell| cell.replace(COLUMN, "\\|"));
                text += &format!("| {} |\n", cells.join(" | "));
            }
            text.push('\n');
        }
        Ok(text)
    }
}

fn keys_of(section: &str) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| key.section == section)
}

fn value_of(table: &Table, key: &Key) -> Value {
    let value = table.get(key.section).and_then(|section| section.get(key.name));
    value.cloned().unwrap_or_else(|| Value::String(String::new()))
}

/// Describes the values that a key accepts.
fn values(key: &Key) -> String {
    match &key.rule {
        Rule::Any => key.kind.to_string(),
        rule @ Rule::Within(_) => format!("{}, {rule}", key.kind),
        rule => rule.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const BEGIN: &str = "<!-- table keys -->\n";
    const END: &str = "<!-- end keys -->\n";

    /// `DOORWARD_GOLDEN=write` writes the page.
    #[test]
    fn the_reference_page_matches_the_table() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
        let text = std::fs::read_to_string(&page).unwrap();
        let begin = text.find(BEGIN).unwrap() + BEGIN.len();
        let end = begin + text[begin..].find(END).unwrap();
        let made = format!("\n{}", Config::reference().unwrap());
        if std::env::var_os("DOORWARD_GOLDEN").is_some_and(|wish| wish == "write") {
            std::fs::write(&page, format!("{}{made}{}", &text[..begin], &text[end..])).unwrap();
            return;
        }
        assert!(
            text[begin..end] == made,
            "docs/configuration.md is stale: run this test with DOORWARD_GOLDEN=write"
        );
    }
}
