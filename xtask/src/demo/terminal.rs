//! A separate daemon in a temporary folder.

use super::{DemoError, system};
use crate::workspace::{release, root};
use serde_json::Value;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The daemon is ready in well under a second; this allows for a machine that swaps.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Answers longer than this are cut when printed.
const SHOWN: usize = 1400;

/// The daemon; killed when dropped.
pub struct Terminal {
    daemon: Child,
    folder: PathBuf,
    /// The port of its broker.
    pub port: u16,
}

impl Terminal {
    /// Starts the daemon and waits until it answers.
    pub fn start() -> Result<Self, DemoError> {
        let folder = root().join(format!("target/demo-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(system("cannot make the folder"))?;
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .map_err(system("no free port on loopback"))?
            .port();
        configure(&folder, port, "")?;
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

    /// Replaces the keys after those of device and broker, and reloads the configuration.
    pub fn reconfigure(&self, keys: &str) -> Result<(), DemoError> {
        configure(&self.folder, self.port, keys)?;
        let id = self.daemon.id().to_string();
        let sent = Command::new("kill").args(["-s", "HUP", &id]).status();
        sent.map(drop).map_err(system("cannot reach the daemon"))
    }

    /// Returns the daemon's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs the command line and returns its output.
    pub fn cli(&self, arguments: &[&str]) -> Result<String, DemoError> {
        let output = doorward(&self.folder)
            .args(arguments)
            .output()
            .map_err(system("cannot run the command line"))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn is_ready(&self) -> Result<bool, DemoError> {
        let output = doorward(&self.folder)
            .args(["call", "health", "--timeout", "2"])
            .stderr(Stdio::null())
            .output()
            .map_err(system("cannot call the daemon"))?;
        Ok(output.status.success())
    }

    /// Sends one request over MQTT; prints it, the answer and the time it took.
    pub fn ask(
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

    /// Sends SIGTERM, as a service manager would; a clean end is part of the demonstration.
    pub fn stop(mut self) -> Result<(), DemoError> {
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
        // Already ended after `stop`; after an error it must not keep running.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(self.folder.join("data"));
        }
    }
}

fn configure(folder: &Path, port: u16, keys: &str) -> Result<(), DemoError> {
    let data_dir = folder.join("data");
    let config =
        format!("[device]\nid = \"demo\"\ndata_dir = {data_dir:?}\n[mqtt]\nport = {port}\n{keys}");
    std::fs::write(folder.join("doorward.toml"), config)
        .map_err(system("cannot write the configuration"))
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
