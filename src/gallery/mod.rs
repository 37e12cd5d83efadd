//! Who is enrolled.
//!
//! The gallery knows vectors and ids: subjects, their templates (one vector each, made by one
//! model) and an opaque image a template. It reads no image, no clock and no network.
//!
//! 1. The file is the truth. One operation is one transaction, on disk when the call returns.
//! 2. The index answers `contains`, `verify` and `search` and equals the file: it changes after
//!    a commit, under the lock that orders the commits.
//! 3. Templates of other models are kept and counted, never compared.
//! 4. In doubt nobody is found: a probe that is no unit vector, or a thread that died while it
//!    changed the index, leads to an empty answer.
//!
//! Locks, always taken in this order: `writer` (one change at a time), `file` (exclusively only
//! for the moment in which a scrubbed copy takes its place), `index`. Searches take only `index`
//! and wait for no disk.
//!
//! | file | idea |
//! |---|---|
//! | `subject.rs` | what goes in and comes out |
//! | `tables.rs` | the tables and their bytes |
//! | `file.rs` | lock, open, create, scrub |
//! | `index.rs` | exact search in memory |
//! | `reindex.rs` | templates of other models get vectors of the present one |
//! | `error.rs` | what can go wrong |

mod error;
mod file;
mod index;
mod reindex;
mod subject;
mod tables;

pub use error::{GalleryError, OpenError};
pub use subject::{
    Candidate, EnrolMode, Enrolled, Enrolment, Outdated, OutdatedPage, Page, Pose, Scrubbed, Stats,
    Subject, SubjectChange, TemplateId,
};

use crate::face::Embedding;
use crate::nn::Level;
use crate::record_file::begin_write;
use file::{GalleryFile, ScrubbedCopy};
use index::{Index, is_unit};
use redb::{ReadableDatabase, ReadableTable, ReadableTableMetadata, WriteTransaction};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard};
use tables::{SubjectRecord, TemplateRecord, microseconds};

/// How a gallery is used, the same for all its operations.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The model that makes the embeddings; goes into every template.
    pub model_id: String,
    /// Whether images are kept. Those already in the file stay when this becomes false.
    pub store_images: bool,
}

/// The enrolled subjects and their templates. All methods may be called from several threads.
pub struct Gallery {
    settings: Settings,
    writer: Mutex<()>,
    file: RwLock<GalleryFile>,
    index: RwLock<Index>,
}

impl Gallery {
    /// Opens the gallery file, or makes it in a folder that exists. Verifies all of it and builds
    /// the index; a file that is refused is left alone.
    pub fn open(path: &Path, settings: Settings) -> Result<Self, OpenError> {
        let level = Level::detect()?;
        let (file, index) = GalleryFile::open(path, |database| {
            tables::load(&database.begin_read()?, &settings.model_id, level)
        })?;
        Ok(Self {
            settings,
            writer: Mutex::new(()),
            file: RwLock::new(file),
            index: RwLock::new(index),
        })
    }

    /// Stores a face under a subject; makes the subject when there is none.
    pub fn enroll(&self, enrolment: Enrolment) -> Result<Enrolled, GalleryError> {
        self.enroll_poses(enrolment, Vec::new())
    }

    /// Stores a face under a subject and further faces with it: all of them or none.
    pub fn enroll_poses(
        &self,
        enrolment: Enrolment,
        further: Vec<Pose>,
    ) -> Result<Enrolled, GalleryError> {
        let id = enrolment.subject_id.as_str();
        if !(1..=tables::MAX_SUBJECT_ID).contains(&id.len()) {
            return Err(GalleryError::SubjectId(id.len()));
        }
        let first = Pose { embedding: enrolment.embedding, image: enrolment.image };
        let poses: Vec<Pose> = std::iter::once(first).chain(further).collect();
        if !poses.iter().all(|pose| is_unit(&pose.embedding)) {
            return Err(GalleryError::Embedding);
        }
        let time_us = microseconds(enrolment.time)?;

        let _writer = self.writer()?;
        let write = begin_write(&self.file()?.database)?;
        let (subject, created) = match read_subject(&write, id)? {
            Some(subject) => (subject, false),
            None => (SubjectRecord::new(time_us), true),
        };
        if !subject.groups.is_empty() && !enrolment.allow_grouped {
            return Err(GalleryError::Grouped(id.to_owned()));
        }
        if !subject.enabled && !enrolment.allow_grouped {
            return Err(GalleryError::Disabled(id.to_owned()));
        }
        let kept = match enrolment.mode {
            EnrolMode::Replace => {
                remove_templates(&write, id)?;
                0
            }
            EnrolMode::Add => tables::count_templates(&write.open_table(tables::TEMPLATES)?, id)?,
        };
        if kept + poses.len() > enrolment.max_templates {
            return Err(GalleryError::TooManyTemplates {
                subject: id.to_owned(),
                templates: kept,
                max: enrolment.max_templates,
            });
        }
        let subject = SubjectRecord { updated_us: time_us, ..subject };
        write.open_table(tables::SUBJECTS)?.insert(id, subject.encode()?.as_slice())?;
        let mut made = Vec::with_capacity(poses.len());
        for Pose { embedding, image } in poses {
            let template = next_template(&write)?;
            let model_id = self.settings.model_id.clone();
            let record = TemplateRecord { time_us, embedding, model_id };
            let encoded = record.encode();
            write.open_table(tables::TEMPLATES)?.insert((id, template), encoded.as_slice())?;
            if let Some(image) = image
                && self.settings.store_images
            {
                write.open_table(tables::IMAGES)?.insert(template, image.as_slice())?;
            }
            made.push((TemplateId(template), record.embedding));
        }
        write.commit()?;

        let (template, templates) = (made[0].0, kept + made.len());
        self.change_index(|index| {
            if enrolment.mode == EnrolMode::Replace {
                index.remove(id);
            }
            for (template, embedding) in &made {
                index.insert(id, *template, embedding);
            }
        })?;
        Ok(Enrolled { created, templates, template })
    }

    /// One subject; none when nobody has this id.
    pub fn subject(&self, id: &str) -> Result<Option<Subject>, GalleryError> {
        let file = self.file()?;
        let read = file.database.begin_read()?;
        let templates = read.open_table(tables::TEMPLATES)?;
        match read.open_table(tables::SUBJECTS)?.get(id)? {
            Some(record) => {
                let templates = tables::count_templates(&templates, id)?;
                let record = SubjectRecord::decode(id, record.value())?;
                Ok(Some(record.subject(id, templates)))
            }
            None => Ok(None),
        }
    }

    /// At most `limit` subjects (one at least) in the order of their ids, those after `cursor`.
    pub fn subjects(&self, limit: usize, cursor: Option<&str>) -> Result<Page, GalleryError> {
        let file = self.file()?;
        let read = file.database.begin_read()?;
        let templates = read.open_table(tables::TEMPLATES)?;
        let after = cursor.map_or(Bound::Unbounded, Bound::Excluded);
        let mut page = Page { subjects: Vec::new(), next: None };
        for entry in read.open_table(tables::SUBJECTS)?.range::<&str>((after, Bound::Unbounded))? {
            let (id, record) = entry?;
            let id = id.value();
            if page.subjects.len() >= limit.max(1) {
                page.next = page.subjects.last().map(|last| last.id.clone());
                break;
            }
            let record = SubjectRecord::decode(id, record.value())?;
            let templates = tables::count_templates(&templates, id)?;
            page.subjects.push(record.subject(id, templates));
        }
        Ok(page)
    }

    /// Changes what is known of a subject beside its templates, and answers what it is then; none
    /// when nobody has this id.
    pub fn update(&self, id: &str, change: SubjectChange) -> Result<Option<Subject>, GalleryError> {
        let _writer = self.writer()?;
        let write = begin_write(&self.file()?.database)?;
        let Some(mut subject) = read_subject(&write, id)? else {
            return Ok(None);
        };
        subject.change(&change)?;
        write.open_table(tables::SUBJECTS)?.insert(id, subject.encode()?.as_slice())?;
        add_remnants(&write, 1)?;
        let templates = tables::count_templates(&write.open_table(tables::TEMPLATES)?, id)?;
        write.commit()?;
        Ok(Some(subject.subject(id, templates)))
    }

    /// Removes a subject with all its templates and images; false when nobody has this id. The
    /// bytes leave the file with the next [`Gallery::scrub`].
    pub fn delete(&self, id: &str) -> Result<bool, GalleryError> {
        let _writer = self.writer()?;
        let write = begin_write(&self.file()?.database)?;
        if write.open_table(tables::SUBJECTS)?.remove(id)?.is_none() {
            return Ok(false);
        }
        remove_templates(&write, id)?;
        add_remnants(&write, 1)?;
        write.commit()?;
        self.change_index(|index| index.remove(id))?;
        Ok(true)
    }

    /// Whether this subject is enrolled, with templates of whatever model.
    pub fn contains(&self, id: &str) -> bool {
        self.index.read().is_ok_and(|index| index.contains(id))
    }

    /// The best cosine over the subject's templates of this model; none when nobody has this id or
    /// the subject has no such template.
    pub fn verify(&self, id: &str, probe: &Embedding) -> Option<f32> {
        self.index.read().ok()?.best_of(id, probe)
    }

    /// The `limit` most similar subjects, best first, each by its best template. Equal cosines are
    /// ordered by subject id.
    pub fn search(&self, probe: &Embedding, limit: usize) -> Vec<Candidate> {
        match self.index.read() {
            Ok(index) => index.search(probe, limit),
            Err(_) => Vec::new(),
        }
    }

    /// Every subject whose best template has at least this cosine with the probe, in the order of
    /// [`Gallery::search`].
    pub fn at_least(&self, probe: &Embedding, least: f32) -> Vec<Candidate> {
        match self.index.read() {
            Ok(index) => index.at_least(probe, least),
            Err(_) => Vec::new(),
        }
    }

    /// The subject's templates of this model, in no order; none when nobody has this id.
    pub fn faces(&self, id: &str) -> Vec<(TemplateId, Embedding)> {
        self.index.read().map_or_else(|_| Vec::new(), |index| index.faces(id))
    }

    /// How many templates a search compares with: those of this model. From memory.
    pub fn comparable_templates(&self) -> usize {
        self.index.read().map_or(0, |index| index.templates())
    }

    /// The image stored with a template; none when it has none or is gone.
    pub fn image(&self, template: TemplateId) -> Result<Option<Vec<u8>>, GalleryError> {
        let file = self.file()?;
        let read = file.database.begin_read()?;
        let image = read.open_table(tables::IMAGES)?.get(template.0)?;
        Ok(image.map(|image| image.value().to_vec()))
    }

    /// How much there is. Reads all templates.
    pub fn stats(&self) -> Result<Stats, GalleryError> {
        let file = self.file()?;
        let read = file.database.begin_read()?;
        let templates = read.open_table(tables::TEMPLATES)?.len()?;
        let models = tables::count_models(&read)?;
        let comparable = models.get(&self.settings.model_id).copied().unwrap_or(0);
        let meta = read.open_table(tables::META)?;
        Ok(Stats {
            subjects: read.open_table(tables::SUBJECTS)?.len()?,
            templates,
            templates_of_other_models: templates.saturating_sub(comparable),
            remnants: tables::read_meta(&meta, tables::META_REMNANTS)?,
            file_bytes: file.bytes()?,
            schema: tables::read_meta(&meta, tables::META_SCHEMA)?,
        })
    }

    /// The other models that templates in the file were made by, and how many each.
    pub fn other_models(&self) -> Result<BTreeMap<String, u64>, GalleryError> {
        let file = self.file()?;
        let mut models = tables::count_models(&file.database.begin_read()?)?;
        models.remove(&self.settings.model_id);
        Ok(models)
    }

    /// Removes the bytes of what was deleted, replaced or changed from the file, and gives unused
    /// space back. Writes a copy of all live records (so much space must be free), puts it in the
    /// file's place and overwrites the old file. Enrolments and deletions wait for the copy, reads
    /// of the file for the moment of the change; searches wait for nothing.
    pub fn scrub(&self) -> Result<Scrubbed, GalleryError> {
        let writer = self.writer()?;
        let (copy, bytes_before) = {
            let file = self.file()?;
            (ScrubbedCopy::make(&file.database, file.path())?, file.bytes()?)
        };
        let (retired, bytes_after) = {
            let mut file = self.file.write().map_err(|_| GalleryError::InDoubt)?;
            (copy.install(&mut file)?, file.bytes()?)
        };
        drop(writer);
        retired.erase()?;
        Ok(Scrubbed { bytes_before, bytes_after })
    }

    fn writer(&self) -> Result<MutexGuard<'_, ()>, GalleryError> {
        self.writer.lock().map_err(|_| GalleryError::InDoubt)
    }

    /// The file for reading. Held as long as a read transaction lives: a scrub closes the database
    /// under it otherwise. A write transaction is protected by `writer`.
    fn file(&self) -> Result<RwLockReadGuard<'_, GalleryFile>, GalleryError> {
        self.file.read().map_err(|_| GalleryError::InDoubt)
    }

    /// Repeats in the index what was committed. The caller holds `writer`.
    fn change_index(&self, change: impl FnOnce(&mut Index)) -> Result<(), GalleryError> {
        let mut index = self.index.write().map_err(|_| GalleryError::InDoubt)?;
        change(&mut index);
        Ok(())
    }
}

fn read_subject(write: &WriteTransaction, id: &str) -> Result<Option<SubjectRecord>, GalleryError> {
    match write.open_table(tables::SUBJECTS)?.get(id)? {
        Some(record) => SubjectRecord::decode(id, record.value()).map(Some),
        None => Ok(None),
    }
}

/// Removes a subject's templates and their images.
fn remove_templates(write: &WriteTransaction, id: &str) -> Result<(), GalleryError> {
    let mut images = write.open_table(tables::IMAGES)?;
    let mut removed = 0;
    for entry in write
        .open_table(tables::TEMPLATES)?
        .extract_from_if((id, 0)..=(id, u64::MAX), |_, _| true)?
    {
        let (_, template) = entry?.0.value();
        images.remove(template)?;
        removed += 1;
    }
    add_remnants(write, removed)
}

fn add_remnants(write: &WriteTransaction, count: u64) -> Result<(), GalleryError> {
    let mut meta = write.open_table(tables::META)?;
    let remnants = tables::read_meta(&meta, tables::META_REMNANTS)?;
    meta.insert(tables::META_REMNANTS, remnants.saturating_add(count))?;
    Ok(())
}

/// Gives the next template id away, for ever.
fn next_template(write: &WriteTransaction) -> Result<u64, GalleryError> {
    let mut meta = write.open_table(tables::META)?;
    let template = tables::read_meta(&meta, tables::META_NEXT_TEMPLATE)?;
    let next = template
        .checked_add(1)
        .ok_or_else(|| GalleryError::Damaged("the template ids are used up".into()))?;
    meta.insert(tables::META_NEXT_TEMPLATE, next)?;
    Ok(template)
}
