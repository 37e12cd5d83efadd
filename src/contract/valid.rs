//! The valid request: the meaning of the fields, each checked, in the order of the contract's
//! section 3 (steps 2 to 6). [`validate`] is the only function from the [`Raw`] request to it.

use super::administration::Administration;
use super::audit::AuditQuery;
use super::change::Change;
use super::field;
use super::field::ImageField;
use super::id::{ID, is_id};
use super::image::Image;
use super::mode::Mode;
use super::operation::Operation;
use super::payload::{Payload, payload};
use super::quota::QuotaKind;
use super::raw::{Raw, RawValue};
use super::refusal::{Refusal, Validation};
use crate::picture::Limits;
use std::time::Duration;
use strum::EnumString;

/// Longest `reason` of an unlock, in characters.
const MAX_REASON: usize = 500;

/// A valid request.
#[derive(Debug, PartialEq)]
pub(crate) enum Valid {
    /// One of the five operations on images.
    Face(FaceRequest),
    /// Several poses of the person in front of the camera.
    Poses(PosesRequest),
    /// At most `limit` subjects after `cursor`.
    SubjectList { limit: usize, cursor: Option<String> },
    /// One subject.
    SubjectGet { id: String },
    /// Change a subject; the time of the change is set when it is done.
    SubjectUpdate { id: String, change: Change, accept_faces: bool },
    /// Remove a subject.
    SubjectDelete { id: String },
    /// Pulse the strike. The reason is for the log; `issued_at` decides whether the command is
    /// recent.
    Unlock { reason: String, issued_at: Option<f64> },
    /// Counts and timings.
    Stats,
    /// Versions and states.
    Health,
    /// An operation on applications.
    Administration(Administration),
    /// An operation on the audit log.
    Audit(AuditQuery),
    /// Embed templates of other models with the present model.
    Reindex(Portion),
    /// Remove the bytes of deleted and replaced faces from the file.
    Scrub,
}

impl Valid {
    /// Returns the quota kinds that the request uses, each once; the first is the operation's own.
    pub fn spends(&self, operation: Operation) -> Vec<QuotaKind> {
        let computes_liveness = match self {
            Valid::Face(request) => request.checks.is_liveness,
            Valid::Poses(request) => request.is_liveness,
            _ => false,
        };
        let kind = operation.quota();
        let liveness =
            (computes_liveness && kind != Some(QuotaKind::Liveness)).then_some(QuotaKind::Liveness);
        kind.into_iter().chain(liveness).collect()
    }
}

/// The common parts of the five operations on images: a probe, checks, and a task.
#[derive(Debug, PartialEq)]
pub(crate) struct FaceRequest {
    /// compare: the image that the probe is compared with.
    pub reference: Option<Image>,
    pub probe: Image,
    pub checks: Checks,
    pub task: Task,
}

/// The computations and validations requested for a face.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checks {
    pub is_quality: bool,
    pub is_attribute: bool,
    pub is_liveness: bool,
    pub validate_quality: bool,
    pub validate_attribute: bool,
    pub validate_liveness: bool,
    pub validate_nface: bool,
}

/// A request for several poses of the person in front of the camera.
#[derive(Debug, PartialEq)]
pub(crate) struct PosesRequest {
    /// If absent, an id is made.
    pub subject_id: Option<String>,
    /// Time for the person to pose.
    pub timeout: Duration,
    pub is_liveness: bool,
    pub validate_liveness: bool,
}

/// One portion of `gallery/reindex`.
#[derive(Debug, PartialEq)]
pub(crate) struct Portion {
    /// Maximum number of subjects.
    pub limit: usize,
    /// The subject after which it starts.
    pub cursor: Option<String>,
    /// True to do everything except the change.
    pub dry_run: bool,
}

/// Required level of a 1:1 comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString)]
#[strum(serialize_all = "lowercase")]
pub(crate) enum Level {
    Basic,
    Moderate,
    High,
}

/// The task of the face.
#[derive(Debug, PartialEq)]
pub(crate) enum Task {
    Enroll {
        subject_id: Option<String>,
        mode: Mode,
    },
    Verify {
        subject_id: String,
        level: Level,
        include_inactive: bool,
    },
    Search {
        limit: usize,
        threshold: f64,
        return_image: bool,
        include_inactive: bool,
    },
    Compare {
        level: Level,
    },
    /// Only the checks.
    Liveness,
}

/// The data outside the payload that validation needs.
pub(crate) struct Context<'a> {
    /// Checks whether a subject is enrolled.
    pub enrolled: &'a dyn Fn(&str) -> bool,
    /// Limits of a picture.
    pub limits: &'a Limits,
}

/// Validates a raw request; the first failing step decides the refusal.
pub(crate) fn validate(
    operation: Operation,
    raw: &Raw,
    context: &Context,
) -> Result<Valid, Refusal> {
    let payload = payload(operation, raw)?;
    match operation {
        Operation::Enroll
        | Operation::Verify
        | Operation::Search
        | Operation::Liveness
        | Operation::Compare => payload.face(context).map(Valid::Face),
        Operation::EnrollMode => payload.poses().map(Valid::Poses),
        Operation::SubjectList => {
            let limit = payload.limit(100)?;
            Ok(Valid::SubjectList { limit, cursor: payload.filled(field::CURSOR) })
        }
        Operation::SubjectGet => Ok(Valid::SubjectGet { id: payload.subject(context)? }),
        Operation::SubjectDelete => Ok(Valid::SubjectDelete { id: payload.subject(context)? }),
        Operation::SubjectUpdate => {
            let change = payload.change()?;
            let accept_faces = payload.bool(field::ACCEPT_FACES);
            Ok(Valid::SubjectUpdate { id: payload.subject(context)?, change, accept_faces })
        }
        Operation::Unlock => {
            let needed = || Refusal::field(field::REASON, "`reason` must say why, for the log");
            let reason = payload.filled(field::REASON).ok_or_else(needed)?;
            let characters = reason.chars().count();
            if characters > MAX_REASON {
                let why =
                    format!("`reason` must be at most {MAX_REASON} characters, not {characters}");
                return Err(Refusal::field(field::REASON, why));
            }
            Ok(Valid::Unlock { reason, issued_at: payload.number(field::ISSUED_AT) })
        }
        Operation::Stats => Ok(Valid::Stats),
        Operation::GalleryScrub => Ok(Valid::Scrub),
        Operation::Health => Ok(Valid::Health),
        Operation::ApplicationCreate
        | Operation::ApplicationList
        | Operation::ApplicationGet
        | Operation::ApplicationUpdate
        | Operation::ApplicationRevoke
        | Operation::ApplicationRotate => payload.administration().map(Valid::Administration),
        Operation::AuditVerify | Operation::AuditList => payload.audit_query().map(Valid::Audit),
        Operation::GalleryReindex => Ok(Valid::Reindex(Portion {
            limit: payload.limit(100)?,
            cursor: payload.filled(field::CURSOR),
            dry_run: payload.bool(field::DRY_RUN),
        })),
    }
}

impl Payload<'_> {
    /// Checks steps 3 to 6 of the operations on images.
    fn face(&self, context: &Context) -> Result<FaceRequest, Refusal> {
        let (reference, probe) = match self.operation {
            Operation::Compare => (Some(self.image(ImageField::Image1)?), ImageField::Image2),
            _ => (None, ImageField::Image),
        };
        let probe = self.image(probe)?;
        let subject_id = match self.operation {
            Operation::Enroll => self.optional_subject()?,
            Operation::Verify => Some(self.subject(context)?),
            _ => None,
        };
        let checks = self.checks()?;
        let include_inactive = self.bool(field::INCLUDE_INACTIVE);
        let task = match (self.operation, subject_id) {
            (Operation::Enroll, subject_id) => Task::Enroll { subject_id, mode: self.mode()? },
            (Operation::Verify, Some(subject_id)) => {
                Task::Verify { subject_id, level: self.level()?, include_inactive }
            }
            (Operation::Compare, _) => Task::Compare { level: self.level()? },
            (Operation::Search, _) => Task::Search {
                threshold: self.threshold()?,
                limit: self.limit(10)?,
                return_image: self.bool(field::RETURN_IMAGE),
                include_inactive,
            },
            _ => Task::Liveness,
        };
        let patience = self.milliseconds(field::CAPTURE_TIMEOUT_MS);
        Ok(FaceRequest {
            reference: reference.map(|image| image.owned(context.limits, patience)),
            probe: probe.owned(context.limits, patience),
            checks,
            task,
        })
    }

    /// Checks steps 4 and 5 of `enroll_mode`.
    fn poses(&self) -> Result<PosesRequest, Refusal> {
        let subject_id = self.optional_subject()?;
        let Checks { is_liveness, validate_liveness, .. } = self.checks()?;
        let timeout = self.milliseconds(field::TIMEOUT_MS);
        Ok(PosesRequest { subject_id, timeout, is_liveness, validate_liveness })
    }

    /// Checks step 4 of operations that need a subject.
    fn subject(&self, context: &Context) -> Result<String, Refusal> {
        let given = self.raw.get(field::SUBJECT_ID).ok_or(Refusal::SubjectAbsent)?;
        let id = match given {
            RawValue::Text(id) if !id.is_empty() => well_formed(id)?,
            _ => return Err(Refusal::SubjectMissing),
        };
        if (context.enrolled)(id) { Ok(id.to_owned()) } else { Err(Refusal::unknown_subject(id)) }
    }

    /// Checks step 4 of enroll and enroll_mode, which make an id if there is none.
    fn optional_subject(&self) -> Result<Option<String>, Refusal> {
        match self.text(field::SUBJECT_ID) {
            None => Ok(None),
            Some("") => Err(Refusal::SubjectMissing),
            Some(id) => well_formed(id).map(|id| Some(id.to_owned())),
        }
    }

    /// Checks step 5.
    fn checks(&self) -> Result<Checks, Refusal> {
        for &validation in Validation::ALL {
            if self.bool(validation.validate()) && !self.bool(validation.is()) {
                return Err(Refusal::Dependency(validation));
            }
        }
        Ok(Checks {
            is_quality: self.bool(field::IS_QUALITY),
            is_attribute: self.bool(field::IS_ATTRIBUTE),
            // The operation liveness has no such field: it always computes liveness.
            is_liveness: self.operation == Operation::Liveness || self.bool(field::IS_LIVENESS),
            validate_quality: self.bool(field::VALIDATE_QUALITY),
            validate_attribute: self.bool(field::VALIDATE_ATTRIBUTE),
            validate_liveness: self.bool(field::VALIDATE_LIVENESS),
            validate_nface: self.bool(field::VALIDATE_NFACE),
        })
    }

    /// Checks step 6 of verify and compare.
    fn level(&self) -> Result<Level, Refusal> {
        self.text(field::THRESHOLD).and_then(|name| name.parse().ok()).ok_or(Refusal::Level)
    }

    /// Checks step 6 of search.
    fn threshold(&self) -> Result<f64, Refusal> {
        self.number(field::THRESHOLD)
            .filter(|threshold| (0.0..=100.0).contains(threshold))
            .ok_or(Refusal::Threshold)
    }

    /// Checks step 6: a whole number from 1 to `max`.
    fn limit(&self, max: u32) -> Result<usize, Refusal> {
        self.number(field::LIMIT)
            .filter(|limit| limit.fract() == 0.0 && (1.0..=f64::from(max)).contains(limit))
            .map(|limit| limit as usize)
            .ok_or(Refusal::Limit(max))
    }
}

fn well_formed(id: &str) -> Result<&str, Refusal> {
    if is_id(id) { Ok(id) } else { Err(Refusal::Subject { why: format!("`subject_id` {ID}") }) }
}

#[cfg(test)]
mod tests;
