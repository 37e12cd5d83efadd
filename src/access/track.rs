//! Follows faces over frames: a face continues the track whose box overlaps it most.
//!
//! A track means "this is still the same box", never "this is still the same person": the looks
//! must agree on the person.

use crate::face::Detection;
use std::time::Duration;

/// Boxes that overlap less than this belong to different faces (intersection over union).
const SAME: f32 = 0.3;
/// After a gap the box must overlap at least this much: a person who steps into the place of
/// another is a new face.
const SAME_AFTER_GAP: f32 = 0.6;
/// A face that is missing for this long and in at least one frame has left. A face behind a turned
/// head or a hand comes back sooner.
const LOST_AFTER: Duration = Duration::from_millis(800);
/// Most faces that are followed, more than fit in front of a door. The smallest are not followed.
const MOST: usize = 16;

/// Id of a track, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TrackId(u64);

/// A face that is followed.
#[derive(Clone, Debug)]
pub(super) struct Track {
    pub id: TrackId,
    /// Box of the face when it was last seen.
    pub face: Detection,
    /// When it was last seen.
    pub seen: Duration,
    /// Frame in which it was last seen.
    frame: u64,
}

/// All faces that are followed.
#[derive(Debug, Default)]
pub(super) struct Tracks {
    tracks: Vec<Track>,
    next: u64,
    frames: u64,
}

impl Tracks {
    /// Follows the faces of a frame, largest first, and removes the tracks of faces that left.
    /// Returns the tracks of this frame, in the same order.
    pub fn follow(&mut self, faces: &[Detection], now: Duration) -> Vec<Track> {
        let (last, frame) = (self.frames, self.frames + 1);
        self.frames = frame;
        self.tracks
            .retain(|track| track.frame == last || now.saturating_sub(track.seen) <= LOST_AFTER);
        let mut here: Vec<Track> = Vec::new();
        for face in faces.iter().take(MOST) {
            let best = self
                .tracks
                .iter_mut()
                .filter(|track| !here.iter().any(|taken| taken.id == track.id))
                .map(|track| (track.face.overlap(face), track))
                .max_by(|a, b| a.0.total_cmp(&b.0));
            let least = |track: &Track| if track.frame == last { SAME } else { SAME_AFTER_GAP };
            let track = match best {
                Some((overlap, track)) if overlap >= least(track) => {
                    (track.face, track.seen, track.frame) = (*face, now, frame);
                    track.clone()
                }
                _ => {
                    let track = Track { id: TrackId(self.next), face: *face, seen: now, frame };
                    self.next += 1;
                    self.tracks.push(track.clone());
                    track
                }
            };
            here.push(track);
        }
        here
    }

    /// Checks whether this track still exists.
    pub fn has(&self, id: TrackId) -> bool {
        self.tracks.iter().any(|track| track.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn face(x: f32, size: f32) -> Detection {
        let landmarks = [[0.0; 2]; 5];
        Detection { x, y: 0.0, width: size, height: size, landmarks, score: 0.9 }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn small_movement_keeps_the_track_and_a_jump_does_not() {
        let mut tracks = Tracks::default();
        let first = tracks.follow(&[face(0.0, 100.0), face(300.0, 80.0)], ms(0));
        let second = tracks.follow(&[face(310.0, 90.0), face(30.0, 100.0)], ms(40));
        assert_eq!((first[0].id, first[1].id), (second[1].id, second[0].id));
        let third = tracks.follow(&[face(150.0, 100.0)], ms(80));
        assert!(!first.iter().any(|track| track.id == third[0].id));
    }

    #[test]
    fn two_faces_never_share_a_track() {
        let mut tracks = Tracks::default();
        tracks.follow(&[face(0.0, 100.0)], ms(0));
        let both = tracks.follow(&[face(0.0, 100.0), face(10.0, 100.0)], ms(40));
        assert_ne!(both[0].id, both[1].id);
    }

    #[test]
    fn track_survives_a_gap_of_800_ms_and_no_longer_one() {
        let mut tracks = Tracks::default();
        let id = tracks.follow(&[face(0.0, 100.0)], ms(0))[0].id;
        assert!(tracks.follow(&[], ms(700)).is_empty());
        assert_eq!(tracks.follow(&[face(0.0, 100.0)], ms(800))[0].id, id);
        tracks.follow(&[], ms(1601));
        tracks.follow(&[], ms(1602));
        assert!(!tracks.has(id));
        assert_ne!(tracks.follow(&[face(0.0, 100.0)], ms(1650))[0].id, id);
    }

    #[test]
    fn person_in_the_place_of_another_gets_a_new_track() {
        let mut tracks = Tracks::default();
        let id = tracks.follow(&[face(0.0, 100.0)], ms(0))[0].id;
        tracks.follow(&[], ms(40));
        assert_ne!(tracks.follow(&[face(40.0, 100.0)], ms(80))[0].id, id);
    }

    #[test]
    fn slow_camera_keeps_tracks() {
        let mut tracks = Tracks::default();
        let id = tracks.follow(&[face(0.0, 100.0)], ms(0))[0].id;
        assert_eq!(tracks.follow(&[face(0.0, 100.0)], ms(5000))[0].id, id);
    }
}
