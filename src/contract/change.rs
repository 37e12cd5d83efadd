//! The changes of `subject/update` and their limits.
//!
//! Because null means absent, an empty value clears a field: `""` for `name` and `card` (one of
//! them per request, since only one field may be empty), `[]` for `groups`, `0` for `valid_from`
//! and `valid_until`. Times are Unix seconds.

use super::field;
use super::id::{ID, is_id};
use super::payload::Payload;
use super::raw::{MAX_LIST, RawValue};
use super::refusal::Refusal;

/// Longest `name` and `card`, in characters.
const MAX_LABEL: usize = 128;
const LABEL: &str = "must be at most 128 characters, none of them a control character";
/// 9999-12-31T23:59:59Z, the last second that RFC 3339 can write.
const LAST_TIME: f64 = 253_402_300_799.0;

/// Changes to a subject. Outer `None`: unchanged; inner `None`: cleared.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Change {
    pub name: Option<Option<String>>,
    pub groups: Option<Vec<String>>,
    pub card: Option<Option<String>>,
    pub enabled: Option<bool>,
    pub valid_from: Option<Option<f64>>,
    pub valid_until: Option<Option<f64>>,
}

impl Change {
    /// Returns the fields that can admit a person and therefore need the permission `admin`.
    /// Disabling admits no one: a client that may delete a subject may disable it.
    pub fn decides_entry(&self) -> Vec<&'static str> {
        [
            (self.groups.is_some(), field::GROUPS),
            (self.card.is_some(), field::CARD),
            (self.enabled == Some(true), field::ENABLED),
            (self.valid_from.is_some(), field::VALID_FROM),
            (self.valid_until.is_some(), field::VALID_UNTIL),
        ]
        .into_iter()
        .filter_map(|(given, name)| given.then_some(name))
        .collect()
    }
}

impl Payload<'_> {
    /// Reads the requested change; part of step 2.
    pub fn change(&self) -> Result<Change, Refusal> {
        let change = Change {
            name: self.label(field::NAME)?,
            groups: self.groups()?,
            card: self.label(field::CARD)?,
            enabled: self.maybe_bool(field::ENABLED),
            valid_from: self.time(field::VALID_FROM)?,
            valid_until: self.time(field::VALID_UNTIL)?,
        };
        if change == Change::default() {
            return Err(Refusal::payload(
                "nothing is to be changed; give name, groups, card, enabled, valid_from or valid_until",
            ));
        }
        if let (Some(Some(from)), Some(Some(until))) = (change.valid_from, change.valid_until)
            && until < from
        {
            return Err(Refusal::field(
                field::VALID_UNTIL,
                "`valid_until` lies before `valid_from`",
            ));
        }
        Ok(change)
    }

    fn label(&self, name: &str) -> Result<Option<Option<String>>, Refusal> {
        match self.text(name) {
            None => Ok(None),
            Some("") => Ok(Some(None)),
            Some(text) if is_label(text) => Ok(Some(Some(text.to_owned()))),
            Some(_) => Err(Refusal::field(name, format!("`{name}` {LABEL}"))),
        }
    }

    fn groups(&self) -> Result<Option<Vec<String>>, Refusal> {
        let Some(RawValue::Texts(groups)) = self.raw.get(field::GROUPS) else {
            return Ok(None);
        };
        if groups.len() > MAX_LIST {
            let why = format!("`groups` has more than {MAX_LIST} groups");
            return Err(Refusal::field(field::GROUPS, why));
        }
        if !groups.iter().all(|group| is_id(group)) {
            return Err(Refusal::field(field::GROUPS, format!("each of `groups` {ID}")));
        }
        let mut unique = Vec::with_capacity(groups.len());
        for group in groups {
            if !unique.contains(group) {
                unique.push(group.clone());
            }
        }
        Ok(Some(unique))
    }

    fn time(&self, name: &str) -> Result<Option<Option<f64>>, Refusal> {
        match self.number(name) {
            None => Ok(None),
            Some(0.0) => Ok(Some(None)),
            Some(time) if (0.0..=LAST_TIME).contains(&time) => Ok(Some(Some(time))),
            Some(_) => {
                let why = format!("`{name}` must be Unix seconds from 0 (none) to {LAST_TIME}");
                Err(Refusal::field(name, why))
            }
        }
    }
}

fn is_label(text: &str) -> bool {
    text.chars().count() <= MAX_LABEL && !text.contains(char::is_control)
}
