//! Who is enrolled.
//!
//! The gallery knows vectors and ids: subjects, their templates (one vector each, made by one
//! model) and an opaque image a template. It reads no image, no clock and no network.
//!
//! 1. The file is the truth. One operation is one transaction, on disk when the call returns.
//! 2. The index answers what is known of subjects and who is found, and equals the file: it changes
//!    after a commit, under the lock that orders the commits. Two things come before the disk: what is
//!    taken from somebody counts at once (`pending_removals.rs`), and what failed to be written is not lost.
//! 3. Templates of other models are kept and counted, never compared.
//! 4. In doubt nobody is found: a probe that is no unit vector, or a thread that died while it
//!    changed the index, leads to an empty answer.
//! 5. A file that fails ends no recognition and no revocation: it is closed, and opened again.
//!
//! Locks, always taken in this order: `writer` (one change at a time), `file` (exclusively only
//! for the moment in which a file takes another's place), `memory`. Searches, and all that the door
//! asks, take only `memory`, which is never held while the disk is read or written.
//!
//! | file | idea |
//! |---|---|
//! | `subject.rs` | what goes in and comes out |
//! | `tables.rs` | the tables and their bytes |
//! | `file.rs` | lock, open, create, scrub |
//! | `copy.rs` | the last good copy, which never contradicts the file |
//! | `rescue.rs` | what is sound of a damaged file takes its place |
//! | `index.rs` | exact search in memory |
//! | `pending_removals.rs` | what was taken from somebody and is not on disk yet |
//! | `writing.rs` | one change of the file and of the index; the file that fails |
//! | `reindex.rs` | templates of other models get vectors of the present one |
//! | `health.rs` | how things are with the file |
//! | `error.rs` | what can go wrong |

mod copy;
mod error;
mod file;
mod health;
mod index;
mod pending_removals;
mod reindex;
mod rescue;
mod subject;
mod tables;
mod writing;

pub use error::{GalleryError, OpenError};
pub use health::{FileState, Health, LeftOut};
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
    level: Level,
    writer: Mutex<()>,
    file: RwLock<GalleryFile>,
    memory: RwLock<Memory>,
    /// As the file has it.
    remnants: AtomicU64,
    /// Whether the last good copy is not of the file as it is.
    copy_due: AtomicBool,
    health: watch::Sender<Health>,
}

/// What is known without the disk.
struct Memory {
    index: Index,
    pending_removals: PendingRemovals,
    /// What a damaged file lost.
    left_out: Option<LeftOut>,
}

/// An enrolment in the tables.
struct Stored {
    /// As it is then.
    subject: SubjectRecord,
    done: Enrolled,
    made: Vec<(TemplateId, Embedding)>,
}

/// What an open reads from the file.
struct Loaded {
    index: Index,
    remnants: u64,
    left_out: LeftOut,
}

impl Gallery {
    /// Opens the gallery file, or makes it in a folder that exists. Verifies all of it and builds
    /// the index. Of a damaged file what is sound takes its place, with a last good copy where there is
    /// one, and the file stays as `<file>.damaged`; one of which nothing can be believed is refused and
    /// left alone.
    pub fn open(path: &Path, settings: Settings) -> Result<Self, OpenError> {
        let level = Level::detect()?;
        let load = |database: &redb::Database| loaded(database, &settings.model_id, level);
        let (file, Loaded { index, remnants, left_out }) = GalleryFile::open(path, load)?;
        let left_out = left_out.shown_beside(file.path());
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
        if let Err(error) = gallery.look_at_copy() {
            tracing::warn!(%error, "the gallery's copy was not looked at");
        }
        gallery.tell();
        Ok(gallery)
    }

    /// Stores a face under a subject; makes the subject when there is none.
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

    /// An enrolment in the tables.
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
            // Also where a client replaces what an administrator enrolled.
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

    /// One subject; none when no subject has this id. From memory.
    pub fn subject(&self, id: &str) -> Result<Option<Subject>, GalleryError> {
        Ok(self.memory()?.index.subject(id))
    }

    /// At most `limit` subjects (one at least) in the order of their ids, those after `cursor`. From
    /// memory.
    pub fn subjects(&self, limit: usize, cursor: Option<&str>) -> Result<Page, GalleryError> {
        Ok(self.memory()?.index.page(limit, cursor))
    }

    /// Changes what is known of a subject beside its templates, and answers what it is then; none
    /// when no subject has this id. What the change takes away counts before it is on disk, and also if
    /// the disk does not take it: [`GalleryError::NotOnDisk`].
    pub fn update(&self, id: &str, change: SubjectChange) -> Result<Option<Subject>, GalleryError> {
        let narrowed = {
            let mut memory = self.memory_alone()?;
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
            self.tell();
        }
        let updated = self.changed(|write| {
            let changed = match read_subject(write, id)? {
                Some(mut subject) => {
                    subject.change(&change)?;
                    let encoded = subject.encode()?;
                    write.open_table(tables::SUBJECTS)?.insert(id, encoded.as_slice())?;
                    add_remnants(write, 1)?;
                    Some(subject)
                }
                // Deleted meanwhile.
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

    /// Removes a subject with all its templates and images; false when no subject has this id. It counts
    /// before it is on disk, and also if the disk does not take it: [`GalleryError::NotOnDisk`]. The
    /// bytes leave the file with the next [`Gallery::scrub`].
    pub fn delete(&self, id: &str) -> Result<bool, GalleryError> {
        let number = {
            let mut memory = self.memory_alone()?;
            if !memory.index.contains(id) {
                return Ok(false);
            }
            memory.index.remove(id);
            memory.pending_removals.delete(id)
        };
        self.tell();
        match self.changed(|_| Ok(Change { alters: false, then: |_: &mut Index| () })) {
            Err(error) if self.is_pending(id, number)? => {
                Err(GalleryError::NotOnDisk { subject: id.to_owned(), why: error.to_string() })
            }
            _ => Ok(true),
        }
    }

    /// Whether this subject is enrolled, with templates of whatever model.
    pub fn contains(&self, id: &str) -> bool {
        self.memory().is_ok_and(|memory| memory.index.contains(id))
    }

    /// The best cosine over the subject's templates of this model; none when nobody has this id or
    /// the subject has no such template.
    pub fn verify(&self, id: &str, probe: &Embedding) -> Option<f32> {
        self.memory().ok()?.index.best_of(id, probe)
    }

    /// The `limit` most similar subjects, best first, each by its best template. Equal cosines are
    /// ordered by subject id.
    pub fn search(&self, probe: &Embedding, limit: usize) -> Vec<Candidate> {
        self.memory().map(|memory| memory.index.search(probe, limit)).unwrap_or_default()
    }

    /// Every subject whose best template has at least this cosine with the probe, in the order of
    /// [`Gallery::search`].
    pub fn at_least(&self, probe: &Embedding, least: f32) -> Vec<Candidate> {
        self.memory().map(|memory| memory.index.at_least(probe, least)).unwrap_or_default()
    }

    /// The subject's templates of this model, in no order; none when nobody has this id.
    pub fn faces(&self, id: &str) -> Vec<(TemplateId, Embedding)> {
        self.memory().map(|memory| memory.index.faces(id)).unwrap_or_default()
    }

    /// How many templates a search compares with: those of this model. From memory.
    pub fn comparable_templates(&self) -> usize {
        self.memory().map_or(0, |memory| memory.index.comparable())
    }

    /// How many of them are of subjects that have a group: those that can open a door. From memory.
    pub fn grouped_templates(&self) -> usize {
        self.memory().map_or(0, |memory| memory.index.grouped())
    }

    /// The image stored with a template; none when it has none or is gone.
    pub fn image(&self, template: TemplateId) -> Result<Option<Vec<u8>>, GalleryError> {
        self.read(|read| {
            let image = read.open_table(tables::IMAGES)?.get(template.0)?;
            Ok(image.map(|image| image.value().to_vec()))
        })
    }

    /// How much there is. From memory, but for the size of the file.
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

    /// The other models that templates in the file were made by, and how many each.
    pub fn other_models(&self) -> Result<BTreeMap<String, u64>, GalleryError> {
        let mut models = self.read(tables::count_models)?;
        models.remove(&self.settings.model_id);
        Ok(models)
    }

    /// Removes the bytes of what was deleted, replaced or changed from the file, and gives unused
    /// space back. Writes a copy of all live records (so much space must be free), puts it in the
    /// file's place and overwrites the old file. Enrolments and deletions wait for the copy, reads
    /// of the file for the moment of the change; searches wait for nothing.
    pub fn scrub(&self) -> Result<Scrubbed, GalleryError> {
        let writer = self.writer()?;
        self.unreplaced()?;
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

    /// The file for reading. Held as long as a transaction lives: a scrub, or a failure, closes the
    /// database under it otherwise.
    fn file(&self) -> Result<RwLockReadGuard<'_, GalleryFile>, GalleryError> {
        self.file.read().map_err(|_| GalleryError::InDoubt)
    }

    fn memory(&self) -> Result<RwLockReadGuard<'_, Memory>, GalleryError> {
        self.memory.read().map_err(|_| GalleryError::InDoubt)
    }

    fn memory_alone(&self) -> Result<RwLockWriteGuard<'_, Memory>, GalleryError> {
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
