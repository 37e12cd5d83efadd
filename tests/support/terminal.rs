//! Runs the real binary as a daemon in its own folder, stopped with the test.
use super::ports::Port;
use serde_json::Value;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Start and stop take well under a second; a loaded machine needs more.
const PATIENCE: Duration = Duration::from_secs(30);

/// A terminal with the id `front`: its folder and configuration, and the daemon while it runs.
pub struct Terminal {
    dir: TempDir,
    daemon: Option<Child>,
    port: Port,
}

impl Terminal {
    /// Writes the configuration: the embedded broker on a free port, then what `more` adds (TOML
    /// whose `[mqtt]` keys come first, without that header).
    pub fn prepare(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = Port::reserve(Ipv4Addr::LOCALHOST.into()).unwrap();
        let own = format!("port = {}\n", port.number());
        let port_key = if more.contains("port =") { String::new() } else { own };
        let terminal = Self { dir, daemon: None, port };
        let text = format!(
            "[device]\nid = \"front\"\ndata_dir = {:?}\n[mqtt]\n{port_key}{more}\n",
            terminal.data_dir()
        );
        fs::write(terminal.file("doorward.toml"), text).unwrap();
        terminal
    }

    /// Prepares and starts; returns when the daemon answers.
    pub fn start(more: &str) -> Self {
        let mut terminal = Self::prepare(more);
        terminal.run();
        terminal
    }

    /// Starts the daemon and waits until it has logged that it is ready.
    pub fn run(&mut self) {
        let command = self.command();
        self.run_command(command);
    }

    /// Like [`Self::run`], with these variables in its environment.
    pub fn run_with(&mut self, environment: &[(&str, &str)]) {
        let mut command = self.command();
        command.envs(environment.iter().copied());
        self.run_command(command);
    }

    /// Like [`Self::run`], with a limit: no file of the daemon grows beyond `bytes` (rounded up to
    /// the next 512), and writing more is an error.
    pub fn run_with_files_up_to(&mut self, bytes: u64) {
        let daemon = self.command();
        let mut shell = Command::new("sh");
        let script = "trap '' XFSZ; ulimit -f \"$0\"; exec \"$@\"";
        shell.args(["-c", script, &bytes.div_ceil(512).to_string()]);
        shell.arg(daemon.get_program()).args(daemon.get_args());
        self.run_command(shell);
    }

    /// Starts the daemon, its log to `stderr`; returns at once.
    pub fn run_logging_to(&mut self, stderr: impl Into<Stdio>) {
        let child = self.command().arg("run").stderr(stderr).stdout(Stdio::null()).spawn().unwrap();
        self.daemon = Some(child);
    }

    fn run_command(&mut self, mut command: Command) {
        let log = fs::File::create(self.file("log")).unwrap();
        let child = command.arg("run").stderr(log).stdout(Stdio::null()).spawn().unwrap();
        self.daemon = Some(child);
        let started = Instant::now();
        while !self.log().contains("ready") {
            let ended = self.daemon.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the daemon ended: {}", self.log());
            assert!(started.elapsed() < PATIENCE, "the daemon is not ready: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends SIGTERM; returns true if the daemon ended cleanly.
    pub fn stop(&mut self) -> bool {
        let mut child = self.daemon.take().unwrap();
        Command::new("kill").arg(child.id().to_string()).status().unwrap();
        let started = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status.success();
            }
            if started.elapsed() > PATIENCE {
                child.kill().unwrap();
                panic!("the daemon did not stop: {}", self.log());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends a signal by its name, such as `HUP`.
    pub fn signal(&self, name: &str) {
        let id = self.daemon.as_ref().unwrap().id().to_string();
        Command::new("kill").args(["-s", name, &id]).status().unwrap();
    }

    /// Sends SIGKILL, which acts like a power cut.
    pub fn kill(&mut self) {
        let mut child = self.daemon.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Returns the daemon's process id.
    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().unwrap().id()
    }

    /// Starts the daemon through `command`, to which the program and its arguments are appended.
    pub fn run_by(&mut self, mut command: Command) {
        let daemon = self.command();
        command.arg(daemon.get_program()).args(daemon.get_args());
        self.run_command(command);
    }

    /// Returns the port of the embedded broker.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Reads a field of the daemon's `/proc/<pid>/status`, in KiB: `VmRSS`, `VmHWM`.
    pub fn memory_kib(&self, name: &str) -> u64 {
        let id = self.daemon.as_ref().unwrap().id();
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_matches([':', '\t', ' ', 'k', 'B']).parse().unwrap()
    }

    /// Returns the path of a file in its folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `device.data_dir`.
    pub fn data_dir(&self) -> PathBuf {
        self.file("data")
    }

    /// Returns the daemon's log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    /// Returns a command: the binary with this terminal's configuration.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_doorward"));
        // Any free port: several daemons run at a time.
        command.env("DOORWARD__HTTP__PORT", "0");
        command.arg("--config").arg(self.file("doorward.toml"));
        command
    }

    /// Runs a command of the command line to its end.
    pub fn cli(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().unwrap()
    }

    /// Like [`Self::cli`], and parses its standard output as JSON.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.cli(arguments);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!(
                "{arguments:?}: {error}\n{}\n{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            )
        })
    }

    /// Sends a request through the broker.
    pub fn call(&self, operation: &str, body: &Value) -> Value {
        self.json(&["call", operation, &body.to_string()])
    }

    /// Sends a request through the broker with a picture file as `image`.
    pub fn call_with(&self, operation: &str, body: &Value, image: &Path) -> Value {
        self.json(&["call", operation, &body.to_string(), "--image", image.to_str().unwrap()])
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(mut child) = self.daemon.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Returns the path of an official portrait: `obama`, `obama2`, `obama3`, `biden`.
pub fn portrait(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/portraits").join(format!("{name}.jpg"))
}

/// Returns the folder of development photographs; `None` with a message if it is not available.
pub fn data(test: &str) -> Option<PathBuf> {
    let data = std::env::var_os("DOORWARD_DATA").map(PathBuf::from);
    if data.is_none() {
        eprintln!("SKIPPED {test}: DOORWARD_DATA is not set");
    }
    data
}
