//! A program for ARM, run on an emulated processor.

use super::ArmError;
use crate::workspace::root;
use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The variable that chooses the level.
pub const LEVEL: &str = "DOORWARD_CPU";
/// A statically linked build, without libraries of the machine.
const EMULATOR: &str = "qemu-aarch64-static";

/// A processor, by qemu's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu(&'static str);

impl Cpu {
    /// Raspberry Pi 4: no byte products.
    pub const A72: Self = Self("cortex-a72");
    /// Raspberry Pi 5: `sdot`.
    pub const A76: Self = Self("cortex-a76");
    /// Every processor that programs are tested on.
    pub const ALL: [Self; 3] = [Self::A72, Self::A76, Self("max")];
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A program for ARM.
pub struct Program(pub PathBuf);

impl Program {
    /// Returns the command that runs it on a processor, in the workspace's root. Without the
    /// development photographs, which would take hours.
    pub fn on(&self, cpu: Cpu) -> Command {
        self.under(EMULATOR, cpu, &[])
    }

    /// The same with another emulator and its options.
    pub fn under(
        &self,
        emulator: impl AsRef<std::ffi::OsStr>,
        cpu: Cpu,
        options: &[&str],
    ) -> Command {
        let mut command = Command::new(emulator);
        command.args(["-cpu", cpu.0]).args(options).arg(&self.0);
        command.current_dir(root()).env_remove("DOORWARD_DATA").env_remove(LEVEL);
        command
    }

    /// Returns the levels that the example `passes` finds on a processor, the best last.
    pub fn levels(&self, cpu: Cpu) -> Result<Vec<String>, ArmError> {
        let (printed, _) = output(self.on(cpu).arg("levels"))?;
        Ok(printed.lines().map(str::to_owned).collect())
    }

    /// Runs a test program and returns how many tests passed.
    pub fn tests(&self, cpu: Cpu, level: &str, filter: &[&str]) -> Result<usize, ArmError> {
        let mut command = self.on(cpu);
        let (printed, _) = output(command.env(LEVEL, level).args(filter))?;
        let passed = |line: &&str| line.starts_with("test ") && line.ends_with(" ok");
        match printed.lines().filter(passed).count() {
            0 => Err(ArmError::NoTests(format!("{command:?}"))),
            passed => Ok(passed),
        }
    }
}

/// Returns standard output and standard error of a program that succeeds.
pub fn output(command: &mut Command) -> Result<(String, String), ArmError> {
    let shown = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|reason| ArmError::Start { command: shown.clone(), reason })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (printed, said) = (text(&output.stdout), text(&output.stderr));
    if output.status.success() {
        Ok((printed, said))
    } else {
        Err(ArmError::Failed { command: shown, output: printed + &said })
    }
}
