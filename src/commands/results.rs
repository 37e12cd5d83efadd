//! What a command prints on standard output, and what its exit code says.

use super::Failure;
use serde_json::Value;
use std::fmt::{Arguments, Display};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// Writes to standard output; a reader that has left is an error and no panic.
pub fn out(text: Arguments) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    Ok(out.write_fmt(text).and_then(|()| out.flush())?)
}

/// Prints a result, which is a success.
pub fn show(result: impl Display) -> Result<ExitCode, Failure> {
    out(format_args!("{result}"))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints an answer and says by the exit code what it is.
pub fn print(answer: &Value) -> Result<ExitCode, Failure> {
    out(format_args!("{answer:#}\n"))?;
    // A spoof is a success of the operation liveness, and a no.
    let spoof = answer["status_code"] == "FACE-401" && answer["liveness"]["status"] == false;
    Ok(match answer["status"].as_u64() {
        Some(200) if spoof || answer.get("error_code").is_some() => ExitCode::from(1),
        Some(200) => ExitCode::SUCCESS,
        Some(400..=499) => ExitCode::from(3),
        _ => ExitCode::from(4),
    })
}

/// Success, or that some of it could not be done.
pub fn complete_or_not(complete: bool) -> ExitCode {
    if complete { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// Draws if there is a file to draw to.
pub fn draw(file: Option<&Path>, svg: impl FnOnce() -> String) -> Result<(), Failure> {
    let Some(path) = file else { return Ok(()) };
    std::fs::write(path, svg()).map_err(|reason| Failure::Plot { path: path.to_owned(), reason })
}
