//! What a command prints on standard output, and what its exit code says.

use super::Failure;
use doorward::contract::{Answer, Outcome};
use doorward_evaluate::calibrate::{CalibrateError, ChartError};
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
pub fn print(answer: &Answer) -> Result<ExitCode, Failure> {
    out(format_args!("{:#}\n", answer.with_status()))?;
    Ok(match answer.outcome() {
        Outcome::Done => ExitCode::SUCCESS,
        Outcome::No => ExitCode::from(1),
        Outcome::Refused => ExitCode::from(3),
        Outcome::Failed => ExitCode::from(4),
    })
}

/// Success, or that some of it could not be done.
pub fn complete_or_not(complete: bool) -> ExitCode {
    if complete { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// Draws if there is a file to draw to.
pub fn draw(
    file: Option<&Path>,
    svg: impl FnOnce() -> Result<String, ChartError>,
) -> Result<(), Failure> {
    let Some(path) = file else { return Ok(()) };
    let svg = svg().map_err(CalibrateError::from)?;
    std::fs::write(path, svg).map_err(|reason| Failure::Plot { path: path.to_owned(), reason })
}
