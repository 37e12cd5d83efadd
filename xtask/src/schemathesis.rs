//! `cargo xtask schemathesis`: a fuzzer that knows only `/openapi.json` asks the live daemon. An
//! answer that the description does not allow, or a 500, fails.
//!
//! One of its checks is off: it expects a 2xx for every request that fits the description. A
//! description cannot say that a picture must have a face, or that an id must be enrolled.

use crate::cargo::cargo;
use crate::python::{self, VenvError};
use crate::workspace::root;
use serde_json::Value;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const REQUIREMENTS: &str = "xtask/schemathesis.txt";
const VENV: &str = "target/schemathesis-venv";
/// The daemon's folder.
const WORK: &str = "target/schemathesis";
/// Requests by each operation and way to make them up.
const EXAMPLES: &str = "30";
/// The same requests in each run.
const SEED: &str = "1";
const PATIENCE: Duration = Duration::from_secs(30);

/// Why it did not pass.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Venv(#[from] VenvError),
    #[error("the system refused: {0}")]
    System(#[from] io::Error),
    #[error("the daemon did not start; see target/schemathesis/log")]
    NoDaemon,
    #[error("the daemon made no application: {0}")]
    NoApplication(serde_json::Error),
    #[error("{0} failed, see above")]
    Failed(&'static str),
}

/// The daemon, ended when dropped.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // Fails only if it has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Builds and starts the daemon, and lets the fuzzer ask it.
pub fn run() -> Result<(), Error> {
    let python = python::venv(VENV, REQUIREMENTS)?;
    let built =
        cargo().args(["build", "--release", "-p", "doorward", "--bin", "doorward"]).status()?;
    if !built.success() {
        return Err(Error::Failed("cargo build"));
    }
    let work = root().join(WORK);
    match fs::remove_dir_all(&work) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => fs::create_dir_all(&work)?,
    }
    let config = work.join("doorward.toml");
    let data = work.join("data");
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let text = format!(
        "[device]\nid = \"fuzzed\"\ndata_dir = {data:?}\n[mqtt]\nport = {port}\n[http]\nport = 0\n"
    );
    fs::write(&config, text)?;
    let daemon = || {
        let mut command = Command::new(root().join("target/release/doorward"));
        command.arg("--config").arg(&config);
        command
    };
    let log = work.join("log");
    let mut running = daemon();
    running.arg("run").stdout(Stdio::null()).stderr(File::create(&log)?);
    let _running = Daemon(running.spawn()?);
    let url = url(&log)?;
    let made = daemon()
        .args(["app", "create", "fuzzer", "--allow"])
        .arg("enroll,verify,search,liveness,compare,subject,unlock,admin")
        .output()?;
    let made: Value = serde_json::from_slice(&made.stdout).map_err(Error::NoApplication)?;
    let header =
        |name: &str, field: &str| format!("{name}: {}", made[field].as_str().unwrap_or(""));
    let status = Command::new(python)
        .args(["-m", "schemathesis.cli", "run", &format!("{url}/openapi.json")])
        .args(["-H", &header("App-ID", "app_id"), "-H", &header("API-Key", "api_key")])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", EXAMPLES, "--seed", SEED])
        .args(["--exclude-checks", "positive_data_acceptance"])
        // It writes a cache there.
        .current_dir(&work)
        .status()?;
    if status.success() { Ok(()) } else { Err(Error::Failed("schemathesis")) }
}

/// Waits until the daemon listens, and returns where.
fn url(log: &Path) -> Result<String, Error> {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        let text = fs::read_to_string(log)?;
        let at = text.split_once("HTTP on ").map(|(_, rest)| rest);
        if let (Some(url), true) =
            (at.and_then(|rest| rest.lines().next()), text.contains("ready_ms"))
        {
            return Ok(url.trim().to_owned());
        }
        sleep(Duration::from_millis(50));
    }
    Err(Error::NoDaemon)
}
