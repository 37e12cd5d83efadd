//! What `subject/update` may change, and within which bounds.
//!
//! As null is absent, a value is cleared by its empty one: `""` for `name` and `card` (one of them
//! a request, since only one field may be empty), `[]` for `groups`, `0` for `valid_from` and
//! `valid_until`. Times are Unix seconds.

use super::failure::Failure;
use super::payload::Payload;
use super::raw::{Given, MAX_LIST};
use super::valid::{ID, is_id};
use crate::gallery::SubjectChange;

/// Longest `name` and `card`, in characters.
const MAX_LABEL: usize = 128;
const LABEL: &str = "must be at most 128 characters, none of them a control character";
/// 9999-12-31T23:59:59Z, the last second that RFC 3339 can write.
const LAST_TIME: f64 = 253_402_300_799.0;

/// The fields of a change that may let somebody in, and so need the permission `admin`. Disabling lets
/// nobody in: whoever may delete a subject may do that.
pub(super) fn decides_entry(change: &SubjectChange) -> Vec<&'static str> {
    [
        (change.groups.is_some(), "groups"),
        (change.card.is_some(), "card"),
        (change.enabled == Some(true), "enabled"),
        (change.valid_from.is_some(), "valid_from"),
        (change.valid_until.is_some(), "valid_until"),
    ]
    .into_iter()
    .filter_map(|(given, name)| given.then_some(name))
    .collect()
}

impl Payload<'_> {
    /// The change that is asked for; a part of step 2. Its time and author are set when it is done.
    pub fn change(&self) -> Result<SubjectChange, Failure> {
        let change = SubjectChange {
            name: self.label("name")?,
            groups: self.groups()?,
            card: self.label("card")?,
            enabled: self.maybe_bool("enabled"),
            by_admin: false,
            valid_from: self.time("valid_from")?,
            valid_until: self.time("valid_until")?,
            time: 0.0,
        };
        if change == SubjectChange::default() {
            return Err(Failure::payload(
                "nothing is to be changed; give name, groups, card, enabled, valid_from or valid_until",
            ));
        }
        if let (Some(Some(from)), Some(Some(until))) = (change.valid_from, change.valid_until)
            && until < from
        {
            return Err(Failure::field("valid_until", "`valid_until` lies before `valid_from`"));
        }
        Ok(change)
    }

    fn label(&self, name: &str) -> Result<Option<Option<String>>, Failure> {
        match self.text(name) {
            None => Ok(None),
            Some("") => Ok(Some(None)),
            Some(text) if is_label(text) => Ok(Some(Some(text.to_owned()))),
            Some(_) => Err(Failure::field(name, format!("`{name}` {LABEL}"))),
        }
    }

    fn groups(&self) -> Result<Option<Vec<String>>, Failure> {
        let Some(Given::Texts(groups)) = self.raw.get("groups") else {
            return Ok(None);
        };
        if groups.len() > MAX_LIST {
            let why = format!("`groups` has more than {MAX_LIST} groups");
            return Err(Failure::field("groups", why));
        }
        if !groups.iter().all(|group| is_id(group)) {
            return Err(Failure::field("groups", format!("each of `groups` {ID}")));
        }
        let mut unique = Vec::with_capacity(groups.len());
        for group in groups {
            if !unique.contains(group) {
                unique.push(group.clone());
            }
        }
        Ok(Some(unique))
    }

    fn time(&self, name: &str) -> Result<Option<Option<f64>>, Failure> {
        match self.number(name) {
            None => Ok(None),
            Some(0.0) => Ok(Some(None)),
            Some(time) if (0.0..=LAST_TIME).contains(&time) => Ok(Some(Some(time))),
            Some(_) => {
                let why = format!("`{name}` must be Unix seconds from 0 (none) to {LAST_TIME}");
                Err(Failure::field(name, why))
            }
        }
    }
}

fn is_label(text: &str) -> bool {
    text.chars().count() <= MAX_LABEL && !text.contains(char::is_control)
}
