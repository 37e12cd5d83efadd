//! Step 2: the payload must be an object of fields that the operation knows, each of the right
//! type. The result returns values by field name, with the default if a field is absent.

use super::field;
use super::fields::{self, Kind};
use super::mode::Mode;
use super::operation::Operation;
use super::raw::{MAX_REQUEST_ID, Raw, RawValue, shortened};
use super::refusal::Refusal;
use std::time::Duration;

/// Checks step 2: the payload is an object of known fields, each of the right type.
pub(crate) fn payload<'r>(operation: Operation, raw: &'r Raw<'r>) -> Result<Payload<'r>, Refusal> {
    if let Some(fault) = &raw.fault {
        return Err(Refusal::payload(fault.clone()));
    }
    let given =
        |(name, given): (&str, &RawValue)| !fields::identifies(name) && *given != RawValue::Null;
    if raw.image.is_none() && !raw.fields().any(given) && !operation.needs_nothing() {
        return Err(Refusal::payload(format!(
            "the payload says nothing; {} takes {}",
            operation.name(),
            known(operation)
        )));
    }
    let empty = |&(name, given): &(&str, &RawValue)| {
        !fields::identifies(name) && matches!(given, RawValue::Text(text) if text.is_empty())
    };
    if raw.fields().filter(empty).count() > 1 {
        return Err(Refusal::payload("more than one field is empty; leave out what is not meant"));
    }
    if raw.image.is_some() && fields::kind(operation, field::IMAGE).is_none() {
        return Err(Refusal::payload(match operation {
            Operation::Compare => {
                "compare takes two images: send JSON with image_1 and image_2".to_owned()
            }
            _ => format!("{} takes no image: send JSON", operation.name()),
        }));
    }
    for (name, given) in raw.fields() {
        let Some(kind) = fields::kind(operation, name) else {
            let name = shortened(name);
            let why = format!("{} takes no `{name}`, only {}", operation.name(), known(operation));
            return Err(Refusal::field(&name, why));
        };
        if !fits(kind, given) {
            let why = format!("`{name}` must be {}, not {}", kind.expected(), given.what());
            return Err(Refusal::field(name, why));
        }
    }
    let payload = Payload { operation, raw };
    payload.bounded()?;
    Ok(payload)
}

/// Checks whether a value has a field's type; null means absent and fits every type.
fn fits(kind: Kind, given: &RawValue) -> bool {
    matches!(
        (kind, given),
        (_, RawValue::Null)
            | (Kind::Bool(_), RawValue::Bool(_))
            | (Kind::Number(_), RawValue::Number(_))
            | (Kind::Text(_), RawValue::Text(_))
            | (Kind::Texts, RawValue::Texts(_))
    )
}

/// Returns the field names of an operation, for a message.
fn known(operation: Operation) -> String {
    fields::of(operation).map(|field| field.name).collect::<Vec<_>>().join(", ")
}

/// Allowed time for `camera:` to wait for a face.
const CAPTURE_TIMEOUT_MS: std::ops::RangeInclusive<f64> = 100.0..=15_000.0;

/// Allowed time of `enroll_mode`: enough to turn the head, but the door must not lack its camera
/// for long.
const POSES_TIMEOUT_MS: std::ops::RangeInclusive<f64> = 1_000.0..=60_000.0;

/// A raw request that has passed step 2.
pub(crate) struct Payload<'r> {
    pub operation: Operation,
    pub raw: &'r Raw<'r>,
}

impl Payload<'_> {
    /// Returns the given value, or the default of this operation; false if the operation does not
    /// have the field.
    pub fn bool(&self, name: &str) -> bool {
        self.maybe_bool(name).unwrap_or(false)
    }

    pub fn maybe_bool(&self, name: &str) -> Option<bool> {
        match (self.raw.get(name), fields::kind(self.operation, name)) {
            (Some(RawValue::Bool(value)), _) => Some(*value),
            (_, Some(Kind::Bool(default))) => default,
            _ => None,
        }
    }

    pub fn number(&self, name: &str) -> Option<f64> {
        match (self.raw.get(name), fields::kind(self.operation, name)) {
            (Some(RawValue::Number(value)), _) => Some(*value),
            (_, Some(Kind::Number(default))) => default,
            _ => None,
        }
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        match fields::kind(self.operation, name) {
            Some(Kind::Text(default)) => self.raw.text(name).or(default),
            _ => None,
        }
    }

    /// Returns a number of milliseconds, within its bounds, or its default.
    pub fn milliseconds(&self, name: &str) -> Duration {
        Duration::from_secs_f64(self.number(name).unwrap_or(0.0).max(0.0) / 1e3)
    }

    /// Returns a text that is not empty.
    pub fn filled(&self, name: &str) -> Option<String> {
        self.text(name).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// Checks the end of step 2: limits that types do not express.
    fn bounded(&self) -> Result<(), Refusal> {
        if self.text(field::REQUEST_ID).is_some() && self.raw.request_id().is_none() {
            let why = format!("`request_id` is longer than {MAX_REQUEST_ID} characters");
            return Err(Refusal::field(field::REQUEST_ID, why));
        }
        self.mode()?;
        let wait = self.number(field::CAPTURE_TIMEOUT_MS);
        if wait.is_some_and(|wait| !CAPTURE_TIMEOUT_MS.contains(&wait)) {
            let why = "`capture_timeout_ms` must be 100 to 15000";
            return Err(Refusal::field(field::CAPTURE_TIMEOUT_MS, why));
        }
        let wait = self.number(field::TIMEOUT_MS);
        if wait.is_some_and(|wait| !POSES_TIMEOUT_MS.contains(&wait)) {
            return Err(Refusal::field(field::TIMEOUT_MS, "`timeout_ms` must be 1000 to 60000"));
        }
        Ok(())
    }

    /// Returns what to do with the subject's present templates.
    pub fn mode(&self) -> Result<Mode, Refusal> {
        match self.text(field::MODE).map(Mode::named) {
            None => Ok(Mode::Replace),
            Some(Some(mode)) => Ok(mode),
            Some(None) => Err(Refusal::field(field::MODE, "`mode` must be replace or add")),
        }
    }
}
