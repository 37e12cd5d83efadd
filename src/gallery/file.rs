//! The gallery's file: locking, opening, creating, and replacing it by a scrubbed copy.
//!
//! These files are in one folder: the file itself; `<file>.lock`, empty and locked as long as the
//! gallery is open (a scrub replaces the file, so the file cannot carry the lock); `<file>.copy`,
//! the last good copy; `<file>.damaged`, if the file was damaged; and for moments `<file>.new`,
//! which becomes the file by one rename. The file is therefore always complete. The next open
//! erases an unfinished `<file>.new`.
//!
//! Scrubbing: redb writes a changed page to a new place and keeps the bytes of the old one.
//! `redb::Database::compact` only moves pages and truncates the file: the moved pages leave their
//! bytes too. A copy of the live records in a fresh file contains nothing else by construction. The
//! old file is then overwritten with zeros, so that reading the raw disk does not reveal it either.
//! On flash, whose controller writes elsewhere, and on copy-on-write file systems, this last step
//! is best effort.

use super::copy;
use super::error::{GalleryError, OpenError};
use super::rescue::{is_rescuable, rescue, rescue_in_memory};
use super::tables::{self, SCHEMA};
use crate::record_file::{
    Handle, Identity, MODE, Opening, begin_write, beside, guarded, identity, is_damage,
    is_read_only, is_replaced, put_in_place, sync_folder,
};
use redb::{Database, ReadableDatabase, ReadableTable, StorageError};
use redb::{TableDefinition, WriteTransaction};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The index answers searches, so the file is read rarely. Every page is verified: a face that
/// differs from the stored one must match no subject.
pub(super) const OPENING: Opening = Opening { cache_bytes: 16 << 20, verify: true };

/// An open, locked gallery file.
pub(super) struct GalleryFile {
    pub handle: Handle,
    path: PathBuf,
    /// Identity of the file that was opened last.
    identity: Option<Identity>,
    /// Declared last: the lock is released after the database is closed.
    _lock: File,
}

impl GalleryFile {
    /// Opens the file, or creates it if there is none, and runs `load` on it. A damaged file cannot
    /// crash the caller: redb verifies the checksum of every page, and a panic of redb is caught
    /// and reported as damage. A damaged file is replaced by its intact records.
    pub fn open<T>(
        path: &Path,
        load: impl Fn(&Database) -> Result<T, GalleryError>,
    ) -> Result<(Self, T), OpenError> {
        let path = resolve(path)?;
        let io = |source| OpenError::Io { path: path.clone(), source };
        let lock = take_lock(&path)?;
        match erase(&beside(&path, "new")) {
            Err(error) if !is_read_only(&error) => return Err(io(error)),
            _ => {}
        }
        let (handle, loaded) = if fs::exists(&path).map_err(io)? {
            match Self::open_existing(&path, &load) {
                Err(damage) if is_rescuable(&damage) => {
                    let why = format!("what is sound of it cannot be written: {damage}");
                    let (database, loaded) = rescued(&path, damage, rescue_in_memory, load)?;
                    (Handle::read_only(database, why), loaded)
                }
                opened => opened?,
            }
        } else {
            // A copy found here belongs to another file: the user may have moved that file away to
            // start empty.
            copy::remove(&path).map_err(io)?;
            let database = checked(&path, || create(&path))?;
            put_in_place(&path).and_then(|()| sync_folder(&path)).map_err(io)?;
            let loaded = read_whole(&path, &database, load)?;
            (Handle::Open(database), loaded)
        };
        let identity = identity(&path).ok();
        Ok((Self { handle, path, identity, _lock: lock }, loaded))
    }

    /// Opens an existing file; the caller holds the lock.
    pub fn open_existing<T>(
        path: &Path,
        load: impl Fn(&Database) -> Result<T, GalleryError>,
    ) -> Result<(Handle, T), OpenError> {
        let open = || {
            let handle = checked(path, || Ok(OPENING.handle(path)?))?;
            let database = checked(path, || handle.readable().map_err(closed))?;
            let loaded = read_whole(path, database, &load)?;
            Ok((handle, loaded))
        };
        match open() {
            Err(damage) if is_rescuable(&damage) => {
                let (database, loaded) = rescued(path, damage, rescue, load)?;
                Ok((Handle::Open(database), loaded))
            }
            opened => opened,
        }
    }

    /// Replaces the handle by one that [`GalleryFile::open_existing`] opened; returns the old
    /// handle.
    pub fn put(&mut self, handle: Handle) -> Handle {
        self.identity = identity(&self.path).ok();
        std::mem::replace(&mut self.handle, handle)
    }

    /// Checks whether another file has replaced the open one.
    pub fn is_replaced(&self) -> bool {
        matches!(self.handle, Handle::Open(_)) && is_replaced(&self.path, self.identity)
    }

    /// Returns the size in bytes.
    pub fn bytes(&self) -> Result<u64, GalleryError> {
        let metadata = fs::metadata(&self.path).map_err(StorageError::Io)?;
        Ok(metadata.len())
    }

    /// Returns the file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A scrubbed copy, ready next to the file.
pub(super) struct ScrubbedCopy {
    database: Database,
    old: File,
}

impl ScrubbedCopy {
    /// Copies the live records into a fresh file. Nothing else may write at the same time.
    pub fn make(database: &Database, path: &Path) -> Result<Self, GalleryError> {
        let old = OpenOptions::new().write(true).open(path).map_err(GalleryError::Scrub)?;
        let new = beside(path, "new");
        erase(&new).map_err(GalleryError::Scrub)?;
        match copy_live(database, path) {
            Ok(database) => Ok(Self { database, old }),
            Err(error) => {
                // The partial copy must not stay. The reason for the failure matters more than
                // whether this erase succeeds, and the next open erases it again.
                let _ = erase(&new);
                Err(error)
            }
        }
    }

    /// Replaces the file by the copy. Nothing may read or write at the same time.
    pub fn install(self, file: &mut GalleryFile) -> Result<Retired, GalleryError> {
        put_in_place(&file.path).map_err(GalleryError::Scrub)?;
        // From here on the old file has no name: the copy is the gallery even if a later step
        // fails.
        let closing = file.put(Handle::Open(self.database));
        Ok(Retired { old: self.old, path: file.path.clone(), closing })
    }
}

/// The file that a scrubbed copy has replaced; it has no name.
pub(super) struct Retired {
    old: File,
    path: PathBuf,
    closing: Handle,
}

impl Retired {
    /// Makes the replacement survive a power cut, then overwrites the old file.
    pub fn erase(self) -> Result<(), GalleryError> {
        drop(self.closing);
        sync_folder(&self.path).and_then(|()| overwrite(&self.old)).map_err(GalleryError::Scrub)
    }
}

/// Returns the error for a closed handle.
pub(super) fn closed(why: &str) -> GalleryError {
    GalleryError::NotWritten(why.to_owned())
}

/// Replaces a damaged file by its intact records.
fn rescued<T>(
    path: &Path,
    damage: OpenError,
    rescue: impl FnOnce(&Path) -> Result<Option<Database>, GalleryError>,
    load: impl Fn(&Database) -> Result<T, GalleryError>,
) -> Result<(Database, T), OpenError> {
    let why = match guarded(|| rescue(path)) {
        Ok(Ok(Some(database))) => {
            tracing::error!(%damage, "the damaged gallery is replaced by its intact records");
            let loaded = read_whole(path, &database, load)?;
            return Ok((database, loaded));
        }
        Ok(Ok(None)) => "there are none".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(panic) => panic,
    };
    tracing::error!(why, "the damaged gallery cannot be replaced by its intact records");
    Err(damage)
}

/// Reads a file of the present schema or of an older one, whose records are valid in this schema.
fn read_whole<T>(
    path: &Path,
    database: &Database,
    load: impl Fn(&Database) -> Result<T, GalleryError>,
) -> Result<T, OpenError> {
    let found = checked(path, || tables::read_schema(&database.begin_read()?))?;
    let path = path.to_owned();
    match found {
        1..=SCHEMA => checked(&path, || load(database)),
        found if found > SCHEMA => Err(OpenError::SchemaTooNew { path, found }),
        found => {
            let what = format!("schema version {found} never existed");
            Err(OpenError::Damaged { path, what })
        }
    }
}

/// Makes an empty gallery as `<file>.new`.
pub(super) fn create(path: &Path) -> Result<Database, GalleryError> {
    Ok(OPENING.make_beside(path, make_tables)?)
}

/// Makes the tables of an empty gallery.
pub(super) fn make_tables(write: &WriteTransaction) -> Result<(), redb::Error> {
    let mut meta = write.open_table(tables::META)?;
    meta.insert(tables::META_SCHEMA, SCHEMA)?;
    meta.insert(tables::META_NEXT_TEMPLATE, 0)?;
    meta.insert(tables::META_REMNANTS, 0)?;
    write.open_table(tables::SUBJECTS)?;
    write.open_table(tables::TEMPLATES)?;
    write.open_table(tables::IMAGES)?;
    Ok(())
}

/// Copies all tables to `<file>.new`, without remnants.
fn copy_live(database: &Database, path: &Path) -> Result<Database, GalleryError> {
    let mut copy = create(path)?;
    let read = database.begin_read()?;
    let write = begin_write(&copy)?;
    copy_table(&read, &write, tables::META)?;
    copy_table(&read, &write, tables::SUBJECTS)?;
    copy_table(&read, &write, tables::TEMPLATES)?;
    copy_table(&read, &write, tables::IMAGES)?;
    write.open_table(tables::META)?.insert(tables::META_REMNANTS, 0)?;
    write.commit()?;
    drop(read);
    // A file grows in steps, each twice as large as the last; this cuts off the unused end. It is
    // quick, because there is nothing between the live pages.
    copy.compact()?;
    Ok(copy)
}

pub(super) fn copy_table<K: redb::Key + 'static, V: redb::Value + 'static>(
    from: &redb::ReadTransaction,
    to: &WriteTransaction,
    table: TableDefinition<K, V>,
) -> Result<(), GalleryError> {
    let mut copy = to.open_table(table)?;
    for entry in from.open_table(table)?.iter()? {
        let (key, value) = entry?;
        copy.insert(key.value(), value.value())?;
    }
    Ok(())
}

/// Overwrites a file and removes it; succeeds if there is none.
pub(super) fn erase(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).open(path) {
        Ok(file) => {
            overwrite(&file)?;
            fs::remove_file(path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn overwrite(mut file: &File) -> io::Result<()> {
    let zeros = [0; 1 << 16];
    let mut left = file.metadata()?.len();
    while left > 0 {
        let step = left.min(zeros.len() as u64);
        file.write_all(&zeros[..step as usize])?;
        left -= step;
    }
    file.sync_all()
}

/// Returns the file's real path: a rename would replace a symbolic link by a file.
fn resolve(path: &Path) -> Result<PathBuf, OpenError> {
    let io = |source| OpenError::Io { path: path.to_owned(), source };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        return Err(OpenError::NoFolder { folder: folder.to_owned() });
    }
    match path.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let name = path.file_name().ok_or_else(|| io(io::ErrorKind::IsADirectory.into()))?;
            Ok(folder.canonicalize().map_err(io)?.join(name))
        }
        other => other.map_err(io),
    }
}

fn take_lock(path: &Path) -> Result<File, OpenError> {
    let io = |source| OpenError::Io { path: path.to_owned(), source };
    let name = beside(path, "lock");
    let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(MODE).open(&name);
    let lock = match lock {
        // On a read-only file system the existing lock file serves, or else the gallery itself.
        Err(error) if is_read_only(&error) => {
            File::open(&name).or_else(|_| File::open(path)).map_err(|_| error)
        }
        lock => lock,
    };
    let lock = lock.map_err(io)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(io(source)),
    }
}

/// Runs a part of opening; turns errors and panics into the error for the user.
fn checked<T>(path: &Path, part: impl FnOnce() -> Result<T, GalleryError>) -> Result<T, OpenError> {
    guarded(part)
        .unwrap_or_else(|panic| Err(GalleryError::Damaged(panic)))
        .map_err(|error| open_error(path, error))
}

/// Translates a failure to open into the error for the user.
fn open_error(path: &Path, error: GalleryError) -> OpenError {
    let path = path.to_owned();
    match error {
        GalleryError::Storage(redb) => match *redb {
            redb if is_damage(&redb) => OpenError::Damaged { path, what: redb.to_string() },
            redb::Error::Io(source) => OpenError::Io { path, source },
            _ => OpenError::InUse { path },
        },
        GalleryError::Damaged(what) => OpenError::Damaged { path, what },
        other => OpenError::Damaged { path, what: other.to_string() },
    }
}
