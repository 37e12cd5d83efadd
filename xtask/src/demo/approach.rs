//! Three people walk up to the door: portraits played as a camera's frames, a simulated strike, and
//! the timeline from the daemon's own audit log. The portraits are still pictures, so the first two
//! are shown with liveness off, as every line says; the third time it is on.

use super::terminal::Terminal;
use super::{DemoError, system};
use crate::workspace::root;
use serde_json::Value;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A decision takes well under a second; this allows for a loaded machine.
const DECIDED_WITHIN: Duration = Duration::from_secs(60);

/// Who stands at the door, and the expected decision.
struct Approach {
    title: &'static str,
    portrait: &'static str,
    liveness: &'static str,
    action: &'static str,
    outcome: &'static str,
}

const APPROACHES: [Approach; 3] = [
    Approach {
        title: "the resident comes: recognised, the strike opens",
        portrait: "obama.jpg",
        liveness: "off-for-this-test",
        action: "access",
        outcome: "granted",
    },
    Approach {
        title: "a stranger comes: not recognised, the door stays shut",
        portrait: "biden.jpg",
        liveness: "off-for-this-test",
        action: "access",
        outcome: "unknown",
    },
    Approach {
        title: "the resident's portrait, with liveness on: a picture does not move",
        portrait: "obama.jpg",
        liveness: "required",
        action: "spoof",
        outcome: "spoof",
    },
];

/// Plays the approaches on a running daemon, one configuration after the other.
pub fn show(terminal: &Terminal) -> Result<(), DemoError> {
    terminal.cli(&["gallery", "delete", "joe"])?;
    println!("$ doorward gallery update barack --groups residents\n");
    terminal.cli(&["gallery", "update", "barack", "--groups", "residents"])?;
    for (index, approach) in APPROACHES.iter().enumerate() {
        let frames = terminal.folder().join(format!("frames-{index}"));
        std::fs::create_dir_all(&frames).map_err(system("cannot make the frames"))?;
        let portrait = root().join("tests/portraits").join(approach.portrait);
        std::fs::copy(portrait, frames.join("1.jpg")).map_err(system("cannot copy a frame"))?;
        let keys = format!(
            "[camera]\nsource = \"replay:{}\"\n[liveness]\npolicy = {:?}\n\
             [access]\ngroups = [\"residents: always\"]\n[door]\nboard = \"pc\"\npulse_ms = 1000\n",
            frames.display(),
            approach.liveness
        );
        println!("# {}\n# kill -HUP, with:\n{}", approach.title, indented(&keys));
        let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        terminal.reconfigure(&keys)?;
        let timeline = decided(terminal, before.as_secs_f64(), approach)?;
        print_timeline(&timeline);
    }
    Ok(())
}

/// Returns the audit log since a time, when it has the decision, and the strike's return if it
/// moved.
fn decided(terminal: &Terminal, since: f64, approach: &Approach) -> Result<Vec<Value>, DemoError> {
    let started = Instant::now();
    loop {
        let mut lines = lines(terminal, since)?;
        // Lines of the previous configuration do not belong to this approach.
        let start = lines.iter().position(|line| line["action"] == "start");
        lines.drain(..start.unwrap_or(lines.len()));
        let is = |line: &Value, action: &str, outcome: &str| {
            line["action"] == action && line["outcome"] == outcome
        };
        let found =
            lines.iter().find(|line| ["access", "spoof"].iter().any(|a| line["action"] == *a));
        if let Some(decision) = found {
            if !is(decision, approach.action, approach.outcome) {
                return Err(unexpected(approach, decision.to_string()));
            }
            let moved = lines.iter().any(|line| is(line, "door", "unlocked"));
            if !moved && approach.outcome != "granted" {
                return Ok(lines);
            }
            if moved && approach.outcome != "granted" {
                return Err(unexpected(approach, "the door opened".into()));
            }
            if lines.iter().any(|line| is(line, "door", "locked")) {
                return Ok(lines);
            }
        }
        if started.elapsed() > DECIDED_WITHIN {
            return Err(unexpected(approach, "no decision in time".into()));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn unexpected(approach: &Approach, answer: String) -> DemoError {
    DemoError::Unexpected {
        step: approach.title.into(),
        expected: format!("{} {}", approach.action, approach.outcome),
        answer,
    }
}

/// Returns the lines of the audit log since a time.
fn lines(terminal: &Terminal, since: f64) -> Result<Vec<Value>, DemoError> {
    let text = terminal.cli(&["audit", "list", "--since", &since.to_string()])?;
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

fn print_timeline(lines: &[Value]) {
    let time = |line: &Value| line["time"].as_f64().unwrap_or(0.0);
    let start = lines.first().map_or(0.0, time);
    for line in lines {
        let text = |name: &str| line[name].as_str().unwrap_or("").to_owned();
        let who = line["subject_id"].as_str().map(|id| format!(" {id}")).unwrap_or_default();
        println!(
            "{:>8.3} s  {:<7} {}{who}  {}",
            time(line) - start,
            text("action"),
            text("outcome"),
            text("reason")
        );
    }
    println!();
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("#   {line}\n")).collect()
}
