//! Decides for each face at the door whether the person may pass, and gives the reason.
//!
//! This module decides and never acts: the board turns a [`Decision`] into a released strike. It
//! reads no clock and no configuration file: the time comes with each frame ([`Now`]), the rules
//! come as [`Settings`], and the caller's [`Stopwatch`] measures the stages. In doubt there is no
//! grant.
//!
//! Terms, in the order in which they apply to a face:
//!
//! | term | meaning |
//! |---|---|
//! | track | one face followed over frames |
//! | look | the networks' results for one face in one frame |
//! | attempt | the looks at one track, from the first until a decision |
//! | agreement | how many looks in a row name the same subject |
//! | margin | by how much the best subject must be ahead of another person, in cosine |
//! | person | one subject, or several whose templates are of one face |
//! | frozen | looks so alike that they cannot come from a camera in front of a living face |
//! | decision | the result of an attempt: an [`Outcome`], the subject and the reason |
//! | cooldown | the time after a decision in which the same face is not judged again |
//! | recheck | one embedding of a face in cooldown, to notice another person in its place |
//! | lock-out | after too many failed attempts no face is judged for seconds that double |
//! | repeat interval | the time after a grant in which the same subject is not granted again |
//!
//! | file | content |
//! |---|---|
//! | `track.rs` | matches the faces of a frame to those of the last frame |
//! | `look.rs` | runs the networks on one face of one frame |
//! | `attempt.rs` | turns looks into a verdict |
//! | `person.rs` | finds the subject of a recognised face |
//! | `rules.rs` | checks whether a subject may pass at this time |
//! | `schedule.rs` | groups and their weekly hours |
//! | `lockout.rs` | counts failed attempts, across restarts of the judge |
//! | `refused.rs` | recognises refused faces by their embeddings |
//! | `selection.rs` | selects which face is judged next, and when it is judged again |
//! | `judge.rs` | runs all of it in order, for each frame |
//! | `stopwatch.rs` | measures the stages with the caller's clock |
//! | `decision.rs` | the result |

mod attempt;
mod decision;
mod judge;
mod lockout;
mod look;
mod person;
mod refused;
mod rules;
mod schedule;
mod selection;
mod settings;
mod stopwatch;
mod track;

pub use decision::{Decision, Outcome, Reason};
pub use judge::Judge;
pub use lockout::Lockout;
pub use schedule::{Group, GroupError, Groups};
pub use settings::{LivenessPolicy, Settings, Unarmed, UnknownPolicy, Zone, ZoneError};
pub use stopwatch::{StartStopwatch, Stopwatch};

use std::time::Duration;

/// The time of a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Now {
    /// Time since the start, by the monotonic clock.
    pub monotonic: Duration,
    /// Unix seconds, UTC.
    pub unix: f64,
    /// True if `unix` has been synchronised since boot, or is trusted by configuration.
    pub synchronised: bool,
}
