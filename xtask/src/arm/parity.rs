//! Do the networks say on ARM what they say on this machine, bit by bit?
//!
//! Levels are of two kinds: `portable`, which computes a fused product and sum by way of f64, and all
//! others, whose instructions fuse them. Within a kind nothing may differ, whatever the processor: sums
//! of bytes are exact, and those of f32 are made in one order everywhere. Between the kinds a last bit
//! may differ, once in hundreds of millions of sums; how far that may go is tested elsewhere.

use super::emulated::{Cpu, LEVEL, Program, output};
use super::{ArmError, Extent};
use crate::workspace::root;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// The level that is a kind by itself.
const PORTABLE: &str = "portable";
/// The unquantized networks, which `cargo xtask models` leaves.
const IN_F32: &str = "target/models-f32";
/// Of values of an embedding, whose length is 1.
const TOLERANCE: f32 = 1e-5;
const PORTRAITS: [&str; 4] = ["obama.jpg", "biden.jpg", "obama2.jpg", "obama3.jpg"];

/// Compares every level of every processor.
pub fn check(passes: &Program, extent: Extent) -> Result<(), ArmError> {
    let here = super::passes_here()?;
    let (portraits, sets) = match extent {
        Extent::Quick => (&PORTRAITS[..2], &["models"][..]),
        Extent::All => (&PORTRAITS[..], &["models", IN_F32][..]),
    };
    for models in sets {
        // Those in f32 are left by `cargo xtask models`.
        if models == &IN_F32 && !root().join(models).join("sface.gguf").exists() {
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
            same(reference(level)?, &format!("this machine's {level}"), said, models)?;
        }
        for cpu in Cpu::ALL {
            for level in passes.levels(cpu)? {
                let started = Instant::now();
                let said = say(&mut passes.on(cpu), &level, models, portraits)?;
                let expected = reference(&level)?;
                same(expected, &format!("{cpu} {level}"), &said, models)?;
                println!(
                    "{cpu} {level}: {models} on {} portraits: as {} here ({:.0} s)",
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

/// Whether two processors say the same, to the last bit; of networks in f32 to within
/// [`TOLERANCE`], since candle multiplies the embedder's last matrix as the processor likes it.
fn same(
    (level, expected): &(&str, String),
    there: &str,
    said: &str,
    models: &str,
) -> Result<(), ArmError> {
    let alike = |a: &str, b: &str| a == b || (models == IN_F32 && near(a, b));
    let pairs = || expected.lines().zip(said.lines());
    let complete = !said.is_empty() && expected.lines().count() == said.lines().count();
    if complete && pairs().all(|(a, b)| alike(a, b)) {
        return Ok(());
    }
    let short = |line: &str| line.chars().take(90).collect::<String>();
    let lines = pairs().filter(|(a, b)| !alike(a, b));
    let lines = lines.map(|(a, b)| format!("{}\n{}\n", short(a), short(b)));
    Err(ArmError::Differ {
        here: format!("this machine's {level}"),
        there: there.to_owned(),
        lines: lines.collect(),
    })
}

/// Whether two lines are of the same picture and network, and their numbers nearly the same.
fn near(a: &str, b: &str) -> bool {
    let ((a_name, a), (b_name, b)) = match (a.rsplit_once(' '), b.rsplit_once(' ')) {
        (Some(a), Some(b)) => (a, b),
        _ => return false,
    };
    let numbers = |line: &str| -> Option<Vec<f32>> {
        let words = line.as_bytes().chunks(8).map(|word| {
            u32::from_str_radix(str::from_utf8(word).ok()?, 16).ok().map(f32::from_bits)
        });
        words.collect()
    };
    let (Some(a), Some(b)) = (numbers(a), numbers(b)) else { return false };
    a_name == b_name
        && a_name.ends_with("sface")
        && a.len() == b.len()
        && a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= TOLERANCE)
}
