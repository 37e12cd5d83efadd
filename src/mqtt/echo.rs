//! The echo: measures how old a command that arrives on this connection can be.
//!
//! A network that stalls keeps what the broker has written and delivers it later, as if it had just
//! been sent. So the terminal sends itself a message every second, through the broker and back on
//! the connection that carries commands. The broker delivers in order: a message that arrives after
//! an echo reached the broker after that echo was sent, so it is no older than the echo. When a
//! stall ends in one burst, a command in front of the delayed echoes is measured by the last echo
//! before the stall.
//!
//! An echo carries a random number that only this connection knows: messages that other clients
//! write to its topic do not count.

use rumqttc::v5::AsyncClient;
use rumqttc::v5::mqttbytes::QoS;
use rustix::time::{ClockId, clock_gettime};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

/// Time between two echoes.
const EVERY: Duration = Duration::from_secs(1);
/// The link counts as live only if no echo takes, or is outstanding, longer than this.
const LATEST: Duration = Duration::from_secs(2);
/// Most echoes outstanding at a time, so that a stalled link does not fill with them.
const MOST_OUTSTANDING: usize = 4;
/// An echo that takes longer counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(10);
/// A connection that receives none of its echoes for this long at its start probably may not read
/// them.
const SILENT_AFTER: Duration = Duration::from_secs(5);

/// The echoes of one connection.
#[derive(Debug, Default)]
pub(super) struct Echo {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Number and send time of the outstanding echoes, oldest first.
    outstanding: VecDeque<(u64, Duration)>,
    /// When the newest returned echo was sent, and how long it took.
    newest: Option<(Duration, Duration)>,
}

impl Echo {
    /// Returns the number of an echo to send, or `None` while too many are outstanding.
    fn sent(&self, now: Duration) -> Option<u64> {
        let mut state = self.state();
        state.outstanding.retain(|(_, sent)| now.saturating_sub(*sent) < LOST_AFTER);
        if state.outstanding.len() >= MOST_OUTSTANDING {
            return None;
        }
        // Without random numbers there is no echo, and no message counts as fresh.
        let number = getrandom::u64().ok()?;
        state.outstanding.push_back((number, now));
        Some(number)
    }

    /// Takes a message from the echo's topic.
    pub(super) fn returned(&self, payload: &[u8]) {
        self.returned_at(payload, now());
    }

    fn returned_at(&self, payload: &[u8], now: Duration) {
        let number = std::str::from_utf8(payload).ok().and_then(|text| text.parse().ok());
        let mut state = self.state();
        let Some(place) = state.outstanding.iter().position(|(it, _)| Some(*it) == number) else {
            return;
        };
        let (_, sent) = state.outstanding[place];
        // Earlier echoes were lost: the broker keeps the order.
        state.outstanding.drain(..=place);
        state.newest = Some((sent, now.saturating_sub(sent)));
    }

    /// Returns true if a message that arrives at this moment is fresh.
    pub(super) fn is_live(&self) -> bool {
        self.is_live_at(now())
    }

    fn is_live_at(&self, now: Duration) -> bool {
        // The next echo follows after [`EVERY`]: if the newest is older than that, the next one is
        // late.
        let fresh = |(sent, took)| took <= LATEST && now.saturating_sub(sent) <= EVERY + LATEST;
        self.state().newest.is_some_and(fresh)
    }

    fn has_returned(&self) -> bool {
        self.state().newest.is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends echoes to `topic` until the connection is gone.
pub(super) async fn send_every_second(echo: Arc<Echo>, client: AsyncClient, topic: String) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let started = now();
    let mut warned = false;
    loop {
        ticks.tick().await;
        if !warned && now().saturating_sub(started) > SILENT_AFTER && !echo.has_returned() {
            warned = true;
            warn!(
                "what is written to {topic} does not come back: the broker's access list must let \
                 this login read and write it; until then an unlock counts only with issued_at"
            );
        }
        if let Some(number) = echo.sent(now())
            && client.publish(&topic, QoS::AtLeastOnce, false, number.to_string()).await.is_err()
        {
            return;
        }
    }
}

/// Returns the time since boot, including time asleep.
fn now() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(now.tv_sec.try_into().unwrap_or(0), now.tv_nsec.try_into().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(100.0 + seconds)
    }

    fn send(echo: &Echo, seconds: f64) -> String {
        echo.sent(at(seconds)).unwrap().to_string()
    }

    #[test]
    fn a_link_is_not_live_before_its_first_echo() {
        let echo = Echo::default();
        assert!(!echo.is_live_at(at(0.0)));
        let first = send(&echo, 0.0);
        assert!(!echo.is_live_at(at(0.1)));
        echo.returned_at(first.as_bytes(), at(0.2));
        assert!(echo.is_live_at(at(0.2)) && echo.is_live_at(at(3.0)));
        assert!(!echo.is_live_at(at(3.1)), "the next echo is late");
    }

    #[test]
    fn messages_in_a_burst_after_a_stall_are_not_fresh() {
        let echo = Echo::default();
        let before = send(&echo, 0.0);
        echo.returned_at(before.as_bytes(), at(0.1));
        let late: Vec<_> = (1..=4).map(|n| send(&echo, f64::from(n))).collect();
        assert_eq!(echo.sent(at(5.0)), None, "enough are on their way");
        // Before, between and after the late echoes.
        assert!(!echo.is_live_at(at(8.0)));
        for number in &late {
            echo.returned_at(number.as_bytes(), at(8.0));
            assert!(!echo.is_live_at(at(8.0)));
        }
        let after = send(&echo, 8.5);
        assert!(!echo.is_live_at(at(8.6)));
        echo.returned_at(after.as_bytes(), at(8.7));
        assert!(echo.is_live_at(at(8.7)));
    }

    #[test]
    fn a_slow_echo_does_not_make_the_link_live() {
        let echo = Echo::default();
        let slow = send(&echo, 0.0);
        echo.returned_at(slow.as_bytes(), at(2.1));
        assert!(!echo.is_live_at(at(2.1)));
        let quick = send(&echo, 2.2);
        echo.returned_at(quick.as_bytes(), at(4.2));
        assert!(echo.is_live_at(at(4.2)));
    }

    #[test]
    fn lost_echoes_and_foreign_numbers_are_ignored() {
        let echo = Echo::default();
        let lost: Vec<_> = (0..4).map(|n| send(&echo, f64::from(n))).collect();
        let next = send(&echo, 10.5);
        for nonsense in [&b""[..], b"7", b"\xff", b"-1", lost[0].as_bytes()] {
            echo.returned_at(nonsense, at(10.6));
        }
        assert!(!echo.has_returned());
        echo.returned_at(next.as_bytes(), at(10.7));
        assert!(echo.is_live_at(at(10.7)));
        // The same number a second time proves nothing.
        echo.returned_at(next.as_bytes(), at(15.0));
        assert!(!echo.is_live_at(at(15.0)));
    }
}
