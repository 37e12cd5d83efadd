//! Programs and libraries beside Rust that a chore needs: installed with apt where that is allowed,
//! else named in one line.

use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

/// A Debian package and the program that shows it is there.
pub struct Need {
    program: &'static str,
    package: &'static str,
}

/// The broker and the certificates of the black-box tests.
pub const TESTS: &[Need] = &[
    Need { program: "mosquitto", package: "mosquitto" },
    Need { program: "mosquitto_pub", package: "mosquitto-clients" },
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
    if installed && packages.split(' ').any(|package| package == "mosquitto") {
        // Debian starts it at once, on the port that the embedded broker of `doorward run` wants. It
        // was not there before, so nobody misses it.
        let _ = privileged("systemctl", &["disable", "--now", "mosquitto"]);
    }
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

fn apt(arguments: &[&str], packages: &[&str]) -> bool {
    privileged("apt-get", &[arguments, packages].concat())
}

/// As root directly, else by a sudo that asks for no password: a chore must not sit and wait.
fn privileged(program: &str, arguments: &[&str]) -> bool {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    let mut command = if is_root {
        Command::new(program)
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", "env", "DEBIAN_FRONTEND=noninteractive", program]);
        sudo
    };
    command
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
