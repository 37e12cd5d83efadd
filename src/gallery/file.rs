//! The gallery's file: locked, opened, made, and replaced by a scrubbed copy.
//!
//! Side by side stand the file itself; `<file>.lock`, empty, held locked as long as the gallery is
//! open (the file cannot carry the lock, a scrub replaces it); `<file>.copy`, the last good copy;
//! `<file>.damaged`, if one was; and for moments `<file>.new`, which becomes the file by one rename. So
//! the file is always whole: what is made beside it and not yet renamed is erased by the next open.
//!
//! Scrubbing: redb writes a changed page to a new place and leaves the bytes of the old one, and
//! `redb::Database::compact` only moves pages and cuts the end off: what it moves leaves its bytes
//! too. A copy of the live records in a fresh file holds nothing else by construction. The old file is then overwritten with zeros,
//! so that a reader of the raw disk does not find it either; on flash, whose controller writes
//! elsewhere, and on copy-on-write file systems that part is best effort.

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

/// Searches are answered by the index, so the file is read rarely. Every page is verified: a face
/// that is not as it was stored is nobody's.
pub(super) const OPENING: Opening = Opening { cache_bytes: 16 << 20, verify: true };

/// An open, locked gallery file.
pub(super) struct GalleryFile {
    pub handle: Handle,
    path: PathBuf,
    /// Of the file that was opened last.
    identity: Option<Identity>,
    /// Declared last: the lock goes after the database is closed.
    _lock: File,
}

impl GalleryFile {
    /// Opens the file, or makes it when there is none, and runs `load` on it. Everything that a
    /// damaged file may upset stays inside: redb verifies every page's checksum, and where it
    /// panics all the same, the panic is caught and reported as damage. Of a damaged file what is
    /// sound takes its place.
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
            match Self::again(&path, &load) {
                Err(damage) if is_rescuable(&damage) => {
                    let why = format!("what is sound of it cannot be written: {damage}");
                    let (database, loaded) = rescued(&path, damage, rescue_in_memory, load)?;
                    (Handle::read_only(database, why), loaded)
                }
                opened => opened?,
            }
        } else {
            // A copy would be of another file: of one that was moved away to begin with none.
            copy::remove(&path).map_err(io)?;
            let database = checked(&path, || create(&path))?;
            put_in_place(&path).and_then(|()| sync_folder(&path)).map_err(io)?;
            let loaded = read_whole(&path, &database, load)?;
            (Handle::Open(database), loaded)
        };
        let identity = identity(&path).ok();
        Ok((Self { handle, path, identity, _lock: lock }, loaded))
    }

    /// Opens a file that is there; the caller has the lock.
    pub fn again<T>(
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

    /// What was opened by [`GalleryFile::again`] takes the place of what was open.
    pub fn put(&mut self, handle: Handle) -> Handle {
        self.identity = identity(&self.path).ok();
        std::mem::replace(&mut self.handle, handle)
    }

    /// Whether another file has taken the place of the open one.
    pub fn is_replaced(&self) -> bool {
        matches!(self.handle, Handle::Open(_)) && is_replaced(&self.path, self.identity)
    }

    /// Size in bytes.
    pub fn bytes(&self) -> Result<u64, GalleryError> {
        let metadata = fs::metadata(&self.path).map_err(StorageError::Io)?;
        Ok(metadata.len())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A scrubbed copy that stands ready beside the file.
pub(super) struct ScrubbedCopy {
    database: Database,
    old: File,
}

impl ScrubbedCopy {
    /// Copies the live records into a fresh file. Nothing else may write meanwhile.
    pub fn make(database: &Database, path: &Path) -> Result<Self, GalleryError> {
        let old = OpenOptions::new().write(true).open(path).map_err(GalleryError::Scrub)?;
        let new = beside(path, "new");
        erase(&new).map_err(GalleryError::Scrub)?;
        match copy_live(database, path) {
            Ok(database) => Ok(Self { database, old }),
            Err(error) => {
                // What was copied so far must not lie around; why it ended matters more than
                // whether this succeeds, and the next open does it again.
                let _ = erase(&new);
                Err(error)
            }
        }
    }

    /// Puts the copy in the file's place. Nothing may read or write meanwhile.
    pub fn install(self, file: &mut GalleryFile) -> Result<Retired, GalleryError> {
        put_in_place(&file.path).map_err(GalleryError::Scrub)?;
        // From here on the old file has no name: whatever fails, the copy is the gallery.
        let closing = file.put(Handle::Open(self.database));
        Ok(Retired { old: self.old, path: file.path.clone(), closing })
    }
}

/// The file that a scrubbed copy has replaced: it has no name any more.
pub(super) struct Retired {
    old: File,
    path: PathBuf,
    closing: Handle,
}

impl Retired {
    /// Makes the replacement last through a power cut, then overwrites the old file.
    pub fn erase(self) -> Result<(), GalleryError> {
        drop(self.closing);
        sync_folder(&self.path).and_then(|()| overwrite(&self.old)).map_err(GalleryError::Scrub)
    }
}

/// What a handle that is closed means.
pub(super) fn closed(why: &str) -> GalleryError {
    GalleryError::NotWritten(why.to_owned())
}

/// Has what is sound of a damaged file take its place.
fn rescued<T>(
    path: &Path,
    damage: OpenError,
    rescue: impl FnOnce(&Path) -> Result<Option<Database>, GalleryError>,
    load: impl Fn(&Database) -> Result<T, GalleryError>,
) -> Result<(Database, T), OpenError> {
    let why = match guarded(|| rescue(path)) {
        Ok(Ok(Some(database))) => {
            tracing::error!(%damage, "what is sound of the gallery takes its place");
            let loaded = read_whole(path, &database, load)?;
            return Ok((database, loaded));
        }
        Ok(Ok(None)) => "nothing is".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(panic) => panic,
    };
    tracing::error!(why, "what is sound of the damaged gallery cannot take its place");
    Err(damage)
}

/// Reads a file of the present schema, or of an older one: its records are records of this one.
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

/// An empty gallery as `<file>.new`.
pub(super) fn create(path: &Path) -> Result<Database, GalleryError> {
    Ok(OPENING.make_beside(path, make_tables)?)
}

/// The tables of an empty gallery.
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

/// All tables as `<file>.new`, without remnants.
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
    // A file grows in steps twice as large as the last; this cuts off what is not needed. Quick,
    // because there is nothing between the live pages.
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

/// Overwrites a file and removes it; none is well too.
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

/// The file's real path: a rename would put a file in the place of a symbolic link.
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
        // Where nothing is written, the lock that is there does, or the gallery itself.
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

/// Runs a part of opening; what fails or panics in it becomes what it means to the user.
fn checked<T>(path: &Path, part: impl FnOnce() -> Result<T, GalleryError>) -> Result<T, OpenError> {
    guarded(part)
        .unwrap_or_else(|panic| Err(GalleryError::Damaged(panic)))
        .map_err(|error| open_error(path, error))
}

/// What a failure to open means to the user.
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
