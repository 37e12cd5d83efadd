//! Durations of the stages and outcomes of requests: for each answer, and since the start.

use crate::face::Observer;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Number of recent durations per stage for the median.
const WINDOW: usize = 128;

/// The stages in the contract's order, which can differ from the order of work; other stages come
/// before these.
const ORDER: [&str; 7] =
    ["decode", "detect", "quality", "attributes", "liveness", "embed", "search"];

/// The stages of one request and their durations in milliseconds; a stage that ran twice counts
/// both.
#[derive(Clone, Debug)]
pub(crate) struct Times {
    started: Instant,
    /// Start of the running stage.
    began: Option<Instant>,
    stages: Vec<(&'static str, f64)>,
}

impl Observer for Times {
    fn began(&mut self, _: &'static str) {
        self.began = Some(Instant::now());
    }

    fn ended(&mut self, stage: &'static str) {
        if let Some(began) = self.began.take() {
            self.took(stage, began);
        }
    }
}

impl Times {
    /// Starts measuring the total.
    pub fn start() -> Self {
        Self { started: Instant::now(), began: None, stages: Vec::new() }
    }

    /// Runs a stage and records its duration.
    pub fn stage<T>(&mut self, name: &'static str, run: impl FnOnce() -> T) -> T {
        let observer: &mut dyn Observer = self;
        observer.stage(name, run)
    }

    /// Records a stage that began at `began` and ends now.
    pub fn took(&mut self, name: &'static str, began: Instant) {
        let took = milliseconds(began);
        match self.stages.iter_mut().find(|stage| stage.0 == name) {
            Some(stage) => stage.1 += took,
            None => {
                let place = |name| ORDER.iter().position(|&stage| stage == name);
                let at = self.stages.partition_point(|stage| place(stage.0) <= place(name));
                self.stages.insert(at, (name, took));
            }
        }
    }

    /// Returns the milliseconds since the start.
    pub fn total(&self) -> f64 {
        milliseconds(self.started)
    }

    /// Returns the block `timings_ms`: the stages that ran, and the total so far.
    pub fn block(&self) -> Value {
        Value::Object(self.milliseconds())
    }

    /// Returns the same as a map.
    pub fn milliseconds(&self) -> Map<String, Value> {
        let stages = self.stages.iter().copied();
        let total = std::iter::once(("total", self.total()));
        stages.chain(total).map(|(name, took)| (name.to_owned(), rounded(took))).collect()
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// Rounds to microseconds.
fn rounded(milliseconds: f64) -> Value {
    ((milliseconds * 1e3).round() / 1e3).into()
}

/// Counts since the start.
pub(super) struct Statistics {
    started: Instant,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    /// By operation and result code.
    requests: BTreeMap<&'static str, BTreeMap<String, u64>>,
    stages: BTreeMap<&'static str, VecDeque<f64>>,
    /// Number and sum in seconds of all durations by stage, and how many took at most [`BOUNDS`].
    histograms: BTreeMap<&'static str, Histogram>,
}

/// Upper bounds in seconds of the buckets of a stage's durations: from a detector on a PC to a
/// picture of a slow server.
pub(crate) const BOUNDS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// The durations of a stage since the start.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Histogram {
    /// Number of durations.
    pub count: u64,
    /// Their sum in seconds.
    pub sum: f64,
    /// Number of durations by the first bound they do not exceed; the last are longer than all.
    pub buckets: [u64; BOUNDS.len() + 1],
}

impl Statistics {
    /// Makes empty statistics.
    pub fn start() -> Self {
        Self { started: Instant::now(), counts: Mutex::default() }
    }

    /// Counts one request. `code` comes from a fixed set, so this stays small.
    pub fn count(&self, operation: &'static str, code: &str, times: &Times) {
        let mut counts = self.counts();
        let ends = counts.requests.entry(operation).or_default();
        match ends.get_mut(code) {
            Some(count) => *count += 1,
            None => {
                ends.insert(code.to_owned(), 1);
            }
        }
        for &(name, took) in &times.stages {
            let window = counts.stages.entry(name).or_default();
            if window.len() == WINDOW {
                window.pop_front();
            }
            window.push_back(took);
            let histogram = counts.histograms.entry(name).or_default();
            let seconds = took / 1e3;
            histogram.count += 1;
            histogram.sum += seconds;
            histogram.buckets[BOUNDS.partition_point(|bound| *bound < seconds)] += 1;
        }
    }

    /// Returns the seconds since the start.
    pub fn uptime(&self) -> u64 {
        self.started.elapsed().as_secs()
    }

    /// Returns the number of requests by operation and result code.
    pub fn requests(&self) -> Value {
        let counts = self.counts();
        let ends = |ends: &BTreeMap<String, u64>| -> Value {
            ends.iter().map(|(code, &count)| (code.clone(), Value::from(count))).collect()
        };
        counts.requests.iter().map(|(name, codes)| ((*name).to_owned(), ends(codes))).collect()
    }

    /// Returns the durations of each stage since the start.
    pub fn histograms(&self) -> BTreeMap<&'static str, Histogram> {
        self.counts().histograms.clone()
    }

    /// Returns the median of each stage's recent durations, in milliseconds.
    pub fn medians(&self) -> Value {
        let counts = self.counts();
        let medians: Map<_, _> = counts
            .stages
            .iter()
            .map(|(name, window)| ((*name).to_owned(), rounded(median(window))))
            .collect();
        Value::Object(medians)
    }

    /// Locks the counts; they stay valid if a thread panicked while holding the lock.
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the upper median; 0 if there are no values.
fn median(window: &VecDeque<f64>) -> f64 {
    let mut sorted: Vec<f64> = window.iter().copied().collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn times(stages: &[(&'static str, f64)]) -> Times {
        Times { stages: stages.to_vec(), ..Times::start() }
    }

    #[test]
    fn stages_add_up_and_only_stages_that_ran_are_shown() {
        let mut times = Times::start();
        assert_eq!(times.stage("decode", || 3), 3);
        times.stage("detect", || ());
        times.stage("decode", || ());
        let block = times.block();
        let names: Vec<_> = block.as_object().unwrap().keys().cloned().collect();
        assert_eq!(names, ["decode", "detect", "total"]);
    }

    #[test]
    fn requests_are_counted_and_medians_roll() {
        let statistics = Statistics::start();
        for took in 0..1000 {
            statistics.count("verify", "OK", &times(&[("embed", f64::from(took))]));
        }
        statistics.count("verify", "BUSY", &times(&[]));
        assert_eq!(statistics.requests(), json!({"verify": {"BUSY": 1, "OK": 1000}}));
        assert_eq!(statistics.medians(), json!({"embed": 936.0}));
    }

    #[test]
    fn medians_of_few_values() {
        assert_eq!(median(&VecDeque::new()), 0.0);
        assert_eq!(median(&VecDeque::from([5.0])), 5.0);
        assert_eq!(median(&VecDeque::from([9.0, 1.0, 5.0])), 5.0);
    }
}
