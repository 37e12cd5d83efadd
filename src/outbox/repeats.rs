//! Folds repeats: a stranger who stands before the camera, or a contact that flaps, must not fill
//! the log.
//!
//! Records of the same kind, outcome, subject and reason share a [`Rate`]: so many in a row are
//! recorded at once, then one at an interval. The records in between are counted, and the next one
//! that is recorded says how many it stands for (`repeated`) and since when (`since`). A crash
//! loses the counts of one interval, never the first records.
//!
//! What opens a door or changes who may enter is never folded: grants, movements of the strike,
//! enrolments and unlocks each have their own record, and so has each change of a subject's groups
//! or dates that is not the same as one just before.

use super::event::{Entry, Event, Kind};
use super::queue::Content;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Maximum number of different records whose rate is known; more than a terminal has in use.
const MOST_KNOWN: usize = 1024;

/// How often the same record is made.
#[derive(Clone, Copy)]
struct Rate {
    /// Number of records in a row.
    burst: u32,
    /// Interval of the further ones.
    every: Duration,
}

/// What people do at a door in a minute.
const MOVEMENTS: Rate = Rate { burst: 20, every: Duration::from_secs(10) };
/// The same face, or the same change, several times.
const TRIES: Rate = Rate { burst: 5, every: Duration::from_secs(60) };

/// The rates of the records of the last minutes.
#[derive(Default)]
pub(super) struct Repeats {
    known: HashMap<String, Repeated>,
}

struct Repeated {
    rate: Rate,
    left: u32,
    /// When `left` last rose.
    rose: Instant,
    held: Option<Held>,
}

/// Records that are counted and not recorded yet.
struct Held {
    last: Content,
    count: u64,
    /// Time of the first, in Unix seconds.
    since: f64,
}

impl Repeats {
    /// Returns the record if it is to be recorded at once; counts it otherwise.
    pub fn admit(&mut self, mut what: Content, now: Instant) -> Option<Content> {
        let Some((rate, key)) = rate(&what) else { return Some(what) };
        if !self.known.contains_key(&key) && self.known.len() >= MOST_KNOWN {
            self.known.retain(|_, it| !it.is_idle(now));
            if self.known.len() >= MOST_KNOWN {
                return Some(what);
            }
        }
        let new = || Repeated { rate, left: rate.burst, rose: now, held: None };
        let repeated = self.known.entry(key).or_insert_with(new);
        repeated.refill(now);
        if repeated.left > 0 {
            repeated.left -= 1;
            if let Some(held) = repeated.held.take() {
                what.stands_for(held.count, held.since);
            }
            return Some(what);
        }
        let since = what.time();
        let count = repeated.held.as_ref().map_or(1, |held| held.count + 1);
        let since = repeated.held.as_ref().map_or(since, |held| held.since);
        repeated.held = Some(Held { last: what, count, since });
        None
    }

    /// Returns when the next counted record is due.
    pub fn due(&self) -> Option<Instant> {
        let held = self.known.values().filter(|it| it.held.is_some());
        held.map(|it| it.rose + it.rate.every).min()
    }

    /// Takes the counted records that are due, or all of them.
    pub fn take(&mut self, now: Instant, all: bool) -> Vec<Content> {
        let mut taken = Vec::new();
        for repeated in self.known.values_mut().filter(|it| it.held.is_some()) {
            repeated.refill(now);
            if repeated.left == 0 && !all {
                continue;
            }
            repeated.left = repeated.left.saturating_sub(1);
            if let Some(Held { mut last, count, since }) = repeated.held.take() {
                last.stands_for(count - 1, since);
                taken.push(last);
            }
        }
        taken
    }
}

impl Repeated {
    fn refill(&mut self, now: Instant) {
        let Rate { burst, every } = self.rate;
        while self.left < burst && now.saturating_duration_since(self.rose) >= every {
            self.left += 1;
            self.rose += every;
        }
        if self.left == burst {
            self.rose = now;
        }
    }

    /// Checks whether nothing is lost if it is forgotten.
    fn is_idle(&self, now: Instant) -> bool {
        let full = self.rate.every * (self.rate.burst - self.left);
        self.held.is_none() && now.saturating_duration_since(self.rose) >= full
    }
}

/// Returns the rate of a record, and the key that it shares with its repeats; `None` if it is never
/// folded.
fn rate(what: &Content) -> Option<(Rate, String)> {
    match what {
        Content::Event(event, _) => {
            let rate = match (event.kind, event.outcome.as_str()) {
                (Kind::Enroll, _)
                | (Kind::Access, "granted")
                | (Kind::Door, "unlocked" | "locked" | "not_recorded") => return None,
                (Kind::Door | Kind::Tamper | Kind::Camera, _) => MOVEMENTS,
                (Kind::Access | Kind::Spoof, _) => TRIES,
            };
            Some((rate, key_of_event(event)))
        }
        Content::Entry(entry) if entry.action == "subject/update" => {
            Some((TRIES, key_of_entry(entry)))
        }
        Content::Entry(_) => None,
    }
}

fn key_of_event(event: &Event) -> String {
    let Event { kind, outcome, subject_id, reason, .. } = event;
    // Similarities differ from one attempt to the next.
    let reason: String = reason.chars().filter(|c| !c.is_ascii_digit()).collect();
    format!("{kind}\0{outcome}\0{}\0{reason}", subject_id.as_deref().unwrap_or_default())
}

fn key_of_entry(entry: &Entry) -> String {
    let Entry { action, by, detail, .. } = entry;
    format!("{action}\0{by}\0{}", serde_json::Value::Object(detail.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: Kind, outcome: &str) -> Content {
        Content::Event(Event::new(kind, outcome, "a reason"), "id".into())
    }

    fn repeated(what: &Content) -> Option<u64> {
        let fields = match what {
            Content::Event(event, _) => &event.extra,
            Content::Entry(entry) => &entry.detail,
        };
        fields.get("repeated").and_then(serde_json::Value::as_u64)
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_flood_is_recorded_once_an_interval_with_the_number_of_its_repeats() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        let (mut recorded, mut stood_for) = (0, 0);
        // A still face with sunglasses, judged every two seconds for an hour.
        for at in 0..1800 {
            let now = start + seconds(2 * at);
            let released = repeats.take(now, false);
            let admitted = repeats.admit(event(Kind::Access, "obscured"), now);
            for what in released.iter().chain(&admitted) {
                recorded += 1;
                stood_for += 1 + repeated(what).unwrap_or(0);
            }
        }
        for what in repeats.take(start + seconds(3600), true) {
            recorded += 1;
            stood_for += 1 + repeated(&what).unwrap_or(0);
        }
        assert_eq!(stood_for, 1800, "each is counted once");
        assert!((60..=66).contains(&recorded), "{recorded}");
        assert!(repeats.due().is_none());
    }

    #[test]
    fn a_counted_record_is_due_after_the_interval() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        for _ in 0..8 {
            repeats.admit(event(Kind::Spoof, "spoof"), start);
        }
        assert_eq!(repeats.due(), Some(start + seconds(60)));
        assert!(repeats.take(start + seconds(59), false).is_empty());
        let taken = repeats.take(start + seconds(60), false);
        assert_eq!((taken.len(), repeated(&taken[0])), (1, Some(2)));
        // After a quiet time the whole burst is there again.
        let later = start + seconds(3600);
        let admitted =
            (0..6).filter(|_| repeats.admit(event(Kind::Spoof, "spoof"), later).is_some());
        assert_eq!(admitted.count(), 5);
    }

    #[test]
    fn what_opens_a_door_or_changes_rights_is_never_folded() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        let mut admits = |what: Content| repeats.admit(what, now).is_some();
        for _ in 0..200 {
            for (kind, outcome) in [
                (Kind::Access, "granted"),
                (Kind::Door, "unlocked"),
                (Kind::Door, "locked"),
                (Kind::Enroll, "updated"),
            ] {
                assert!(admits(event(kind, outcome)));
            }
            assert!(admits(Content::Entry(Entry::new("unlock", "local"))));
        }
        let update = |groups: &str| {
            Content::Entry(Entry::new("subject/update", "anybody").with("groups", groups))
        };
        for number in 0..200 {
            assert!(admits(update(&number.to_string())), "another change");
        }
        assert_eq!((0..200).filter(|_| admits(update("same"))).count(), 5);
        // Each subject has its own rate.
        let of = |subject: &str| {
            let mut event = Event::new(Kind::Access, "denied", "has no group");
            event.subject_id = Some(subject.into());
            Content::Event(event, "id".into())
        };
        assert_eq!((0..20).filter(|_| admits(of("anna"))).count(), 5);
        assert!(admits(of("ben")));
    }

    #[test]
    fn the_memory_of_rates_is_bounded() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        for number in 0..3 * MOST_KNOWN {
            // Letters, because digits of a reason do not distinguish records.
            let letters: String =
                number.to_string().bytes().map(|it| char::from(it + 50)).collect();
            assert!(repeats.admit(event(Kind::Door, &letters), now).is_some());
        }
        assert_eq!(repeats.known.len(), MOST_KNOWN);
        repeats.admit(event(Kind::Door, "later"), now + seconds(3600));
        assert_eq!(repeats.known.len(), 1);
    }
}
