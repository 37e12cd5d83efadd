//! The valid request: what the fields mean, each checked, in the order of the contract's section
//! 3 (steps 2 to 6). [`validate`] is the one function between it and the [`Raw`] request.

use super::failure::{Failure, ImageField, Validation};
use super::fields::{self, Kind};
use super::operation::Operation;
use super::raw::{Given, MAX_LIST, MAX_REQUEST_ID, Raw, shortened};
use super::similarity::Level;
use crate::gallery::{EnrolMode, SubjectChange};
use crate::picture::source::TooLarge;
use crate::picture::{Limits, Source};

/// Longest `subject_id` and group, in characters.
const MAX_ID: usize = 128;
/// Longest `name` and `card`, in characters.
const MAX_NAME: usize = 128;
/// 9999-12-31T23:59:59Z, the last second that RFC 3339 can write.
const LAST_TIME: f64 = 253_402_300_799.0;

/// A request that can be done.
#[derive(Debug, PartialEq)]
pub(super) enum Valid {
    /// One of the five operations on images.
    Face(FaceRequest),
    /// At most `limit` subjects after `cursor`.
    SubjectList { limit: usize, cursor: Option<String> },
    /// One subject.
    SubjectGet { id: String },
    /// The time of the change is set when it is done.
    SubjectUpdate { id: String, change: SubjectChange },
    /// Remove a subject.
    SubjectDelete { id: String },
    /// Counts and timings.
    Stats,
    /// Versions and states.
    Health,
}

/// What the five operations on images have in common: a probe, checks, and a task.
#[derive(Debug, PartialEq)]
pub(super) struct FaceRequest {
    /// compare: the image that the probe is compared with.
    pub reference: Option<Image>,
    pub probe: Image,
    pub checks: Checks,
    pub task: Task,
}

/// An image that was sent, and the field that holds it.
#[derive(Debug, PartialEq)]
pub(super) struct Image {
    pub field: ImageField,
    pub origin: Origin,
}

/// Where an image's bytes come from.
#[derive(Debug, PartialEq)]
pub(super) enum Origin {
    /// They were sent. That they are too many is told in its step, behind the faults of all other
    /// fields.
    Sent(Result<Vec<u8>, TooLarge>),
    /// `http(s)://`
    Url(String),
    /// `camera:`
    Camera,
}

/// What is computed of a face, and what it is refused for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Checks {
    pub is_quality: bool,
    pub is_attribute: bool,
    pub is_liveness: bool,
    pub validate_quality: bool,
    pub validate_nface: bool,
}

/// What the face is for.
#[derive(Debug, PartialEq)]
pub(super) enum Task {
    Enroll { subject_id: Option<String>, mode: EnrolMode },
    Verify { subject_id: String, level: Level },
    Search { limit: usize, threshold: f64, return_image: bool },
    Compare { level: Level },
}

/// What validation asks about the world outside the payload.
pub(super) struct World<'a> {
    /// Whether a subject is enrolled.
    pub enrolled: &'a dyn Fn(&str) -> bool,
    /// Bounds of a picture.
    pub limits: &'a Limits,
}

/// Judges a raw request; the first step that fails answers.
pub(super) fn validate(operation: Operation, raw: &Raw, world: &World) -> Result<Valid, Failure> {
    let fields = payload(operation, raw)?;
    match operation {
        Operation::Enroll
        | Operation::Verify
        | Operation::Search
        | Operation::Liveness
        | Operation::Compare => fields.face(world).map(Valid::Face),
        Operation::SubjectList => {
            let limit = fields.limit(100)?;
            Ok(Valid::SubjectList { limit, cursor: fields.filled("cursor") })
        }
        Operation::SubjectGet => Ok(Valid::SubjectGet { id: fields.subject(world)? }),
        Operation::SubjectDelete => Ok(Valid::SubjectDelete { id: fields.subject(world)? }),
        Operation::SubjectUpdate => {
            let change = fields.change()?;
            Ok(Valid::SubjectUpdate { id: fields.subject(world)?, change })
        }
        Operation::Stats => Ok(Valid::Stats),
        Operation::Health => Ok(Valid::Health),
    }
}

/// Step 2: that the payload is an object of fields the operation knows, each of its type.
fn payload<'r>(operation: Operation, raw: &'r Raw<'r>) -> Result<Fields<'r>, Failure> {
    if let Some(fault) = &raw.fault {
        return Err(Failure::payload(fault.clone()));
    }
    let given = |(name, given): (&str, &Given)| !fields::identifies(name) && *given != Given::Null;
    if raw.image.is_none() && !raw.fields().any(given) && !operation.needs_nothing() {
        return Err(Failure::payload(format!(
            "the payload says nothing; {} takes {}",
            operation.name(),
            known(operation)
        )));
    }
    let empty = |&(name, given): &(&str, &Given)| {
        !fields::identifies(name) && matches!(given, Given::Text(text) if text.is_empty())
    };
    if raw.fields().filter(empty).count() > 1 {
        return Err(Failure::payload("more than one field is empty; leave out what is not meant"));
    }
    if raw.image.is_some() && fields::kind(operation, "image").is_none() {
        return Err(Failure::payload(match operation {
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
            return Err(Failure::field(&name, why));
        };
        if !fits(kind, given) {
            let why = format!("`{name}` must be {}, not {}", kind.expected(), given.what());
            return Err(Failure::field(name, why));
        }
    }
    let fields = Fields { operation, raw };
    fields.bounded()?;
    Ok(fields)
}

/// Whether a value is of a field's type; null is absent and so of every type.
fn fits(kind: Kind, given: &Given) -> bool {
    matches!(
        (kind, given),
        (_, Given::Null)
            | (Kind::Bool(_), Given::Bool(_))
            | (Kind::Number(_), Given::Number(_))
            | (Kind::Text(_), Given::Text(_))
            | (Kind::Texts, Given::Texts(_))
    )
}

/// The names an operation knows, for a message.
fn known(operation: Operation) -> String {
    fields::of(operation).map(|field| field.name).collect::<Vec<_>>().join(", ")
}

/// A raw request that has passed step 2: the fields are known and of their types.
struct Fields<'r> {
    operation: Operation,
    raw: &'r Raw<'r>,
}

impl Fields<'_> {
    /// The value given, or the default of this operation; what the operation does not have is off.
    fn bool(&self, name: &str) -> bool {
        self.maybe_bool(name).unwrap_or(false)
    }

    fn maybe_bool(&self, name: &str) -> Option<bool> {
        match (self.raw.get(name), fields::kind(self.operation, name)) {
            (Some(Given::Bool(value)), _) => Some(*value),
            (_, Some(Kind::Bool(default))) => default,
            _ => None,
        }
    }

    fn number(&self, name: &str) -> Option<f64> {
        match (self.raw.get(name), fields::kind(self.operation, name)) {
            (Some(Given::Number(value)), _) => Some(*value),
            (_, Some(Kind::Number(default))) => default,
            _ => None,
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        match fields::kind(self.operation, name) {
            Some(Kind::Text(default)) => self.raw.text(name).or(default),
            _ => None,
        }
    }

    /// A text that is not empty.
    fn filled(&self, name: &str) -> Option<String> {
        self.text(name).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// The end of step 2: values that no type holds back, and checks that cannot be made.
    fn bounded(&self) -> Result<(), Failure> {
        if self.text("request_id").is_some() && self.raw.request_id().is_none() {
            let why = format!("`request_id` is longer than {MAX_REQUEST_ID} characters");
            return Err(Failure::field("request_id", why));
        }
        self.mode()?;
        // A check that is not there must never look passed.
        for validation in [Validation::Attribute, Validation::Liveness] {
            if self.bool(validation.validate()) {
                let why = format!(
                    "{} cannot be checked by this version; leave out `{}`",
                    validation.name(),
                    validation.validate()
                );
                return Err(Failure::field(validation.validate(), why));
            }
        }
        Ok(())
    }

    fn mode(&self) -> Result<EnrolMode, Failure> {
        match self.text("mode") {
            None | Some("replace") => Ok(EnrolMode::Replace),
            Some("add") => Ok(EnrolMode::Add),
            Some(_) => Err(Failure::field("mode", "`mode` must be replace or add")),
        }
    }

    /// Steps 3 to 6 of the operations on images.
    fn face(&self, world: &World) -> Result<FaceRequest, Failure> {
        let (reference, probe) = match self.operation {
            Operation::Compare => {
                (Some(self.image(ImageField::Image1, world)?), ImageField::Image2)
            }
            _ => (None, ImageField::Image),
        };
        let probe = self.image(probe, world)?;
        let subject_id = match self.operation {
            Operation::Enroll => self.optional_subject()?,
            Operation::Verify => Some(self.subject(world)?),
            _ => None,
        };
        let checks = self.checks()?;
        let task = match (self.operation, subject_id) {
            (Operation::Enroll, subject_id) => Task::Enroll { subject_id, mode: self.mode()? },
            (Operation::Verify, Some(subject_id)) => {
                Task::Verify { subject_id, level: self.level()? }
            }
            (Operation::Compare, _) => Task::Compare { level: self.level()? },
            (Operation::Search, _) => Task::Search {
                threshold: self.threshold()?,
                limit: self.limit(10)?,
                return_image: self.bool("return_image"),
            },
            // liveness: everything about the request is in order, but nothing here can judge it.
            _ => return Err(Failure::payload("liveness cannot be judged by this version")),
        };
        Ok(FaceRequest { reference, probe, checks, task })
    }

    /// Step 3.
    fn image(&self, field: ImageField, world: &World) -> Result<Image, Failure> {
        if let (ImageField::Image, Some(bytes)) = (field, self.raw.image) {
            return Ok(Image { field, origin: Origin::Sent(Ok(bytes.to_vec())) });
        }
        let text = self.text(field.name()).ok_or(Failure::ImageAbsent(field))?;
        if text.is_empty() {
            return Err(Failure::ImageMissing { field, why: format!("`{field}` is empty") });
        }
        let origin = match Source::parse(text) {
            Err(error) => return Err(Failure::ImageMissing { field, why: error.to_string() }),
            Ok(Source::Base64(base64)) => Origin::Sent(base64.decode(world.limits.max_bytes)),
            Ok(Source::Url(url)) => Origin::Url(url.to_owned()),
            Ok(Source::Camera) => Origin::Camera,
        };
        Ok(Image { field, origin })
    }

    /// Step 4 where a subject is needed.
    fn subject(&self, world: &World) -> Result<String, Failure> {
        let given = self.raw.get("subject_id").ok_or(Failure::SubjectAbsent)?;
        let id = match given {
            Given::Text(id) if !id.is_empty() => well_formed(id)?,
            _ => return Err(Failure::SubjectMissing),
        };
        if (world.enrolled)(id) { Ok(id.to_owned()) } else { Err(Failure::unknown_subject(id)) }
    }

    /// Step 4 of enroll, which makes an id when there is none.
    fn optional_subject(&self) -> Result<Option<String>, Failure> {
        match self.text("subject_id") {
            None => Ok(None),
            Some("") => Err(Failure::SubjectMissing),
            Some(id) => well_formed(id).map(|id| Some(id.to_owned())),
        }
    }

    /// Step 5.
    fn checks(&self) -> Result<Checks, Failure> {
        for validation in Validation::ALL {
            if self.bool(validation.validate()) && !self.bool(validation.is()) {
                return Err(Failure::Dependency(validation));
            }
        }
        Ok(Checks {
            is_quality: self.bool("is_quality"),
            is_attribute: self.bool("is_attribute"),
            is_liveness: self.bool("is_liveness"),
            validate_quality: self.bool("validate_quality"),
            validate_nface: self.bool("validate_nface"),
        })
    }

    /// Step 6 of verify and compare.
    fn level(&self) -> Result<Level, Failure> {
        self.text("threshold").and_then(Level::named).ok_or(Failure::Level)
    }

    /// Step 6 of search.
    fn threshold(&self) -> Result<f64, Failure> {
        self.number("threshold")
            .filter(|threshold| (0.0..=100.0).contains(threshold))
            .ok_or(Failure::Threshold)
    }

    /// Step 6: a whole number from 1 to `max`.
    fn limit(&self, max: u32) -> Result<usize, Failure> {
        self.number("limit")
            .filter(|limit| limit.fract() == 0.0 && (1.0..=f64::from(max)).contains(limit))
            .map(|limit| limit as usize)
            .ok_or(Failure::Limit(max))
    }

    /// Step 2 of subject/update: what to change, within bounds.
    ///
    /// As null is absent, a value is cleared by its empty one: `""` for `name` and `card` (one of
    /// them a request, as only one field may be empty), `[]` for `groups`, `0` for `valid_from`
    /// and `valid_until`.
    fn change(&self) -> Result<SubjectChange, Failure> {
        let change = SubjectChange {
            name: self.label("name")?,
            groups: self.groups()?,
            card: self.label("card")?,
            enabled: self.maybe_bool("enabled"),
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

const ID: &str = "must be 1 to 128 characters of A-Z, a-z, 0-9 and . _ - : @";
const LABEL: &str = "must be at most 128 characters, none of them a control character";

fn is_id(text: &str) -> bool {
    let allowed =
        |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-' | b':' | b'@');
    (1..=MAX_ID).contains(&text.len()) && text.bytes().all(allowed)
}

fn is_label(text: &str) -> bool {
    text.chars().count() <= MAX_NAME && !text.contains(char::is_control)
}

fn well_formed(id: &str) -> Result<&str, Failure> {
    if is_id(id) { Ok(id) } else { Err(Failure::Subject { why: format!("`subject_id` {ID}") }) }
}
