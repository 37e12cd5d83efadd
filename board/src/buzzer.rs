//! The buzzer. Patterns are tables of on and off times, played step by step.

use core::time::Duration;
use embedded_hal::digital::{OutputPin, PinState};

/// A pattern: pairs of milliseconds on and off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Played one after another; no time is 0.
    pub beats: &'static [(u16, u16)],
    /// True if the pattern repeats until another pattern or silence.
    pub repeats: bool,
}

impl Pattern {
    /// A grant.
    pub const GRANTED: Self = Self { beats: &[(120, 80)], repeats: false };
    /// A refusal.
    pub const REFUSED: Self = Self { beats: &[(120, 80), (120, 80), (120, 80)], repeats: false };
    /// The door is held open.
    pub const HELD_OPEN: Self = Self { beats: &[(200, 1800)], repeats: true };
    /// The door was forced or the housing opened: must not be missed.
    pub const ALARM: Self = Self { beats: &[(400, 100)], repeats: true };

    /// Returns whether the buzzer sounds at `since` its start; `None` after the end.
    fn sounds(&self, since: Duration) -> Option<bool> {
        let length: u128 =
            self.beats.iter().map(|&(on, off)| u128::from(on) + u128::from(off)).sum();
        let mut at = since.as_millis();
        if self.repeats && length > 0 {
            at %= length;
        }
        for &(on, off) in self.beats {
            let (on, off) = (u128::from(on), u128::from(off));
            if at < on + off {
                return Some(at < on);
            }
            at -= on + off;
        }
        None
    }
}

/// A buzzer with its own tone. The pin only turns it on.
#[derive(Debug)]
pub struct Buzzer<Pin: OutputPin> {
    pin: Pin,
    playing: Option<(Pattern, Duration)>,
    sounding: Option<bool>,
}

impl<Pin: OutputPin> Buzzer<Pin> {
    /// Takes a logical pin: high sounds. The first [`Buzzer::step`] and dropping silence it.
    pub fn new(pin: Pin) -> Self {
        Self { pin, playing: None, sounding: None }
    }

    /// Plays a pattern from `now` on, instead of any other. A repeating pattern that is already
    /// playing continues undisturbed.
    pub fn play(&mut self, now: Duration, pattern: Pattern) {
        if !self.playing.is_some_and(|(playing, _)| playing.repeats && playing == pattern) {
            self.playing = Some((pattern, now));
        }
    }

    /// Ends a repeating pattern; any other pattern ends by itself.
    pub fn silence(&mut self) {
        if self.playing.is_some_and(|(playing, _)| playing.repeats) {
            self.playing = None;
        }
    }

    /// Turns the buzzer on or off according to the pattern; writes to the pin only on a change.
    ///
    /// # Errors
    /// The pin's error; the next step tries again.
    pub fn step(&mut self, now: Duration) -> Result<(), Pin::Error> {
        let sounds =
            self.playing.and_then(|(pattern, start)| pattern.sounds(now.saturating_sub(start)));
        if sounds.is_none() {
            self.playing = None;
        }
        let on = sounds.unwrap_or(false);
        if self.sounding != Some(on) {
            self.sounding = None;
            self.pin.set_state(PinState::from(on))?;
            self.sounding = Some(on);
        }
        Ok(())
    }

    /// Checks whether a pattern is playing.
    pub fn is_playing(&self) -> bool {
        self.playing.is_some()
    }
}

impl<Pin: OutputPin> Drop for Buzzer<Pin> {
    fn drop(&mut self) {
        // A freed line may stay driven. A failure here cannot be reported to anyone.
        let _ = self.pin.set_low();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal_mock::eh1::digital::{Mock, State, Transaction};

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Steps every 10 ms up to `end` and checks that the pin changes only at these times in ms.
    fn check(pattern: Pattern, edges: &[u64], end: u64) {
        let mut pin = Mock::new(&[Transaction::set(State::Low)]);
        let mut buzzer = Buzzer::new(pin.clone());
        buzzer.step(ms(0)).unwrap();
        pin.done();
        buzzer.play(ms(0), pattern);
        for at in (0..=end).step_by(10) {
            let edge = edges.iter().position(|&edge| edge == at);
            let level = |edge: usize| if edge.is_multiple_of(2) { State::High } else { State::Low };
            let expected: Vec<_> = edge.map(level).map(Transaction::set).into_iter().collect();
            pin.update_expectations(&expected);
            buzzer.step(ms(at)).unwrap();
            pin.done();
        }
        pin.update_expectations(&[Transaction::set(State::Low)]);
        drop(buzzer);
        pin.done();
    }

    #[test]
    fn patterns_follow_their_table() {
        check(Pattern::GRANTED, &[0, 120], 1000);
        check(Pattern::REFUSED, &[0, 120, 200, 320, 400, 520], 1000);
        check(Pattern::HELD_OPEN, &[0, 200, 2000, 2200, 4000, 4200], 5000);
        check(Pattern::ALARM, &[0, 400, 500, 900, 1000], 1100);
    }

    #[test]
    fn silence_ends_a_repeating_pattern_and_an_alarm_is_not_restarted() {
        let mut pin = Mock::new(&[
            Transaction::set(State::High),
            Transaction::set(State::Low),
            Transaction::set(State::High),
            Transaction::set(State::Low),
            Transaction::set(State::Low),
        ]);
        let mut buzzer = Buzzer::new(pin.clone());
        buzzer.play(ms(0), Pattern::ALARM);
        buzzer.step(ms(0)).unwrap();
        buzzer.play(ms(390), Pattern::ALARM);
        buzzer.step(ms(400)).unwrap();
        buzzer.step(ms(500)).unwrap();
        buzzer.silence();
        buzzer.step(ms(510)).unwrap();
        assert!(!buzzer.is_playing());
        drop(buzzer);
        pin.done();
    }

    #[test]
    fn pattern_without_beats_is_silent() {
        let mut pin = Mock::new(&[Transaction::set(State::Low), Transaction::set(State::Low)]);
        let mut buzzer = Buzzer::new(pin.clone());
        buzzer.play(ms(0), Pattern { beats: &[], repeats: true });
        buzzer.step(ms(0)).unwrap();
        buzzer.step(ms(10)).unwrap();
        drop(buzzer);
        pin.done();
    }
}
