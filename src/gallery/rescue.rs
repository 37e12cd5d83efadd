//! Replaces a damaged file by its intact records.
//!
//! The verified records of the file ([`Pages`]) go into a fresh one; where a table is incomplete,
//! the last good copy fills the gaps. A rescue never brings back removed data: it uses only pages
//! of the last commit, and the copy is removed from disk before any change that contradicts one of
//! its records is committed (`copy.rs`). In doubt a record is left out, and its subject is not
//! recognised. The damaged file stays next to it as `<file>.damaged`, for manual repair.

use super::copy::Copy;
use super::error::{GalleryError, OpenError};
use super::file::{create, erase, make_tables};
use super::health::LeftOut;
use super::tables::{self, SCHEMA, SubjectRecord, TemplateRecord};
use crate::record_file::pages::{Pages, Table};
use crate::record_file::{begin_write, beside, put_in_place, sync_folder};
use redb::backends::InMemoryBackend;
use redb::{Database, ReadableTable, Value, WriteTransaction};
use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// Replaces a damaged file by its intact records; `None` if there are none.
pub(super) fn rescue(path: &Path) -> Result<Option<Database>, GalleryError> {
    let Some(intact) = Intact::read(path)? else { return Ok(None) };
    let new = beside(path, "new");
    erase(&new).map_err(GalleryError::Scrub)?;
    let made = || {
        let database = create(path)?;
        let write = begin_write(&database)?;
        intact.write(&write, true)?;
        write.commit()?;
        replace_damaged(path).map_err(GalleryError::Scrub)?;
        Ok(database)
    };
    let made = made().inspect_err(|_| {
        // The next open erases it again.
        let _ = erase(&new);
    });
    made.map(Some)
}

/// Does the same in memory and without images, for a file that cannot be replaced.
pub(super) fn rescue_in_memory(path: &Path) -> Result<Option<Database>, GalleryError> {
    let Some(intact) = Intact::read(path)? else { return Ok(None) };
    let database = Database::builder().create_with_backend(InMemoryBackend::new())?;
    let write = begin_write(&database)?;
    make_tables(&write)?;
    intact.write(&write, false)?;
    write.commit()?;
    Ok(Some(database))
}

/// Moves `<file>.new` into the place of the damaged file, which stays as `<file>.damaged`.
fn replace_damaged(path: &Path) -> io::Result<()> {
    let kept = beside(path, "damaged");
    match fs::metadata(&kept) {
        // A second name of the same file, left by an interrupted rescue.
        Ok(other) if other.ino() == fs::metadata(path)?.ino() => fs::remove_file(&kept)?,
        _ => erase(&kept)?,
    }
    // Make a second name first, so that the gallery has a name at every moment. Not every file
    // system supports hard links.
    fs::hard_link(path, &kept).or_else(|_| fs::copy(path, &kept).map(drop))?;
    put_in_place(path)?;
    sync_folder(path)
}

/// The intact records of a damaged file.
struct Intact {
    pages: Option<Pages>,
    subjects: Records,
    templates: Records,
    images: Option<Table>,
    next_template: u64,
    left_out: LeftOut,
}

impl Intact {
    /// Reads the file and its copy; `None` if no subject could be verified but some may exist.
    fn read(path: &Path) -> Result<Option<Self>, GalleryError> {
        let pages = match Pages::open(File::open(path).map_err(GalleryError::Scrub)?) {
            Ok(pages) => pages,
            // The disk may return the header at the next attempt.
            Err(error) => return Err(GalleryError::Scrub(error)),
        };
        let mut tables = match &pages {
            Some(pages) => pages.tables().0,
            None => BTreeMap::new(),
        };
        let mut take = |name: &str| tables.remove(name);
        let (meta, subjects, templates) = (
            Part::read(pages.as_ref(), take("meta")),
            Part::read(pages.as_ref(), take("subjects")),
            Part::read(pages.as_ref(), take("templates")),
        );
        let images = take("images");
        let number = |name: &str| -> Option<u64> {
            let value = meta.records.get(name.as_bytes())?;
            Some(u64::from_le_bytes(*value.first_chunk()?))
        };
        if number(tables::META_SCHEMA).is_some_and(|schema| !(1..=SCHEMA).contains(&schema)) {
            return Ok(None);
        }
        let copy = Copy::read(path).filter(|copy| {
            subjects.contradicts(&copy.subjects).is_none()
                && templates.contradicts(&copy.templates).is_none()
        });
        let copied = copy.as_ref();
        let (subjects_left, subjects_back) = subjects.gaps(copied.map(|copy| &copy.subjects));
        let (templates_left, templates_back) = templates.gaps(copied.map(|copy| &copy.templates));
        let mut intact = Self {
            pages,
            subjects: subjects.filled(copied.map(|copy| &copy.subjects)),
            templates: templates.filled(copied.map(|copy| &copy.templates)),
            images,
            next_template: number(tables::META_NEXT_TEMPLATE).unwrap_or(0),
            left_out: LeftOut {
                subjects: subjects_left,
                templates: templates_left,
                images: 0,
                from_copy: subjects_back + templates_back,
            },
        };
        if intact.subjects.is_empty() && !subjects.whole {
            return Ok(None);
        }
        let copied = copied.map_or(0, |copy| copy.next_template);
        intact.next_template = intact.next_template.max(copied);
        Ok(Some(intact))
    }

    /// Fills the tables of a fresh gallery, with or without images.
    fn write(&self, write: &WriteTransaction, images: bool) -> Result<(), GalleryError> {
        let mut left_out = self.left_out;
        let mut next_template = self.next_template;
        let mut subjects = write.open_table(tables::SUBJECTS)?;
        for (id, record) in &self.subjects {
            match str::from_utf8(id) {
                Ok(id)
                    if (1..=tables::MAX_SUBJECT_ID).contains(&id.len())
                        && SubjectRecord::decode(id, record).is_ok() =>
                {
                    subjects.insert(id, record.as_slice())?;
                }
                _ => left_out.subjects += 1,
            }
        }
        let mut templates = write.open_table(tables::TEMPLATES)?;
        let mut seen = HashSet::new();
        for (key, record) in &self.templates {
            let (subject, template) = <(&str, u64)>::from_bytes(key);
            let known = subjects.get(subject)?.is_some()
                && TemplateRecord::decode(subject, template, record).is_ok();
            if known && seen.insert(template) {
                templates.insert((subject, template), record.as_slice())?;
                next_template = next_template.max(template.saturating_add(1));
            } else {
                left_out.templates += 1;
            }
        }
        left_out.images = self.write_images(write, images, &seen)?;
        tables::write_meta(write, next_template, left_out)
    }

    /// Writes the images of the templates in the table; returns the number of missing images.
    fn write_images(
        &self,
        write: &WriteTransaction,
        images: bool,
        templates: &HashSet<u64>,
    ) -> Result<u64, GalleryError> {
        let (Some(pages), Some(table)) = (&self.pages, &self.images) else { return Ok(0) };
        let mut stored = write.open_table(tables::IMAGES)?;
        let (mut kept, mut failed) = (0, None);
        pages.visit(table, &mut |key, image| {
            let Some(template) = key.first_chunk().map(|key| u64::from_le_bytes(*key)) else {
                return;
            };
            if images && templates.contains(&template) {
                match stored.insert(template, image) {
                    Ok(_) => kept += 1,
                    Err(error) => failed = Some(error),
                }
            }
        });
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(table.records.saturating_sub(kept)),
        }
    }
}

/// The intact records of a table.
struct Part {
    records: Records,
    /// True if no record is missing.
    whole: bool,
    /// Number of committed records, 0 if unknown.
    committed: u64,
}

impl Part {
    fn read(pages: Option<&Pages>, table: Option<Table>) -> Self {
        let mut records = Records::new();
        let (Some(pages), Some(table)) = (pages, table) else {
            return Self { records, whole: false, committed: 0 };
        };
        let whole = pages.visit(&table, &mut |key, value| {
            records.insert(key.to_vec(), value.to_vec());
        });
        Self { records, whole, committed: table.records }
    }

    /// Returns a record of a copy that cannot be part of this file's last commit.
    fn contradicts<'a>(&self, copy: &'a Records) -> Option<&'a Vec<u8>> {
        let fits = |(key, value): &(&Vec<u8>, &Vec<u8>)| match self.records.get(*key) {
            Some(intact) => intact == *value,
            None => !self.whole,
        };
        copy.iter().find(|entry| !fits(entry)).map(|(key, _)| key)
    }

    /// Returns how many records are left out, and how many a copy restores.
    fn gaps(&self, copy: Option<&Records>) -> (u64, u64) {
        let back = copy.map_or(0, |copy| {
            copy.keys().filter(|key| !self.records.contains_key(*key)).count() as u64
        });
        let there = self.records.len() as u64 + back;
        // If the size of a table is unknown, count one lost record.
        let least = u64::from(!self.whole && self.committed == 0 && back == 0);
        (self.committed.saturating_sub(there).max(least), back)
    }

    fn filled(&self, copy: Option<&Records>) -> Records {
        let mut filled = copy.cloned().unwrap_or_default();
        filled.extend(self.records.clone());
        filled
    }
}

/// Checks whether an open error is worth a rescue: the content is damaged, or the disk cannot read
/// all of it.
pub(super) fn is_rescuable(error: &OpenError) -> bool {
    match error {
        OpenError::Damaged { .. } => true,
        OpenError::Io { source, .. } => source.raw_os_error() == Some(libc::EIO),
        _ => false,
    }
}
