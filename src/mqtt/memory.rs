//! What was answered in the last ten minutes, so that a repeat is answered again and not done
//! again.
//!
//! A command's identity is its operation, its Correlation Data (without any: its `request_id`), and
//! the topic its answer goes to. The topic belongs to it because counters are popular: two clients
//! that both count from 1 and listen on topics of their own are two askers. The body does not belong
//! to it: a client that uses an identity twice gets the first answer, whatever it sent the second
//! time, so identities must be fresh (a UUID is). Commands without either are never repeats.
//!
//! Not remembered is what was not done and may succeed the next time: 401, 500 and 503.
//!
//! The memory is bounded by number and by bytes; the oldest answers go first. Commands in work are
//! bounded by the places of the [`super::desk`].

use super::incoming::ReplyTo;
use crate::service::Answer;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an answer is remembered.
const REMEMBERED_FOR: Duration = Duration::from_secs(10 * 60);
/// The most answers remembered: more than three commands a second for ten minutes.
const MOST_ANSWERS: usize = 2048;
/// The most bytes of answers and identities remembered.
const MOST_BYTES: usize = 8 * 1024 * 1024;

/// The most repeats of one command that are answered when it is done. They would all get the same
/// message on the same topic, so nobody misses the rest.
const MOST_RESENDS: usize = 16;

/// What makes two commands the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    operation: String,
    reply: ReplyTo,
    /// Only where there is no Correlation Data.
    request_id: Option<String>,
}

impl Identity {
    /// `None` when the command has neither Correlation Data nor `request_id`. The latter is looked
    /// up only when needed, since that reads the body.
    pub(crate) fn of(
        operation: &str,
        reply: &ReplyTo,
        request_id: impl FnOnce() -> Option<String>,
    ) -> Option<Self> {
        let request_id = match reply.correlation {
            Some(_) => None,
            None => Some(request_id()?),
        };
        Some(Self { operation: operation.to_owned(), reply: reply.clone(), request_id })
    }

    fn bytes(&self) -> usize {
        self.operation.len()
            + self.reply.topic.len()
            + self.reply.correlation.as_ref().map_or(0, Vec::len)
            + self.request_id.as_ref().map_or(0, String::len)
    }
}

/// What to do with a command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It is new: do it, then call [`Memory::finish`].
    Never,
    /// It is being done; whoever does it answers this one too.
    InWork,
    /// It was done; this was the answer.
    Answered(Arc<Vec<u8>>),
}

#[derive(Debug)]
enum Entry {
    InWork { repeats: usize },
    Answered(Arc<Vec<u8>>),
}

#[derive(Debug, Default)]
pub(crate) struct Memory {
    entries: HashMap<Arc<Identity>, Entry>,
    /// Answered ones by age.
    ages: VecDeque<(Instant, Arc<Identity>)>,
    bytes: usize,
}

impl Memory {
    /// Looks a command up, and notes it as in work if it is new.
    pub(crate) fn meet(&mut self, identity: &Identity, now: Instant) -> Seen {
        self.forget_old(now);
        match self.entries.get_mut(identity) {
            Some(Entry::InWork { repeats }) => {
                *repeats += 1;
                Seen::InWork
            }
            Some(Entry::Answered(answer)) => Seen::Answered(answer.clone()),
            None => {
                let entry = Entry::InWork { repeats: 0 };
                self.entries.insert(Arc::new(identity.clone()), entry);
                Seen::Never
            }
        }
    }

    /// Ends the work on a command, and returns how many repeats that came meanwhile are to be
    /// answered too. The answer comes with its payload, as it is sent; without one (the command had
    /// expired) nothing is remembered.
    pub(crate) fn finish(
        &mut self,
        identity: Identity,
        answer: Option<(&Answer, &Arc<Vec<u8>>)>,
        now: Instant,
    ) -> usize {
        let repeats = match self.entries.remove(&identity) {
            Some(Entry::InWork { repeats }) => repeats.min(MOST_RESENDS),
            _ => 0,
        };
        if let Some((answer, payload)) = answer
            && !matches!(answer.status, 401 | 500 | 503)
            && payload.len() + identity.bytes() <= MOST_BYTES
        {
            self.bytes += payload.len() + identity.bytes();
            let identity = Arc::new(identity);
            self.ages.push_back((now, identity.clone()));
            self.entries.insert(identity, Entry::Answered(payload.clone()));
        }
        self.forget_old(now);
        repeats
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some((at, _)) = self.ages.front() {
            let old = now.saturating_duration_since(*at) >= REMEMBERED_FOR;
            if !old && self.ages.len() <= MOST_ANSWERS && self.bytes <= MOST_BYTES {
                return;
            }
            let Some((_, identity)) = self.ages.pop_front() else { return };
            if let Some(Entry::Answered(payload)) = self.entries.remove(&identity) {
                self.bytes -= payload.len() + identity.bytes();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Map;

    fn identity(correlation: &str) -> Identity {
        identity_at("doorward/d/client/a", correlation)
    }

    fn identity_at(topic: &str, correlation: &str) -> Identity {
        let reply =
            ReplyTo { topic: topic.into(), correlation: Some(correlation.as_bytes().to_vec()) };
        Identity::of("enroll", &reply, || panic!("not looked up")).unwrap()
    }

    fn answer(status: u16) -> Answer {
        Answer { status, fields: Map::new() }
    }

    fn payload(size: usize) -> Arc<Vec<u8>> {
        Arc::new(vec![7; size])
    }

    fn remember(memory: &mut Memory, identity: &Identity, status: u16, size: usize, now: Instant) {
        assert_eq!(memory.meet(identity, now), Seen::Never);
        let repeats = memory.finish(identity.clone(), Some((&answer(status), &payload(size))), now);
        assert_eq!(repeats, 0);
    }

    #[test]
    fn a_repeat_is_answered_from_memory_for_ten_minutes() {
        let (mut memory, start) = (Memory::default(), Instant::now());
        remember(&mut memory, &identity("1"), 200, 5, start);
        let later = start + Duration::from_secs(599);
        assert_eq!(memory.meet(&identity("1"), later), Seen::Answered(payload(5)));
        let too_late = start + Duration::from_secs(600);
        assert_eq!(memory.meet(&identity("1"), too_late), Seen::Never);
        assert_eq!(memory.bytes, 0);
    }

    #[test]
    fn repeats_of_what_is_in_work_are_counted() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        assert_eq!(memory.meet(&identity("1"), now), Seen::Never);
        assert_eq!(memory.meet(&identity("1"), now), Seen::InWork);
        assert_eq!(memory.meet(&identity("1"), now), Seen::InWork);
        assert_eq!(memory.finish(identity("1"), Some((&answer(200), &payload(1))), now), 2);
    }

    #[test]
    fn a_flood_of_repeats_is_not_answered_one_by_one() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        for _ in 0..100_000 {
            memory.meet(&identity("1"), now);
        }
        let repeats = memory.finish(identity("1"), Some((&answer(200), &payload(1))), now);
        assert_eq!(repeats, MOST_RESENDS);
    }

    #[test]
    fn what_was_not_done_is_not_remembered() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        for status in [401, 500, 503] {
            remember(&mut memory, &identity("1"), status, 5, now);
        }
        assert_eq!(memory.meet(&identity("1"), now), Seen::Never);
        assert_eq!(memory.finish(identity("1"), None, now), 0);
        for status in [200, 400, 403] {
            remember(&mut memory, &identity(&status.to_string()), status, 5, now);
            let seen = memory.meet(&identity(&status.to_string()), now);
            assert!(matches!(seen, Seen::Answered(_)), "{status}");
        }
    }

    #[test]
    fn who_asks_and_for_what_belongs_to_the_identity() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        remember(&mut memory, &identity_at("doorward/d/client/a", "1"), 200, 5, now);
        remember(&mut memory, &identity_at("doorward/d/client/b", "1"), 200, 5, now);
        let reply =
            ReplyTo { topic: "doorward/d/client/a".into(), correlation: Some(b"1".to_vec()) };
        let other = Identity::of("verify", &reply, || None).unwrap();
        remember(&mut memory, &other, 200, 5, now);
    }

    #[test]
    fn request_id_counts_where_there_is_no_correlation_data() {
        let reply = ReplyTo { topic: "t".into(), correlation: None };
        let one = Identity::of("enroll", &reply, || Some("1".into()));
        assert_eq!(one, Identity::of("enroll", &reply, || Some("1".into())));
        assert_ne!(one, Identity::of("enroll", &reply, || Some("2".into())));
        assert_eq!(Identity::of("enroll", &reply, || None), None);
    }

    #[test]
    fn bounded_by_number() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        for n in 0..MOST_ANSWERS + 10 {
            remember(&mut memory, &identity(&n.to_string()), 200, 5, now);
        }
        assert_eq!(memory.entries.len(), MOST_ANSWERS);
        assert_eq!(memory.meet(&identity("9"), now), Seen::Never);
        assert!(matches!(memory.meet(&identity("10"), now), Seen::Answered(_)));
    }

    #[test]
    fn bounded_by_bytes() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        for n in 0..100 {
            remember(&mut memory, &identity(&n.to_string()), 200, 1024 * 1024, now);
            assert!(memory.bytes <= MOST_BYTES);
        }
        assert_eq!(memory.entries.len(), 7);
        // One that would push everything else out is not kept at all.
        remember(&mut memory, &identity("huge"), 200, MOST_BYTES, now);
        assert_eq!(memory.entries.len(), 7);
    }
}
