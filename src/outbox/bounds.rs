//! Size limits of a record. Text from outside, such as names, reasons and errors of drivers, is
//! shortened here, between characters, and marked. A text that is too long loses its end; it is
//! never an error and never prevents the record.

use super::MAX_BYTES;
use super::event::{Entry, Event, Recorded};
use serde_json::{Map, Value};

/// Marks the place of omitted text.
const MARK: &str = "…";

/// Limits for the texts and lists of one record.
#[derive(Clone, Copy)]
struct Measure {
    /// Characters of a text, including the mark.
    text: usize,
    /// Elements of a list or fields of an object.
    items: usize,
}

/// From the limits for every record to limits that fit any content: a character takes at most six
/// bytes.
const MEASURES: [Measure; 3] = [
    Measure { text: 500, items: 64 },
    Measure { text: 100, items: 16 },
    Measure { text: 20, items: 4 },
];

impl Event {
    /// Returns the event, shortened to the limits.
    pub(super) fn bounded(self, device_id: &str) -> Self {
        // With the longest numbers possible, because the event's own are not known yet.
        let largest = Recorded { id: "-".repeat(36), seq: u64::MAX, time: f64::MIN };
        fitted(self, Self::cut, |event| event.payload(&largest, device_id))
    }

    fn cut(&self, measure: Measure) -> Self {
        Self {
            outcome: text(&self.outcome, measure),
            subject_id: self.subject_id.as_deref().map(|id| text(id, measure)),
            reason: text(&self.reason, measure),
            timings_ms: object(&self.timings_ms, measure, 1),
            extra: object(&self.extra, measure, 2),
            ..*self
        }
    }
}

impl Entry {
    /// Returns the entry, shortened to the limits.
    pub(super) fn bounded(self) -> Self {
        fitted(self, Self::cut, |entry| entry.clone().line(u64::MAX))
    }

    fn cut(&self, measure: Measure) -> Self {
        Self {
            action: text(&self.action, measure),
            by: text(&self.by, measure),
            detail: object(&self.detail, measure, 2),
            ..*self
        }
    }
}

/// Shortens by the widest measure with which the record fits.
fn fitted<T>(
    whole: T,
    cut: impl Fn(&T, Measure) -> T,
    shown: impl Fn(&T) -> Map<String, Value>,
) -> T {
    let [widest, narrower @ ..] = MEASURES;
    let mut kept = cut(&whole, widest);
    for measure in narrower {
        if Value::Object(shown(&kept)).to_string().len() <= MAX_BYTES {
            break;
        }
        kept = cut(&whole, measure);
    }
    kept
}

fn text(text: &str, measure: Measure) -> String {
    match text.char_indices().nth(measure.text) {
        None => text.to_owned(),
        Some(_) => text.chars().take(measure.text - 1).chain(MARK.chars()).collect(),
    }
}

/// Shortens an object; `depth` is the allowed nesting of lists and objects.
fn object(fields: &Map<String, Value>, measure: Measure, depth: usize) -> Map<String, Value> {
    let kept = fields.iter().take(measure.items);
    let mut kept: Map<String, Value> =
        kept.map(|(name, it)| (text(name, measure), value(it, measure, depth))).collect();
    if fields.len() > measure.items {
        kept.insert(MARK.to_owned(), MARK.into());
    }
    kept
}

fn value(whole: &Value, measure: Measure, depth: usize) -> Value {
    match whole {
        Value::String(it) => text(it, measure).into(),
        Value::Array(_) | Value::Object(_) if depth == 1 => MARK.into(),
        Value::Array(all) => {
            let more = (all.len() > measure.items).then(|| MARK.into());
            let kept = all.iter().take(measure.items);
            kept.map(|it| value(it, measure, depth - 1)).chain(more).collect()
        }
        Value::Object(fields) => object(fields, measure, depth - 1).into(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::Kind;
    use serde_json::json;

    fn bytes(entry: &Entry) -> usize {
        Value::Object(entry.clone().line(u64::MAX)).to_string().len()
    }

    #[test]
    fn a_long_text_is_shortened_between_characters_with_a_mark() {
        let event = Event::new(Kind::Door, "opened", "ä".repeat(2000)).bounded("front");
        assert_eq!(event.reason, format!("{}…", "ä".repeat(499)));
        let event = Event::new(Kind::Door, "opened", "ä".repeat(500)).bounded("front");
        assert_eq!(event.reason, "ä".repeat(500));
    }

    #[test]
    fn a_record_within_the_limits_is_unchanged() {
        let groups: Vec<String> = (0..64).map(|at| format!("{}{at}", "g".repeat(120))).collect();
        let entry = Entry::new("subject/update", "client:desk").with("groups", groups);
        let entry = entry.with("valid_until", 2e9).with("enabled", true);
        assert_eq!(entry.clone().bounded(), entry);
    }

    #[test]
    fn every_record_fits_with_any_content() {
        let text = "\u{1}".repeat(1000);
        let list = json!(vec![text.as_str(); 70]);
        let mut deep = json!("end");
        for _ in 0..100 {
            deep = json!([deep]);
        }
        let mut entry = Entry::new(text.as_str(), text.as_str()).with("deep", deep);
        for number in 0..70 {
            entry = entry.with(&format!("{number}{text}"), list.clone());
        }
        let entry = entry.bounded();
        assert!(bytes(&entry) <= MAX_BYTES, "{}", bytes(&entry));
        assert!(entry.action.starts_with("\u{1}\u{1}") && entry.action.ends_with(MARK));

        let fields: Map<String, Value> =
            (0..70).map(|number| (format!("{number}{text}"), list.clone())).collect();
        let event = Event {
            subject_id: Some(text.clone()),
            timings_ms: fields.clone(),
            extra: fields,
            ..Event::new(Kind::Access, text.as_str(), text.as_str())
        };
        let event = event.bounded("front");
        let recorded = Recorded { id: String::new(), seq: 1, time: 1.5 };
        let payload = Value::Object(event.payload(&recorded, "front")).to_string();
        assert!(payload.len() <= MAX_BYTES, "{}", payload.len());
        assert!(serde_json::from_str::<Value>(&payload).is_ok());
    }
}
