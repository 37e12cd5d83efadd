//! The result of an attempt. Each decision is one event and one line of the log.

use serde_json::Value;
use std::time::Duration;
use strum::IntoStaticStr;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Outcome {
    /// The subject may pass.
    Granted,
    /// The subject is known and may not pass here at this time.
    Denied,
    /// No enrolled subject matches.
    Unknown,
    /// Not a living face.
    Spoof,
    /// Sunglasses or a mask.
    Obscured,
    /// Too dark or too blurred for too long.
    PoorPicture,
    /// The frames have no colour, so liveness cannot be judged.
    NoColour,
    /// Several people, although only one may pass at a time.
    SeveralPeople,
    /// Not judged, because of too many failed attempts.
    LockedOut,
}

impl Outcome {
    /// Returns the name used in events and metrics.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The reason for an outcome. The message is written for people who read the log.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Reason {
    /// Granted.
    #[error("recognised, and in the group {group}")]
    Group {
        /// The group that lets the subject in.
        group: String,
    },
    /// The best match of the gallery is not similar enough.
    #[error("no enrolled subject is similar enough: {best:.2} of {threshold:.2}")]
    BelowThreshold {
        /// Similarity of the best match.
        best: f64,
        /// Similarity that the door requires.
        threshold: f64,
    },
    /// Two subjects are about equally similar.
    #[error("two subjects are about as similar (margin {margin:.3}): is one enrolled twice?")]
    Ambiguous {
        /// By how much the best is ahead, in cosine.
        margin: f32,
    },
    /// The looks name different subjects.
    #[error("the frames do not agree on one subject")]
    NoAgreement,
    /// The liveness network judged the face as not live.
    #[error("not a living face: {probability:.1} of 50")]
    NotLive {
        /// Mean of the looks, 0–100.
        probability: f64,
    },
    /// Two frames of a living face in front of a camera are never this alike.
    #[error("the face does not move at all: a still picture, or a frozen camera")]
    Frozen,
    /// What covers the face.
    #[error("the face is covered: {0}")]
    Covered(&'static str),
    /// Blur.
    #[error("the face is not sharp: stand still, clean the camera")]
    Blur,
    /// Darkness.
    #[error("the face is too dark: more light in front of it")]
    Dark,
    /// The camera delivers gray frames, as cameras do by infrared light.
    #[error(
        "the camera shows no colour, and liveness is judged by colour: switch its night mode off, \
         and light the face"
    )]
    NoColour,
    /// More than one face.
    #[error("{0} people before the door: one at a time")]
    People(usize),
    /// The lock-out is active.
    #[error("too many failed attempts: no one is judged for another {} s", .0.as_secs())]
    LockOut(Duration),
    /// Enrolment alone does not permit a subject to pass.
    #[error("has no group")]
    NoGroup,
    /// The configuration knows none of the subject's groups.
    #[error("no group of this subject is in access.groups: {0}")]
    UnknownGroups(String),
    /// Outside the hours of every group.
    #[error("outside the hours of {0}")]
    Hours(String),
    /// The time is not known.
    #[error("the clock is not synchronised, so no schedule and no validity can be kept")]
    Clock,
    /// `enabled` is false.
    #[error("is not enabled")]
    Disabled,
    /// Another id of the same person is not enabled.
    #[error("the same face is enrolled as {0}, which is not enabled")]
    OtherIdDisabled(String),
    /// Before `valid_from` or after `valid_until`.
    #[error("is not valid at this time")]
    NotValid,
    /// The strike must not be armed.
    #[error("the strike is not armed: {0}")]
    Unarmed(super::Unarmed),
    /// The gallery could not be read.
    #[error("the gallery failed: {0}")]
    Gallery(String),
}

/// The result of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// How the attempt ended.
    pub outcome: Outcome,
    /// Why.
    pub reason: Reason,
    /// The recognised subject, for denials too; never set for an [`Outcome::Unknown`] or an
    /// [`Outcome::Spoof`].
    pub subject_id: Option<String>,
    /// Other ids under which the person is enrolled.
    pub also_enrolled_as: Vec<String>,
    /// Mean similarity of the subject, or of the best one, 0–100.
    pub similarity: Option<f64>,
    /// Mean probability of "live", 0–100; `None` when liveness is off.
    pub liveness: Option<f64>,
    /// Card number that the Wiegand output sends for the subject; only for a grant.
    pub card: Option<String>,
    /// True if liveness was not judged.
    pub liveness_off: bool,
    /// Number of looks.
    pub looks: usize,
    /// Time from the first usable look to the decision, by the frames' times.
    pub took: Duration,
    /// Duration of each stage, summed over all looks, and the total, in milliseconds.
    pub timings: Value,
}

impl Decision {
    /// Checks whether the door opens.
    pub fn is_grant(&self) -> bool {
        self.outcome == Outcome::Granted
    }

    /// Checks whether the attempt counts towards a lock-out.
    pub(super) fn is_failed_attempt(&self) -> bool {
        matches!(self.outcome, Outcome::Unknown | Outcome::Spoof)
    }

    /// Returns the reason as text, with the warning that every line must repeat.
    pub fn words(&self) -> String {
        match self.liveness_off {
            true => format!("{}; LIVENESS IS OFF (liveness.policy)", self.reason),
            false => self.reason.to_string(),
        }
    }
}
