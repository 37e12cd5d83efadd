//! Faces that were refused: which of them waits for how long, and which was not seen before.
//!
//! A face is known again by its embedding, wherever it is shown. So somebody who stays, comes back or hangs
//! on the wall is one, and pictures that are shown one after another in one place are many. It must never
//! keep more than [`MOST`] faces, nor any of them longer than [`REMEMBERED`] after it was seen last.

use super::selection::doubled;
use super::settings::Settings;
use crate::face::Embedding;
use crate::face::similarity::{Level, similarity};
use std::time::Duration;

/// Two faces so similar are one: FMR 1e-4.
const SAME: Level = Level::Moderate;
/// A view of a face whose cosine with another is above this says nothing that the other does not.
const ANOTHER_VIEW: f32 = 0.9;
/// Views of one face that are kept: looking ahead, to both sides, down.
const VIEWS: usize = 4;
/// Faces that are kept; the one refused longest ago goes.
const MOST: usize = 64;
/// How long a face is kept that is not refused again.
const REMEMBERED: Duration = Duration::from_secs(600);
/// In such a time after its rest one refusal of a face is forgotten.
const FORGIVES_ONE: Duration = Duration::from_secs(60);
/// Refusals from which on the rest does not grow.
const LONGEST_AFTER: u32 = 4;

/// What a refusal comes to.
#[derive(Debug, PartialEq)]
pub(super) struct Refusal {
    /// Faces in it that were not refused lately.
    pub new: u32,
    /// Until when none of them is judged.
    pub until: Duration,
}

/// The faces refused lately.
#[derive(Debug, Default)]
pub(super) struct RefusedFaces(Vec<Refused>);

#[derive(Debug)]
struct Refused {
    /// The newest last.
    views: Vec<Embedding>,
    refusals: u32,
    at: Duration,
    until: Duration,
}

/// Whether these are views of one face.
pub(super) fn is_same(a: &Embedding, b: &Embedding) -> bool {
    similarity(a.cosine(b)) >= SAME.similarity()
}

impl Refused {
    fn is(&self, face: &Embedding) -> bool {
        self.views.iter().any(|view| is_same(view, face))
    }

    fn add_view(&mut self, face: &Embedding) {
        if self.views.iter().all(|view| view.cosine(face) < ANOTHER_VIEW) {
            if self.views.len() >= VIEWS {
                self.views.remove(0);
            }
            self.views.push(face.clone());
        }
    }

    fn refuse(&mut self, settings: &Settings, now: Duration) {
        let forgiven = now.saturating_sub(self.until).as_secs() / FORGIVES_ONE.as_secs();
        let forgiven = u32::try_from(forgiven).unwrap_or(u32::MAX);
        let before = self.refusals.saturating_sub(forgiven);
        let rest = doubled(settings.retry, before, settings.retry.saturating_mul(8));
        self.refusals = (before + 1).min(LONGEST_AFTER);
        (self.at, self.until) = (now, now.saturating_add(rest));
    }
}

impl RefusedFaces {
    /// Notes the faces of an attempt that failed, in the order in which they were shown. One that turns
    /// from one look to the next is the same.
    pub fn refuse(&mut self, faces: &[Embedding], settings: &Settings, now: Duration) -> Refusal {
        self.0.retain(|refused| now.saturating_sub(refused.at) < REMEMBERED);
        let mut refusal = Refusal { new: 0, until: now.saturating_add(settings.retry) };
        let mut touched: Vec<usize> = Vec::new();
        let mut before: Option<(usize, &Embedding)> = None;
        for face in faces {
            let follows = before.filter(|(_, last)| is_same(last, face)).map(|(index, _)| index);
            let known = follows.or_else(|| self.0.iter().position(|refused| refused.is(face)));
            let index = known.unwrap_or_else(|| {
                refusal.new += 1;
                let (views, until) = (Vec::with_capacity(1), now);
                self.0.push(Refused { views, refusals: 0, at: now, until });
                self.0.len() - 1
            });
            self.0[index].add_view(face);
            if !touched.contains(&index) {
                self.0[index].refuse(settings, now);
                touched.push(index);
            }
            refusal.until = refusal.until.max(self.0[index].until);
            before = Some((index, face));
        }
        while self.0.len() > MOST {
            let oldest = (0..self.0.len()).min_by_key(|index| self.0[*index].at);
            oldest.map(|index| self.0.remove(index));
        }
        refusal
    }

    /// Until when this face is not judged, if it waits.
    pub fn rests(&self, face: &Embedding, now: Duration) -> Option<Duration> {
        let resting = self.0.iter().filter(|refused| refused.until > now && refused.is(face));
        resting.map(|refused| refused.until).max()
    }

    /// Forgets what this face was refused.
    pub fn forgive(&mut self, face: &Embedding) {
        self.0.retain(|refused| !refused.is(face));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::face::EMBEDDING_LEN;

    fn s(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    /// A unit vector at an angle, in degrees, from the `axis`-th axis towards the next.
    fn face(axis: usize, degrees: f32) -> Embedding {
        let mut values = [0.0; EMBEDDING_LEN];
        let radians = degrees.to_radians();
        (values[axis], values[axis + 1]) = (radians.cos(), radians.sin());
        Embedding(values)
    }

    #[test]
    fn a_face_is_one_wherever_it_is_and_waits_longer_each_time() {
        let (mut faces, settings) = (RefusedFaces::default(), Settings::default());
        let mut now = s(100);
        let mut rests = Vec::new();
        for time in 0..6 {
            let refusal = faces.refuse(&[face(0, 0.0)], &settings, now);
            assert_eq!(refusal.new, u32::from(time == 0));
            assert_eq!(faces.rests(&face(0, 20.0), now), Some(refusal.until));
            assert_eq!(faces.rests(&face(4, 0.0), now), None);
            rests.push((refusal.until - now).as_secs());
            now = refusal.until;
            assert_eq!(faces.rests(&face(0, 0.0), now), None);
        }
        assert_eq!(rests, [2, 4, 8, 16, 16, 16]);
        // A minute forgives one, ten minutes all of it.
        let later = faces.refuse(&[face(0, 0.0)], &settings, now + s(120));
        assert_eq!(later.until - now - s(120), s(8));
        assert_eq!(faces.refuse(&[face(0, 0.0)], &settings, now + s(1000)).new, 1);
    }

    #[test]
    fn a_face_that_turns_is_one_and_pictures_in_turn_are_many() {
        let (mut faces, settings) = (RefusedFaces::default(), Settings::default());
        let turning: Vec<_> = (0..4).map(|step| face(0, 30.0 * step as f32)).collect();
        assert_eq!(faces.refuse(&turning, &settings, s(1)).new, 1);
        // Known by each of its sides.
        assert_eq!(faces.refuse(&turning[3..], &settings, s(9)).new, 0);
        let pictures: Vec<_> = (1..5).map(|picture| face(2 * picture, 0.0)).collect();
        assert_eq!(faces.refuse(&pictures, &settings, s(20)).new, 4);
        assert_eq!(faces.refuse(&pictures, &settings, s(30)).new, 0);
    }

    #[test]
    fn a_grant_forgives_the_face_and_no_other() {
        let (mut faces, settings) = (RefusedFaces::default(), Settings::default());
        faces.refuse(&[face(0, 0.0)], &settings, s(1));
        faces.refuse(&[face(4, 0.0)], &settings, s(1));
        faces.forgive(&face(0, 10.0));
        assert_eq!(faces.rests(&face(0, 0.0), s(1)), None);
        assert!(faces.rests(&face(4, 0.0), s(1)).is_some());
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_face_goes() {
        let (mut faces, settings) = (RefusedFaces::default(), Settings::default());
        for index in 0..EMBEDDING_LEN - 1 {
            faces.refuse(&[face(index, 0.0)], &settings, s(index as u64));
        }
        assert_eq!(faces.0.len(), MOST);
        let now = s(EMBEDDING_LEN as u64);
        assert_eq!(faces.refuse(&[face(EMBEDDING_LEN - 2, 0.0)], &settings, now).new, 0);
        assert_eq!(faces.refuse(&[face(0, 0.0)], &settings, now).new, 1);
        assert!(faces.0.iter().all(|refused| refused.views.len() <= VIEWS));
    }
}
