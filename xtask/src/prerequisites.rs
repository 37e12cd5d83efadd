//! Programs and libraries beside Rust that a chore needs: installed with apt where that is allowed,
//! else named in one line.

use std::path::Path;
use std::process::{Command, Stdio};

/// A Debian package and the program that shows it is there.
pub struct Need {
    program: &'static str,
    package: &'static str,
}

/// The broker and the certificates of the black-box tests.
pub const TESTS: &[Need] = &[
    Need { program: "mosquitto", package: "mosquitto" },
    Need { program: "openssl", package: "openssl" },
];

/// What is missing and could not be installed.
#[derive(Debug, thiserror::Error)]
#[error("missing on this machine; install it with: sudo apt-get install -y {0}")]
pub struct Missing(String);

/// Makes sure that every need is met.
pub fn meet(needs: &[Need]) -> Result<(), Missing> {
    let missing: Vec<&str> =
        needs.iter().filter(|need| !is_installed(need.program)).map(|need| need.package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    println!("installing {packages} with apt");
    let installed = apt(&["update", "-qq"], &[])
        && apt(&["install", "-y", "-qq", "--no-install-recommends"], &missing);
    if installed && needs.iter().all(|need| is_installed(need.program)) {
        Ok(())
    } else {
        Err(Missing(packages))
    }
}

/// Servers live in sbin, which is not on everybody's path.
fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .any(|dir| dir.join(program).is_file())
}

/// As root directly, else by a sudo that asks for no password: a chore must not sit and wait.
fn apt(arguments: &[&str], packages: &[&str]) -> bool {
    let is_root = Path::new("/proc/self")
        .metadata()
        .is_ok_and(|self_| std::os::unix::fs::MetadataExt::uid(&self_) == 0);
    let mut command = if is_root {
        Command::new("apt-get")
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        sudo
    };
    command
        .args(arguments)
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
