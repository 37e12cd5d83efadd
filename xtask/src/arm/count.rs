//! Counts the instructions of one pass of each network on ARM: the instructions of several passes
//! minus those of one pass, divided by the number of additional passes. A plugin of qemu's user
//! emulation counts them. The static build cannot load plugins, so Debian 12's own build is
//! unpacked into `target/arm-count`.

use super::ArmError;
use super::emulated::{Cpu, LEVEL, Program, output};
use crate::vm::{Archive, VmError};
use crate::workspace::root;
use std::path::{Path, PathBuf};
use std::process::Command;

const PLUGIN: &str = include_str!("count.c");
/// The emulator, and those of its libraries that few machines have.
const PACKAGES: [&str; 4] =
    ["qemu-user/bookworm", "libcapstone4/bookworm", "libnuma1/bookworm", "liburing2/bookworm"];
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
const PASSES: u64 = 3;
const NETWORKS: [&str; 4] = ["yunet", "sface", "minifasnet-v2", "minifasnet-v1se"];
/// The networks as shipped, and their f32 twins, which `cargo xtask models` makes.
const MODELS: [&str; 2] = ["models", "target/models-f32"];
const PORTRAIT: &str = "tests/portraits/obama.jpg";

/// Prints a table, in millions of instructions.
pub fn print(passes: &Program) -> Result<(), ArmError> {
    let counter = Counter::make(&root().join("target/arm-count"))?;
    println!("| processor, level | networks | {} |", NETWORKS.join(" | "));
    println!("|---|---|{}", "---|".repeat(NETWORKS.len()));
    for cpu in [Cpu::A72, Cpu::A76] {
        for level in passes.levels(cpu)? {
            for models in MODELS.iter().filter(|models| root().join(models).exists()) {
                let mut line = format!("| {cpu}, {level} | {models} |");
                for network in NETWORKS {
                    let count = |n: u64| {
                        let mut command = counter.command(passes, cpu);
                        command.env(LEVEL, &level);
                        command.args([models, network, &n.to_string(), PORTRAIT]);
                        counted(&mut command)
                    };
                    let one = count(1)?;
                    let more = count(1 + PASSES)?.saturating_sub(one);
                    line += &format!(" {:.2} |", more as f64 / PASSES as f64 / 1e6);
                }
                println!("{line}");
            }
        }
    }
    Ok(())
}

/// The emulator with its counting plugin.
struct Counter {
    emulator: PathBuf,
    libraries: PathBuf,
    plugin: PathBuf,
}

impl Counter {
    fn make(folder: &Path) -> Result<Self, ArmError> {
        let unpacked = folder.join("root");
        let counter = Self {
            emulator: unpacked.join("usr/bin/qemu-aarch64"),
            libraries: unpacked.join(LIBRARIES),
            plugin: folder.join("count.so"),
        };
        if !counter.emulator.exists() {
            let archive = Archive::open(folder.join("apt"))?;
            archive.unpack(&PACKAGES.map(str::to_owned), &unpacked)?;
        }
        let source = folder.join("count.c");
        std::fs::write(&source, PLUGIN).map_err(VmError::file(&source))?;
        let mut compiler = Command::new("cc");
        compiler.args(["-O2", "-shared", "-fPIC", "-o"]).arg(&counter.plugin).arg(&source);
        output(&mut compiler)?;
        Ok(counter)
    }

    fn command(&self, program: &Program, cpu: Cpu) -> Command {
        let plugin = self.plugin.display().to_string();
        let mut command =
            program.under(&self.emulator, cpu, &["-plugin", &plugin, "-U", "LD_LIBRARY_PATH"]);
        command.env("LD_LIBRARY_PATH", &self.libraries);
        command
    }
}

fn counted(command: &mut Command) -> Result<u64, ArmError> {
    let (_, said) = output(command)?;
    let count = said.lines().find_map(|line| line.strip_prefix("instructions ")?.parse().ok());
    count.ok_or(ArmError::NoCount(said))
}
