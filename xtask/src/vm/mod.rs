//! `cargo xtask vm-test`: runs the daemon as a Raspberry Pi 4 would, in an emulated machine with a
//! real kernel. Its camera is Video4Linux, its strike is on a GPIO chip, its broker is on another
//! machine. Its behaviour is observed from outside.
//!
//! Emulation is slow: the checks wait for states, not for times, except where a time is tested. All
//! files are in `target/vm`.

mod archive;
mod broker;
mod checks;
mod guest;
mod image;
mod monitor;
mod terminal;
mod way_out;

pub use archive::Archive;

use crate::cross::{self, CrossError, Profile, Target};
use crate::prerequisites::{self, Missing};
use crate::workspace::root;
use broker::Broker;
use guest::Guest;
use image::Base;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use terminal::{PASSES, Terminal};

/// The profile of the machine's GPIO chip …
const BOARD: &str = include_str!("board.toml");
/// … and the line of the strike in it.
const STRIKE: u8 = 0;
/// For little more than the daemon's files.
const DISK_BYTES: u64 = 24 << 20;

/// Why the terminal failed the test.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// Something is not installed.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// A newer version of a package is needed.
    #[error(
        "{0} could not be installed; as root: echo 'deb http://deb.debian.org/debian \
         bookworm-backports main' > /etc/apt/sources.list.d/backports.list && apt-get update && \
         apt-get install -y --no-install-recommends -t bookworm-backports {0}"
    )]
    Backports(String),
    /// The daemon for the guest could not be built.
    #[error(transparent)]
    Cross(#[from] CrossError),
    /// A file cannot be used.
    #[error("{}: {reason}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        reason: std::io::Error,
    },
    /// A process or a socket failed.
    #[error("{what}: {reason}")]
    System {
        /// The operation.
        what: String,
        /// The system's error.
        reason: std::io::Error,
    },
    /// A program failed.
    #[error("{command} failed:\n{output}")]
    Failed {
        /// The command.
        command: String,
        /// Its output.
        output: String,
    },
    /// A value is not as expected.
    #[error("{what} is not as expected: {found}")]
    Unexpected {
        /// The value.
        what: String,
        /// What was found.
        found: String,
    },
    /// A wait timed out.
    #[error("{what} was not seen within {} s; this was:\n{seen}", .limit.as_secs())]
    Late {
        /// What was waited for.
        what: String,
        /// The limit.
        limit: Duration,
        /// What was seen.
        seen: String,
    },
}

impl VmError {
    /// A file cannot be read or written.
    pub fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |reason| Self::File { path, reason }
    }

    fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |reason| Self::System { what, reason }
    }

    /// Runs a program to its end and returns its output if it succeeded.
    fn succeed(command: &mut Command) -> Result<String, Self> {
        let shown = format!("{command:?}");
        let output = command
            .stdin(Stdio::null())
            .output()
            .map_err(Self::io(format!("{shown} does not start")))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            Ok(text)
        } else {
            let output = text + &String::from_utf8_lossy(&output.stderr);
            Err(Self::Failed { command: shown, output })
        }
    }
}

/// Builds, boots and checks.
pub fn run() -> Result<(), VmError> {
    prerequisites::meet(prerequisites::VIRTUAL_TERMINAL)?;
    let folder = root().join("target/vm");
    std::fs::create_dir_all(&folder).map_err(VmError::file(&folder))?;
    meet_qemu(&folder)?;

    let target = Target::Aarch64;
    cross::build(target, Profile::Release, &["--bin", "doorward", "--example", "feed"])?;
    let controller = cross::controller(target, Profile::Release)?;
    let programs = target.folder(Profile::Release);
    let daemon = cross::stripped(target, &programs.join("doorward"))?;
    let controller = cross::stripped(target, &controller)?;
    let feed = cross::stripped(target, &programs.join("examples/feed"))?;

    let started = Instant::now();
    let base = Base::make(&folder)?;
    let broker = Broker::start(&folder.join("broker"))?;
    let mut files = vec![
        ("bin/doorward".to_owned(), daemon),
        ("bin/doorward-lockd".to_owned(), controller),
        ("bin/feed".to_owned(), feed),
        ("disk".to_owned(), disk(&folder)?),
        ("etc/doorward/ca.pem".to_owned(), broker.authority()),
    ];
    let configurations = PASSES.iter().map(|pass| (pass.name, pass.configuration(&broker)));
    let texts = configurations.chain([("board", BOARD.to_owned())]);
    for (name, text) in texts {
        let file = folder.join(name).with_extension("toml");
        std::fs::write(&file, text).map_err(VmError::file(&file))?;
        files.push((format!("etc/doorward/{name}.toml"), file));
    }
    let portraits = root().join("tests/portraits");
    for portrait in ["obama.jpg", "biden.jpg"] {
        files.push((format!("portraits/{portrait}"), portraits.join(portrait)));
    }
    let initramfs = base.pack(&folder, &files)?;
    let mut guest = Guest::boot(&folder, &base.kernel(), &initramfs)?;
    println!("the guest is up after {:.1} s", started.elapsed().as_secs_f64());

    let mut terminal = Terminal::new(&mut guest, &broker)?;
    let passed = checks::recognition(&mut terminal, &portraits)
        .and_then(|()| checks::liveness(&mut terminal))
        .and_then(|()| checks::remote(&mut terminal))
        .and_then(|()| way_out::for_both_locks(&mut terminal));
    if passed.is_err() {
        eprintln!("the daemon's log, its end:\n{}", terminal.log());
    }
    passed?;
    println!("the virtual terminal passed in {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// Makes the disk for the way-out checks: small, so that it is soon full.
fn disk(folder: &Path) -> Result<PathBuf, VmError> {
    let disk = folder.join("disk.ext4");
    let file = std::fs::File::create(&disk).map_err(VmError::file(&disk))?;
    file.set_len(DISK_BYTES).map_err(VmError::file(&disk))?;
    // Outside of a login shell the path lacks the system's programs.
    VmError::succeed(Command::new("/sbin/mkfs.ext4").args(["-q", "-F"]).arg(&disk))?;
    Ok(disk)
}

/// Installs qemu-system-arm; from the backports if the installed parts of qemu are newer than
/// Debian 12's.
fn meet_qemu(folder: &Path) -> Result<(), VmError> {
    if prerequisites::meet(prerequisites::QEMU).is_ok() {
        return Ok(());
    }
    Archive::open(folder.join("apt"))?.install_from_backports("qemu-system-arm")
}
