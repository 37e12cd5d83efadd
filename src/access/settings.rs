//! Settings of the judgement, from the configuration.

use super::schedule::Groups;
use crate::face::Detection;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use strum::EnumString;

/// Whether a face must be live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, EnumString)]
#[strum(
    serialize_all = "snake_case",
    parse_err_ty = UnknownPolicy,
    parse_err_fn = UnknownPolicy::named
)]
pub enum LivenessPolicy {
    /// The face must be live.
    #[default]
    Required,
    /// Liveness is not judged: a photograph opens the door. Every decision says so. The value is
    /// long so that no one sets it by mistake.
    #[strum(serialize = "off-for-this-test")]
    Off,
}

/// The name does not belong to a policy.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither required nor off-for-this-test")]
pub struct UnknownPolicy(String);

impl UnknownPolicy {
    fn named(name: &str) -> Self {
        Self(name.to_owned())
    }
}

/// Why the strike must not be armed for anyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unarmed {
    /// Strangers could reach the broker and enrol themselves.
    #[error("strangers could reach the broker: see mqtt.allow_insecure")]
    Exposed,
}

/// The part of the frame in which a face is judged, as shares of width and height: left, top,
/// right, bottom.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Zone([f32; 4]);

/// Numbers that do not describe a zone.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a zone is LEFT, TOP, RIGHT, BOTTOM in shares of the picture, such as 0.2 0 0.8 1")]
pub struct ZoneError;

impl Default for Zone {
    /// The whole frame.
    fn default() -> Self {
        Self([0.0, 0.0, 1.0, 1.0])
    }
}

impl FromStr for Zone {
    type Err = ZoneError;

    fn from_str(text: &str) -> Result<Self, ZoneError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let mut shares = [0.0; 4];
        let mut words =
            text.split(|c: char| c == ',' || c.is_whitespace()).filter(|w| !w.is_empty());
        for share in &mut shares {
            *share = words.next().and_then(|word| word.parse().ok()).ok_or(ZoneError)?;
        }
        let [left, top, right, bottom] = shares;
        let inside = shares.iter().all(|share| (0.0..=1.0).contains(share));
        if words.next().is_some() || !inside || left >= right || top >= bottom {
            return Err(ZoneError);
        }
        Ok(Self(shares))
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [left, top, right, bottom] = self.0;
        write!(to, "{left} {top} {right} {bottom}")
    }
}

impl Zone {
    /// Checks whether the middle of the face is in the zone, for a frame of this size.
    pub(super) fn holds(&self, face: &Detection, width: u32, height: u32) -> bool {
        let [x, y] = face.centre();
        let (x, y) = (x / width as f32, y / height as f32);
        let [left, top, right, bottom] = self.0;
        (left..=right).contains(&x) && (top..=bottom).contains(&y)
    }
}

/// Settings of the judgement.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Groups and their hours.
    pub groups: Groups,
    /// Whether a face must be live.
    pub liveness: LivenessPolicy,
    /// Log-odds of "live" from which on a face counts as live at this camera.
    pub operating_point: f32,
    /// Accepted chance that a search returns a subject for a stranger.
    pub target_fpir: f64,
    /// Consecutive looks that must name the same subject, and over which liveness is judged.
    pub agreement: usize,
    /// How far the best subject must be ahead of the next, in cosine.
    pub margin: f32,
    /// Least width of a face that is judged, in pixels of the frame.
    pub smallest_face: u32,
    /// Zone in which a face is judged.
    pub zone: Zone,
    /// Refuse when a second person stands at the door.
    pub one_person: bool,
    /// Refuse sunglasses and masks.
    pub refuse_covered: bool,
    /// How long a person is looked at before the attempt fails.
    pub patience: Duration,
    /// Cooldown of a face after its first refusal.
    pub retry: Duration,
    /// Repeat interval of a subject after its first grant.
    pub repeat: Duration,
    /// Consecutive failed attempts that start a lock-out; 0: never.
    pub lockout_after: u32,
    /// Length of the first lock-out. Each further failed attempt doubles it.
    pub lockout_first: Duration,
    /// Length of the longest lock-out.
    pub lockout_longest: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            groups: Groups::default(),
            liveness: LivenessPolicy::default(),
            operating_point: 0.0,
            target_fpir: 0.001,
            agreement: 3,
            margin: 0.05,
            smallest_face: 64,
            zone: Zone::default(),
            one_person: false,
            refuse_covered: true,
            patience: Duration::from_secs(3),
            retry: Duration::from_secs(2),
            repeat: Duration::from_secs(5),
            lockout_after: 5,
            lockout_first: Duration::from_secs(5),
            lockout_longest: Duration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zone_is_four_shares_or_empty() {
        assert_eq!("".parse(), Ok(Zone::default()));
        assert_eq!("0.1, 0, 0.9, 1".parse(), Ok(Zone([0.1, 0.0, 0.9, 1.0])));
        for text in ["0 0 1", "0 0 1 1 1", "0.5 0 0.5 1", "0 0 2 1", "a b c d", "0 0 nan 1"] {
            assert_eq!(text.parse::<Zone>(), Err(ZoneError), "{text}");
        }
    }

    #[test]
    fn liveness_is_off_only_with_the_exact_value() {
        assert_eq!("required".parse(), Ok(LivenessPolicy::Required));
        assert_eq!("off-for-this-test".parse(), Ok(LivenessPolicy::Off));
        for name in ["off", "false", "", "no"] {
            assert!(name.parse::<LivenessPolicy>().is_err());
        }
    }
}
