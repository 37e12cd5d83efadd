//! Checks that an `unlock` is recent. A command that the network delayed must not move the strike
//! when it arrives: the person at the door may have changed.
//!
//! Either of two things shows that it is recent. The sender states when it issued the command
//! (`issued_at`), which is compared with this machine's clock if that is synchronised. Or the
//! transport vouches for it, because it knows the delay of the messages it delivers.

use std::sync::Arc;
use std::time::Instant;

/// Unix time in seconds by a synchronised clock; `None` if the clock is not synchronised.
pub type WallClock = Arc<dyn Fn() -> Option<f64> + Send + Sync>;

/// Age in seconds from which on a command is too old.
const OLDEST: f64 = 10.0;
/// Maximum seconds that a sender's clock may be ahead of this one.
const AHEAD: f64 = 5.0;

/// Evidence that a command is recent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Evidence {
    /// Issue time stated by the sender, in Unix seconds.
    pub issued_at: Option<f64>,
    /// End of the time for which the transport vouches for it.
    pub vouched_until: Option<Instant>,
}

impl Evidence {
    /// Returns an error with the reason if the command is not recent.
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
    fn issued_at_counts_only_with_a_synchronised_clock() {
        for (age, counts) in
            [(0.0, true), (9.9, true), (10.1, false), (40.0, false), (-4.9, true), (-5.1, false)]
        {
            // With and without a transport that vouches for it.
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
    fn without_issued_at_the_transport_must_vouch() {
        for synchronised in [false, true] {
            assert!(judged(None, synchronised, true));
            assert!(!judged(None, synchronised, false));
        }
        let absent = Evidence { issued_at: None, vouched_until: None };
        assert!(absent.judge(Some(WALL), Instant::now()).unwrap_err().contains("issued_at"));
    }
}
