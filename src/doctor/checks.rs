//! What a terminal needs, one check each: configuration, data folder, disk, clock, camera, board,
//! broker, daemon. Each says what was found and, unless all is well, what to do.

use crate::camera::{self, Source};
use crate::config::Config;
use crate::daemon;
use crate::gallery::Space;
use crate::terminal::is_synchronised;
use serde::Serialize;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Time to reach the broker.
const PATIENCE: Duration = Duration::from_secs(3);

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    Ok,
    /// The terminal works, but not as most users want it.
    Warning,
    /// The terminal does not work, or not safely.
    Failed,
}

/// A check.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    name: &'static str,
    pub status: Status,
    /// What was found.
    found: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Check {
    /// Returns what was found and what to do, unless all is well.
    pub fn problem(&self) -> Option<String> {
        let Self { name, found, advice, .. } = self;
        advice.as_ref().map(|advice| format!("{name}: {found}; {advice}"))
    }

    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, status: Status::Ok, found: found.into(), advice: None }
    }

    fn warning(name: &'static str, found: impl Into<String>, advice: &str) -> Self {
        Self { name, status: Status::Warning, found: found.into(), advice: Some(advice.into()) }
    }

    fn failed(name: &'static str, found: impl Into<String>, advice: &str) -> Self {
        Self { name, status: Status::Failed, found: found.into(), advice: Some(advice.into()) }
    }
}

/// Runs every check.
pub(super) async fn all(config: &Config, file: Option<&Path>) -> Vec<Check> {
    let mut checks = of_paths(config, file);
    checks.extend([clock(config).await, broker(config).await, running(config).await]);
    checks
}

/// Runs the checks of what the configuration names on this machine.
pub(super) fn of_paths(config: &Config, file: Option<&Path>) -> Vec<Check> {
    vec![configuration(config, file), data(config), disk(config), camera(config), board(config)]
}

fn configuration(config: &Config, file: Option<&Path>) -> Check {
    let name = "configuration";
    if let Err(error) = daemon::check(config) {
        return Check::failed(name, error.to_string(), "correct the named key");
    }
    let Some(file) = file else { return Check::ok(name, "defaults and environment; no file") };
    let found = file.display().to_string();
    // A password may also come from the environment or a file of its own.
    let has_password = fs::read_to_string(file).is_ok_and(|text| Config::has_secret_in(&text));
    match fs::metadata(file) {
        Ok(metadata) if metadata.permissions().mode() & 0o004 != 0 && has_password => {
            let advice = "chmod 640 the file, or move the password to mqtt.password_file or \
                          webhook.secret_file";
            Check::warning(
                name,
                format!("{found} holds a password, and all users can read it"),
                advice,
            )
        }
        _ => Check::ok(name, found),
    }
}

fn data(config: &Config) -> Check {
    let (name, dir) = ("data folder", &config.device.data_dir);
    let found = dir.display();
    match fs::metadata(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let advice = "the first start of `doorward run` makes it";
            Check::warning(name, format!("{found} does not exist"), advice)
        }
        Err(error) => Check::failed(
            name,
            format!("{found}: {error}"),
            "run as the user of the daemon, or correct device.data_dir",
        ),
        Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => Check::warning(
            name,
            format!(
                "{found} is open to other users (mode {:o})",
                metadata.permissions().mode() & 0o777
            ),
            "chmod 700 the folder: it holds templates of faces",
        ),
        Ok(_) if rustix::fs::access(dir, rustix::fs::Access::WRITE_OK).is_err() => Check::failed(
            name,
            format!("{found} is not writable for this user"),
            "run as the user of the daemon, or correct the owner of the folder",
        ),
        Ok(_) => Check::ok(name, found.to_string()),
    }
}

fn disk(config: &Config) -> Check {
    let name = "disk";
    // The folder may not exist yet; its disk does.
    let folder = config.device.data_dir.ancestors().find(|folder| folder.exists());
    let space = folder.and_then(Space::of);
    let Some(space) = space else {
        return Check::warning(name, "unknown", "check device.data_dir");
    };
    let found = format!("{} MB free of {} MB", space.free >> 20, space.size >> 20);
    if space.read_only {
        Check::failed(name, format!("read-only, {found}"), "mount it for writing")
    } else if space.is_short() {
        Check::failed(name, found, "free some space: enrolments are refused")
    } else {
        Check::ok(name, found)
    }
}

async fn clock(config: &Config) -> Check {
    let name = "clock";
    if is_synchronised().await {
        return Check::ok(name, "synchronised");
    }
    if config.schedules.trust_clock {
        return Check::ok(name, "not synchronised, trusted by schedules.trust_clock");
    }
    let advice = "start systemd-timesyncd or chrony; until then, schedules grant nothing";
    Check::warning(name, "not synchronised since boot", advice)
}

fn camera(config: &Config) -> Check {
    let name = "camera";
    let settings = match camera::Settings::new(&config.camera) {
        Ok(Some(settings)) => settings,
        Ok(None) => {
            let advice = "set camera.source; `doorward camera list` names the devices";
            return Check::warning(name, "camera.source is empty", advice);
        }
        Err(error) => {
            return Check::failed(name, error.to_string(), "correct the section [camera]");
        }
    };
    let (opened, path) = match &settings.source {
        Source::Device(path) => (OpenOptions::new().read(true).write(true).open(path).err(), path),
        Source::Replay(path) => (File::open(path).err(), path),
    };
    let found = path.display();
    match opened {
        None => Check::ok(name, found.to_string()),
        Some(error) if error.kind() == ErrorKind::PermissionDenied => Check::failed(
            name,
            format!("{found}: {error}"),
            "add the daemon's user to the group video",
        ),
        Some(error) => Check::failed(
            name,
            format!("{found}: {error}"),
            "plug it in, or correct camera.source; `doorward camera list` names the devices",
        ),
    }
}

fn board(config: &Config) -> Check {
    let name = "board";
    if config.door.board.is_empty() {
        return Check::ok(name, "door.board is empty: this terminal drives no door");
    }
    let socket = &config.door.controller;
    if socket.as_os_str().is_empty() {
        let advice = "set door.controller: a controller that the daemon starts ends with it";
        return Check::warning(
            name,
            format!("{}, with a controller of the daemon", config.door.board),
            advice,
        );
    }
    match std::os::unix::net::UnixStream::connect(socket) {
        Ok(_) => {
            Check::ok(name, format!("{}, controller at {}", config.door.board, socket.display()))
        }
        Err(error) => Check::failed(
            name,
            format!("the lock controller at {}: {error}", socket.display()),
            "start doorward-lockd: systemctl status doorward-lockd",
        ),
    }
}

async fn broker(config: &Config) -> Check {
    let name = "broker";
    let settings = match daemon::client_settings(config) {
        Ok(settings) => settings,
        Err(error) => return Check::warning(name, error.to_string(), "start `doorward run`"),
    };
    let address = format!("{}:{}", settings.host(), settings.port());
    let reached = timeout(PATIENCE, TcpStream::connect((settings.host(), settings.port()))).await;
    match reached {
        Ok(Ok(_)) => Check::ok(name, address),
        Ok(Err(error)) => Check::failed(
            name,
            format!("{address}: {error}"),
            "start the broker, or correct mqtt.host and mqtt.port",
        ),
        Err(_) => Check::failed(
            name,
            format!("{address}: no answer within {} s", PATIENCE.as_secs()),
            "check the network and mqtt.host",
        ),
    }
}

async fn running(config: &Config) -> Check {
    let name = "daemon";
    match daemon::is_running(&config.device.data_dir).await {
        Ok(true) => Check::ok(name, "running"),
        Ok(false) => {
            Check::warning(name, "not running", "systemctl start doorward, or `doorward run`")
        }
        Err(error) => Check::failed(name, error.to_string(), "run as the user of the daemon"),
    }
}
