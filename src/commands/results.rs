//! Prints a command's result on standard output and returns its exit code.

use super::Failure;
use doorward::contract::{Answer, Outcome};
use doorward_evaluate::calibrate::{CalibrateError, ChartError};
use std::fmt::{Arguments, Display};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// Writes to standard output; a closed pipe is an error, not a panic.
pub fn out(text: Arguments) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    Ok(out.write_fmt(text).and_then(|()| out.flush())?)
}

/// Prints a result; the exit code is success.
pub fn show(result: impl Display) -> Result<ExitCode, Failure> {
    out(format_args!("{result}"))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints an answer; the exit code says what it is.
pub fn print(answer: &Answer) -> Result<ExitCode, Failure> {
    out(format_args!("{:#}\n", answer.with_status()))?;
    Ok(exit_code(answer))
}

/// Returns the exit code for an answer.
pub fn exit_code(answer: &Answer) -> ExitCode {
    match answer.outcome() {
        Outcome::Done => ExitCode::SUCCESS,
        Outcome::No => ExitCode::from(1),
        Outcome::Refused => ExitCode::from(3),
        Outcome::Failed => ExitCode::from(4),
    }
}

/// Returns success, or the exit code for a partial result.
pub fn complete_or_not(complete: bool) -> ExitCode {
    if complete { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// Draws the chart if a file is given.
pub fn draw(
    file: Option<&Path>,
    svg: impl FnOnce() -> Result<String, ChartError>,
) -> Result<(), Failure> {
    let Some(path) = file else { return Ok(()) };
    let svg = svg().map_err(CalibrateError::from)?;
    std::fs::write(path, svg).map_err(|reason| Failure::Plot { path: path.to_owned(), reason })
}
