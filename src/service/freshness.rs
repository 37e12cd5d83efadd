//! Whether an `unlock` was meant just now: one that a network held back must not move the strike
//! when it comes, for whoever stood at the door then may be gone.
//!
//! Two things can show it. The sender says when it meant the command (`issued_at`), which is judged
//! by this machine's clock, if that was synchronised. Or the transport vouches for it, because it
//! knows how long what it delivers was on the way.

use std::sync::Arc;
use std::time::Instant;

/// Unix time in seconds by a clock that was synchronised; `None` where it was not.
pub type WallClock = Arc<dyn Fn() -> Option<f64> + Send + Sync>;

/// Seconds after which a command is too old.
const OLDEST: f64 = 10.0;
/// Seconds that a sender's clock may be ahead of this one's.
const AHEAD: f64 = 5.0;

/// What speaks for a command.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Evidence {
    /// When its sender says that it was meant, in Unix seconds.
    pub issued_at: Option<f64>,
    /// Until when its transport vouches for it.
    pub vouched_until: Option<Instant>,
}

impl Evidence {
    /// Why the command does not count, if it does not.
    pub fn judge(self, wall: Option<f64>, now: Instant) -> Result<(), String> {
        if let (Some(issued_at), Some(wall)) = (self.issued_at, wall) {
            let age = wall - issued_at;
            return match age {
                age if age > OLDEST => Err(format!(
                    "issued_at is {age:.1} s ago, more than {OLDEST} s: send the command again; if \
                     it was sent just now, synchronise the sender's clock"
                )),
                age if age < -AHEAD => Err(format!(
                    "issued_at is {:.1} s in the future, more than {AHEAD} s: synchronise the \
                     sender's clock",
                    -age
                )),
                age if age.is_nan() => Err("issued_at is no time".to_owned()),
                _ => Ok(()),
            };
        }
        if self.vouched_until.is_some_and(|until| now < until) {
            return Ok(());
        }
        let clock = match self.issued_at {
            Some(_) => "issued_at counts only once this terminal's clock is synchronised, and ",
            None => "it has no issued_at (Unix seconds), and ",
        };
        Err(format!(
            "it is not known when the command was sent: {clock}the connection on which it came shows \
             no echo that is younger than 2 s; send the command again"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const WALL: f64 = 1.8e9;

    fn judged(issued_at: Option<f64>, synchronised: bool, vouched: bool) -> bool {
        let now = Instant::now();
        let until = if vouched { now + Duration::from_secs(1) } else { now };
        let evidence = Evidence { issued_at, vouched_until: Some(until) };
        evidence.judge(synchronised.then_some(WALL), now).is_ok()
    }

    #[test]
    fn a_time_is_believed_by_a_synchronised_clock_alone() {
        for (age, counts) in
            [(0.0, true), (9.9, true), (10.1, false), (40.0, false), (-4.9, true), (-5.1, false)]
        {
            // Whatever the link says.
            for vouched in [false, true] {
                assert_eq!(judged(Some(WALL - age), true, vouched), counts, "{age} {vouched}");
                assert_eq!(judged(Some(WALL - age), false, vouched), vouched, "{age} {vouched}");
            }
        }
        for nonsense in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(!judged(Some(nonsense), true, true), "{nonsense}");
        }
    }

    #[test]
    fn without_a_time_the_link_must_be_live() {
        for synchronised in [false, true] {
            assert!(judged(None, synchronised, true));
            assert!(!judged(None, synchronised, false));
        }
        let silent = Evidence { issued_at: None, vouched_until: None };
        assert!(silent.judge(Some(WALL), Instant::now()).unwrap_err().contains("issued_at"));
    }
}
