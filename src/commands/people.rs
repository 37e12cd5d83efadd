//! Results in lines for people, where standard output is a terminal.

use super::times;
use doorward::contract::{Answer, Match, Matches, SubjectBlock};
use serde_json::{Map, Value};
use std::fmt::Write;

/// Returns a line for each match of a search; `None` for other answers.
pub fn matches(answer: &Answer) -> Option<String> {
    let Matches { matches } = answer.read()?;
    if matches.is_empty() {
        return Some("no subject is similar enough\n".into());
    }
    let line =
        |found: &Match| format!("{:6.2}  {}\n", found.similarity, printable(&found.subject_id));
    Some(matches.iter().map(line).collect())
}

/// Returns subjects as a table, at the time `now` in Unix seconds.
pub fn table(subjects: &[SubjectBlock], now: f64) -> String {
    let mut rows = vec![["ID", "NAME", "GROUPS", "FACES", "STATE", "CHANGED"].map(str::to_owned)];
    rows.extend(subjects.iter().map(|subject| {
        [
            printable(&subject.subject_id),
            printable(subject.name.as_deref().unwrap_or("")),
            printable(&subject.groups.join(" ")),
            subject.templates.to_string(),
            state(subject, now).to_owned(),
            times::written(subject.updated),
        ]
    }));
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut out = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    out
}

fn state(subject: &SubjectBlock, now: f64) -> &'static str {
    if !subject.enabled {
        "disabled"
    } else if subject.valid_from.is_some_and(|from| now < from) {
        "not yet"
    } else if subject.valid_until.is_some_and(|until| now > until) {
        "expired"
    } else if subject.groups.is_empty() {
        "no group"
    } else {
        "active"
    }
}

/// Returns a line of the audit log: number, local time, action, sender, other fields.
pub fn audit_line(line: &Value) -> String {
    let text = |name: &str| line[name].as_str().unwrap_or_default();
    let others: Map<String, Value> = line
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| !["line", "time", "action", "by", "hash"].contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let others = others.iter().map(|(name, value)| match value {
        Value::String(text) => format!("  {name}={}", printable(text)),
        value => format!("  {name}={value}"),
    });
    format!(
        "{:>6}  {}  {}  {}{}\n",
        line["line"].to_string(),
        times::written(line["time"].as_f64().unwrap_or(0.0)),
        printable(text("action")),
        printable(text("by")),
        others.collect::<String>()
    )
}

/// Replaces control characters: a name must not move the cursor of the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn table_has_aligned_columns_and_no_control_characters() {
        let subject = |id: &str, name: &str, groups: &[&str], until: Option<f64>| {
            serde_json::from_value::<SubjectBlock>(json!({
                "subject_id": id, "name": name, "groups": groups, "enabled": true,
                "valid_until": until, "created": 0.0, "updated": 0.0, "templates": 2
            }))
            .unwrap()
        };
        let subjects = [
            subject("anna", "Ann\u{1b}[2Ja", &["staff", "night"], None),
            subject("jörg-1", "", &[], None),
            subject("old", "", &["staff"], Some(5.0)),
        ];
        let text = table(&subjects, 10.0);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains("Ann\u{fffd}[2Ja  staff night"), "{text}");
        assert!(lines[2].contains("no group") && lines[3].contains("expired"), "{text}");
        let column = |line: &str| line.chars().position(|c| c == '2');
        assert!(!text.contains('\u{1b}'));
        assert_eq!(column(lines[2]), column(lines[3]), "{text}");
    }

    #[test]
    fn matches_have_a_line_each() {
        let answer = |value: Value| Answer::from_json(value).unwrap();
        let found = json!({"status": 200, "matches": [{"subject_id": "a", "similarity": 97.3}]});
        assert_eq!(matches(&answer(found)).unwrap(), " 97.30  a\n");
        let none = json!({"status": 200, "matches": []});
        assert_eq!(matches(&answer(none)).unwrap(), "no subject is similar enough\n");
        assert_eq!(matches(&answer(json!({"status": 400, "error_code": "INVALID_PAYLOAD"}))), None);
    }

    #[test]
    fn audit_lines_show_time_action_sender_and_fields() {
        let line = json!({"line": 7, "time": 0.0, "action": "unlock", "by": "local",
                          "reason": "parcel", "hash": "00"});
        let text = audit_line(&line);
        assert!(
            text.starts_with("     7  ") && text.ends_with("  unlock  local  reason=parcel\n"),
            "{text}"
        );
    }
}
