//! Reports what this program finds on this machine: processor, models, versions, and whether what
//! a terminal needs is there. It changes nothing. For a first start and for bug reports.

mod checks;

use crate::config::Config;
use crate::face::{FaceError, SHIPPED};
use crate::nn::Level;
use checks::Status;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::Path;

/// The report, and whether a check failed.
pub struct Report {
    /// As JSON.
    pub json: Value,
    /// True if the terminal cannot work like this.
    pub has_failed: bool,
}

/// Returns the report. `file` is the configuration file, if there is one. An error if
/// `DOORWARD_CPU` names a level that this processor does not have.
pub async fn report(config: &Config, file: Option<&Path>) -> Result<Report, FaceError> {
    let level = Level::detect().map_err(crate::nn::WeightsError::from)?;
    let models = SHIPPED.by_name().map(|(name, bytes)| {
        let digest: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
        (name.to_owned(), json!({ "bytes": bytes.len(), "sha256": digest }))
    });
    let checks = checks::all(config, file).await;
    let json = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "cpu": {
            "architecture": std::env::consts::ARCH,
            "threads": std::thread::available_parallelism().map_or(1, usize::from),
            "level": level.to_string(),
            "levels": Level::available().map(|level| level.to_string()).collect::<Vec<_>>(),
        },
        "model_id": SHIPPED.model_id,
        "models": Value::Object(models.into_iter().collect()),
        "checks": checks,
    });
    Ok(Report { json, has_failed: checks.iter().any(|check| check.status == Status::Failed) })
}

/// Returns what is wrong with the paths that the configuration names.
pub fn problems(config: &Config, file: Option<&Path>) -> Vec<String> {
    checks::of_paths(config, file).iter().filter_map(checks::Check::problem).collect()
}
