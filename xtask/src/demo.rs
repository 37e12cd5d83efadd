//! `cargo xtask demo`: the main job on real portraits. Builds, starts the daemon with its embedded
//! broker, and asks it over MQTT, printing every answer; ends with an error when one is not as told.

use crate::cargo::{self, CargoError};
use crate::workspace::{release, root};
use serde_json::{Value, json};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The daemon is ready in well under a second; a machine that swaps gets more.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Answers longer than this are cut when printed.
const SHOWN: usize = 1400;

/// Why the demonstration did not end well.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The build.
    #[error(transparent)]
    Cargo(#[from] CargoError),
    /// A file, a port, a process.
    #[error("{what}: {reason}")]
    System {
        /// What was tried.
        what: String,
        /// What the system says.
        reason: std::io::Error,
    },
    /// The daemon did not come up.
    #[error("the daemon was not ready within {} s; its log is {}", READY_WITHIN.as_secs(), .0.display())]
    NotReady(PathBuf),
    /// An answer was not as expected.
    #[error("{step}: expected {expected}, got {answer}")]
    Unexpected {
        /// The step.
        step: String,
        /// What should have come.
        expected: String,
        /// What came.
        answer: String,
    },
}

fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> DemoError {
    let what = what.into();
    move |reason| DemoError::System { what, reason }
}

/// Builds and shows.
pub fn run() -> Result<(), DemoError> {
    let started = Instant::now();
    cargo::run(cargo::BUILD)?;
    println!("built in {:.0} s\n", started.elapsed().as_secs_f32());

    let terminal = Terminal::start()?;
    println!("$ doorward run     # embedded broker on 127.0.0.1:{}, ready\n", terminal.port);

    terminal.ask(
        "enroll a resident",
        "enroll",
        json!({ "subject_id": "barack" }),
        Some("obama.jpg"),
        |answer| answer["status_code"] == "FACE-101" && answer["subject_id"] == "barack",
    )?;
    terminal.ask(
        "verify: is another photograph the same person?",
        "verify",
        json!({ "subject_id": "barack", "threshold": "moderate" }),
        Some("obama2.jpg"),
        |answer| answer["similarity_status"] == true,
    )?;
    terminal.ask(
        "search: who is in a third photograph, if it passes every check?",
        "search",
        json!({
            "validate_liveness": true, "validate_attribute": true, "validate_quality": true,
            "validate_nface": true
        }),
        Some("obama3.jpg"),
        |answer| answer["matches"][0]["subject_id"] == "barack",
    )?;
    terminal.ask(
        "liveness: a portrait",
        "liveness",
        json!({ "validate_quality": true }),
        Some("obama2.jpg"),
        |answer| answer["liveness"]["status"] == true,
    )?;
    terminal.ask(
        "liveness: the same portrait on the screen of a telephone",
        "liveness",
        json!({ "validate_quality": true }),
        Some("replayed.jpg"),
        |answer| answer["message"] == "Request Success" && answer["liveness"]["status"] == false,
    )?;
    terminal.ask(
        "verify: the telephone is refused, whoever it shows",
        "verify",
        json!({ "subject_id": "barack", "is_liveness": true, "validate_liveness": true }),
        Some("replayed.jpg"),
        |answer| answer["error_code"] == "FAIL_ON_1" && answer.get("similarity").is_none(),
    )?;
    terminal.ask(
        "search: an unknown person comes back as nobody",
        "search",
        json!({}),
        Some("biden.jpg"),
        |answer| answer["status_code"] == "FACE-201" && answer["matches"] == json!([]),
    )?;
    terminal.ask(
        "enroll the unknown person",
        "enroll",
        json!({ "subject_id": "joe" }),
        Some("biden.jpg"),
        |answer| answer["subject_id"] == "joe",
    )?;
    terminal.ask(
        "verify: someone else's claim fails",
        "verify",
        json!({ "subject_id": "joe" }),
        Some("obama.jpg"),
        |answer| answer["error_code"] == "FAIL_ON_16" && answer["similarity_status"] == false,
    )?;
    terminal.ask("who is enrolled", "subject/list", json!({}), None, |answer| {
        answer["subjects"].as_array().is_some_and(|subjects| subjects.len() == 2)
    })?;
    terminal
        .ask("counts and timings", "stats", json!({}), None, |answer| answer["status"] == 200)?;
    terminal.stop()?;
    println!("demonstration done in {:.0} s, build included", started.elapsed().as_secs_f32());
    Ok(())
}

/// A daemon of its own in a throw-away folder; killed when dropped.
struct Terminal {
    daemon: Child,
    folder: PathBuf,
    port: u16,
}

impl Terminal {
    fn start() -> Result<Self, DemoError> {
        let folder = root().join(format!("target/demo-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(system("cannot make the folder"))?;
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .map_err(system("no free port on loopback"))?
            .port();
        let config = format!(
            "[device]\nid = \"demo\"\ndata_dir = {:?}\n[mqtt]\nport = {port}\n",
            folder.join("data")
        );
        std::fs::write(folder.join("doorward.toml"), config)
            .map_err(system("cannot write the configuration"))?;
        let log =
            std::fs::File::create(folder.join("log")).map_err(system("cannot make the log"))?;
        let daemon = doorward(&folder)
            .arg("run")
            .stderr(log)
            .spawn()
            .map_err(system("cannot start the daemon"))?;
        let mut terminal = Self { daemon, folder, port };
        let started = Instant::now();
        while !terminal.is_ready()? {
            let ended = terminal.daemon.try_wait().map_err(system("the daemon"))?;
            if ended.is_some() || started.elapsed() > READY_WITHIN {
                return Err(DemoError::NotReady(terminal.folder.join("log")));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(terminal)
    }

    fn is_ready(&self) -> Result<bool, DemoError> {
        let output = doorward(&self.folder)
            .args(["call", "health", "--timeout", "2"])
            .stderr(Stdio::null())
            .output()
            .map_err(system("cannot call the daemon"))?;
        Ok(output.status.success())
    }

    /// One request over MQTT; prints it, the answer and the time it took.
    fn ask(
        &self,
        step: &str,
        operation: &str,
        body: Value,
        portrait: Option<&str>,
        expected: impl Fn(&Value) -> bool,
    ) -> Result<(), DemoError> {
        let mut command = doorward(&self.folder);
        command.args(["call", operation, &body.to_string()]);
        let mut shown = format!("$ doorward call {operation} '{body}'");
        if let Some(portrait) = portrait {
            command.arg("--image").arg(root().join("tests/portraits").join(portrait));
            shown += &format!(" --image tests/portraits/{portrait}");
        }
        println!("# {step}\n{shown}");
        let sent = Instant::now();
        let output = command.output().map_err(system("cannot call the daemon"))?;
        let took = sent.elapsed().as_secs_f64() * 1e3;
        let text = String::from_utf8_lossy(&output.stdout);
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        println!("doorward/demo/cmd/{operation} → {}", cut(text.trim_end()));
        println!("# {took:.0} ms from the start of the client to its end\n");
        if expected(&answer) {
            return Ok(());
        }
        let problem = String::from_utf8_lossy(&output.stderr);
        Err(DemoError::Unexpected {
            step: step.into(),
            expected: "another answer".into(),
            answer: format!("{text}{problem}"),
        })
    }

    /// SIGTERM, as a service manager would; a clean end is part of the demonstration.
    fn stop(mut self) -> Result<(), DemoError> {
        Command::new("kill")
            .arg(self.daemon.id().to_string())
            .status()
            .map_err(system("cannot stop the daemon"))?;
        let status = self.daemon.wait().map_err(system("the daemon"))?;
        if status.success() {
            return Ok(());
        }
        Err(DemoError::Unexpected {
            step: "stop".into(),
            expected: "a clean end".into(),
            answer: status.to_string(),
        })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Already gone after `stop`; after an error it must not stay behind.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(self.folder.join("data"));
        }
    }
}

fn doorward(folder: &Path) -> Command {
    let mut command = Command::new(release("doorward"));
    command.arg("--config").arg(folder.join("doorward.toml"));
    command
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}… ({} characters)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}
