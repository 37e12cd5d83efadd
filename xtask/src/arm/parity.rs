//! Compares the networks' results on ARM with those on this machine, bit by bit.
//!
//! There are two kinds of levels: `portable`, which computes a fused multiply-add in f64, and all
//! others, which have instructions for it. Within a kind no result may differ, whatever the
//! processor: byte sums are exact, and f32 sums have the same order everywhere. Between the kinds a
//! last bit may differ, once in hundreds of millions of sums; other tests bound that difference.

use super::emulated::{Cpu, LEVEL, Program, output};
use super::{ArmError, Extent};
use crate::workspace::root;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// The only level of its kind.
const PORTABLE: &str = "portable";
/// The unquantized networks, which `cargo xtask models` makes.
const IN_F32: &str = "target/models-f32";
/// For values of an embedding, whose length is 1.
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
        // `cargo xtask models` makes those in f32.
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
        // The reference of a level: another level of its kind.
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

/// Returns the networks' results on a level.
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

/// Checks that two processors give the same results: bit-identical, or for networks in f32 within
/// [`TOLERANCE`], because candle's multiplication of the embedder's last matrix depends on the
/// processor.
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

/// Returns true if two lines are of the same picture and network, with nearly the same numbers.
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
