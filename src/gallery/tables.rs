//! The tables of the gallery file and the bytes of their records; `docs/gallery-file.md` draws
//! them.
//!
//! Every record that is read is checked: one that the gallery would not have written is
//! [`GalleryError::Damaged`], with the name of the record, and never a guess.

use super::error::GalleryError;
use super::health::LeftOut;
use super::index::{Index, is_unit};
use super::subject::{Subject, SubjectChange, TemplateId, is_valid};
use crate::face::{EMBEDDING_LEN, Embedding};
use crate::nn::Level;
use redb::{
    ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};

/// The version this program writes. It also reads version 1, which does not record who disabled a
/// subject or enrolled its faces; the first change turns such a file into this version.
pub(super) const SCHEMA: u64 = 2;

/// Longest subject id in bytes; the contract sets this limit.
pub(super) const MAX_SUBJECT_ID: usize = 128;

/// Numbers about the file itself, under the names below.
pub(super) const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// Subject id → [`SubjectRecord`] as JSON.
pub(super) const SUBJECTS: TableDefinition<&str, &[u8]> = TableDefinition::new("subjects");
/// Subject id, template id → [`TemplateRecord`]. Keyed by both, so that a subject's templates are
/// adjacent and a deletion reads no others.
pub(super) const TEMPLATES: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new("templates");
/// Template id → the JPEG.
pub(super) const IMAGES: TableDefinition<u64, &[u8]> = TableDefinition::new("images");

/// In [`META`]: the version of these tables.
pub(super) const META_SCHEMA: &str = "schema";
/// In [`META`]: the id of the next template.
pub(super) const META_NEXT_TEMPLATE: &str = "next_template";
/// In [`META`]: number of changes that left old bytes in the file since the last scrub.
pub(super) const META_REMNANTS: &str = "remnants";

/// In [`META`] of a gallery that was filled from a damaged one: the number of lost records.
const META_LEFT_OUT: [&str; 4] =
    ["left_out_subjects", "left_out_templates", "left_out_images", "from_copy"];

/// A record of [`SUBJECTS`]. An unknown field is damage: a program that does not know a field would
/// lose it at the next change. A new field needs a new schema version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SubjectRecord {
    pub name: Option<String>,
    pub groups: Vec<String>,
    pub card: Option<String>,
    pub enabled: bool,
    /// If the subject is disabled: true if a caller without the permission `admin` disabled it.
    /// Since schema 2.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled_by_client: bool,
    /// True if a caller with the permission `admin` enrolled it, with its present faces or earlier
    /// ones. Since schema 2; `false` if unknown, as in the next field.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub faces_by_admin: bool,
    /// True if a caller without the permission `admin` enrolled some of its present faces. Since
    /// schema 2.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub faces_by_client: bool,
    pub valid_from_us: Option<i64>,
    pub valid_until_us: Option<i64>,
    pub created_us: i64,
    pub updated_us: i64,
}

impl SubjectRecord {
    /// Like [`Subject::is_active`].
    pub fn is_active(&self, now: Option<f64>) -> bool {
        let [from, until] = [self.valid_from_us, self.valid_until_us].map(|at| at.map(seconds));
        self.enabled && is_valid(from, until, now)
    }

    /// Makes a subject that may not open any door yet.
    pub fn new(time_us: i64) -> Self {
        Self {
            name: None,
            groups: Vec::new(),
            card: None,
            enabled: true,
            disabled_by_client: false,
            faces_by_admin: false,
            faces_by_client: false,
            valid_from_us: None,
            valid_until_us: None,
            created_us: time_us,
            updated_us: time_us,
        }
    }

    pub fn decode(id: &str, bytes: &[u8]) -> Result<Self, GalleryError> {
        serde_json::from_slice(bytes)
            .map_err(|error| GalleryError::Damaged(format!("subject {id:?}: {error}")))
    }

    pub fn encode(&self) -> Result<Vec<u8>, GalleryError> {
        serde_json::to_vec(self).map_err(|error| GalleryError::Damaged(error.to_string()))
    }

    /// Applies a change; after an error the record must not be used.
    pub fn change(&mut self, change: &SubjectChange) -> Result<(), GalleryError> {
        if let Some(name) = &change.name {
            self.name.clone_from(name);
        }
        if let Some(groups) = &change.groups {
            self.groups.clone_from(groups);
        }
        if let Some(card) = &change.card {
            self.card.clone_from(card);
        }
        if let Some(enabled) = change.enabled {
            // A client that disables a subject does not revoke an administrator's disabling.
            self.disabled_by_client = !enabled && !change.by_admin && !self.is_barred();
            self.enabled = enabled;
        }
        if let Some(from) = change.valid_from {
            self.valid_from_us = from.map(microseconds).transpose()?;
        }
        if let Some(until) = change.valid_until {
            self.valid_until_us = until.map(microseconds).transpose()?;
        }
        self.updated_us = microseconds(change.time)?;
        Ok(())
    }

    /// See [`Subject::barred`].
    fn is_barred(&self) -> bool {
        !self.enabled && !self.disabled_by_client
    }

    /// Returns the record restricted to `bound`: without the groups that `bound` lacks and without
    /// the times at which `bound` is not valid.
    pub fn narrowed(&self, bound: &Self) -> Self {
        let groups = self.groups.iter().filter(|group| bound.groups.contains(group));
        let until = [self.valid_until_us, bound.valid_until_us].into_iter().flatten().min();
        let enabled = self.enabled && bound.enabled;
        Self {
            enabled,
            disabled_by_client: !enabled && !self.is_barred() && !bound.is_barred(),
            groups: groups.cloned().collect(),
            valid_from_us: self.valid_from_us.max(bound.valid_from_us),
            valid_until_us: until,
            ..self.clone()
        }
    }

    pub fn subject(self, id: &str, templates: usize) -> Subject {
        Subject {
            id: id.to_owned(),
            barred: self.is_barred(),
            mixed_faces: self.faces_by_admin && self.faces_by_client,
            name: self.name,
            groups: self.groups,
            card: self.card,
            enabled: self.enabled,
            valid_from: self.valid_from_us.map(seconds),
            valid_until: self.valid_until_us.map(seconds),
            created: seconds(self.created_us),
            updated: seconds(self.updated_us),
            templates,
        }
    }
}

/// Converts to whole microseconds: an integer is read back from the file's text exactly.
pub(super) fn microseconds(time: f64) -> Result<i64, GalleryError> {
    // About 30,000 years in both directions, well within an i64.
    if time.is_finite() && time.abs() < 1e12 {
        Ok((time * 1e6).round() as i64)
    } else {
        Err(GalleryError::Time(time))
    }
}

fn seconds(microseconds: i64) -> f64 {
    microseconds as f64 / 1e6
}

/// A record of [`TEMPLATES`]: 8 bytes of time, 512 of vector, and the model's id to the end.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TemplateRecord {
    pub time_us: i64,
    pub embedding: Embedding,
    pub model_id: String,
}

const TIME_BYTES: usize = size_of::<i64>();
const VECTOR_BYTES: usize = EMBEDDING_LEN * size_of::<f32>();

impl TemplateRecord {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(TIME_BYTES + VECTOR_BYTES + self.model_id.len());
        bytes.extend_from_slice(&self.time_us.to_le_bytes());
        for element in self.embedding.0 {
            bytes.extend_from_slice(&element.to_le_bytes());
        }
        bytes.extend_from_slice(self.model_id.as_bytes());
        bytes
    }

    pub fn decode(subject: &str, template: u64, bytes: &[u8]) -> Result<Self, GalleryError> {
        let damaged = |what| {
            GalleryError::Damaged(format!("template {template} of subject {subject:?}: {what}"))
        };
        let (time, rest) =
            bytes.split_first_chunk::<TIME_BYTES>().ok_or_else(|| damaged("it is too short"))?;
        let (vector, model_id) =
            rest.split_at_checked(VECTOR_BYTES).ok_or_else(|| damaged("it is too short"))?;
        let mut embedding = Embedding([0.0; EMBEDDING_LEN]);
        for (element, bytes) in embedding.0.iter_mut().zip(vector.as_chunks::<4>().0) {
            *element = f32::from_le_bytes(*bytes);
        }
        if !is_unit(&embedding) {
            return Err(damaged("its vector is not finite and of unit length"));
        }
        match str::from_utf8(model_id) {
            Ok(model_id) if !model_id.is_empty() => Ok(Self {
                time_us: i64::from_le_bytes(*time),
                embedding,
                model_id: model_id.to_owned(),
            }),
            _ => Err(damaged("it names no model")),
        }
    }
}

/// Returns the version of the tables; the file is usable only up to [`SCHEMA`].
pub(super) fn read_schema(read: &ReadTransaction) -> Result<u64, GalleryError> {
    read_meta(&read.open_table(META)?, META_SCHEMA)
}

/// Returns a number of [`META`]; every one must be present.
pub(super) fn read_meta(
    meta: &impl ReadableTable<&'static str, u64>,
    name: &str,
) -> Result<u64, GalleryError> {
    match meta.get(name)? {
        Some(value) => Ok(value.value()),
        None => Err(GalleryError::Damaged(format!("{name:?} is missing in meta"))),
    }
}

/// Returns what the damaged file lost from which this one was filled.
pub(super) fn read_left_out(
    meta: &impl ReadableTable<&'static str, u64>,
) -> Result<LeftOut, GalleryError> {
    let mut counts = [0; META_LEFT_OUT.len()];
    for (count, name) in counts.iter_mut().zip(META_LEFT_OUT) {
        *count = meta.get(name)?.map_or(0, |count| count.value());
    }
    let [subjects, templates, images, from_copy] = counts;
    Ok(LeftOut { subjects, templates, images, from_copy })
}

/// Writes the meta table of a gallery that is filled from a damaged one.
pub(super) fn write_meta(
    write: &WriteTransaction,
    next_template: u64,
    left_out: LeftOut,
) -> Result<(), GalleryError> {
    let mut meta = write.open_table(META)?;
    meta.insert(META_NEXT_TEMPLATE, next_template)?;
    let LeftOut { subjects, templates, images, from_copy } = left_out;
    for (name, count) in META_LEFT_OUT.into_iter().zip([subjects, templates, images, from_copy]) {
        meta.insert(name, count)?;
    }
    Ok(())
}

/// Returns the number of a subject's templates.
pub(super) fn count_templates(
    templates: &impl ReadableTable<(&'static str, u64), &'static [u8]>,
    subject: &str,
) -> Result<usize, GalleryError> {
    let mut count = 0;
    for entry in templates.range((subject, 0)..=(subject, u64::MAX))? {
        entry?;
        count += 1;
    }
    Ok(count)
}

/// Reads and checks every subject and every template; returns the index, with the rows of one
/// model.
pub(super) fn load(
    read: &ReadTransaction,
    model_id: &str,
    level: Level,
) -> Result<Index, GalleryError> {
    let mut index = Index::new(level);
    for entry in read.open_table(SUBJECTS)?.iter()? {
        let (id, record) = entry?;
        let record = SubjectRecord::decode(id.value(), record.value())?;
        if !(1..=MAX_SUBJECT_ID).contains(&id.value().len()) {
            return Err(GalleryError::Damaged(format!("subject id {:?}", id.value())));
        }
        index.put(id.value(), record, 0);
    }
    let next_template = read_meta(&read.open_table(META)?, META_NEXT_TEMPLATE)?;
    let mut seen = HashSet::new();
    for entry in read.open_table(TEMPLATES)?.iter()? {
        let (key, record) = entry?;
        let (subject, template) = key.value();
        let record = TemplateRecord::decode(subject, template, record.value())?;
        if !index.contains(subject) || template >= next_template || !seen.insert(template) {
            return Err(GalleryError::Damaged(format!(
                "template {template} of subject {subject:?} has no subject or another's id"
            )));
        }
        index.count_template(subject);
        if record.model_id == model_id {
            index.insert(subject, TemplateId(template), &record.embedding);
        }
    }
    let images = read.open_table(IMAGES)?;
    if images.len()? > seen.len() as u64 {
        return Err(GalleryError::Damaged("there are images without template".into()));
    }
    Ok(index)
}

/// Returns the number of templates of each model.
pub(super) fn count_models(read: &ReadTransaction) -> Result<BTreeMap<String, u64>, GalleryError> {
    let mut counts = BTreeMap::new();
    for entry in read.open_table(TEMPLATES)?.iter()? {
        let (key, record) = entry?;
        let (subject, template) = key.value();
        let record = TemplateRecord::decode(subject, template, record.value())?;
        *counts.entry(record.model_id).or_insert(0) += 1;
    }
    Ok(counts)
}
