//! A redb file of the data folder: created atomically, opened so that damage and panics become
//! errors, committed so that damage undoes no commit, closed when it fails and opened again after a
//! cooldown.
//!
//! It knows no table and no record; the owner of a file defines its content and what an error means
//! to the user. A file is made as `<file>.new` and gets its name by one rename, so a power cut
//! leaves no partial file.

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

/// Cooldown of a failed file: a failing disk is not tried again for every request.
pub(crate) const REST: Duration = Duration::from_secs(5);

/// File mode: only the daemon's user can read the data folder's files.
pub(crate) const MODE: u32 = 0o600;

/// An open, read-only or failed file. redb accepts nothing after one error (`PreviousIo`), even if
/// the disk works again: a failed file is closed and, after [`REST`], opened again.
pub(crate) enum Handle {
    /// The file is read and written.
    Open(Database),
    /// The file is read; the system does not allow writing.
    ReadOnly {
        /// Writes by redb stay in memory.
        database: Database,
        /// Error from the system.
        why: String,
        /// When to check again whether it can be written.
        again: Instant,
    },
    /// The file is closed.
    Failed {
        /// Error from redb or the system.
        why: String,
        /// When it may be opened again.
        again: Instant,
    },
}

impl Handle {
    /// Makes a handle of a file that could not be opened.
    pub fn failed(why: String) -> Self {
        Handle::Failed { why, again: Instant::now() + REST }
    }

    /// Makes a handle of a file that cannot be written at present.
    pub fn read_only(database: Database, why: String) -> Self {
        Handle::ReadOnly { database, why, again: Instant::now() + REST }
    }

    /// Returns the database for reading, or why there is none.
    pub fn readable(&self) -> Result<&Database, &str> {
        match self {
            Handle::Open(database) | Handle::ReadOnly { database, .. } => Ok(database),
            Handle::Failed { why, .. } => Err(why),
        }
    }

    /// Returns the database for writing, or why there is none.
    pub fn writable(&self) -> Result<&Database, &str> {
        match self {
            Handle::Open(database) => Ok(database),
            Handle::ReadOnly { why, .. } | Handle::Failed { why, .. } => Err(why),
        }
    }

    /// Marks the file as failed until its cooldown ends. Dropping the returned handle closes the
    /// file; that writes to it and may wait for the disk.
    #[must_use = "closing a file may wait for the disk: drop it where that delays no caller"]
    pub fn fail(&mut self, why: String) -> Self {
        std::mem::replace(self, Self::failed(why))
    }

    /// Sets the cooldown of a file that is not written.
    pub fn set_cooldown(&mut self, cooldown: Duration) {
        if let Handle::ReadOnly { again, .. } | Handle::Failed { again, .. } = self {
            *again = Instant::now() + cooldown;
        }
    }

    /// Ends the cooldown of a file that is not written.
    pub fn end_cooldown(&mut self) {
        self.set_cooldown(Duration::ZERO);
    }

    /// Checks whether to open the file again: it failed and its cooldown has ended, or it was
    /// read-only and `path` is writable.
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

/// Options for opening a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening {
    /// Memory that redb may use for pages; its default of 1 GiB is more than the boards have.
    pub cache_bytes: usize,
    /// True to verify every page's checksum at every opening, not only after a crash.
    pub verify: bool,
}

impl Opening {
    /// Opens an existing file for reading and writing, or read-only if the system permits no more.
    pub fn handle(self, path: &Path) -> Result<Handle, redb::Error> {
        match not_writable(path) {
            None => Ok(Handle::Open(self.existing(path)?)),
            Some(why) => Ok(Handle::read_only(self.unwritten(path)?, why.to_string())),
        }
    }

    /// Does the same, or creates a missing file.
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

    /// Opens an existing file without writing to it: writes by redb stay in memory.
    pub fn unwritten(self, path: &Path) -> Result<Database, redb::Error> {
        Ok(self.builder().create_with_backend(Overlay::new(File::open(path)?)?)?)
    }

    /// Opens an existing file.
    pub fn existing(self, path: &Path) -> Result<Database, redb::Error> {
        let database = self.builder().open(path)?;
        // Only after it opened as one of our files: a restored copy may have a wider mode.
        if fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(path, Permissions::from_mode(MODE))?;
        }
        Ok(database)
    }

    /// Opens a file, or creates it with the content written by `fill`, in an existing folder.
    pub fn existing_or_made(
        self,
        path: &Path,
        fill: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<Database, redb::Error> {
        if fs::exists(path)? {
            return self.existing(path);
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

    /// Makes `<file>.new` with the content written by `fill`; it must not exist yet.
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

/// Identifies a file: its inode and its creation time in microseconds (0 if the file system does
/// not record it), because inodes are reused.
pub(crate) type Identity = (u64, u64);

/// Returns the identity of the file that has this name at present.
pub(crate) fn identity(path: &Path) -> io::Result<Identity> {
    let metadata = fs::metadata(path)?;
    let born = metadata.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
    Ok((metadata.ino(), born.map_or(0, |born| born.as_micros() as u64)))
}

/// Error text for a file that [`is_replaced`].
pub(crate) const REPLACED: &str = "another file has taken its place, or it was removed";

/// Checks whether the path leads to another file than the opened one, or to none: data written to
/// the opened file would be lost at the next start.
pub(crate) fn is_replaced(path: &Path, opened: Option<Identity>) -> bool {
    match identity(path) {
        Ok(found) => opened != Some(found),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Returns why an existing file can be read but not written; `None` if it can be written or
/// something else is wrong with it.
fn not_writable(path: &Path) -> Option<io::Error> {
    let error = OpenOptions::new().read(true).write(true).open(path).err()?;
    is_read_only(&error).then_some(error)
}

/// Checks whether the system forbids writing.
pub(crate) fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
}

/// Begins a transaction that is on disk when `commit` returns, in two phases. The second phase
/// costs a sync. Without it, redb treats a damaged last commit as unfinished and returns to the one
/// before: a deleted subject would be back, a revoked key valid again.
pub(crate) fn begin_write(database: &Database) -> Result<WriteTransaction, TransactionError> {
    let mut write = database.begin_write()?;
    write.set_two_phase_commit(true);
    Ok(write)
}

/// Renames `<file>.new` to the file.
pub(crate) fn put_in_place(path: &Path) -> io::Result<()> {
    fs::rename(beside(path, "new"), path)
}

/// Makes a rename survive a power cut.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

/// Returns `<file>.<suffix>`.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

/// Runs a part that reads or writes a file. redb may panic on a damaged file instead of returning
/// an error; the text of the panic becomes the error.
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

/// Checks whether an open error means that the file itself is damaged.
pub(crate) fn is_damage(error: &redb::Error) -> bool {
    match error {
        redb::Error::Io(source) => is_damage_of(source),
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => false,
        _ => true,
    }
}

/// Checks whether an I/O error is one of the content: redb reports a wrong magic number and a short
/// file this way.
pub(crate) fn is_damage_of(source: &io::Error) -> bool {
    matches!(source.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}
