//! The last good copy: subjects and templates, without images, as `<file>.copy`.
//!
//! Every record of it stands in the file, byte for byte: it is removed from disk, and the removal
//! synced, *before* any change of a record, of a deletion above all, is committed, and made again within
//! a quarter of an hour. Only new subjects leave it as it is. So a copy that is there contradicts
//! nothing that was taken from anybody since, and a gallery filled from it brings back no subject that
//! was deleted. It belongs to one file, known by its inode and its birth: of another one that was put in its
//! place it gives nothing.

use super::error::GalleryError;
use super::file::{OPENING, copy_table, erase};
use super::tables::{self, SCHEMA};
use crate::record_file::{begin_write, beside, guarded, identity, put_in_place, sync_folder};
use redb::{Database, ReadableDatabase, ReadableTable, Value};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// In the copy's meta: the inode of the file that it is of.
const META_INODE: &str = "inode";
/// And when that was made, in microseconds; 0 where the file system does not know.
const META_BORN: &str = "born";

/// What tells the file that a copy is of, by the names of the copy's meta.
fn of(path: &Path) -> io::Result<[(&'static str, u64); 2]> {
    let (inode, born) = identity(path)?;
    Ok([(META_INODE, inode), (META_BORN, born)])
}

/// What stands in a copy, as bytes of keys and values.
pub(super) struct Copy {
    pub subjects: BTreeMap<Vec<u8>, Vec<u8>>,
    pub templates: BTreeMap<Vec<u8>, Vec<u8>>,
    pub next_template: u64,
}

impl Copy {
    /// Reads the copy of a file, verified; none when there is none that can be believed.
    pub fn read(path: &Path) -> Option<Self> {
        let copy = name(path);
        if !copy.exists() {
            return None;
        }
        let read = || -> Result<Self, GalleryError> {
            let database = OPENING.unwritten(&copy)?;
            let read = database.begin_read()?;
            let meta = read.open_table(tables::META)?;
            let of = of(path).map_err(GalleryError::Copy)?;
            for (name, value) in of.into_iter().chain([(tables::META_SCHEMA, SCHEMA)]) {
                if tables::read_meta(&meta, name)? != value {
                    return Err(GalleryError::Damaged(format!("it is of another file: {name}")));
                }
            }
            let mut found = Self {
                subjects: BTreeMap::new(),
                templates: BTreeMap::new(),
                next_template: tables::read_meta(&meta, tables::META_NEXT_TEMPLATE)?,
            };
            for entry in read.open_table(tables::SUBJECTS)?.iter()? {
                let (id, record) = entry?;
                found.subjects.insert(id.value().as_bytes().to_vec(), record.value().to_vec());
            }
            for entry in read.open_table(tables::TEMPLATES)?.iter()? {
                let (key, record) = entry?;
                let key = <(&str, u64)>::as_bytes(&key.value());
                found.templates.insert(key, record.value().to_vec());
            }
            Ok(found)
        };
        match guarded(read) {
            Ok(Ok(found)) => Some(found),
            Ok(Err(error)) => {
                tracing::warn!(%error, copy = %copy.display(), "the gallery's copy is not used");
                None
            }
            Err(why) => {
                tracing::warn!(why, copy = %copy.display(), "the gallery's copy is not used");
                None
            }
        }
    }

    /// Whether this is all that stands in the file by now.
    pub fn is_of(&self, database: &Database) -> Result<bool, GalleryError> {
        let read = database.begin_read()?;
        let next = tables::read_meta(&read.open_table(tables::META)?, tables::META_NEXT_TEMPLATE)?;
        let (mut subjects, mut templates) = (0, 0);
        for entry in read.open_table(tables::SUBJECTS)?.iter()? {
            let (id, record) = entry?;
            let copied = self.subjects.get(id.value().as_bytes());
            if copied.map(Vec::as_slice) != Some(record.value()) {
                return Ok(false);
            }
            subjects += 1;
        }
        for entry in read.open_table(tables::TEMPLATES)?.iter()? {
            let (key, record) = entry?;
            let copied = self.templates.get(&<(&str, u64)>::as_bytes(&key.value()));
            if copied.map(Vec::as_slice) != Some(record.value()) {
                return Ok(false);
            }
            templates += 1;
        }
        let counts = (self.subjects.len(), self.templates.len(), self.next_template);
        Ok(counts == (subjects, templates, next))
    }
}

/// Makes the copy. Nothing may write the file meanwhile.
pub(super) fn make(database: &Database, path: &Path) -> Result<(), GalleryError> {
    let (copy, io) = (name(path), |error| GalleryError::Copy(error));
    let of = of(path).map_err(io)?;
    erase(&beside(&copy, "new")).map_err(io)?;
    let made = OPENING.make_beside(&copy, |_| Ok(()))?;
    let read = database.begin_read()?;
    let write = begin_write(&made)?;
    copy_table(&read, &write, tables::META)?;
    copy_table(&read, &write, tables::SUBJECTS)?;
    copy_table(&read, &write, tables::TEMPLATES)?;
    for (name, value) in of {
        write.open_table(tables::META)?.insert(name, value)?;
    }
    write.commit()?;
    drop(made);
    put_in_place(&copy).and_then(|()| sync_folder(&copy)).map_err(io)
}

/// Removes the copy, its bytes too; on disk when this returns.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let copy = name(path);
    // One that was not finished holds faces, too.
    let unfinished = beside(&copy, "new");
    if !fs::exists(&copy)? && !fs::exists(&unfinished)? {
        return Ok(());
    }
    erase(&copy)?;
    erase(&unfinished)?;
    sync_folder(&copy)
}

fn name(path: &Path) -> PathBuf {
    beside(path, "copy")
}
