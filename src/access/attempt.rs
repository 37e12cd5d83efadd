//! Turns looks into a verdict. Several looks must agree before a grant; one bad frame never causes
//! a denial.

use super::decision::{Outcome, Reason};
use super::look::{FacePixels, Look, PreviousLooks, Usable};
use super::settings::{LivenessPolicy, Settings};
use super::stopwatch::Stopwatch;
use crate::face::similarity::{Level, cosine, similarity};
use crate::face::{Attributes, Coverings, Detection, Embedding};
use crate::gallery::Candidate;
use crate::picture::Picture;
use std::time::Duration;

/// The attempt ends after this number of usable looks, whatever they say.
const MOST_LOOKS: usize = 12;
/// A face is live from this probability on.
const LIVE: f64 = 50.0;
/// Consecutive frames of a living face in front of a camera differ by more than this, as the mean
/// over all pixels of the face (0–255). Frames of a still picture fed into the video do not differ
/// at all.
const STILL_BELOW: f32 = 0.1;

/// Looks at one person lie within this cosine of their mean. Several people who each resemble a
/// subject a little could resemble it strongly in the mean. With this limit, the mean gains a ninth
/// at most.
const ONE_PERSON: f32 = 0.9;

/// The looks at one track.
pub(super) struct Attempt {
    started: Duration,
    first_usable: Option<Duration>,
    looks: Vec<Usable>,
    /// Pixels of the last usable look.
    pixels: Option<FacePixels>,
    /// For each look: true if the face has moved since the look before.
    moved: Vec<bool>,
    /// Why the last unusable frame was unusable.
    poor: Option<Reason>,
    /// Frames in a row with more than one person.
    crowded: usize,
    /// Measures the stages.
    pub times: Box<dyn Stopwatch>,
}

/// The result of the looks so far.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// More looks are needed.
    Undecided,
    /// An enrolled person, live and uncovered, if [`Attempt::claim`] stands for one person.
    Recognised,
    /// No grant.
    Failed(Outcome, Reason),
}

/// Reads one of the coverings.
type Share = fn(&Coverings) -> f32;

/// The identity that the last looks claim.
pub(super) struct Claim<'a> {
    /// Looks at one person, each with the subject that it finds by itself.
    pub looks: &'a [Usable],
    /// The subjects that resemble the mean of the looks' embeddings, best first.
    pub together: &'a [Candidate],
}

impl Attempt {
    /// Starts an attempt without looks.
    pub fn new(now: Duration, times: Box<dyn Stopwatch>) -> Self {
        Self {
            started: now,
            first_usable: None,
            looks: Vec::new(),
            pixels: None,
            moved: Vec::new(),
            poor: None,
            crowded: 0,
            times,
        }
    }

    /// Adds a look at a face. `people` is the number of people at the door in this frame.
    pub fn add(
        &mut self,
        look: Look,
        (frame, face): (&Picture, &Detection),
        people: usize,
        now: Duration,
    ) {
        self.crowded = if people > 1 { self.crowded + 1 } else { 0 };
        match look {
            Look::Blurred => self.poor = Some(Reason::Blur),
            Look::Dark => self.poor = Some(Reason::Dark),
            Look::Gray => self.poor = Some(Reason::NoColour),
            Look::Usable(look) => {
                let change = self.pixels.as_ref().and_then(|pixels| pixels.change(frame));
                self.pixels = Some(FacePixels::of(frame, face));
                self.moved.push(change.is_some_and(|change| change >= STILL_BELOW));
                self.first_usable.get_or_insert(now);
                self.looks.push(*look);
            }
        }
    }

    /// Returns what the next look needs from the looks before. `threshold` is the door's
    /// similarity.
    pub fn before(&self, settings: &Settings, threshold: f64) -> PreviousLooks {
        let first = (self.looks.len() + 1).saturating_sub(settings.agreement).min(self.looks.len());
        let embeddings = self.looks[first..].iter().map(|look| look.embedding.clone()).collect();
        // For a subject exactly at the threshold, any subject less than the margin behind is a
        // rival.
        let least = cosine(threshold) as f32 - settings.margin;
        PreviousLooks { looks: self.looks.len(), embeddings, least }
    }

    /// Returns the number of usable looks.
    pub fn looks(&self) -> usize {
        self.looks.len()
    }

    /// Returns the time from the first usable look to `now`.
    pub fn took(&self, now: Duration) -> Duration {
        self.first_usable.map_or(Duration::ZERO, |first| now.saturating_sub(first))
    }

    /// Returns the probability of "live", 0–100: by the mean of all looks or of the last looks,
    /// whichever is lower. A person who shows a living face first and then a picture is judged by
    /// the picture. `None` when liveness is off.
    pub fn liveness(&self, settings: &Settings) -> Option<f64> {
        let mean = |looks: &[Usable]| -> Option<f64> {
            let odds: Option<Vec<f32>> =
                looks.iter().map(|look| Some(look.liveness?.log_odds)).collect();
            let odds = odds.filter(|odds| !odds.is_empty())?;
            Some(odds.iter().map(|odds| f64::from(*odds)).sum::<f64>() / odds.len() as f64)
        };
        let (all, last) = (mean(&self.looks)?, mean(self.last(settings))?);
        // NaN stays NaN; `min` would drop it.
        let mean = if all.is_nan() || all < last { all } else { last };
        Some(100.0 / (1.0 + (f64::from(settings.operating_point) - mean).exp()))
    }

    /// Returns the looks that must agree, or all looks if there are fewer.
    fn last(&self, settings: &Settings) -> &[Usable] {
        &self.looks[self.looks.len().saturating_sub(settings.agreement)..]
    }

    /// Returns the similarity of the best subject: by the mean of the last looks if they agree,
    /// else the best of all looks.
    pub fn similarity(&self, settings: &Settings) -> Option<f64> {
        let agreed = self.claim(settings).and_then(|claim| {
            let best = claim.together.first()?;
            let names_it = |look: &Usable| {
                look.found.as_ref().is_some_and(|found| found.subject_id == best.subject_id)
            };
            claim.looks.iter().all(names_it).then_some(best.cosine)
        });
        agreed.or_else(|| self.best()).map(similarity)
    }

    /// Returns the faces that were shown, in the order shown. Each face is the mean of consecutive
    /// looks at one person, as many as must agree. Without such a run, the mean of all looks is the
    /// only face. Adjacent faces may be of the same person.
    pub fn shown(&self, settings: &Settings) -> Vec<Embedding> {
        let shown: Vec<Embedding> =
            self.looks.windows(settings.agreement.max(1)).filter_map(of_one_person).collect();
        match shown.is_empty() {
            true => Embedding::mean(&embeddings(&self.looks)).into_iter().collect(),
            false => shown,
        }
    }

    /// Checks whether the attempt is over: further frames change nothing.
    pub fn is_over(&self, settings: &Settings, now: Duration) -> bool {
        now.saturating_sub(self.started) >= settings.patience || self.looks.len() >= MOST_LOOKS
    }

    fn best(&self) -> Option<f32> {
        let found = self.looks.iter().filter_map(|look| Some(look.found.as_ref()?.cosine));
        found.max_by(f32::total_cmp)
    }

    /// Returns the verdict at `now`. `threshold` is the door's similarity, `people` the number of
    /// people at the door in this frame.
    pub fn verdict(
        &self,
        settings: &Settings,
        threshold: f64,
        people: usize,
        now: Duration,
    ) -> Verdict {
        let over = self.is_over(settings, now);
        if settings.one_person && self.crowded >= settings.agreement {
            return Verdict::Failed(Outcome::SeveralPeople, Reason::People(people));
        }
        if self.looks.len() < settings.agreement {
            // Only poor frames, or too few good ones: report the last reason.
            return match (&self.poor, over) {
                (Some(Reason::NoColour), true) => {
                    Verdict::Failed(Outcome::NoColour, Reason::NoColour)
                }
                (Some(reason), true) => Verdict::Failed(Outcome::PoorPicture, reason.clone()),
                _ => Verdict::Undecided,
            };
        }
        if settings.refuse_covered
            && let Some(what) = self.covered(settings, over)
        {
            return Verdict::Failed(Outcome::Obscured, Reason::Covered(what));
        }
        if let Err(reason) = self.live(settings) {
            return if over { Verdict::Failed(Outcome::Spoof, reason) } else { Verdict::Undecided };
        }
        match self.recognised(settings, threshold) {
            Ok(()) if !settings.one_person || self.crowded == 0 => Verdict::Recognised,
            Err(reason) if over => Verdict::Failed(Outcome::Unknown, reason),
            _ => Verdict::Undecided,
        }
    }

    /// Returns the covering that is worn in each of the last looks or, once the attempt is over, in
    /// the mean of all looks.
    fn covered(&self, settings: &Settings, over: bool) -> Option<&'static str> {
        let parts: [(&str, Share); 2] =
            [("sunglasses", |worn| worn.sunglasses), ("mask", |worn| worn.mask)];
        let last = self.last(settings);
        let is_worn = |part: Share| {
            let mean = self.looks.iter().map(|look| part(&look.worn)).sum::<f32>()
                / self.looks.len() as f32;
            // In doubt it counts as worn: NaN must not open the door.
            let each = last.iter().all(|look| !is_bare(part(&look.worn)));
            each || (over && !is_bare(mean))
        };
        parts.into_iter().find(|(_, part)| is_worn(*part)).map(|(name, _)| name)
    }

    fn live(&self, settings: &Settings) -> Result<(), Reason> {
        if settings.liveness == LivenessPolicy::Off {
            return Ok(());
        }
        let between = settings.agreement.saturating_sub(1);
        if !self.moved.iter().rev().take(between).any(|moved| *moved) {
            return Err(Reason::Frozen);
        }
        // Liveness that is required and was not judged does not pass.
        let probability = self.liveness(settings).unwrap_or(0.0);
        if probability >= LIVE { Ok(()) } else { Err(Reason::NotLive { probability }) }
    }

    /// Returns the claim of the last looks if they are of one person, and each of them resembles an
    /// enrolled subject at level basic or better. A mean must never mix a living stranger with a
    /// picture of another person.
    pub fn claim(&self, settings: &Settings) -> Option<Claim<'_>> {
        let looks = self.last(settings);
        of_one_person(looks)?;
        let resembles = |look: &Usable| {
            let found = look.found.as_ref().map(|found| similarity(found.cosine));
            found.is_some_and(|similarity| similarity >= Level::Basic.similarity())
        };
        let together = &looks.last()?.found_together;
        looks.iter().all(resembles).then_some(Claim { looks, together })
    }

    /// Checks whether the last looks resemble an enrolled subject closely enough for a grant.
    pub fn is_recognised(&self, settings: &Settings, threshold: f64) -> bool {
        self.looks.len() >= settings.agreement && self.recognised(settings, threshold).is_ok()
    }

    /// Checks whether the last looks reach the threshold for an enrolled subject.
    fn recognised(&self, settings: &Settings, threshold: f64) -> Result<(), Reason> {
        let best = self.claim(settings).and_then(|claim| claim.together.first());
        let Some(best) = best else {
            let best = similarity(self.best().unwrap_or(-1.0));
            return Err(match best < threshold {
                true => Reason::BelowThreshold { best, threshold },
                false => Reason::NoAgreement,
            });
        };
        match reaches(best.cosine.into(), cosine(threshold)) {
            true => Ok(()),
            false => Err(Reason::BelowThreshold { best: similarity(best.cosine), threshold }),
        }
    }
}

fn embeddings(looks: &[Usable]) -> Vec<Embedding> {
    looks.iter().map(|look| look.embedding.clone()).collect()
}

/// Returns the mean of the looks, if they are of one person.
fn of_one_person(looks: &[Usable]) -> Option<Embedding> {
    let mean = Embedding::mean(&embeddings(looks))?;
    looks.iter().all(|look| look.embedding.cosine(&mean) >= ONE_PERSON).then_some(mean)
}

/// True if the covering is certainly not worn. NaN is false.
fn is_bare(worn: f32) -> bool {
    worn < Attributes::WORN
}

/// NaN never passes.
fn reaches(value: f64, least: f64) -> bool {
    value >= least
}

#[cfg(test)]
mod tests;
