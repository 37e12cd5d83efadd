//! `cargo xtask accuracy`: runs every evaluation on `$DOORWARD_DATA` and rewrites the tables of
//! `docs/accuracy.md`; the prose around them stays.
//!
//! Errors on the set a model was fitted on are not evidence. Such tables come from the out-of-fold
//! errors that the training programs write to `models/liveness.toml` and `models/attributes.toml`,
//! and the rows of the shipped weights on those sets are marked.

mod report;
mod tables;

use crate::cargo::{self, CargoError};
use crate::document::{Document, DocumentError};
use crate::workspace::{release, root};
use clap::ValueEnum;
use report::{Report, ReportError};
use serde_json::Value;
use std::process::{Command, Stdio};

/// One evaluation, with all its tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Faces found, and other things taken for faces; seconds.
    Detection,
    /// Blur, darkness, grayscale; seconds.
    Quality,
    /// Live people refused, spoofs accepted; a minute.
    Liveness,
    /// Sunglasses, mask, veil, hat; a minute.
    Attributes,
    /// 1:1 on LFW; minutes.
    Verification,
    /// 1:N on LFW; minutes.
    Search,
    /// The similarity scale on LFW; minutes.
    Anchors,
}

/// Why there are no tables; `docs/accuracy.md` is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum AccuracyError {
    /// The build failed.
    #[error(transparent)]
    Cargo(#[from] CargoError),
    /// There are no photographs.
    #[error("DOORWARD_DATA is not set: name the folder that holds the labelled photographs")]
    NoData,
    /// doorward could not be started.
    #[error("cannot start doorward: {0}")]
    Start(#[from] std::io::Error),
    /// doorward failed and printed the reason.
    #[error("`{0}` failed; the reason is above")]
    Failed(String),
    /// The output is not JSON, or lacks a field that a table needs.
    #[error("`{command}` printed {what}")]
    Figures {
        /// The command.
        command: String,
        /// The fault.
        what: String,
    },
    /// The document cannot be changed.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A training program's report cannot be used.
    #[error(transparent)]
    Report(#[from] ReportError),
}

/// Runs the named parts, or all.
pub fn run(parts: &[Part]) -> Result<(), AccuracyError> {
    if std::env::var_os("DOORWARD_DATA").is_none_or(|data| data.is_empty()) {
        return Err(AccuracyError::NoData);
    }
    cargo::run(cargo::BUILD)?;
    let parts = if parts.is_empty() { Part::value_variants() } else { parts };
    let mut document = Document::read(&root().join("docs/accuracy.md"))?;
    for part in parts {
        for (name, table) in part.tables()? {
            document.replace(name, &table)?;
        }
        // The document is written after each part: an error in a later part loses no results.
        document.write()?;
    }
    Ok(())
}

impl Part {
    /// Returns the tables by the names of their places.
    fn tables(self) -> Result<Vec<(&'static str, String)>, AccuracyError> {
        let of_lfw = |part: &str, csv: &str| {
            let command = |face: &str| {
                let face = if face == "centre" { "" } else { " --face largest" };
                evaluate(&format!("{part} --root $DOORWARD_DATA/lfw {csv}{face}"))
            };
            Ok::<_, AccuracyError>([command("centre")?, command("largest")?])
        };
        let lfw = "$DOORWARD_DATA/lfw";
        Ok(match self {
            Self::Detection => {
                let sets = on_sets("detection", &["mixed_faces", "nonface"], "labels.csv")?;
                vec![("detection", tables::detection(&sets)?)]
            }
            Self::Quality => {
                let mut sets = on_sets("quality", &["lfw"], "quality.csv")?;
                sets.extend(on_sets("quality", &["quality_dark"], "labels.csv")?);
                vec![
                    ("quality", tables::properties(&sets, None)?),
                    ("quality-labels", tables::quality_labels(&sets[0])?),
                ]
            }
            Self::Liveness => {
                let report = Report::read("liveness")?;
                let sets = ["liveness_nuaa", "liveness_replay"];
                let sets = on_sets("liveness", &sets, "labels.csv")?;
                vec![
                    ("liveness-out-of-fold", report.table()),
                    ("liveness", tables::liveness(&sets, &report)?),
                    ("liveness-species", tables::species(&sets, &report)?),
                    ("liveness-groups", tables::groups(&sets, &report)?),
                ]
            }
            Self::Attributes => {
                let report = Report::read("attributes")?;
                let mut sets = on_sets("attributes", &["lfw"], "attributes.csv")?;
                let others = ["attr_mask", "attr_sunglasses_selfies", "attr_veil"];
                sets.extend(on_sets("attributes", &others, "labels.csv")?);
                vec![
                    ("attributes-out-of-fold", report.table()),
                    ("attributes", tables::properties(&sets, Some(&report))?),
                ]
            }
            Self::Verification => {
                let csv = format!("--pairs {lfw}/pairs.csv --labels {lfw}/labels.csv");
                vec![("verification", tables::verification(&of_lfw("verification", &csv)?)?)]
            }
            Self::Search => {
                let csv =
                    format!("--gallery {lfw}/search_gallery.csv --probes {lfw}/search_probes.csv");
                vec![("search", tables::search(&of_lfw("search", &csv)?)?)]
            }
            Self::Anchors => {
                let command = format!("anchors --root {lfw} --labels {lfw}/labels.csv");
                vec![("anchors", tables::anchors(&evaluate(&command)?)?)]
            }
        })
    }
}

/// The output of a command.
struct Measured {
    /// The folder of the set.
    set: String,
    /// As a user types it.
    command: String,
    figures: Value,
}

impl Measured {
    /// Returns the number at a path.
    fn number(&self, way: &[&str]) -> Result<f64, AccuracyError> {
        self.at(way)?.as_f64().ok_or_else(|| self.wrong(way))
    }

    /// Returns the number or `null` at a path.
    fn maybe(&self, way: &[&str]) -> Result<Option<f64>, AccuracyError> {
        Ok(self.at(way)?.as_f64())
    }

    fn count(&self, way: &[&str]) -> Result<u64, AccuracyError> {
        self.at(way)?.as_u64().ok_or_else(|| self.wrong(way))
    }

    fn at(&self, way: &[&str]) -> Result<&Value, AccuracyError> {
        way.iter()
            .try_fold(&self.figures, |value, name| value.get(name))
            .ok_or_else(|| self.wrong(way))
    }

    /// Returns the names below a path.
    fn names(&self, way: &[&str]) -> Result<Vec<&str>, AccuracyError> {
        let object = self.at(way)?.as_object().ok_or_else(|| self.wrong(way))?;
        Ok(object.keys().map(String::as_str).collect())
    }

    fn wrong(&self, way: &[&str]) -> AccuracyError {
        let what = format!("no number at {}", way.join("."));
        AccuracyError::Figures { command: self.command.clone(), what }
    }
}

/// Runs the same evaluation on several sets, with the labels file of this name in each.
fn on_sets(part: &str, sets: &[&str], labels: &str) -> Result<Vec<Measured>, AccuracyError> {
    let run = |set: &&str| {
        let root = format!("$DOORWARD_DATA/{set}");
        let measured = evaluate(&format!("{part} --root {root} --labels {root}/{labels}"))?;
        Ok(Measured { set: (*set).to_owned(), ..measured })
    };
    sets.iter().map(run).collect()
}

/// Runs `doorward evaluate` and shows its progress.
fn evaluate(arguments: &str) -> Result<Measured, AccuracyError> {
    let command = format!("doorward evaluate {arguments}");
    println!("$ {command}");
    let data = std::env::var_os("DOORWARD_DATA").ok_or(AccuracyError::NoData)?;
    let typed = arguments.split(' ').map(|word| match word.strip_prefix("$DOORWARD_DATA") {
        None => word.into(),
        Some(below) => {
            let mut path = data.clone();
            path.push(below);
            path
        }
    });
    let output = Command::new(release("doorward"))
        .arg("evaluate")
        .args(typed)
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(AccuracyError::Failed(command));
    }
    let figures = serde_json::from_slice(&output.stdout).map_err(|error| {
        AccuracyError::Figures { command: command.clone(), what: error.to_string() }
    })?;
    Ok(Measured { set: String::new(), command, figures })
}
