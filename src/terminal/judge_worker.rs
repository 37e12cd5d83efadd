//! Runs the judge: passes frames to it, and its decisions to the door and to the record.
//!
//! It must never write to a disk or wait for one: the strike moves first, and the recorder gets the
//! event.

use super::clock::Clock;
use super::door::{DoorHandle, NotUnlocked};
use super::door_events::DoorEvents;
use super::worker::{Running, Worker};
use crate::access::{Decision, Judge, Lockout, Outcome, Settings, Stopwatch, Unarmed};
use crate::camera::{Camera, State as CameraState};
use crate::face::Analyzer;
use crate::gallery::Gallery;
use crate::outbox::{Event, Kind};
use doorward_board::controller::Cause;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tracing::{debug, error, info, warn};

/// How long the worker waits for a frame before it shows that it is alive.
const PATIENCE: Duration = Duration::from_millis(500);
/// An older frame is not judged: the person it shows may have left.
const STALE: Duration = Duration::from_secs(2);

/// Counts decisions by outcome.
#[derive(Debug, Default)]
pub struct Decisions(Mutex<BTreeMap<Outcome, u64>>);

impl Decisions {
    fn count(&self, outcome: Outcome) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(outcome).or_default() += 1;
    }

    /// Returns the counts by outcome, without zeros.
    pub fn to_json(&self) -> Value {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|(outcome, count)| (outcome.name().to_owned(), json!(count))).collect()
    }
}

/// What the judge's worker needs.
#[derive(Clone)]
pub struct Parts {
    /// The networks.
    pub analyzer: Arc<Analyzer>,
    /// Enrolled subjects.
    pub gallery: Arc<Gallery>,
    /// The door, if there is one.
    pub door: Option<DoorHandle>,
    /// Destination of decisions.
    pub door_events: DoorEvents,
    /// Clock for the frames.
    pub clock: Clock,
    /// Counts of decisions so far.
    pub decisions: Arc<Decisions>,
    /// Failed attempts at this door, including those before a reload.
    pub lockout: Arc<Mutex<Lockout>>,
    /// Starts the stopwatch of an attempt.
    pub stopwatch: fn() -> Box<dyn Stopwatch>,
}

/// Starts the worker that judges. `unarmed` returns, for each frame, the reason why the strike must
/// not be armed, if there is one.
pub fn start_judge(
    parts: Parts,
    camera: Camera,
    settings: Settings,
    unarmed: impl Fn() -> Option<Unarmed> + Send + 'static,
) -> io::Result<Worker> {
    Worker::start("judge", move |running| parts.judge(running, &camera, &settings, &unarmed))
}

impl Parts {
    fn judge(
        &self,
        running: &Running,
        camera: &Camera,
        settings: &Settings,
        unarmed: &impl Fn() -> Option<Unarmed>,
    ) {
        // A grant never moves the strike after a delay longer than a person is looked at.
        let honoured = STALE.max(settings.patience);
        let (analyzer, gallery) = (self.analyzer.clone(), self.gallery.clone());
        let mut judge =
            Judge::new(analyzer, gallery, settings.clone(), self.lockout.clone(), self.stopwatch);
        let mut frames = camera.frames();
        while running.goes_on() {
            let Some(frame) = frames.next(PATIENCE) else { continue };
            if frame.taken().elapsed() > STALE {
                debug!("a frame came too late to be judged");
                continue;
            }
            let picture = match frame.picture() {
                Ok(picture) => picture,
                Err(error) => {
                    debug!("a frame cannot be read: {error}");
                    continue;
                }
            };
            let now = self.clock.at(frame.taken());
            match judge.judge(&picture, now, unarmed()) {
                Ok(Some(decision)) => {
                    let late = frame.taken().elapsed() > honoured;
                    let opened = self.act(&decision, late);
                    if let (false, Some(subject)) = (opened, &decision.subject_id) {
                        judge.not_opened(subject, now.monotonic);
                    }
                }
                Ok(None) => {}
                Err(error) => {
                    error!("the networks failed, this frame is not judged: {error}")
                }
            }
        }
    }

    /// Acts on a decision. With `late`, the strike does not move. Returns whether a granted subject
    /// could pass.
    fn act(&self, decision: &Decision, late: bool) -> bool {
        let door = match (&self.door, decision.is_grant()) {
            (None, _) => None,
            (Some(_), true) if late => Some(Err(NotUnlocked::Stale)),
            (Some(door), true) => Some(self.open(door, decision)),
            (Some(door), false) => {
                door.refuse();
                None
            }
        };
        self.decisions.count(decision.outcome);
        let words = decision.words();
        info!(
            outcome = decision.outcome.name(),
            subject_id = decision.subject_id,
            similarity = decision.similarity,
            liveness = decision.liveness,
            reason = words,
            door = door.map(|outcome| outcome.map_or_else(|why| why.to_string(), |()| "unlocked".into())),
            looks = decision.looks,
            took_ms = decision.took.as_millis() as u64,
            timings_ms = %decision.timings,
            "decision"
        );
        let kind = match decision.outcome {
            Outcome::Spoof => Kind::Spoof,
            _ => Kind::Access,
        };
        let mut extra = Map::new();
        extra.insert("looks".into(), decision.looks.into());
        extra.insert("took_ms".into(), json!(decision.took.as_millis() as u64));
        if !decision.also_enrolled_as.is_empty() {
            extra.insert("also_enrolled_as".into(), json!(decision.also_enrolled_as));
        }
        if let Some(outcome) = door {
            let word = match outcome {
                Ok(()) => json!("unlocked"),
                Err(why) => json!(why.to_string()),
            };
            extra.insert("door".into(), word);
        }
        let timings_ms = decision.timings.as_object().cloned().unwrap_or_default();
        self.door_events.record(Event {
            subject_id: decision.subject_id.clone(),
            similarity: decision.similarity.map(hundredths),
            liveness: decision.liveness.map(hundredths),
            timings_ms,
            extra,
            ..Event::new(kind, decision.outcome.name(), words)
        });
        door.is_none_or(|outcome| outcome.is_ok())
    }

    fn open(&self, door: &DoorHandle, decision: &Decision) -> Result<(), NotUnlocked> {
        let opened = door.unlock(Cause::Face);
        if opened.is_ok()
            && let Some(card) = &decision.card
            && let Err(error) = door.send_card(card)
        {
            warn!("the subject's card is not sent: {error}");
        }
        opened
    }
}

/// Cuts instead of rounding: a value below a threshold must never look as if it reached it.
fn hundredths(value: f64) -> f64 {
    (value * 100.0).floor() / 100.0
}

/// Records the changes of the camera's state until the future is dropped.
pub async fn record_camera(mut states: watch::Receiver<CameraState>, door_events: DoorEvents) {
    while states.changed().await.is_ok() {
        let state = states.borrow_and_update().clone();
        let why = state.why().unwrap_or_default();
        door_events.record(Event::new(Kind::Camera, state.name(), why));
    }
}
