//! Classes of lines of the audit log. Each has a share of the log, so that a flood of one class
//! pushes out no line of another.
//!
//! A chain can only be shortened at its beginning. So the oldest line, if it is of a class that is
//! within its share, is *carried*: written again as the newest line, with its first number in
//! `carried_from`, before its old place is retired. It stays a part of the chain.

use redb::{ReadableTable, Table};
use serde_json::{Map, Value};

/// The classes: the kinds of events, unlocks, and everything else, which is administration. Each
/// is the end of the name of its count in the file.
const CLASSES: [&str; 8] = [
    "lines_access",
    "lines_enroll",
    "lines_spoof",
    "lines_door",
    "lines_tamper",
    "lines_camera",
    "lines_unlock",
    "lines_administration",
];

/// A class of lines.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Class(usize);

impl Class {
    pub fn of(line: &Map<String, Value>) -> Self {
        let action = line.get("action").and_then(Value::as_str).unwrap_or_default();
        let place = CLASSES.iter().position(|name| name.strip_prefix("lines_") == Some(action));
        Self(place.unwrap_or(CLASSES.len() - 1))
    }

    /// Returns the number of lines that no other class can push out of a log of `most` lines.
    pub fn share(most: u64) -> u64 {
        most / CLASSES.len() as u64
    }
}

/// Number of lines by class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Counts([u64; CLASSES.len()]);

impl Counts {
    /// No lines.
    pub const NONE: Counts = Counts([0; CLASSES.len()]);

    pub fn of(&self, class: Class) -> u64 {
        self.0[class.0]
    }

    pub fn add(&mut self, class: Class) {
        self.0[class.0] += 1;
    }

    pub fn remove(&mut self, class: Class) {
        let count = &mut self.0[class.0];
        *count = count.saturating_sub(1);
    }

    pub fn sum(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Reads the counts; a file of an older program has none.
    pub fn read(meta: &impl ReadableTable<&'static str, u64>) -> Result<Self, redb::Error> {
        let mut counts = Self::NONE;
        for (count, name) in counts.0.iter_mut().zip(CLASSES) {
            *count = meta.get(name)?.map_or(0, |count| count.value());
        }
        Ok(counts)
    }

    pub fn write(&self, meta: &mut Table<'_, &'static str, u64>) -> Result<(), redb::Error> {
        for (count, name) in self.0.iter().zip(CLASSES) {
            meta.insert(name, count)?;
        }
        Ok(())
    }
}

/// Returns a line that is written again.
pub(super) fn carried(line: &Map<String, Value>, from: u64, to: u64) -> Map<String, Value> {
    let mut carried = line.clone();
    carried.insert("line".to_owned(), to.into());
    carried.entry("carried_from").or_insert(from.into());
    carried
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::Kind;

    fn class_of(action: &str) -> Class {
        let line = [("action".to_owned(), action.into())].into_iter().collect();
        Class::of(&line)
    }

    #[test]
    fn every_kind_of_event_has_a_class_of_its_own() {
        let administration = class_of("subject/update");
        for kind in (0..=u8::MAX).filter_map(Kind::of_code) {
            assert_ne!(class_of(kind.name()), administration, "{kind}");
        }
        assert_ne!(class_of("unlock"), administration);
        assert_ne!(class_of("access"), class_of("door"));
        assert_eq!(class_of("administration"), administration);
        assert_eq!(class_of("lines_door"), administration);
        assert_eq!(Class::of(&Map::new()), administration);
    }
}
