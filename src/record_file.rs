//! A redb file of the data folder: made whole or not at all, opened without trust, committed so that
//! damage undoes nothing; closed when it fails and opened again after a rest.
//!
//! Knows no table and no record; who owns a file says what is in it and what an error means to the
//! user. A file is made as `<file>.new` and gets its name by one rename, so a power cut leaves no half
//! of it.

mod overlay;
pub(crate) mod pages;

use overlay::Overlay;
use redb::backends::FileBackend;
use redb::{Builder, Database, TransactionError, WriteTransaction};
use std::any::Any;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

/// How long a file that failed is left alone: a disk that refuses is not asked again for every request.
pub(crate) const REST: Duration = Duration::from_secs(5);

/// Only the daemon's user reads what is in the data folder.
pub(crate) const MODE: u32 = 0o600;

/// A file at work. redb takes nothing more after one error (`PreviousIo`), though the disk be well
/// again: a file that failed is closed, rests for [`REST`], and is opened again.
pub(crate) enum Handle {
    /// It is read and written.
    Open(Database),
    /// It is read, and the system does not let it be written.
    ReadOnly {
        /// What redb writes of it stays in memory.
        database: Database,
        /// What the system said.
        why: String,
        /// When to look whether it can be written.
        again: Instant,
    },
    /// It is closed.
    Failed {
        /// What redb or the system said.
        why: String,
        /// When it may be opened again.
        again: Instant,
    },
}

impl Handle {
    /// Closed from the start.
    pub fn failed(why: String) -> Self {
        Handle::Failed { why, again: Instant::now() + REST }
    }

    /// Read, and not to be written at present.
    pub fn read_only(database: Database, why: String) -> Self {
        Handle::ReadOnly { database, why, again: Instant::now() + REST }
    }

    /// The database to be read, or why there is none.
    pub fn readable(&self) -> Result<&Database, &str> {
        match self {
            Handle::Open(database) | Handle::ReadOnly { database, .. } => Ok(database),
            Handle::Failed { why, .. } => Err(why),
        }
    }

    /// The database to be written, or why there is none.
    pub fn writable(&self) -> Result<&Database, &str> {
        match self {
            Handle::Open(database) => Ok(database),
            Handle::ReadOnly { why, .. } | Handle::Failed { why, .. } => Err(why),
        }
    }

    /// Is no more used until it has rested. What is returned closes the file when dropped, which writes
    /// to it and so may wait for the disk.
    #[must_use = "closing a file may wait for the disk: drop it where that delays no caller"]
    pub fn fail(&mut self, why: String) -> Self {
        std::mem::replace(self, Self::failed(why))
    }

    /// Lengthens or shortens the rest of a file that is not written.
    pub fn rest(&mut self, rest: Duration) {
        if let Handle::ReadOnly { again, .. } | Handle::Failed { again, .. } = self {
            *again = Instant::now() + rest;
        }
    }

    /// Ends the rest of a file that is not written.
    pub fn wake(&mut self) {
        self.rest(Duration::ZERO);
    }

    /// Whether it is to be opened again: it failed and has rested, or `path` can be written by now.
    pub fn is_due(&self, path: &Path) -> bool {
        match self {
            Handle::Open(_) => false,
            Handle::ReadOnly { again, .. } => {
                Instant::now() >= *again && not_writable(path).is_none()
            }
            Handle::Failed { again, .. } => Instant::now() >= *again,
        }
    }
}

/// How a file is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening {
    /// Memory redb may use for pages; its own default of 1 GiB is more than the boards have.
    pub cache_bytes: usize,
    /// Whether every page's checksum is verified at every opening, and not only after a crash.
    pub verify: bool,
}

impl Opening {
    /// Opens a file that is there for reading and writing, or for reading alone where the system
    /// permits no more.
    pub fn handle(self, path: &Path) -> Result<Handle, redb::Error> {
        match not_writable(path) {
            None => Ok(Handle::Open(self.existing(path)?)),
            Some(why) => Ok(Handle::read_only(self.unwritten(path)?, why.to_string())),
        }
    }

    /// The same, or makes a file that is not there.
    pub fn handle_or_made(
        self,
        path: &Path,
        fill: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<Handle, redb::Error> {
        match fs::exists(path)? && not_writable(path).is_some() {
            true => self.handle(path),
            false => Ok(Handle::Open(self.existing_or_made(path, fill)?)),
        }
    }

    /// Opens a file that is there and writes nothing to it: what redb writes stays in memory.
    pub fn unwritten(self, path: &Path) -> Result<Database, redb::Error> {
        Ok(self.builder().create_with_backend(Overlay::new(File::open(path)?)?)?)
    }

    /// Opens a file that is there.
    pub fn existing(self, path: &Path) -> Result<Database, redb::Error> {
        Ok(self.builder().open(path)?)
    }

    /// Opens a file, or makes it with what `fill` writes, in a folder that exists.
    pub fn existing_or_made(
        self,
        path: &Path,
        fill: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<Database, redb::Error> {
        if fs::exists(path)? {
            let database = self.existing(path)?;
            // Once it is known to be ours: a copy that was put back may have come with a wider mode.
            if fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
                fs::set_permissions(path, Permissions::from_mode(MODE))?;
            }
            return Ok(database);
        }
        match fs::remove_file(beside(path, "new")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let database = self.make_beside(path, fill)?;
        put_in_place(path)?;
        sync_folder(path)?;
        Ok(database)
    }

    /// Makes `<file>.new` with what `fill` writes; there must be none yet.
    pub fn make_beside(
        self,
        path: &Path,
        fill: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<Database, redb::Error> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(MODE);
        let file = options.open(beside(path, "new"))?;
        let database = self.builder().create_with_backend(FileBackend::new(file)?)?;
        let write = begin_write(&database)?;
        fill(&write)?;
        write.commit()?;
        Ok(database)
    }

    fn builder(self) -> Builder {
        let mut builder = Database::builder();
        builder.set_cache_size(self.cache_bytes).set_check_integrity_on_open(self.verify);
        builder
    }
}

/// What tells a file from another one: its inode, and when it was made, in microseconds, since an inode is
/// given again; 0 where the file system does not know.
pub(crate) type Identity = (u64, u64);

/// Of the file that has this name now.
pub(crate) fn identity(path: &Path) -> io::Result<Identity> {
    let metadata = fs::metadata(path)?;
    let born = metadata.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
    Ok((metadata.ino(), born.map_or(0, |born| born.as_micros() as u64)))
}

/// What is said of a file that [`is_replaced`].
pub(crate) const REPLACED: &str = "another file has taken its place, or it was removed";

/// Whether the path leads to another file than the one that was opened, or to none: what is written to
/// that one would be gone with the next start.
pub(crate) fn is_replaced(path: &Path, opened: Option<Identity>) -> bool {
    match identity(path) {
        Ok(found) => opened != Some(found),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Why a file that is there can be read and not written; none when it can, or when something else is
/// wrong with it.
fn not_writable(path: &Path) -> Option<io::Error> {
    let error = OpenOptions::new().read(true).write(true).open(path).err()?;
    is_read_only(&error).then_some(error)
}

/// Whether the system does not let anything be written there.
pub(crate) fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
}

/// Begins a transaction that is on disk when `commit` returns, in two phases. The second phase costs
/// a sync; without it, redb takes a damaged last commit for one that was never finished and goes back
/// to the one before: who was deleted would be there again, a revoked key be good again.
pub(crate) fn begin_write(database: &Database) -> Result<WriteTransaction, TransactionError> {
    let mut write = database.begin_write()?;
    write.set_two_phase_commit(true);
    Ok(write)
}

/// `<file>.new` becomes the file.
pub(crate) fn put_in_place(path: &Path) -> io::Result<()> {
    fs::rename(beside(path, "new"), path)
}

/// Makes a rename last through a power cut.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

/// `<file>.<suffix>`
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

/// Runs a part that reads or writes a file; on a damaged one redb may panic where it would better
/// return an error. What the panic said is the error.
pub(crate) fn guarded<T>(part: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(part)).map_err(|panic| message(&*panic))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it cannot be read").to_owned()
}

/// Whether an error at opening says that the file itself is no good.
pub(crate) fn is_damage(error: &redb::Error) -> bool {
    match error {
        redb::Error::Io(source) => is_damage_of(source),
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => false,
        _ => true,
    }
}

/// Whether an error of input and output is one of the content: redb reports a wrong magic number and
/// a short file so.
pub(crate) fn is_damage_of(source: &io::Error) -> bool {
    matches!(source.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}
