//! The checks on the virtual terminal, in the order in which they run.

use super::VmError;
use super::terminal::{PULSE, Terminal, expect};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

/// Tolerance of the invariant beyond the pulse, including the delay of an observation from outside.
const GRACE: Duration = Duration::from_secs(1);

/// Checks that a still portrait opens the door while liveness is off; then tests every failure.
pub fn recognition(terminal: &mut Terminal<'_>, portraits: &Path) -> Result<(), VmError> {
    terminal.step("the camera gives YUYV and the daemon starts, liveness off for this test")?;
    terminal.plug_camera("YUYV")?;
    terminal.start("recognition")?;
    let camera = terminal.camera("streaming")?;
    expect("the camera's format", &camera, camera["format"] == "YUYV")?;

    terminal.step("a resident is enrolled over the broker, and put into a group")?;
    terminal.enrol(&portraits.join("obama2.jpg"), "obama")?;
    terminal.command("gallery update obama --groups family")?;

    let before = terminal.pulses();
    terminal.step("a stranger is not recognised, and the strike does not move")?;
    terminal.show("biden.jpg")?;
    let refused = terminal.event("access", "unknown")?;
    expect("a stranger's event", &refused, refused.get("subject_id").is_none())?;
    expect_liveness_off(&refused)?;
    expect("the strike's pulses", &json!(terminal.pulses()), terminal.pulses() == before)?;
    terminal.show_empty_scene()?;

    terminal.step("the resident is admitted: one pulse, seen from outside")?;
    granted(terminal)?;

    let torn = terminal.step("the camera is disconnected")?;
    terminal.unplug_camera()?;
    terminal.camera("lost")?;
    terminal.event("camera", "lost")?;
    println!("  reported after {:.1} s", torn.elapsed().as_secs_f64());

    terminal.step("the button inside opens without a camera")?;
    let before = terminal.pulses();
    terminal.press_button_until_felt()?;
    terminal.event("door", "exit_pressed")?;
    pulse(terminal)?;
    expect("the strike's pulses", &json!(terminal.pulses()), terminal.pulses() == before + 1)?;

    terminal.step("the camera is reconnected, with MJPG")?;
    terminal.plug_camera("MJPG")?;
    let camera = terminal.camera("streaming")?;
    expect("the camera's format", &camera, camera["format"] == "MJPG")?;

    terminal.step("the resident is admitted again")?;
    granted(terminal)?;

    terminal.step("the daemon is killed with the strike engaged")?;
    terminal.show("obama.jpg")?;
    let rise = terminal.engaged()?.at;
    terminal.kill()?;
    let killed = rise.elapsed();
    let fall = terminal.locked()?.at;
    let engaged = fall.duration_since(rise);
    println!(
        "  killed within {:.1} s of the rise, low after {:.1} s",
        killed.as_secs_f64(),
        engaged.as_secs_f64()
    );
    let facts = json!({ "killed_s": killed.as_secs_f64(), "engaged_s": engaged.as_secs_f64() });
    expect("killing it within the pulse", &facts, killed < PULSE)?;
    expect("the line's way to its safe level", &facts, engaged <= PULSE + GRACE)?;
    terminal.show_empty_scene()?;
    stays_locked(terminal)
}

/// Shows the same still portrait with liveness required.
pub fn liveness(terminal: &mut Terminal<'_>) -> Result<(), VmError> {
    let before = terminal.pulses();
    terminal.step("the daemon starts again, liveness required; the same portrait is refused")?;
    terminal.start("liveness")?;
    terminal.camera("streaming")?;
    terminal.show("obama.jpg")?;
    let refused = terminal.event("spoof", "spoof")?;
    let reason = refused["reason"].as_str().unwrap_or_default();
    expect("a frozen portrait's reason", &refused, reason.contains("does not move"))?;
    expect("the strike's pulses", &json!(terminal.pulses()), terminal.pulses() == before)?;

    terminal.step("remote unlock is refused unless it is configured")?;
    let answer = terminal.unlock("not-configured")?;
    expect("the answer to unlock", &answer, answer["status"] != 200)?;
    expect("the strike's pulses", &json!(terminal.pulses()), terminal.pulses() == before)?;

    terminal.step("the audit log is intact, and no event was lost")?;
    let verified = terminal.command("audit verify")?;
    let verified: Value = serde_json::from_str(&verified).unwrap_or(Value::String(verified));
    expect("what audit verify says", &verified, verified["status"] == 200)?;
    let recorded = terminal.command("audit list")?;
    let recorded: Vec<Value> =
        recorded.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    events_are_whole(terminal, &recorded)?;

    terminal.step("it stops on SIGTERM, and publishes `stopped`")?;
    terminal.stop()?;
    terminal.available("stopped")
}

/// Checks remote commands, and a camera whose device disappears while it streams and returns.
pub fn remote(terminal: &mut Terminal<'_>) -> Result<(), VmError> {
    let before = terminal.pulses();
    terminal.step("a retained unlock opens nothing when the daemon starts")?;
    terminal.unplug_camera()?;
    terminal.load_pluggable()?;
    terminal.send_unlock("kept", true)?;
    terminal.start("remote")?;
    terminal.camera("streaming")?;
    stays_locked(terminal)?;

    terminal.step("a fresh unlock opens the door, as configured")?;
    let answer = terminal.unlock("fresh")?;
    expect("the answer to unlock", &answer, answer["status"] == 200)?;
    terminal.engaged()?;
    terminal.event("door", "unlocked")?;
    pulse(terminal)?;
    expect("the strike's pulses", &json!(terminal.pulses()), terminal.pulses() == before + 1)?;

    terminal.step("the camera is unplugged")?;
    terminal.pull_out()?;
    terminal.camera("lost")?;
    terminal.step("it is plugged in again")?;
    terminal.plug_in()?;
    terminal.camera("streaming")?;
    terminal.stop()
}

/// Shows the resident, and waits for the grant and its pulse.
fn granted(terminal: &mut Terminal<'_>) -> Result<(), VmError> {
    let before = terminal.pulses();
    let shown = Instant::now();
    terminal.show("obama.jpg")?;
    let rise = terminal.engaged()?;
    // Removed before the next recheck, so that there is one pulse.
    terminal.show_empty_scene()?;
    println!(
        "  engaged {:.1} s after the portrait was shown",
        rise.at.duration_since(shown).as_secs_f64()
    );
    let event = terminal.event("access", "granted")?;
    expect_liveness_off(&event)?;
    expect("the grant's subject", &event, event["subject_id"] == "obama")?;
    println!("  timings in ms: {}", event["timings_ms"]);
    terminal.event("door", "unlocked")?;
    pulse(terminal)?;
    terminal.event("door", "locked")?;
    expect("the strike's pulses", &json!(terminal.pulses()), terminal.pulses() == before + 1)
}

/// Checks that the decision says that liveness is off.
fn expect_liveness_off(event: &Value) -> Result<(), VmError> {
    let reason = event["reason"].as_str().unwrap_or_default();
    expect("the reason of a decision without liveness", event, reason.contains("LIVENESS IS OFF"))
}

/// Checks that the current pulse ends in time.
fn pulse(terminal: &mut Terminal<'_>) -> Result<(), VmError> {
    let rise = terminal.last_rise()?;
    let fall = terminal.locked()?.at;
    let length = fall.duration_since(rise);
    println!("  pulse of {:.2} s, configured {:.0} s", length.as_secs_f64(), PULSE.as_secs_f64());
    let fits = length + GRACE >= PULSE && length <= PULSE + GRACE;
    expect("the pulse's length", &json!(length.as_secs_f64()), fits)
}

/// Checks that the strike stays locked for longer than a pulse.
fn stays_locked(terminal: &mut Terminal<'_>) -> Result<(), VmError> {
    let before = terminal.pulses();
    std::thread::sleep(PULSE + GRACE);
    expect(
        "the strike after the daemon's death",
        &json!(terminal.pulses()),
        terminal.pulses() == before,
    )
}

/// Checks that the broker retains no event, that none was lost, and that none has two numbers.
fn events_are_whole(terminal: &Terminal<'_>, recorded: &[Value]) -> Result<(), VmError> {
    let (mut events, mut retained) = (Vec::new(), Vec::new());
    for message in terminal.heard().iter().filter(|message| message.topic.contains("/event/")) {
        events.push(&message.body);
        if message.retained {
            retained.push(&message.body);
        }
    }
    expect("events that the broker keeps", &json!(retained), retained.is_empty())?;
    let ids: BTreeSet<&str> = events.iter().filter_map(|event| event["id"].as_str()).collect();
    let numbers: BTreeSet<u64> = events.iter().filter_map(|event| event["seq"].as_u64()).collect();
    let counts = json!({ "events": events.len(), "ids": ids.len(), "numbers": numbers.len() });
    println!("  {counts}, {} lines in the audit log", recorded.len());
    expect("ids and numbers of the events", &counts, ids.len() == numbers.len())?;
    let gaps: Vec<u64> = match (numbers.first(), numbers.last()) {
        (Some(first), Some(last)) => (*first..*last).filter(|n| !numbers.contains(n)).collect(),
        _ => Vec::new(),
    };
    expect("numbers of events that were not heard", &json!(gaps), gaps.is_empty())
}
