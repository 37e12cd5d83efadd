//! The last good copy: subjects and templates, without images, as `<file>.copy`.
//!
//! Each of its records equals the record in the file, byte for byte. The copy is removed from disk,
//! and the removal synced, *before* any change of an existing record (above all a deletion) is
//! committed; it is made again within 15 minutes. Only new subjects leave it in place. An existing
//! copy therefore contradicts no later removal, and a gallery filled from it brings back no deleted
//! subject. It belongs to one file, identified by its inode and creation time: it is not used for
//! another file in the same place.

use super::error::GalleryError;
use super::file::{OPENING, copy_table, erase};
use super::tables::{self, SCHEMA};
use crate::record_file::{begin_write, beside, guarded, identity, put_in_place, sync_folder};
use redb::{Database, ReadableDatabase, ReadableTable, Value};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// In the copy's meta: the inode of the file it was made from.
const META_INODE: &str = "inode";
/// In the copy's meta: the creation time of that file, in microseconds; 0 if the file system does
/// not record it.
const META_BORN: &str = "born";

/// Returns the identity of the file a copy is made from, under the names in the copy's meta.
fn source(path: &Path) -> io::Result<[(&'static str, u64); 2]> {
    let (inode, born) = identity(path)?;
    Ok([(META_INODE, inode), (META_BORN, born)])
}

/// Contents of a copy, as bytes of keys and values.
pub(super) struct Copy {
    pub subjects: BTreeMap<Vec<u8>, Vec<u8>>,
    pub templates: BTreeMap<Vec<u8>, Vec<u8>>,
    pub next_template: u64,
}

impl Copy {
    /// Reads and verifies the copy of a file; `None` if there is no valid one.
    pub fn read(path: &Path) -> Option<Self> {
        let copy = name(path);
        if !copy.exists() {
            return None;
        }
        let read = || -> Result<Self, GalleryError> {
            let database = OPENING.unwritten(&copy)?;
            let read = database.begin_read()?;
            let meta = read.open_table(tables::META)?;
            let source = source(path).map_err(GalleryError::Copy)?;
            for (name, value) in source.into_iter().chain([(tables::META_SCHEMA, SCHEMA)]) {
                if tables::read_meta(&meta, name)? != value {
                    return Err(GalleryError::Damaged(format!(
                        "it belongs to another file: {name}"
                    )));
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

    /// Checks whether the copy holds exactly the records of the file.
    pub fn equals(&self, database: &Database) -> Result<bool, GalleryError> {
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

/// Makes the copy. Nothing may write to the file at the same time.
pub(super) fn make(database: &Database, path: &Path) -> Result<(), GalleryError> {
    let (copy, io) = (name(path), |error| GalleryError::Copy(error));
    let source = source(path).map_err(io)?;
    erase(&beside(&copy, "new")).map_err(io)?;
    let made = OPENING.make_beside(&copy, |_| Ok(()))?;
    let read = database.begin_read()?;
    let write = begin_write(&made)?;
    copy_table(&read, &write, tables::META)?;
    copy_table(&read, &write, tables::SUBJECTS)?;
    copy_table(&read, &write, tables::TEMPLATES)?;
    for (name, value) in source {
        write.open_table(tables::META)?.insert(name, value)?;
    }
    write.commit()?;
    drop(made);
    put_in_place(&copy).and_then(|()| sync_folder(&copy)).map_err(io)
}

/// Removes the copy and overwrites its bytes; the removal is on disk on return.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let copy = name(path);
    // An unfinished copy holds faces too.
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
