//! Programs and libraries beside Rust that a chore needs: installed with apt where that is allowed,
//! else named in one line.

use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

/// A Debian package, and what shows it is there.
pub struct Need {
    /// A program by its name, or a file or folder by its whole path.
    shown_by: &'static str,
    /// With `:arm64` behind its name where it is another architecture's.
    package: &'static str,
}

/// The broker and the certificates of the black-box tests.
pub const TESTS: &[Need] = &[
    Need { shown_by: "mosquitto", package: "mosquitto" },
    Need { shown_by: "mosquitto_pub", package: "mosquitto-clients" },
    Need { shown_by: "openssl", package: "openssl" },
];

/// To build for 64-bit ARM: Debian's compiler, beside the machine's own. libclang is for the
/// bindings to Video4Linux, made anew at each build.
pub const AARCH64: &[Need] = &[
    Need { shown_by: "/usr/bin/rustc", package: "rustc-web" },
    Need { shown_by: "/usr/bin/cargo", package: "cargo-web" },
    Need {
        shown_by: "/usr/lib/rustlib/aarch64-unknown-linux-gnu/lib",
        package: "libstd-rust-web-dev:arm64",
    },
    Need { shown_by: "aarch64-linux-gnu-gcc", package: "gcc-aarch64-linux-gnu" },
    Need {
        shown_by: "/usr/aarch64-linux-gnu/include/linux/videodev2.h",
        package: "libc6-dev-arm64-cross",
    },
    Need { shown_by: "/usr/lib/x86_64-linux-gnu/libclang-14.so.1", package: "libclang-dev" },
];

/// The same for 32-bit ARM.
pub const ARMV7: &[Need] = &[
    Need { shown_by: "/usr/bin/rustc", package: "rustc-web" },
    Need { shown_by: "/usr/bin/cargo", package: "cargo-web" },
    Need {
        shown_by: "/usr/lib/rustlib/armv7-unknown-linux-gnueabihf/lib",
        package: "libstd-rust-web-dev:armhf",
    },
    Need { shown_by: "arm-linux-gnueabihf-gcc", package: "gcc-arm-linux-gnueabihf" },
    Need {
        shown_by: "/usr/arm-linux-gnueabihf/include/linux/videodev2.h",
        package: "libc6-dev-armhf-cross",
    },
    Need { shown_by: "/usr/lib/x86_64-linux-gnu/libclang-14.so.1", package: "libclang-dev" },
];

/// To make the image of the virtual terminal and to talk to it.
pub const VIRTUAL_TERMINAL: &[Need] = &[
    Need {
        shown_by: "/usr/share/keyrings/debian-archive-keyring.gpg",
        package: "debian-archive-keyring",
    },
    Need { shown_by: "make", package: "make" },
    // For the tools of the kernel's own build, which look for it without architecture.
    Need { shown_by: "gcc", package: "gcc" },
    Need { shown_by: "aarch64-linux-gnu-gcc-12", package: "gcc-12-aarch64-linux-gnu" },
    Need { shown_by: "depmod", package: "kmod" },
    Need { shown_by: "cpio", package: "cpio" },
    Need { shown_by: "mosquitto", package: "mosquitto" },
    Need { shown_by: "mosquitto_pub", package: "mosquitto-clients" },
    Need { shown_by: "openssl", package: "openssl" },
];

/// The machine of the virtual terminal.
pub const QEMU: &[Need] = &[Need { shown_by: "qemu-system-aarch64", package: "qemu-system-arm" }];

/// What is missing and could not be installed.
#[derive(Debug, thiserror::Error)]
#[error("missing on this machine; install it with: {0}")]
pub struct Missing(String);

/// Makes sure that every need is met.
pub fn meet(needs: &[Need]) -> Result<(), Missing> {
    let missing: Vec<&str> =
        needs.iter().filter(|need| !is_there(need.shown_by)).map(|need| need.package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing {} with apt", missing.join(" "));
    let mut foreign: Vec<&str> =
        missing.iter().filter_map(|package| Some(package.split_once(':')?.1)).collect();
    foreign.dedup();
    let installed = foreign.iter().all(|name| privileged("dpkg", &["--add-architecture", name]))
        && apt(&["update", "-qq"], &[])
        && apt(&["install", "-y", "-qq", "--no-install-recommends"], &missing);
    if installed && missing.contains(&"mosquitto") {
        // Debian starts it at once, on the port that the embedded broker of `doorward run` wants. It
        // was not there before, so nobody misses it.
        let _ = privileged("systemctl", &["disable", "--now", "mosquitto"]);
    }
    if installed && needs.iter().all(|need| is_there(need.shown_by)) {
        return Ok(());
    }
    let architectures: String =
        foreign.iter().map(|name| format!("sudo dpkg --add-architecture {name} && ")).collect();
    Err(Missing(format!(
        "{architectures}sudo apt-get update && sudo apt-get install -y --no-install-recommends {}",
        missing.join(" ")
    )))
}

/// Servers live in sbin, which is not on everybody's path.
fn is_there(what: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .any(|dir| dir.join(what).exists())
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
