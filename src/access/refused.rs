//! Remembers refused faces: the cooldown of each face, and which faces are new.
//!
//! A face is recognised by its embedding, wherever it is shown. So a person who stays, comes back
//! or hangs on the wall is one face, and pictures shown one after another in one place are many. It
//! must never keep more than [`MOST`] faces, or a face for longer than [`REMEMBERED`] after it was
//! last seen.

use super::selection::doubled;
use super::settings::Settings;
use crate::face::Embedding;
use crate::face::similarity::{Level, similarity};
use std::time::Duration;

/// Two faces at least this similar are the same face: FMR 1e-4.
const SAME: Level = Level::Moderate;
/// A view is not stored if its cosine with a stored view is at least this.
const ANOTHER_VIEW: f32 = 0.9;
/// Most stored views of one face: looking ahead, to both sides, down.
const VIEWS: usize = 4;
/// Most faces that are kept. The face refused longest ago is removed first.
const MOST: usize = 64;
/// How long a face is kept after its last refusal.
const REMEMBERED: Duration = Duration::from_secs(600);
/// One refusal of a face is forgotten each time this passes after its cooldown.
const FORGIVES_ONE: Duration = Duration::from_secs(60);
/// The cooldown does not grow after this number of refusals.
const LONGEST_AFTER: u32 = 4;

/// The result of a refusal.
#[derive(Debug, PartialEq)]
pub(super) struct Refusal {
    /// Number of its faces that were not refused lately.
    pub new: u32,
    /// End of the cooldown of all its faces.
    pub until: Duration,
}

/// Faces that were refused lately.
#[derive(Debug, Default)]
pub(super) struct RefusedFaces(Vec<Refused>);

#[derive(Debug)]
struct Refused {
    /// Oldest first.
    views: Vec<Embedding>,
    refusals: u32,
    at: Duration,
    until: Duration,
}

/// Checks whether these are views of one face.
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
        let cooldown = doubled(settings.retry, before, settings.retry.saturating_mul(8));
        self.refusals = (before + 1).min(LONGEST_AFTER);
        (self.at, self.until) = (now, now.saturating_add(cooldown));
    }
}

impl RefusedFaces {
    /// Notes the faces of a failed attempt, in the order shown. A face that turns from one look to
    /// the next stays the same face.
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

    /// Returns the end of this face's cooldown, if it is in cooldown.
    pub fn cooldown_until(&self, face: &Embedding, now: Duration) -> Option<Duration> {
        let waiting = self.0.iter().filter(|refused| refused.until > now && refused.is(face));
        waiting.map(|refused| refused.until).max()
    }

    /// Forgets the refusals of this face.
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

    /// Returns a unit vector at an angle, in degrees, from the `axis`-th axis towards the next.
    fn face(axis: usize, degrees: f32) -> Embedding {
        let mut values = [0.0; EMBEDDING_LEN];
        let radians = degrees.to_radians();
        (values[axis], values[axis + 1]) = (radians.cos(), radians.sin());
        Embedding(values)
    }

    #[test]
    fn face_is_one_in_every_place_and_its_cooldown_doubles() {
        let (mut faces, settings) = (RefusedFaces::default(), Settings::default());
        let mut now = s(100);
        let mut cooldowns = Vec::new();
        for time in 0..6 {
            let refusal = faces.refuse(&[face(0, 0.0)], &settings, now);
            assert_eq!(refusal.new, u32::from(time == 0));
            assert_eq!(faces.cooldown_until(&face(0, 20.0), now), Some(refusal.until));
            assert_eq!(faces.cooldown_until(&face(4, 0.0), now), None);
            cooldowns.push((refusal.until - now).as_secs());
            now = refusal.until;
            assert_eq!(faces.cooldown_until(&face(0, 0.0), now), None);
        }
        assert_eq!(cooldowns, [2, 4, 8, 16, 16, 16]);
        // A minute clears one refusal, ten minutes clear all.
        let later = faces.refuse(&[face(0, 0.0)], &settings, now + s(120));
        assert_eq!(later.until - now - s(120), s(8));
        assert_eq!(faces.refuse(&[face(0, 0.0)], &settings, now + s(1000)).new, 1);
    }

    #[test]
    fn turning_face_is_one_and_successive_pictures_are_many() {
        let (mut faces, settings) = (RefusedFaces::default(), Settings::default());
        let turning: Vec<_> = (0..4).map(|step| face(0, 30.0 * step as f32)).collect();
        assert_eq!(faces.refuse(&turning, &settings, s(1)).new, 1);
        // The face is recognised from each of its sides.
        assert_eq!(faces.refuse(&turning[3..], &settings, s(9)).new, 0);
        let pictures: Vec<_> = (1..5).map(|picture| face(2 * picture, 0.0)).collect();
        assert_eq!(faces.refuse(&pictures, &settings, s(20)).new, 4);
        assert_eq!(faces.refuse(&pictures, &settings, s(30)).new, 0);
    }

    #[test]
    fn grant_clears_only_its_own_face() {
        let (mut faces, settings) = (RefusedFaces::default(), Settings::default());
        faces.refuse(&[face(0, 0.0)], &settings, s(1));
        faces.refuse(&[face(4, 0.0)], &settings, s(1));
        faces.forgive(&face(0, 10.0));
        assert_eq!(faces.cooldown_until(&face(0, 0.0), s(1)), None);
        assert!(faces.cooldown_until(&face(4, 0.0), s(1)).is_some());
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_face_is_removed() {
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
