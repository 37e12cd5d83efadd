//! Programs and libraries besides Rust that a task needs: installed with apt where that is allowed,
//! else listed in one line.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A Debian package and the sign that it is installed.
pub struct Need {
    sign: Sign,
    /// With its architecture after a colon if it is not this machine's.
    package: &'static str,
}

enum Sign {
    Program(&'static str),
    Library(&'static str),
    /// A Python module, run by `python3 -m`.
    Module(&'static str),
    /// A file, by its absolute path.
    File(&'static str),
}

/// Needed to compile, besides Rust and a C compiler: the bindings to V4L2 are generated from the
/// kernel's headers.
pub const BUILD: &[Need] = &[Need { sign: Sign::Library("libclang"), package: "libclang-dev" }];

/// The pinned originals of the models are downloaded by pip; the reference programs run in a venv.
pub const PYTHON: &[Need] = &[
    Need { sign: Sign::Module("pip"), package: "python3-pip" },
    Need { sign: Sign::Module("venv"), package: "python3-venv" },
];

/// The broker, the certificates, the videos and the clients over HTTP of the black-box tests.
pub const TESTS: &[Need] = &[
    Need { sign: Sign::Program("mosquitto"), package: "mosquitto" },
    Need { sign: Sign::Program("mosquitto_pub"), package: "mosquitto-clients" },
    Need { sign: Sign::Program("openssl"), package: "openssl" },
    Need { sign: Sign::Program("ffmpeg"), package: "ffmpeg" },
    Need { sign: Sign::Program("curl"), package: "curl" },
    Need { sign: Sign::Program("node"), package: "nodejs" },
    Need { sign: Sign::Module("pip"), package: "python3-pip" },
];

/// For builds for 64-bit ARM: Debian's compiler, next to the machine's own.
pub const AARCH64: &[Need] = &[
    Need { sign: Sign::File("/usr/bin/rustc"), package: "rustc-web" },
    Need { sign: Sign::File("/usr/bin/cargo"), package: "cargo-web" },
    Need {
        sign: Sign::File("/usr/lib/rustlib/aarch64-unknown-linux-gnu/lib"),
        package: "libstd-rust-web-dev:arm64",
    },
    Need { sign: Sign::Program("aarch64-linux-gnu-gcc"), package: "gcc-aarch64-linux-gnu" },
    Need {
        sign: Sign::File("/usr/aarch64-linux-gnu/include/linux/videodev2.h"),
        package: "libc6-dev-arm64-cross",
    },
    Need { sign: Sign::Library("libclang"), package: "libclang-dev" },
];

/// The same for 32-bit ARM.
pub const ARMV7: &[Need] = &[
    Need { sign: Sign::File("/usr/bin/rustc"), package: "rustc-web" },
    Need { sign: Sign::File("/usr/bin/cargo"), package: "cargo-web" },
    Need {
        sign: Sign::File("/usr/lib/rustlib/armv7-unknown-linux-gnueabihf/lib"),
        package: "libstd-rust-web-dev:armhf",
    },
    Need { sign: Sign::Program("arm-linux-gnueabihf-gcc"), package: "gcc-arm-linux-gnueabihf" },
    Need {
        sign: Sign::File("/usr/arm-linux-gnueabihf/include/linux/videodev2.h"),
        package: "libc6-dev-armhf-cross",
    },
    Need { sign: Sign::Library("libclang"), package: "libclang-dev" },
];

/// To run ARM programs.
pub const USER_EMULATION: &[Need] =
    &[Need { sign: Sign::Program("qemu-aarch64-static"), package: "qemu-user-static" }];

/// To make the virtual terminal's image and to talk to it.
pub const VIRTUAL_TERMINAL: &[Need] = &[
    Need {
        sign: Sign::File("/usr/share/keyrings/debian-archive-keyring.gpg"),
        package: "debian-archive-keyring",
    },
    Need { sign: Sign::Program("make"), package: "make" },
    // The version that the kernel's makefiles name.
    Need { sign: Sign::Program("aarch64-linux-gnu-gcc-12"), package: "gcc-12-aarch64-linux-gnu" },
    Need { sign: Sign::Program("depmod"), package: "kmod" },
    Need { sign: Sign::Program("cpio"), package: "cpio" },
    Need { sign: Sign::File("/sbin/mkfs.ext4"), package: "e2fsprogs" },
    Need { sign: Sign::Program("mosquitto"), package: "mosquitto" },
    Need { sign: Sign::Program("mosquitto_pub"), package: "mosquitto-clients" },
    Need { sign: Sign::Program("openssl"), package: "openssl" },
];

/// The machine of the virtual terminal.
pub const QEMU: &[Need] =
    &[Need { sign: Sign::Program("qemu-system-aarch64"), package: "qemu-system-arm" }];

/// The packages that are missing and could not be installed.
#[derive(Debug, thiserror::Error)]
#[error("missing on this machine; install it with: {0}")]
pub struct Missing(String);

/// Installs every missing need.
pub fn meet(needs: &[Need]) -> Result<(), Missing> {
    let missing: Vec<&str> =
        needs.iter().filter(|need| !need.is_met()).map(|need| need.package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing {} with apt", missing.join(" "));
    let mut foreign: Vec<&str> =
        missing.iter().filter_map(|package| Some(package.split_once(':')?.1)).collect();
    foreign.dedup();
    let installed = foreign.iter().all(|name| privileged("dpkg", &["--add-architecture", name]))
        && apt(&["update", "-qq"], &[])
        // Removes no package: otherwise a conflicting package would be removed without asking.
        && apt(&["install", "-y", "-qq", "--no-install-recommends", "--no-remove"], &missing);
    if installed && missing.contains(&"mosquitto") {
        // Debian starts it at once, on the port that the embedded broker of `doorward run` needs.
        // It was not installed before, so no program uses it.
        let _ = privileged("systemctl", &["disable", "--now", "mosquitto"]);
    }
    if installed && needs.iter().all(Need::is_met) {
        return Ok(());
    }
    let architectures: String =
        foreign.iter().map(|name| format!("sudo dpkg --add-architecture {name} && ")).collect();
    Err(Missing(format!(
        "{architectures}sudo apt-get update && sudo apt-get install -y --no-install-recommends {}",
        missing.join(" ")
    )))
}

impl Need {
    fn is_met(&self) -> bool {
        match self.sign {
            Sign::Program(program) => is_installed(program),
            Sign::Library(library) => has_library(library),
            Sign::Module(module) => runs_module(module),
            Sign::File(path) => Path::new(path).exists(),
        }
    }
}

/// Searches where distributions put shared libraries, including LLVM's folders and those of an
/// architecture, and in `LIBCLANG_PATH`.
fn has_library(library: &str) -> bool {
    let named = std::env::var_os("LIBCLANG_PATH").map(PathBuf::from);
    let roots = ["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from);
    let below = roots.iter().flat_map(|root| entries(root));
    let folders: Vec<_> = below
        .flat_map(|folder| [folder.join("lib"), folder])
        .chain(roots.clone())
        .chain(named)
        .collect();
    folders.iter().flat_map(|folder| entries(folder)).any(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let rest = name.strip_prefix(library).unwrap_or_default();
        // libclang.so, libclang-14.so.1; not libclang-cpp.so.
        rest.contains(".so") && !rest.starts_with("-cpp")
    })
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = folder.read_dir() else { return Vec::new() };
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// Servers are in sbin, which not every user's PATH includes.
fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .any(|dir| dir.join(program).is_file())
}

fn runs_module(module: &str) -> bool {
    let mut command = Command::new("python3");
    command.args(["-m", module, "--help"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn apt(arguments: &[&str], packages: &[&str]) -> bool {
    privileged("apt-get", &[arguments, packages].concat())
}

/// Runs as root, or with sudo if it needs no password: a task must not wait for input.
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
