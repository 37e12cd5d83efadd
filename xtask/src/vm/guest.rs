//! The running virtual machine: qemu, and shell commands in the guest.

use super::VmError;
use super::monitor::{Monitor, Watched};
use std::fs::DirBuilder;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A Raspberry Pi 4's processor, without the instructions of newer ones.
const PROCESSOR: &str = "cortex-a72";
/// How long qemu may take to make its sockets.
const SOCKETS_WITHIN: Duration = Duration::from_secs(30);
/// These limits allow for emulation on a busy machine.
const BOOT_WITHIN: Duration = Duration::from_secs(180);
/// For a command that does not wait.
const COMMAND_WITHIN: Duration = Duration::from_secs(120);

/// A machine that runs until it is dropped.
pub struct Guest {
    machine: Machine,
    commands: BufReader<UnixStream>,
    monitor: Monitor,
    folder: PathBuf,
}

impl Guest {
    /// Boots, and returns when the guest accepts commands.
    ///
    /// # Errors
    /// qemu does not start, or the guest does not; the message holds its console.
    pub fn boot(folder: &Path, kernel: &Path, initramfs: &Path) -> Result<Self, VmError> {
        // Not in `folder`: a socket's name has at most 107 bytes.
        let sockets = std::env::temp_dir().join(format!("doorward-vm-{}", std::process::id()));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&sockets)
            .map_err(VmError::file(&sockets))?;
        let listen = |name: &str| format!("{},server=on,wait=off", sockets.join(name).display());
        let mut command = Command::new("qemu-system-aarch64");
        command
            .args(["-M", "virt", "-cpu", PROCESSOR, "-smp", "2", "-m", "1024"])
            .args(["-display", "none", "-no-reboot", "-nodefaults"])
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(initramfs)
            .args(["-append", "console=ttyAMA0 quiet panic=-1"])
            .arg("-serial")
            .arg(format!("file:{}", folder.join("console").display()))
            .args(["-netdev", "user,id=net", "-device", "virtio-net-device,netdev=net"])
            .args(["-device", "virtio-serial-device"])
            .args(["-chardev", &format!("socket,id=commands,path={}", listen("commands"))])
            .args(["-device", "virtserialport,chardev=commands"])
            .args(["-qmp", &format!("unix:{}", listen("monitor"))])
            .args(["-qmp", &format!("unix:{}", listen("watch"))])
            .stdin(Stdio::null());
        let qemu = command.spawn().map_err(VmError::io("qemu-system-aarch64 does not start"))?;
        let mut machine = Machine { qemu, sockets };
        let commands = machine.connect("commands")?;
        commands
            .set_read_timeout(Some(Duration::from_secs(1)))
            .map_err(VmError::io("the port for commands"))?;
        let monitor = Monitor::over(machine.connect("monitor")?)?;
        let mut guest = Self {
            machine,
            commands: BufReader::new(commands),
            monitor,
            folder: folder.to_owned(),
        };
        guest.wait_for("the guest's start", BOOT_WITHIN, |guest| {
            Ok(guest.console().contains("virtual terminal: ready").then_some(()))
        })?;
        Ok(guest)
    }

    /// Runs a line of shell in the guest and returns its output, if its status is 0.
    ///
    /// # Errors
    /// Another status, or no answer in time.
    pub fn run(&mut self, line: &str) -> Result<String, VmError> {
        let (status, output) = self.try_run(line)?;
        if status == 0 {
            Ok(output)
        } else {
            Err(VmError::Failed { command: format!("in the guest: {line}"), output })
        }
    }

    /// Runs a line of shell in the guest; returns its status and output.
    ///
    /// # Errors
    /// No answer in time.
    pub fn try_run(&mut self, line: &str) -> Result<(i32, String), VmError> {
        let text = format!("{line}\n");
        self.commands
            .get_mut()
            .write_all(text.as_bytes())
            .map_err(VmError::io("the guest takes no command"))?;
        let started = Instant::now();
        let mut output = String::new();
        let mut line_read = String::new();
        loop {
            match self.commands.read_line(&mut line_read) {
                Ok(0) => return Err(self.silent(line)),
                Ok(_) if line_read.ends_with('\n') => {
                    let read = std::mem::take(&mut line_read);
                    let status = read.trim().strip_prefix("<<").and_then(|s| s.strip_suffix(">>"));
                    if let Some(status) = status.and_then(|status| status.parse().ok()) {
                        return Ok((status, output.trim().to_owned()));
                    }
                    output += &read;
                }
                // The rest of the line has not arrived yet.
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return Err(self.silent(line)),
            }
            if started.elapsed() > COMMAND_WITHIN {
                return Err(self.silent(line));
            }
        }
    }

    fn silent(&self, line: &str) -> VmError {
        VmError::Failed {
            command: format!("in the guest, without an answer: {line}"),
            output: self.console(),
        }
    }

    /// Polls until something is seen.
    ///
    /// # Errors
    /// It is not seen in time.
    pub fn wait_for<Seen>(
        &mut self,
        what: &str,
        limit: Duration,
        mut look: impl FnMut(&mut Self) -> Result<Option<Seen>, VmError>,
    ) -> Result<Seen, VmError> {
        let started = Instant::now();
        loop {
            if let Some(seen) = look(self)? {
                return Ok(seen);
            }
            if let Ok(Some(status)) = self.machine.qemu.try_wait() {
                return Err(VmError::Unexpected {
                    what: format!("{what}: qemu ended with {status}"),
                    found: self.console(),
                });
            }
            if started.elapsed() > limit {
                return Err(VmError::Late { what: what.into(), limit, seen: self.console() });
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Returns what the guest wrote to its console.
    pub fn console(&self) -> String {
        let console = std::fs::read(self.folder.join("console")).unwrap_or_default();
        String::from_utf8_lossy(&console).into_owned()
    }

    /// Returns the machine's monitor.
    pub fn monitor(&mut self) -> &mut Monitor {
        &mut self.monitor
    }

    /// Watches a GPIO line from outside.
    ///
    /// # Errors
    /// qemu is gone, or a line is watched already.
    pub fn watch(&mut self, line: u8) -> Result<Watched, VmError> {
        Ok(Watched::start(Monitor::over(self.machine.connect("watch")?)?, line))
    }
}

/// The process and its sockets; both removed when dropped.
struct Machine {
    qemu: Child,
    sockets: PathBuf,
}

impl Machine {
    /// Connects to one of its sockets, as soon as it exists.
    fn connect(&mut self, name: &str) -> Result<UnixStream, VmError> {
        let path = self.sockets.join(name);
        let started = Instant::now();
        loop {
            let error = match UnixStream::connect(&path) {
                Ok(stream) => return Ok(stream),
                Err(error) => error,
            };
            let ended = self.qemu.try_wait().is_ok_and(|status| status.is_some());
            if ended || started.elapsed() > SOCKETS_WITHIN {
                return Err(VmError::io("qemu-system-aarch64 did not start")(error));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        let _ = std::fs::remove_dir_all(&self.sockets);
    }
}
