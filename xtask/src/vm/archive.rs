//! Debian 12's archive, read by a separate apt configuration: packages of another architecture can
//! be downloaded and unpacked without root, without registering that architecture, and without
//! touching the machine's own lists and sources. Signatures are checked as usual.

use super::VmError;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Signed package sources. Backports hold a newer qemu.
const SOURCES: &str = "\
deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main
deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm-backports main
deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian-security bookworm-security main
";

/// Package lists as fresh as [`Archive::open`].
pub struct Archive {
    folder: PathBuf,
}

impl Archive {
    /// Reads the archive's lists into a folder.
    ///
    /// # Errors
    /// There is no network, or no apt.
    pub fn open(folder: PathBuf) -> Result<Self, VmError> {
        for dir in ["lists/partial", "cache/archives/partial", "packages"] {
            let dir = folder.join(dir);
            std::fs::create_dir_all(&dir).map_err(VmError::file(&dir))?;
        }
        let archive = Self { folder };
        let sources = archive.folder.join("sources.list");
        std::fs::write(&sources, SOURCES).map_err(VmError::file(&sources))?;
        let here = archive.folder.display();
        let configuration = format!(
            "Dir::Etc::SourceList \"{here}/sources.list\";\nDir::Etc::SourceParts \"/dev/null\";\n\
             Dir::State::Lists \"{here}/lists\";\nDir::Cache \"{here}/cache\";\n\
             APT::Architectures {{ \"amd64\"; \"arm64\"; }};\nAcquire::Languages \"none\";\n\
             APT::Sandbox::User \"root\";\n"
        );
        let path = archive.configuration();
        std::fs::write(&path, configuration).map_err(VmError::file(&path))?;
        archive.apt("apt-get", &["update", "-qq"])?;
        Ok(archive)
    }

    fn configuration(&self) -> PathBuf {
        self.folder.join("apt.conf")
    }

    /// Runs an apt program on these lists, and returns its output.
    fn apt(&self, program: &str, arguments: &[&str]) -> Result<String, VmError> {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.folder.join("packages"))
            .env("APT_CONFIG", self.configuration())
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null());
        VmError::succeed(&mut command)
    }

    /// Returns the package that a metapackage depends on: for the newest kernel.
    ///
    /// # Errors
    /// It depends on no package.
    pub fn stands_for(&self, package: &str) -> Result<String, VmError> {
        let text = self.apt("apt-cache", &["depends", "--important", package])?;
        let depends = text.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
        let name = depends.map(|name| name.split(':').next().unwrap_or(name).to_owned());
        name.ok_or_else(|| VmError::Unexpected {
            what: format!("what apt says of {package}"),
            found: text,
        })
    }

    /// Downloads packages (`name:architecture`) and unpacks them into a folder.
    ///
    /// # Errors
    /// There is no such package, no network, or no space.
    pub fn unpack(&self, packages: &[String], into: &Path) -> Result<(), VmError> {
        let downloads = self.folder.join("packages");
        // A package from an earlier download could have another version.
        for old in std::fs::read_dir(&downloads).map_err(VmError::file(&downloads))?.flatten() {
            std::fs::remove_file(old.path()).map_err(VmError::file(&old.path()))?;
        }
        let mut arguments = vec!["download", "-qq"];
        arguments.extend(packages.iter().map(String::as_str));
        self.apt("apt-get", &arguments)?;
        for package in std::fs::read_dir(&downloads).map_err(VmError::file(&downloads))?.flatten() {
            VmError::succeed(
                Command::new("dpkg-deb").arg("--extract").arg(package.path()).arg(into),
            )?;
            std::fs::remove_file(package.path()).map_err(VmError::file(&package.path()))?;
        }
        Ok(())
    }

    /// Installs packages on this machine from the backports: as root, or the error names the
    /// command.
    ///
    /// # Errors
    /// apt refuses.
    pub fn install_from_backports(&self, package: &str) -> Result<(), VmError> {
        let arguments = [
            "install",
            "-y",
            "-qq",
            "--no-install-recommends",
            "-t",
            "bookworm-backports",
            package,
        ];
        self.apt("apt-get", &arguments).map(drop).map_err(|_| VmError::Backports(package.into()))
    }
}
