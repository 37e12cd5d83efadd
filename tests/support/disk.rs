//! A disk that hangs: a small file system in a file, mounted by a loop device and frozen. While it
//! is frozen, every write to it blocks in the kernel, as on a memory card that does not answer.
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// A mounted file system; unmounted when dropped.
pub struct Disk {
    dir: TempDir,
}

impl Disk {
    /// Mounts a file system; returns `None` with a message where that is not possible.
    pub fn mount(test: &str) -> Option<Self> {
        let disk = Self { dir: tempfile::tempdir().unwrap() };
        let image = disk.dir.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        std::fs::create_dir(disk.path()).unwrap();
        let made = run("mkfs.ext4", &["-q", "-F", image.to_str().unwrap()]);
        let mounted = made.and_then(|()| {
            run("mount", &["-o", "loop", image.to_str().unwrap(), disk.path().to_str().unwrap()])
        });
        match mounted {
            Ok(()) => Some(disk),
            Err(why) => {
                eprintln!("SKIPPED {test}: it needs root, loop devices and e2fsprogs: {why}");
                None
            }
        }
    }

    /// Returns the mount point.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    /// Makes the disk hang until the guard is dropped.
    pub fn hang(&self) -> Hanging<'_> {
        run("fsfreeze", &["-f", self.path().to_str().unwrap()]).unwrap();
        Hanging(self)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Not mounted where the test was skipped.
        let _ = run("umount", &["-l", self.path().to_str().unwrap()]);
    }
}

/// Guard of a disk that hangs. Declare it after all processes that write to the disk: a process in
/// the middle of a write cannot be killed before this is dropped.
pub struct Hanging<'d>(&'d Disk);

impl Drop for Hanging<'_> {
    fn drop(&mut self) {
        run("fsfreeze", &["-u", self.0.path().to_str().unwrap()]).unwrap();
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program).args(arguments).env("PATH", path).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}
