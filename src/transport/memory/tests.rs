use super::*;
use serde_json::Map;

/// A reply address of MQTT.
#[derive(Clone, Debug, PartialEq)]
struct ReplyTo {
    topic: String,
    correlation: Option<Vec<u8>>,
}

const BODY: Digest = [1; 32];

fn memory() -> Memory<ReplyTo> {
    Memory::new(Duration::from_secs(600))
}

fn reply_to(topic: &str, correlation: &str) -> ReplyTo {
    ReplyTo { topic: topic.into(), correlation: Some(correlation.as_bytes().to_vec()) }
}

fn reply(correlation: &str) -> ReplyTo {
    reply_to("doorward/d/client/a", correlation)
}

fn identities(
    operation: &str,
    sender: &Sender,
    reply: &ReplyTo,
    request_id: Option<String>,
    content: Digest,
) -> Vec<Identity> {
    let correlation = reply.correlation.clone();
    Identity::of(operation, sender, &reply.topic, correlation, request_id, content)
}

fn identity(correlation: &str) -> Vec<Identity> {
    identities("enroll", &Sender::Anybody, &reply(correlation), None, BODY)
}

fn meet(memory: &mut Memory<ReplyTo>, correlation: &str, now: Instant) -> Seen {
    memory.meet(&identity(correlation), || reply(correlation), now)
}

fn answer(status: u16) -> Answer {
    Answer { status, fields: Map::new() }
}

fn payload(size: usize) -> Arc<Vec<u8>> {
    Arc::new(vec![7; size])
}

fn remember(
    memory: &mut Memory<ReplyTo>,
    identities: &[Identity],
    status: u16,
    size: usize,
    now: Instant,
) {
    assert_eq!(memory.meet(identities, || reply("1"), now), Seen::Never);
    let answer = (&answer(status), &payload(size));
    assert_eq!(memory.finish(identities.to_vec(), Some(answer), now), []);
}

#[test]
fn a_repeat_is_answered_from_memory_for_ten_minutes() {
    let (mut memory, start) = (memory(), Instant::now());
    remember(&mut memory, &identity("1"), 200, 5, start);
    let later = start + Duration::from_secs(599);
    assert_eq!(meet(&mut memory, "1", later), Seen::Answered(payload(5)));
    let too_late = start + Duration::from_secs(600);
    assert_eq!(meet(&mut memory, "1", too_late), Seen::Never);
    assert_eq!(memory.bytes, 0);
}

#[test]
fn what_was_answered_about_a_deleted_subject_is_forgotten_except_its_deletion() {
    let (mut memory, now) = (memory(), Instant::now());
    let mut done = answer(200);
    done.fields.insert("subject_id".into(), "anna".into());
    let deletion = identities("subject/delete", &Sender::Anybody, &reply("2"), None, BODY);
    for identities in [identity("1"), deletion.clone()] {
        assert_eq!(memory.meet(&identities, || reply("1"), now), Seen::Never);
        memory.finish(identities, Some((&done, &payload(5))), now);
    }
    memory.forget_subjects(|id| id == "anna");
    assert_eq!(meet(&mut memory, "1", now), Seen::Answered(payload(5)));
    memory.forget_subjects(|_| false);
    assert_eq!(meet(&mut memory, "1", now), Seen::Never);
    assert_eq!(memory.meet(&deletion, || reply("2"), now), Seen::Answered(payload(5)));
    memory.finish(identity("1"), None, now);
    memory.forget_old(now + Duration::from_secs(600));
    assert_eq!((memory.bytes, memory.entries.len(), memory.ages.len()), (0, 0, 0));
}

#[test]
fn repeats_of_a_command_in_work_wait_for_its_answer() {
    let (mut memory, now) = (memory(), Instant::now());
    assert_eq!(meet(&mut memory, "1", now), Seen::Never);
    assert_eq!(meet(&mut memory, "1", now), Seen::InWork);
    assert_eq!(meet(&mut memory, "1", now), Seen::InWork);
    let waiting = memory.finish(identity("1"), Some((&answer(200), &payload(1))), now);
    assert_eq!(waiting, [reply("1"), reply("1")]);
}

#[test]
fn at_most_sixteen_repeats_get_the_answer() {
    let (mut memory, now) = (memory(), Instant::now());
    for _ in 0..100_000 {
        meet(&mut memory, "1", now);
    }
    let waiting = memory.finish(identity("1"), Some((&answer(200), &payload(1))), now);
    assert_eq!(waiting.len(), MOST_RESENDS);
}

#[test]
fn failed_and_refused_commands_are_not_remembered() {
    let (mut memory, now) = (memory(), Instant::now());
    for status in [400, 401, 403, 500, 503] {
        remember(&mut memory, &identity("1"), status, 5, now);
    }
    let failed = [("error_code".to_owned(), "FAIL_ON_4".into())].into_iter().collect();
    let failed = Answer { status: 200, fields: failed };
    assert_eq!(meet(&mut memory, "1", now), Seen::Never);
    assert_eq!(memory.finish(identity("1"), Some((&failed, &payload(5))), now), []);
    assert_eq!(meet(&mut memory, "1", now), Seen::Never);
    assert_eq!(memory.finish(identity("1"), None, now), []);
    remember(&mut memory, &identity("1"), 200, 5, now);
    assert_eq!(meet(&mut memory, "1", now), Seen::Answered(payload(5)));
}

#[test]
fn another_body_under_a_known_id_is_another_request() {
    let (mut memory, now) = (memory(), Instant::now());
    let of =
        |content| identities("enroll", &Sender::Anybody, &reply("1"), Some("r".into()), content);
    remember(&mut memory, &of([1; 32]), 200, 5, now);
    assert_eq!(memory.meet(&of([2; 32]), || reply("1"), now), Seen::Never);
    // Nor does a command in work answer for another.
    assert_eq!(memory.meet(&of([3; 32]), || reply("1"), now), Seen::Never);
    assert_eq!(memory.meet(&of([2; 32]), || reply("1"), now), Seen::InWork);
}

#[test]
fn an_empty_id_counts_as_no_id() {
    let of = |correlation: &str, id: &str| {
        identities("enroll", &Sender::Anybody, &reply(correlation), Some(id.into()), BODY)
    };
    assert_eq!(
        [of("", ""), of("", "r"), of("1", ""), of("1", "r")].map(|ids| ids.len()),
        [0, 1, 1, 2]
    );
}

#[test]
fn sender_operation_and_topic_belong_to_the_identity() {
    let (mut memory, now) = (memory(), Instant::now());
    let one = Sender::Application("1".into());
    for (operation, sender, topic) in [
        ("enroll", &Sender::Anybody, "a"),
        ("enroll", &Sender::Anybody, "b"),
        ("verify", &Sender::Anybody, "a"),
        ("enroll", &Sender::Client("1".into()), "a"),
        ("enroll", &one, "a"),
        ("enroll", &Sender::Application("2".into()), "a"),
    ] {
        let reply = reply_to(topic, "1");
        let identities = identities(operation, sender, &reply, Some("r".into()), BODY);
        assert_eq!(identities.len(), 2);
        remember(&mut memory, &identities, 200, 5, now);
    }
    let nameless = ReplyTo { correlation: None, ..reply("1") };
    assert_eq!(identities("enroll", &one, &nameless, None, BODY), []);
}

#[test]
fn a_request_id_is_enough_for_a_repeat() {
    let (mut memory, now) = (memory(), Instant::now());
    let of = |correlation: &str| {
        identities("enroll", &Sender::Anybody, &reply(correlation), Some("r".into()), BODY)
    };
    assert_eq!(memory.meet(&of("1"), || reply("1"), now), Seen::Never);
    assert_eq!(memory.meet(&of("2"), || reply("2"), now), Seen::InWork);
    let waiting = memory.finish(of("1"), Some((&answer(200), &payload(5))), now);
    assert_eq!(waiting, [reply("2")]);
    assert_eq!(memory.meet(&of("3"), || reply("3"), now), Seen::Answered(payload(5)));
}

#[test]
fn the_memory_is_bounded_by_number() {
    let (mut memory, now) = (memory(), Instant::now());
    for n in 0..MOST_ANSWERS + 10 {
        remember(&mut memory, &identity(&n.to_string()), 200, 5, now);
    }
    assert_eq!(memory.entries.len(), MOST_ANSWERS);
    assert_eq!(meet(&mut memory, "9", now), Seen::Never);
    assert!(matches!(meet(&mut memory, "10", now), Seen::Answered(_)));
}

#[test]
fn the_memory_is_bounded_by_bytes() {
    let (mut memory, now) = (memory(), Instant::now());
    for n in 0..100 {
        remember(&mut memory, &identity(&n.to_string()), 200, 1024 * 1024, now);
        assert!(memory.bytes <= MOST_BYTES);
    }
    assert_eq!(memory.entries.len(), 7);
    // An answer that would push out all others is not kept.
    remember(&mut memory, &identity("huge"), 200, MOST_BYTES, now);
    assert_eq!(memory.entries.len(), 7);
}

#[test]
fn a_new_key_is_not_remembered() {
    let fields = serde_json::json!({"app_id": "a", "api_key": "dwk_secret"});
    let fields = fields.as_object().unwrap().clone();
    let answer = Answer { status: 200, fields };
    let sent = Arc::new(answer.to_payload());
    let remembered = String::from_utf8(kept(&answer, &sent).to_vec()).unwrap();
    assert!(remembered.contains("app_id") && !remembered.contains("dwk_"), "{remembered}");
    let other = Answer { status: 200, fields: Map::new() };
    let sent = Arc::new(other.to_payload());
    assert_eq!(kept(&other, &sent), sent);
}
