//! The command `doorward camera`: lists cameras, checks the configured one and saves its picture.

use super::choice::Offer;
use super::device::Fault;
use super::{Camera, CameraError, FrameError, Settings, Source, State, v4l2};
use crate::config;
use crate::picture::{self, Picture};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a probe measures the frame rate.
const WATCHED: Duration = Duration::from_secs(2);
/// How long a command waits for a first frame.
const PATIENCE: Duration = Duration::from_secs(10);
/// JPEG quality of a snapshot.
const QUALITY: u8 = 92;

/// Lists cameras, checks the configured one, or saves its picture.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Lists the V4L2 devices, with what they offer and the names for camera.source.
    List,
    /// Opens the camera as the daemon would and reports the result. A running daemon holds its
    /// camera: stop it first.
    Probe {
        /// Use this source instead of camera.source.
        source: Option<String>,
    },
    /// Takes one picture, to check the camera's position.
    Snapshot {
        /// JPEG file to write.
        file: PathBuf,
        /// Use this source instead of camera.source.
        #[arg(long)]
        source: Option<String>,
    },
}

/// Why a camera command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// No camera is configured.
    #[error("camera.source is empty: set it, or name a source on the command line")]
    NoCamera,
    /// A setting that cannot be used.
    #[error(transparent)]
    Settings(#[from] super::SettingsError),
    /// The camera did not start.
    #[error(transparent)]
    Start(#[from] CameraError),
    /// The camera gives no frames.
    #[error("{0}")]
    NoFrames(String),
    /// The frame has no picture.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The picture does not fit into the file format.
    #[error("the picture is too large for a JPEG; set camera.width and camera.height")]
    TooLarge,
    /// The file cannot be written.
    #[error("cannot write {path}: {reason}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        reason: std::io::Error,
    },
}

impl Command {
    /// Runs the command and returns its result for standard output.
    pub fn run(self, config: &config::Camera) -> Result<Value, CommandError> {
        let settings = |source: Option<String>| {
            let source = source.unwrap_or_else(|| config.source.clone());
            Settings::new(&config::Camera { source, ..config.clone() })?
                .ok_or(CommandError::NoCamera)
        };
        match self {
            Self::List => Ok(list(config)),
            Self::Probe { source } => probe(settings(source)?),
            Self::Snapshot { file, source } => snapshot(settings(source)?, &file),
        }
    }
}

/// Lists every device. A device that is not a camera comes with the reason.
fn list(config: &config::Camera) -> Value {
    let settings = Settings::new(config).ok().flatten().unwrap_or_default();
    let mut nodes = entries("/sys/class/video4linux");
    nodes.sort();
    let devices = nodes.iter().filter_map(|node| {
        let path = Path::new("/dev").join(node.file_name()?);
        let mut device = json!({
            "path": path, "name": v4l2::name_of(&path), "links": links_to(&path),
        });
        match v4l2::offers(&path, &settings) {
            Ok(offers) => device["offers"] = json!(offers),
            Err(fault) => device["fault"] = json!(fault.to_string()),
        }
        Some(device)
    });
    json!({ "devices": devices.collect::<Vec<_>>() })
}

/// Returns the names of a device that stay the same over restarts.
fn links_to(device: &Path) -> Vec<PathBuf> {
    let is_ours = |link: &PathBuf| link.canonicalize().is_ok_and(|target| target == device);
    let links = ["/dev/v4l/by-id", "/dev/v4l/by-path"].into_iter().flat_map(entries);
    let mut links: Vec<_> = links.filter(is_ours).collect();
    links.sort();
    links
}

fn entries(dir: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

fn probe(settings: Settings) -> Result<Value, CommandError> {
    let offers = match &settings.source {
        Source::Device(path) => offers(path, &settings),
        Source::Replay(_) => Value::Null,
    };
    let camera = Camera::start(settings)?;
    let mut frames = camera.frames();
    let mut picture = None;
    let mut until = Instant::now() + PATIENCE;
    // A camera that is lost at once is reported at once; the daemon would open it again.
    let is_over = |seen: bool| match &*camera.states().borrow() {
        State::Ended => true,
        State::Lost { .. } => !seen,
        State::Starting | State::Streaming => false,
    };
    while let left = until.duration_since(Instant::now())
        && !left.is_zero()
        && !is_over(picture.is_some())
    {
        let Some(frame) = frames.next(left.min(Duration::from_millis(200))) else { continue };
        if picture.is_none() {
            until = Instant::now() + WATCHED;
            picture = Some(match frame.picture() {
                Ok(picture) => json!(format!("{}x{}", picture.width(), picture.height())),
                Err(error) => json!(error.to_string()),
            });
        }
    }
    if picture.is_none() {
        return Err(no_frames(&camera));
    }
    Ok(json!({ "status": camera.status(), "picture": picture, "offers": offers }))
}

fn no_frames(camera: &Camera) -> CommandError {
    let state = camera.states().borrow().clone();
    CommandError::NoFrames(state.why().unwrap_or("no frame came").to_owned())
}

fn offers(path: &Path, settings: &Settings) -> Value {
    let offers: Result<Vec<Offer>, Fault> = v4l2::offers(path, settings);
    offers.map_or_else(|fault| json!(fault.to_string()), |offers| json!(offers))
}

fn snapshot(settings: Settings, file: &Path) -> Result<Value, CommandError> {
    let camera = Camera::start(settings)?;
    let picture = taken(&camera)?;
    let jpeg = picture::to_jpeg(&picture, QUALITY).ok_or(CommandError::TooLarge)?;
    std::fs::write(file, jpeg)
        .map_err(|reason| CommandError::Write { path: file.to_owned(), reason })?;
    let size = format!("{}x{}", picture.width(), picture.height());
    Ok(json!({ "file": file, "size": size, "status": camera.status() }))
}

/// Returns the first frame that comes.
fn taken(camera: &Camera) -> Result<Picture, CommandError> {
    let mut frames = camera.frames();
    let until = Instant::now() + PATIENCE;
    loop {
        let left = until.duration_since(Instant::now());
        if let Some(frame) = frames.next(left.min(Duration::from_millis(200))) {
            return Ok(frame.picture()?);
        }
        if left.is_zero() || *camera.states().borrow() == State::Ended {
            return Err(no_frames(camera));
        }
    }
}
