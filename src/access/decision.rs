//! What an attempt came to. One decision is one event and one line of the log.

use serde_json::Value;
use std::time::Duration;
use strum::IntoStaticStr;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Outcome {
    /// May pass.
    Granted,
    /// Known, and may not pass here and now.
    Denied,
    /// Nobody who is enrolled.
    Unknown,
    /// Not a living face.
    Spoof,
    /// Sunglasses or a mask.
    Obscured,
    /// Too dark or not sharp for too long.
    PoorPicture,
    /// Several people where one at a time may pass.
    SeveralPeople,
    /// Not judged: too many failed attempts just before.
    LockedOut,
}

impl Outcome {
    /// As events and metrics have it.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Why. The message is for whoever reads the log.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Reason {
    /// Granted.
    #[error("recognised, and in the group {group}")]
    Group {
        /// The group that lets the subject in.
        group: String,
    },
    /// Best of the gallery, and not similar enough.
    #[error("nobody enrolled is similar enough: {best:.2} of {threshold:.2}")]
    BelowThreshold {
        /// Similarity of the best.
        best: f64,
        /// What the door asks for.
        threshold: f64,
    },
    /// Two subjects are about as similar.
    #[error("two subjects are about as similar (margin {margin:.3}): is one enrolled twice?")]
    Ambiguous {
        /// By how much the best is ahead, in cosine.
        margin: f32,
    },
    /// The looks name different subjects.
    #[error("the frames do not agree on one subject")]
    NoAgreement,
    /// The liveness model.
    #[error("not a living face: {probability:.1} of 50")]
    NotLive {
        /// Mean of the looks, 0–100.
        probability: f64,
    },
    /// No camera makes two such frames of somebody who lives.
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
    /// More than one face.
    #[error("{0} people before the door: one at a time")]
    People(usize),
    /// Lock-out.
    #[error("too many failed attempts: nobody is judged for another {} s", .0.as_secs())]
    LockOut(Duration),
    /// To be enrolled is not to be let in.
    #[error("has no group")]
    NoGroup,
    /// Groups of which the configuration knows none.
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
    /// The gallery could not be asked.
    #[error("the gallery failed: {0}")]
    Gallery(String),
}

/// What an attempt came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// How it ended.
    pub outcome: Outcome,
    /// Why.
    pub reason: Reason,
    /// Who was recognised, also where that was refused; never of an [`Outcome::Unknown`] or a
    /// [`Outcome::Spoof`].
    pub subject_id: Option<String>,
    /// Further ids that the person is enrolled under.
    pub also_enrolled_as: Vec<String>,
    /// Mean similarity of the subject, or of the best one, 0–100.
    pub similarity: Option<f64>,
    /// Mean probability of "live", 0–100; none when liveness is off.
    pub liveness: Option<f64>,
    /// What the Wiegand output sends for the subject, of a grant alone.
    pub card: Option<String>,
    /// Whether liveness was judged at all.
    pub liveness_off: bool,
    /// How many looks it took.
    pub looks: usize,
    /// From the first usable look to here, by the frames' own times.
    pub took: Duration,
    /// What the stages took in all looks together, and all of it, in milliseconds.
    pub timings: Value,
}

impl Decision {
    /// Whether the door is to open.
    pub fn is_grant(&self) -> bool {
        self.outcome == Outcome::Granted
    }

    /// Whether it counts towards a lock-out.
    pub(super) fn is_failed_attempt(&self) -> bool {
        matches!(self.outcome, Outcome::Unknown | Outcome::Spoof)
    }

    /// The reason in words, with what must be repeated in every line.
    pub fn words(&self) -> String {
        match self.liveness_off {
            true => format!("{}; LIVENESS IS OFF (liveness.policy)", self.reason),
            false => self.reason.to_string(),
        }
    }
}
