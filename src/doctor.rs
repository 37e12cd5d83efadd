//! Reports what this program finds on this machine: processor, models, versions. It changes nothing
//! and contacts no other process. For bug reports.

use crate::face::{FaceError, SHIPPED};
use crate::nn::Level;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Returns the report as JSON. An error if `DOORWARD_CPU` names a level that this processor does
/// not have.
pub fn report() -> Result<Value, FaceError> {
    let level = Level::detect().map_err(crate::nn::WeightsError::from)?;
    let models = SHIPPED.by_name().map(|(name, bytes)| {
        let digest: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
        (name.to_owned(), json!({ "bytes": bytes.len(), "sha256": digest }))
    });
    Ok(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "cpu": {
            "architecture": std::env::consts::ARCH,
            "threads": std::thread::available_parallelism().map_or(1, usize::from),
            "level": level.to_string(),
            "levels": Level::available().map(|level| level.to_string()).collect::<Vec<_>>(),
        },
        "model_id": SHIPPED.model_id,
        "models": Value::Object(models.into_iter().collect()),
    }))
}
