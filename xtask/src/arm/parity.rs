//! Do the networks say on ARM what they say on this machine, bit by bit?
//!
//! Levels are of two kinds: `portable` rounds a product and then the sum, every other level both at
//! once (fused). Within a kind nothing may differ, whatever the processor: sums of bytes are exact,
//! and those of f32 are made in the same order everywhere. Between the kinds last bits differ, and
//! where a value is rounded to a byte after that, a byte; how far that may go is tested elsewhere.

use super::emulated::{Cpu, LEVEL, Program, output};
use super::{ArmError, Extent};
use crate::workspace::root;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// The level that is a kind by itself.
const PORTABLE: &str = "portable";
const PORTRAITS: [&str; 4] = ["obama.jpg", "biden.jpg", "obama2.jpg", "obama3.jpg"];

/// Compares every level of every processor.
pub fn check(passes: &Program, extent: Extent) -> Result<(), ArmError> {
    let here = super::passes_here()?;
    let portraits = match extent {
        Extent::Quick => &PORTRAITS[..2],
        Extent::All => &PORTRAITS[..],
    };
    for models in ["models", "target/models-f32"] {
        // Those in f32 are left by `cargo xtask models`.
        if !root().join(models).join("sface.gguf").exists() {
            println!("SKIPPED {models}: it is not there; `cargo xtask models` makes it");
            continue;
        }
        let (levels, _) = output(Command::new(&here).arg("levels"))?;
        let own = levels.lines().map(|level| {
            let said = say(Command::new(&here).current_dir(root()), level, models, portraits)?;
            Ok((level, said))
        });
        let own: Vec<(&str, String)> = own.collect::<Result<_, ArmError>>()?;
        // The reference of a level: another of its kind.
        let reference = |level: &str| {
            let mut kind = own.iter().filter(|(own, _)| (*own == PORTABLE) == (level == PORTABLE));
            kind.next().ok_or(ArmError::NoReference)
        };
        for (level, said) in &own {
            same(reference(level)?, &format!("this machine's {level}"), said)?;
        }
        for cpu in Cpu::ALL {
            for level in passes.levels(cpu)? {
                let started = Instant::now();
                let said = say(&mut passes.on(cpu), &level, models, portraits)?;
                let expected = reference(&level)?;
                same(expected, &format!("{cpu} {level}"), &said)?;
                println!(
                    "{cpu} {level}: {models} on {} portraits: every bit as {} here ({:.0} s)",
                    portraits.len(),
                    expected.0,
                    started.elapsed().as_secs_f64()
                );
            }
        }
    }
    Ok(())
}

/// What the networks say on a level.
fn say(
    passes: &mut Command,
    level: &str,
    models: &str,
    portraits: &[&str],
) -> Result<String, ArmError> {
    let portraits = portraits.iter().map(|name| Path::new("tests/portraits").join(name));
    passes.env(LEVEL, level).args([models, "all", "1"]).args(portraits);
    Ok(output(passes)?.0)
}

fn same((level, expected): &(&str, String), there: &str, said: &str) -> Result<(), ArmError> {
    if said == expected && !said.is_empty() {
        return Ok(());
    }
    let lines = expected.lines().zip(said.lines()).filter(|(a, b)| a != b);
    let short = |line: &str| line.chars().take(90).collect::<String>();
    let lines = lines.map(|(a, b)| format!("{}\n{}\n", short(a), short(b)));
    Err(ArmError::Differ {
        here: format!("this machine's {level}"),
        there: there.to_owned(),
        lines: lines.collect(),
    })
}
