//! Stores the enrolled subjects and their face templates.
//!
//! The gallery holds vectors and ids: subjects, their templates (one vector each, made by one
//! model) and one opaque image per template. It reads no image, no clock and no network.
//!
//! 1. The file is the source of truth. One operation is one transaction; it is on disk when the
//!    call returns.
//! 2. The index answers queries about subjects and runs searches. It equals the file: it changes
//!    after a commit, under the lock that orders the commits. Only removals come before the disk:
//!    they take effect at once (`pending_removals.rs`) and are kept when a write fails.
//! 3. Templates of other models are kept and counted, never compared.
//! 4. In doubt a search finds no one: it returns nothing for a probe that is not a unit vector, and
//!    after a thread died while it changed the index.
//! 5. A failed file stops neither recognition nor revocation: it is closed and opened again.
//!
//! Locks, always taken in this order: `writer` (one change at a time), `file` (exclusive only while
//! one file replaces another), `memory`. Searches, and everything the door needs, take only
//! `memory`, which is never held while the disk is read or written.
//!
//! | file | purpose |
//! |---|---|
//! | `subject.rs` | input and output types |
//! | `tables.rs` | the tables and the bytes of their records |
//! | `file.rs` | lock, open, create, scrub |
//! | `copy.rs` | the last good copy, which never contradicts the file |
//! | `rescue.rs` | replaces a damaged file by its intact records |
//! | `index.rs` | exact search in memory |
//! | `pending_removals.rs` | removals that are not on disk yet |
//! | `writing.rs` | one change of the file and of the index; a file that fails |
//! | `reindex.rs` | re-embeds templates of other models with the present one |
//! | `health.rs` | state of the file |
//! | `error.rs` | errors |

mod copy;
mod error;
mod file;
mod health;
mod index;
mod pending_removals;
mod reindex;
mod rescue;
mod space;
mod subject;
mod tables;
mod writing;

pub use error::{GalleryError, OpenError};
pub use health::{FileState, Health, LeftOut};
pub(crate) use space::Space;
pub use subject::{
    Candidate, EnrolMode, Enrolled, Enrolment, Outdated, OutdatedPage, Page, Pose, Scrubbed, Stats,
    Subject, SubjectChange, TemplateId,
};

use crate::face::Embedding;
use crate::nn::Level;
use file::{GalleryFile, ScrubbedCopy, closed};
use index::{Index, is_unit};
use pending_removals::PendingRemovals;
use redb::{ReadableDatabase, ReadableTable, WriteTransaction};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tables::{SubjectRecord, TemplateRecord, microseconds};
use tokio::sync::watch;
use writing::Change;

/// Settings of a gallery, the same for all its operations.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The model that makes the embeddings; stored in every template.
    pub model_id: String,
    /// True if images are kept. Images already in the file stay when this becomes false.
    pub store_images: bool,
}

/// The enrolled subjects and their templates. All methods may be called from several threads.
pub struct Gallery {
    settings: Settings,
    level: Level,
    writer: Mutex<()>,
    file: RwLock<GalleryFile>,
    memory: RwLock<Memory>,
    /// Number of remnants, as in the file.
    remnants: AtomicU64,
    /// True if the last good copy is missing or older than the file.
    copy_due: AtomicBool,
    health: watch::Sender<Health>,
}

/// State that is available without the disk.
struct Memory {
    index: Index,
    pending_removals: PendingRemovals,
    /// Records lost with a damaged file.
    left_out: Option<LeftOut>,
}

/// An enrolment written to the tables.
struct Stored {
    /// The subject after the enrolment.
    subject: SubjectRecord,
    done: Enrolled,
    made: Vec<(TemplateId, Embedding)>,
}

/// Data that opening reads from the file.
struct Loaded {
    index: Index,
    remnants: u64,
    left_out: LeftOut,
}

impl Gallery {
    /// Opens the gallery file, or creates it in an existing folder. Verifies the whole file and
    /// builds the index. A damaged file is replaced by its intact records, completed from the last
    /// good copy if there is one, and stays as `<file>.damaged`. A file without any trustworthy
    /// record is refused and left unchanged.
    pub fn open(path: &Path, settings: Settings) -> Result<Self, OpenError> {
        let level = Level::detect()?;
        let load = |database: &redb::Database| loaded(database, &settings.model_id, level);
        let (file, Loaded { index, remnants, left_out }) = GalleryFile::open(path, load)?;
        let left_out = left_out.shown_for(file.path());
        let gallery = Self {
            settings,
            level,
            writer: Mutex::new(()),
            file: RwLock::new(file),
            memory: RwLock::new(Memory {
                index,
                pending_removals: PendingRemovals::default(),
                left_out,
            }),
            remnants: AtomicU64::new(remnants),
            copy_due: AtomicBool::new(true),
            health: watch::Sender::new(Health::default()),
        };
        if let Err(error) = gallery.check_copy() {
            tracing::warn!(%error, "the gallery's copy could not be checked");
        }
        gallery.publish_health();
        Ok(gallery)
    }

    /// Stores a face under a subject; creates the subject if it does not exist.
    pub fn enroll(&self, enrolment: Enrolment) -> Result<Enrolled, GalleryError> {
        self.enroll_poses(enrolment, Vec::new())
    }

    /// Stores a face under a subject and further faces with it: all of them or none.
    pub fn enroll_poses(
        &self,
        mut enrolment: Enrolment,
        further: Vec<Pose>,
    ) -> Result<Enrolled, GalleryError> {
        let image = enrolment.image.take();
        let id = enrolment.subject_id.as_str();
        if !(1..=tables::MAX_SUBJECT_ID).contains(&id.len()) {
            return Err(GalleryError::SubjectId(id.len()));
        }
        let first = Pose { embedding: enrolment.embedding.clone(), image };
        let poses: Vec<Pose> = std::iter::once(first).chain(further).collect();
        if !poses.iter().all(|pose| is_unit(&pose.embedding)) {
            return Err(GalleryError::Embedding);
        }
        let time_us = microseconds(enrolment.time)?;
        self.has_room()?;

        self.changed(|write| {
            let Stored { subject, done, made } = self.stored(write, &enrolment, poses, time_us)?;
            let then = move |index: &mut Index| {
                if enrolment.mode == EnrolMode::Replace {
                    index.remove(id);
                }
                index.put(id, subject, done.templates);
                for (template, embedding) in &made {
                    index.insert(id, *template, embedding);
                }
                done
            };
            Ok(Change { alters: !done.created, then })
        })
    }

    /// Writes an enrolment to the tables.
    fn stored(
        &self,
        write: &WriteTransaction,
        enrolment: &Enrolment,
        poses: Vec<Pose>,
        time_us: i64,
    ) -> Result<Stored, GalleryError> {
        let id = enrolment.subject_id.as_str();
        let (subject, created) = match read_subject(write, id)? {
            Some(subject) => (subject, false),
            None => (SubjectRecord::new(time_us), true),
        };
        if !subject.groups.is_empty() && !enrolment.by_admin {
            return Err(GalleryError::Grouped(id.to_owned()));
        }
        if !subject.enabled && !enrolment.by_admin {
            return Err(GalleryError::Disabled(id.to_owned()));
        }
        let kept = match enrolment.mode {
            EnrolMode::Replace => {
                remove_templates(write, id)?;
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
        let adds = enrolment.mode == EnrolMode::Add;
        let subject = SubjectRecord {
            updated_us: time_us,
            // Stays true when a client replaces faces that an administrator enrolled.
            faces_by_admin: enrolment.by_admin || subject.faces_by_admin,
            faces_by_client: !enrolment.by_admin || adds && subject.faces_by_client,
            ..subject
        };
        write.open_table(tables::SUBJECTS)?.insert(id, subject.encode()?.as_slice())?;
        let mut made = Vec::with_capacity(poses.len());
        for Pose { embedding, image } in poses {
            let template = next_template(write)?;
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
        let (template, templates) = (made[0].0, kept + made.len());
        Ok(Stored { subject, done: Enrolled { created, templates, template }, made })
    }

    /// Returns a subject, from memory; `None` if no subject has this id.
    pub fn subject(&self, id: &str) -> Result<Option<Subject>, GalleryError> {
        Ok(self.memory()?.index.subject(id))
    }

    /// Returns the subjects after `cursor`, in the order of their ids: at most `limit`, at least
    /// one. From memory.
    pub fn subjects(&self, limit: usize, cursor: Option<&str>) -> Result<Page, GalleryError> {
        Ok(self.memory()?.index.page(limit, cursor))
    }

    /// Changes a subject's record, but not its templates, and returns the changed subject; `None`
    /// if no subject has this id. Restrictions take effect before they are on disk, and also if the
    /// disk refuses them: [`GalleryError::NotOnDisk`].
    pub fn update(&self, id: &str, change: SubjectChange) -> Result<Option<Subject>, GalleryError> {
        let narrowed = {
            let mut memory = self.memory_mut()?;
            let Memory { index, pending_removals, .. } = &mut *memory;
            let Some(record) = index.record(id) else { return Ok(None) };
            let mut changed = record.clone();
            changed.change(&change)?;
            let narrowed = record.narrowed(&changed);
            (narrowed != *record).then(|| {
                index.put(id, narrowed.clone(), index.templates_of(id));
                pending_removals.narrow(id, narrowed)
            })
        };
        if narrowed.is_some() {
            self.publish_health();
        }
        let updated = self.changed(|write| {
            let changed = match read_subject(write, id)? {
                Some(mut subject) => {
                    subject.change(&change)?;
                    let encoded = subject.encode()?;
                    write.open_table(tables::SUBJECTS)?.insert(id, encoded.as_slice())?;
                    Some(subject)
                }
                // Deleted in the meantime.
                None => None,
            };
            let then = move |index: &mut Index| {
                index.put(id, changed?, index.templates_of(id));
                index.subject(id)
            };
            Ok(Change { alters: true, then })
        });
        updated.or_else(|error| match narrowed {
            Some(number) if self.is_pending(id, number)? => {
                Err(GalleryError::NotOnDisk { subject: id.to_owned(), why: error.to_string() })
            }
            _ => Err(error),
        })
    }

    /// Removes a subject with all its templates and images; returns false if no subject has this
    /// id. The removal takes effect before it is on disk, and also if the disk refuses it:
    /// [`GalleryError::NotOnDisk`]. The bytes leave the file with the next [`Gallery::scrub`].
    pub fn delete(&self, id: &str) -> Result<bool, GalleryError> {
        let number = {
            let mut memory = self.memory_mut()?;
            if !memory.index.contains(id) {
                return Ok(false);
            }
            memory.index.remove(id);
            memory.pending_removals.delete(id)
        };
        self.publish_health();
        match self.changed(|_| Ok(Change { alters: false, then: |_: &mut Index| () })) {
            Err(error) if self.is_pending(id, number)? => {
                Err(GalleryError::NotOnDisk { subject: id.to_owned(), why: error.to_string() })
            }
            _ => Ok(true),
        }
    }

    /// Checks whether this subject is enrolled, with templates of any model.
    pub fn contains(&self, id: &str) -> bool {
        self.memory().is_ok_and(|memory| memory.index.contains(id))
    }

    /// Returns the best cosine over the subject's templates of this model; `None` if no subject has
    /// this id or it has no such template.
    pub fn verify(&self, id: &str, probe: &Embedding) -> Option<f32> {
        self.memory().ok()?.index.best_of(id, probe)
    }

    /// Returns the `limit` most similar subjects, best first, each by its best template. Equal
    /// cosines are ordered by subject id.
    pub fn search(&self, probe: &Embedding, limit: usize) -> Vec<Candidate> {
        self.memory().map(|memory| memory.index.search(probe, limit)).unwrap_or_default()
    }

    /// Like [`Gallery::search`], over the subjects that are active now ([`Subject::is_active`]).
    pub fn search_active(
        &self,
        probe: &Embedding,
        limit: usize,
        now: Option<f64>,
    ) -> Vec<Candidate> {
        let memory = self.memory();
        let found = memory
            .map(|memory| memory.index.search_among(probe, limit, |record| record.is_active(now)));
        found.unwrap_or_default()
    }

    /// Returns every subject whose best template has at least this cosine with the probe, in the
    /// order of [`Gallery::search`].
    pub fn at_least(&self, probe: &Embedding, least: f32) -> Vec<Candidate> {
        self.memory().map(|memory| memory.index.at_least(probe, least)).unwrap_or_default()
    }

    /// Returns the subject's templates of this model, in no particular order; empty if no subject
    /// has this id.
    pub fn faces(&self, id: &str) -> Vec<(TemplateId, Embedding)> {
        self.memory().map(|memory| memory.index.faces(id)).unwrap_or_default()
    }

    /// Returns how many templates a search compares: those of this model. From memory.
    pub fn comparable_templates(&self) -> usize {
        self.memory().map_or(0, |memory| memory.index.comparable())
    }

    /// Returns how many of them belong to subjects with a group: those that can open a door. From
    /// memory.
    pub fn grouped_templates(&self) -> usize {
        self.memory().map_or(0, |memory| memory.index.grouped())
    }

    /// Returns the image stored with a template; `None` if it has none or the template is gone.
    pub fn image(&self, template: TemplateId) -> Result<Option<Vec<u8>>, GalleryError> {
        self.read(|read| {
            let image = read.open_table(tables::IMAGES)?.get(template.0)?;
            Ok(image.map(|image| image.value().to_vec()))
        })
    }

    /// Returns the counts and the file size. From memory, except the file size.
    pub fn stats(&self) -> Result<Stats, GalleryError> {
        let (subjects, templates, comparable) = {
            let memory = self.memory()?;
            let index = &memory.index;
            (index.subjects(), index.templates(), index.comparable())
        };
        Ok(Stats {
            subjects: subjects as u64,
            templates: templates as u64,
            templates_of_other_models: templates.saturating_sub(comparable) as u64,
            remnants: self.remnants.load(Ordering::Relaxed),
            file_bytes: self.file()?.bytes()?,
            schema: tables::SCHEMA,
        })
    }

    /// Returns the other models found in the file and the number of their templates.
    pub fn other_models(&self) -> Result<BTreeMap<String, u64>, GalleryError> {
        let mut models = self.read(tables::count_models)?;
        models.remove(&self.settings.model_id);
        Ok(models)
    }

    /// Removes the bytes of deleted, replaced and changed records from the file, and frees unused
    /// space. Writes a copy of all live records (needs that much free space), replaces the file
    /// with it and overwrites the old file. Enrolments and deletions wait for the copy. Reads of
    /// the file wait only for the replacement; searches do not wait.
    pub fn scrub(&self) -> Result<Scrubbed, GalleryError> {
        let writer = self.writer()?;
        self.fail_if_replaced()?;
        let (copy, bytes_before) = {
            let file = self.file()?;
            let database = file.handle.writable().map_err(closed)?;
            (ScrubbedCopy::make(database, file.path())?, file.bytes()?)
        };
        let (retired, bytes_after) = {
            let mut file = self.file.write().map_err(|_| GalleryError::InDoubt)?;
            (copy.install(&mut file)?, file.bytes()?)
        };
        self.remnants.store(0, Ordering::Relaxed);
        self.copy_due.store(true, Ordering::Relaxed);
        drop(writer);
        retired.erase()?;
        Ok(Scrubbed { bytes_before, bytes_after })
    }

    fn writer(&self) -> Result<MutexGuard<'_, ()>, GalleryError> {
        self.writer.lock().map_err(|_| GalleryError::InDoubt)
    }

    /// Returns the file for reading. Hold the guard as long as a transaction lives: otherwise a
    /// scrub or a failure closes the database under it.
    fn file(&self) -> Result<RwLockReadGuard<'_, GalleryFile>, GalleryError> {
        self.file.read().map_err(|_| GalleryError::InDoubt)
    }

    fn memory(&self) -> Result<RwLockReadGuard<'_, Memory>, GalleryError> {
        self.memory.read().map_err(|_| GalleryError::InDoubt)
    }

    fn memory_mut(&self) -> Result<RwLockWriteGuard<'_, Memory>, GalleryError> {
        self.memory.write().map_err(|_| GalleryError::InDoubt)
    }
}

/// Reads the file into memory.
fn loaded(database: &redb::Database, model_id: &str, level: Level) -> Result<Loaded, GalleryError> {
    let read = database.begin_read()?;
    let index = tables::load(&read, model_id, level)?;
    let meta = read.open_table(tables::META)?;
    let remnants = tables::read_meta(&meta, tables::META_REMNANTS)?;
    Ok(Loaded { index, remnants, left_out: tables::read_left_out(&meta)? })
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

/// Takes the next template id; it is never given again.
fn next_template(write: &WriteTransaction) -> Result<u64, GalleryError> {
    let mut meta = write.open_table(tables::META)?;
    let template = tables::read_meta(&meta, tables::META_NEXT_TEMPLATE)?;
    let next = template
        .checked_add(1)
        .ok_or_else(|| GalleryError::Damaged("the template ids are used up".into()))?;
    meta.insert(tables::META_NEXT_TEMPLATE, next)?;
    Ok(template)
}
