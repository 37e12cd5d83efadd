//! The door's judgement: who stands there, may they pass, and why not.
//!
//! It decides and never acts: what a [`Decision`] does to the strike is the board's matter. It
//! reads no clock and no configuration file: the time comes with each frame ([`Now`]), the rules
//! as [`Settings`], what the stages take from a [`Stopwatch`] of the caller. In doubt nobody passes.
//!
//! Terms, in the order in which a face meets them:
//!
//! | term | what it is |
//! |---|---|
//! | track | one face followed over frames |
//! | look | what the networks say of one face in one frame |
//! | attempt | the looks at one track, from the first until a decision |
//! | agreement | how many looks in a row name the same subject |
//! | margin | by how much the best subject must be ahead of another person, in cosine |
//! | person | one subject, or several whose templates are of one face |
//! | frozen | looks so equal that no camera before a living face made them |
//! | decision | what an attempt came to: an [`Outcome`], whose, and the reason |
//! | rest | a face that has had its decision is not judged for a while |
//! | lock-out | after too many failed attempts nobody is judged for a while |
//! | repeat interval | a subject that was let in is not let in again so soon |
//!
//! | file | idea |
//! |---|---|
//! | `track.rs` | faces of one frame to faces of the last |
//! | `look.rs` | the networks, once a frame, on one face |
//! | `attempt.rs` | looks to a verdict |
//! | `person.rs` | which subject a recognised face is |
//! | `rules.rs` | may this subject pass at this time |
//! | `schedule.rs` | groups and their weekly hours |
//! | `lockout.rs` | failed attempts, over every restart of the judge |
//! | `refused.rs` | faces that were refused, known again by what they look like |
//! | `selection.rs` | who is judged next, and when again |
//! | `judge.rs` | all of it in order, frame after frame |
//! | `stopwatch.rs` | what the stages took, by a clock of the caller |
//! | `decision.rs` | what comes out |

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
    /// Since the start, by a clock that nobody sets.
    pub monotonic: Duration,
    /// Unix seconds, UTC.
    pub unix: f64,
    /// Whether `unix` has been synchronised since boot, or is trusted by configuration.
    pub synchronised: bool,
}
