//! The virtual terminal's boot image: Debian's arm64 kernel and an initramfs with busybox, the
//! modules, the loopback camera (compiled here), the daemon and its files.
//!
//! Everything downloaded or compiled is kept in `target/vm`; the initramfs is packed for each run.

use super::VmError;
use super::archive::Archive;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// In loading order, each after its dependencies: the device bus, the network, the command port,
/// the camera, the disk that is made to hang.
const MODULES: [&str; 6] =
    ["virtio_mmio", "virtio_net", "virtio_console", "videodev", "loop", "ext4"];
/// A camera that can be unplugged: test patterns, from a driver that can be unbound. Loaded when it
/// is tested.
const PLUGGABLE: &str = "vivid";
/// The camera: a device that returns the frames written to its other end.
const LOOPBACK: &str = "v4l2loopback-0.12.7";
/// The shared libraries of the daemon.
const LIBRARIES: [&str; 4] = ["ld-linux-aarch64.so.1", "libc.so.6", "libm.so.6", "libgcc_s.so.1"];
/// The first program of the guest.
const INIT: &str = include_str!("init.sh");

/// The parts that stay the same from run to run.
pub struct Base {
    /// Unpacked packages.
    root: PathBuf,
    /// Such as `6.1.0-56-arm64`.
    version: String,
}

impl Base {
    /// Downloads and compiles what is missing.
    ///
    /// # Errors
    /// There is no network at the first run, or a compiler fails.
    pub fn make(folder: &Path) -> Result<Self, VmError> {
        let root = folder.join("root");
        let done = folder.join("kernel");
        if let Ok(version) = std::fs::read_to_string(&done) {
            return Ok(Self { root, version });
        }
        let archive = Archive::open(folder.join("apt"))?;
        let image = archive.stands_for("linux-image-arm64:arm64")?;
        let version = image.trim_start_matches("linux-image-").to_owned();
        println!("kernel {version} for the virtual terminal");
        let series: String = version.split('.').take(2).collect::<Vec<_>>().join(".");
        let common = version.trim_end_matches("-arm64");
        let packages = [
            format!("{image}:arm64"),
            format!("linux-headers-{version}:arm64"),
            format!("linux-headers-{common}-common"),
            // The programs that build a module run on this machine.
            format!("linux-kbuild-{series}:amd64"),
            "v4l2loopback-dkms".into(),
            "busybox-static:arm64".into(),
            "libc6:arm64".into(),
            "libgcc-s1:arm64".into(),
        ];
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(&root).map_err(VmError::file(&root))?;
        archive.unpack(&packages, &root)?;
        let base = Self { root, version };
        base.compile_loopback()?;
        let modules = ["-b".as_ref(), base.root.as_os_str(), base.version.as_ref()];
        VmError::succeed(Command::new("/sbin/depmod").args(modules))?;
        std::fs::write(&done, &base.version).map_err(VmError::file(&done))?;
        Ok(base)
    }

    /// Returns the kernel.
    pub fn kernel(&self) -> PathBuf {
        self.root.join(format!("boot/vmlinuz-{}", self.version))
    }

    fn compile_loopback(&self) -> Result<(), VmError> {
        let headers = self.root.join(format!("usr/src/linux-headers-{}", self.version));
        let makefile = headers.join("Makefile");
        // It includes another makefile by its installed path.
        let text = std::fs::read_to_string(&makefile).map_err(VmError::file(&makefile))?;
        let here = format!("{}/usr/src/", self.root.display());
        std::fs::write(&makefile, text.replace("/usr/src/", &here))
            .map_err(VmError::file(&makefile))?;
        let module = self.root.join("usr/src").join(LOOPBACK);
        let mut make = Command::new("make");
        make.arg("-C").arg(&headers).arg(format!("M={}", module.display()));
        make.args(["ARCH=arm64", "CROSS_COMPILE=aarch64-linux-gnu-", "modules"]);
        // These variables would make Debian's makefiles choose another compiler.
        make.env_remove("DEB_HOST_ARCH").env_remove("DEB_BUILD_ARCH");
        // Variables that a parent cargo passes to its children.
        make.env_remove("MAKEFLAGS").env_remove("MFLAGS");
        VmError::succeed(&mut make).map(drop)
    }

    /// Returns the files of some modules in loading order.
    fn modules(&self, modules: &[&str]) -> Result<Vec<PathBuf>, VmError> {
        let mut files = Vec::new();
        for module in modules {
            let mut modprobe = Command::new("/sbin/modprobe");
            modprobe.arg("-d").arg(&self.root).args([
                "-S",
                &self.version,
                "--show-depends",
                module,
            ]);
            for line in VmError::succeed(&mut modprobe)?.lines() {
                // A compiled-in module is shown as `builtin`.
                if let Some(file) = line.trim().strip_prefix("insmod ") {
                    let file = PathBuf::from(file);
                    if !files.contains(&file) {
                        files.push(file);
                    }
                }
            }
        }
        Ok(files)
    }

    /// Packs the initramfs: `files` are what this run adds, by their paths in the guest.
    ///
    /// # Errors
    /// A file is missing, or there is no space.
    pub fn pack(&self, folder: &Path, files: &[(String, PathBuf)]) -> Result<PathBuf, VmError> {
        let tree = folder.join("tree");
        let _ = std::fs::remove_dir_all(&tree);
        let put = |from: &Path, to: &str| {
            let to = tree.join(to);
            let parent = to.parent().unwrap_or(&tree);
            std::fs::create_dir_all(parent).map_err(VmError::file(parent))?;
            std::fs::copy(from, &to).map_err(VmError::file(from))
        };
        for dir in ["proc", "sys", "dev", "tmp", "run", "var/lib"] {
            let dir = tree.join(dir);
            std::fs::create_dir_all(&dir).map_err(VmError::file(&dir))?;
        }
        put(&self.root.join("bin/busybox"), "bin/busybox")?;
        for library in LIBRARIES {
            put(&self.root.join("lib/aarch64-linux-gnu").join(library), &format!("lib/{library}"))?;
        }
        let write = |to: &str, text: &str| {
            std::fs::write(tree.join(to), text).map_err(VmError::file(&tree.join(to)))
        };
        let mut at_start = self.modules(&MODULES)?;
        at_start.push(self.root.join("usr/src").join(LOOPBACK).join("v4l2loopback.ko"));
        for (list, files) in [("start", at_start), (PLUGGABLE, self.modules(&[PLUGGABLE])?)] {
            let mut names = String::new();
            for file in files {
                let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                put(&file, &format!("modules/{name}"))?;
                names += &format!("{name}\n");
            }
            write(&format!("modules/{list}"), &names)?;
        }
        write("init", INIT)?;
        VmError::succeed(Command::new("chmod").arg("755").arg(tree.join("init")))?;
        for (to, from) in files {
            put(from, to)?;
        }
        self.archive_tree(&tree, &folder.join("initramfs"))
    }

    fn archive_tree(&self, tree: &Path, initramfs: &Path) -> Result<PathBuf, VmError> {
        let out = std::fs::File::create(initramfs).map_err(VmError::file(initramfs))?;
        let mut find = Command::new("find");
        let mut find = find
            .args([".", "-mindepth", "1"])
            .current_dir(tree)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(VmError::file(tree))?;
        let names = find.stdout.take().map_or_else(Stdio::null, Stdio::from);
        let packed = Command::new("cpio")
            .args(["--create", "--format=newc", "--owner=0:0", "--quiet"])
            .current_dir(tree)
            .stdin(names)
            .stdout(out)
            .status();
        let listed = find.wait().is_ok_and(|status| status.success());
        if listed && packed.is_ok_and(|status| status.success()) {
            Ok(initramfs.to_owned())
        } else {
            Err(VmError::Failed { command: "find | cpio".into(), output: String::new() })
        }
    }
}
