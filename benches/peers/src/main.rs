//! doorward's part of the comparison with other engines. Runs commands from standard input, one per
//! line, and answers each with one line of JSON; `compare.py` sends them in turns to it and to the
//! other engines.
//!
//! ```text
//! sface 41        →  {"cpu_ms": [4.31, …]}      41 passes, after some that are not timed
//! outputs sface   →  {"outputs": …}             the outputs of such a pass
//! level           →  {"level": "avx512"}        the instructions that it uses
//! ```
//!
//! Times are this process's CPU time on all processors, so that a shared machine may be used. It
//! never checks a result: the caller does.

mod networks;
mod search;
mod verify;

use doorward::face::{FaceError, ModelFiles, SHIPPED};
use doorward::nn::{Level, WeightsError};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Passes before the counted ones, which allocate memory and fill caches.
const WARM: usize = 3;

/// Work that is timed pass by pass.
trait Work {
    /// Runs one pass.
    fn pass(&mut self) -> Result<(), Failure>;
    /// Returns the outputs.
    fn outputs(&mut self) -> Result<Value, Failure>;
}

/// Why something could not be timed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("usage: doorward-benches FOLDER [F32_MODELS], the folder as compare.py fills it")]
    Usage,
    #[error("{}: {reason}; compare.py makes it", path.display())]
    File { path: PathBuf, reason: io::Error },
    #[error("{0} has unexpected content; remove it")]
    Content(PathBuf),
    #[error(
        "`{0}` is neither WORK PASSES nor `outputs WORK` of yunet, sface, minifasnet, verify, search"
    )]
    Order(String),
    #[error(transparent)]
    Face(#[from] FaceError),
    #[error(transparent)]
    Gallery(#[from] doorward::gallery::GalleryError),
    #[error(transparent)]
    OpenGallery(#[from] doorward::gallery::OpenError),
    #[error(transparent)]
    Service(#[from] doorward::service::StartError),
    #[error(transparent)]
    Applications(#[from] doorward::applications::ApplicationsError),
    #[error(transparent)]
    Outbox(#[from] doorward::outbox::OutboxError),
    #[error(transparent)]
    System(#[from] io::Error),
    #[error("the service failed: {0}")]
    Refused(Value),
}

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("doorward-benches: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), Failure> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let folder = arguments.next().ok_or(Failure::Usage)?;
    let models = match arguments.next() {
        Some(twins) => Models::twins(&twins)?,
        None => Models::Shipped,
    };
    let mut works: BTreeMap<String, Box<dyn Work>> = BTreeMap::new();
    for line in io::stdin().lock().lines() {
        let answer = answer(&line?, &folder, &models, &mut works)
            .unwrap_or_else(|error| json!({"error": error.to_string()}));
        let mut out = io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

fn answer(
    line: &str,
    folder: &Path,
    models: &Models,
    works: &mut BTreeMap<String, Box<dyn Work>>,
) -> Result<Value, Failure> {
    if line == "level" {
        let level = Level::detect().map_err(WeightsError::from).map_err(FaceError::from)?;
        return Ok(json!({"level": level.to_string()}));
    }
    let order = || Failure::Order(line.to_owned());
    let (first, second) = line.split_once(' ').ok_or_else(order)?;
    let name = if first == "outputs" { second } else { first };
    if !works.contains_key(name) {
        let work = load(name, folder, models)?.ok_or_else(order)?;
        works.insert(name.to_owned(), work);
    }
    let work = works.get_mut(name).ok_or_else(order)?;
    if first == "outputs" {
        return Ok(json!({"outputs": work.outputs()?}));
    }
    let passes: usize = second.parse().map_err(|_| order())?;
    for _ in 0..WARM {
        work.pass()?;
    }
    let mut times = Vec::with_capacity(passes);
    for _ in 0..passes {
        let started = cpu_ms();
        work.pass()?;
        times.push(cpu_ms() - started);
    }
    Ok(json!({"cpu_ms": times}))
}

/// Loads work by its name; `None` for an unknown name.
fn load(name: &str, folder: &Path, models: &Models) -> Result<Option<Box<dyn Work>>, Failure> {
    let files = models.files();
    Ok(Some(match name {
        "yunet" => Box::new(networks::Detection::load(folder, &files)?),
        "sface" => Box::new(networks::Embedding::load(folder, &files)?),
        "minifasnet" => Box::new(networks::Liveness::load(folder, &files)?),
        "verify" => Box::new(verify::Verify::load(folder, &files)?),
        "search" => Box::new(search::Search::load(folder)?),
        _ => return Ok(None),
    }))
}

/// The weights to use.
enum Models {
    Shipped,
    /// The f32 weights of the four networks, by file name.
    Twins(BTreeMap<&'static str, Vec<u8>>),
}

impl Models {
    fn twins(folder: &Path) -> Result<Self, Failure> {
        let names = ["yunet.gguf", "sface.gguf", "minifasnet-v2.gguf", "minifasnet-v1se.gguf"];
        let files = names.map(|name| Ok((name, read(folder, name)?)));
        Ok(Self::Twins(files.into_iter().collect::<Result<_, Failure>>()?))
    }

    fn files(&self) -> ModelFiles<'_> {
        match self {
            Self::Shipped => ModelFiles { ..SHIPPED },
            Self::Twins(files) => ModelFiles {
                yunet: &files["yunet.gguf"],
                sface: &files["sface.gguf"],
                minifasnet_v2: &files["minifasnet-v2.gguf"],
                minifasnet_v1se: &files["minifasnet-v1se.gguf"],
                ..SHIPPED
            },
        }
    }
}

fn read(folder: &Path, name: &str) -> Result<Vec<u8>, Failure> {
    let path = folder.join(name);
    fs::read(&path).map_err(|reason| Failure::File { path, reason })
}

/// Returns the CPU time that this process has used.
fn cpu_ms() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}
