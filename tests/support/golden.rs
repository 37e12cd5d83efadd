//! Golden answers, one file each in `tests/golden/`: every field, its order and its type, with a
//! placeholder for values that differ between runs or processors.
//!
//! `DOORWARD_GOLDEN=write` writes the files; the author must then review the changes.
use super::pictures;
use serde_json::{Map, Value};
use std::fs;
use std::path::{Path, PathBuf};

/// Returns the folder of the files.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Compares an answer with `tests/golden/<case>.json`.
pub fn check(case: &str, answer: &Value) {
    let found = format!("{:#}\n", masked("", "", answer));
    let path = folder().join(format!("{case}.json"));
    if std::env::var_os("DOORWARD_GOLDEN").is_some_and(|wish| wish == "write") {
        return fs::write(path, found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!("{case}: {error}; DOORWARD_GOLDEN=write makes the file of:\n{found}")
    });
    assert_eq!(found, expected, "{case}: differs from tests/golden/{case}.json");
}

/// Returns the value with placeholders. `parent` and `name` are the names of its object and its
/// field; a value that does not have the form of its placeholder is an error.
fn masked(parent: &str, name: &str, value: &Value) -> Value {
    let wrong = || -> ! { panic!("{parent}.{name} is {value}") };
    let text = || value.as_str().unwrap_or_else(|| wrong());
    let number = |low: f64, high: f64| {
        value.as_f64().filter(|number| (low..=high).contains(number)).unwrap_or_else(|| wrong())
    };
    match (parent, name) {
        (_, "session_id") if is_uuid(text()) => "<uuid v4>".into(),
        (_, "subject_id") if value.as_str().is_some_and(is_uuid) => "<uuid v4>".into(),
        (_, "app_id") if is_uuid(text()) => "<uuid v4>".into(),
        (_, "api_key") => {
            assert!(text().starts_with("dwk_") && text().len() == 36, "{value}");
            "<key>".into()
        }
        (_, "timestamp" | "created" | "updated" | "last_used" | "old_key_until") => {
            number(1.6e9, 1e11);
            "<unix time>".into()
        }
        ("bounding_box" | "face_landmark", _) if is_hundredths(text()) => "<0.00>".into(),
        ("timings_ms" | "median_ms", _) => {
            number(0.0, 1e5);
            "<ms>".into()
        }
        ("liveness", "probability") => {
            assert!(is_hundredths(text()), "{value}");
            "<0.00 to 100.00>".into()
        }
        (_, "similarity") => {
            number(0.0, 100.0);
            "<0 to 100>".into()
        }
        ("scores", "detection" | "cosine") | ("faces", "score") => {
            number(-1.0, 1.0);
            "<number>".into()
        }
        ("scores", _) | (_, "uptime_s" | "file_bytes" | "remnants") => {
            number(0.0, 1e9);
            "<number>".into()
        }
        ("outbox" | "dropped" | "audit", "depth" | "last_seq" | "delivered" | "first" | "last") => {
            number(0.0, 1e9);
            "<number>".into()
        }
        ("audit", "head") => {
            assert!(text().len() == 64 && text().bytes().all(|byte| byte.is_ascii_hexdigit()));
            "<sha256>".into()
        }
        (_, "version") if text() == env!("CARGO_PKG_VERSION") => "<version>".into(),
        ("matches", "image") => {
            assert!(pictures::from_base64(text()).starts_with(b"\xFF\xD8\xFF"));
            "<base64 of a JPEG>".into()
        }
        (_, "session_id" | "version") | ("bounding_box" | "face_landmark", _) => wrong(),
        _ => match value {
            Value::Object(fields) => {
                let inner = if name.is_empty() { parent } else { name };
                let fields = fields.iter();
                Value::Object(
                    fields
                        .map(|(key, value)| (key.clone(), masked(inner, key, value)))
                        .collect::<Map<_, _>>(),
                )
            }
            Value::Array(list) => list.iter().map(|value| masked(name, "", value)).collect(),
            other => other.clone(),
        },
    }
}

fn is_uuid(text: &str) -> bool {
    uuid::Uuid::parse_str(text).is_ok_and(|id| id.get_version_num() == 4 && id.to_string() == text)
}

/// Checks for a decimal string with two decimals.
fn is_hundredths(text: &str) -> bool {
    let Some((whole, decimals)) = text.strip_prefix('-').unwrap_or(text).split_once('.') else {
        return false;
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole) && digits(decimals) && decimals.len() == 2
}
