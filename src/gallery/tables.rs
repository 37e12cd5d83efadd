//! The tables of the gallery file and the bytes of their records; `docs/gallery-file.md` draws them.
//!
//! Whatever is read is checked: a record that the gallery would not have written is
//! [`GalleryError::Damaged`], with the name of the record, and never a guess.

use super::error::GalleryError;
use super::health::LeftOut;
use super::index::{Index, is_unit};
use super::subject::{Subject, SubjectChange, TemplateId};
use crate::face::{EMBEDDING_LEN, Embedding};
use crate::nn::Level;
use redb::{
    ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};

/// The version this program writes. It reads version 1, which does not say who disabled a
/// subject or enrolled its faces; the first change makes such a file one of this version.
pub(super) const SCHEMA: u64 = 2;

/// Longest subject id in bytes, as the contract limits it.
pub(super) const MAX_SUBJECT_ID: usize = 128;

/// Numbers about the file itself, by the names below.
pub(super) const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// Subject id → [`SubjectRecord`] as JSON.
pub(super) const SUBJECTS: TableDefinition<&str, &[u8]> = TableDefinition::new("subjects");
/// Subject id, template id → [`TemplateRecord`]. Keyed by both, so that a subject's templates
/// stand together and a deletion looks at no others.
pub(super) const TEMPLATES: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new("templates");
/// Template id → the JPEG.
pub(super) const IMAGES: TableDefinition<u64, &[u8]> = TableDefinition::new("images");

/// In [`META`]: the version of these tables.
pub(super) const META_SCHEMA: &str = "schema";
/// In [`META`]: the id the next template gets.
pub(super) const META_NEXT_TEMPLATE: &str = "next_template";
/// In [`META`]: changes that left old bytes in the file since it was last scrubbed.
pub(super) const META_REMNANTS: &str = "remnants";

/// In [`META`], of a gallery that was filled from a damaged one: what that one lost.
const META_LEFT_OUT: [&str; 4] =
    ["left_out_subjects", "left_out_templates", "left_out_images", "from_copy"];

/// What stands in [`SUBJECTS`]. An unknown field is damage: a program that does not know a field
/// would lose it at the next change, and a new field comes with a new schema version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SubjectRecord {
    pub name: Option<String>,
    pub groups: Vec<String>,
    pub card: Option<String>,
    pub enabled: bool,
    /// If it is not enabled: a caller without the permission `admin` disabled it. Since schema 2.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled_by_client: bool,
    /// A caller with the permission `admin` enrolled it, with the faces it has or earlier ones. Since
    /// schema 2; `false` where that is not on record, as in the next.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub faces_by_admin: bool,
    /// A caller without the permission `admin` enrolled some of the faces it has. Since schema 2.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub faces_by_client: bool,
    pub valid_from_us: Option<i64>,
    pub valid_until_us: Option<i64>,
    pub created_us: i64,
    pub updated_us: i64,
}

impl SubjectRecord {
    /// Somebody who may open no door yet.
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

    /// Applies a change; on an error the record is of no use.
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
            // A client that disables what an administrator disabled takes nothing of that back.
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

    /// The same record, permitting nothing that `bound` does not permit either: neither the groups it
    /// lacks, nor a time at which it is not valid.
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

/// Whole microseconds: an integer comes back from the file's text as it went in.
pub(super) fn microseconds(time: f64) -> Result<i64, GalleryError> {
    // 30,000 years either way, which an i64 holds with room to spare.
    if time.is_finite() && time.abs() < 1e12 {
        Ok((time * 1e6).round() as i64)
    } else {
        Err(GalleryError::Time(time))
    }
}

fn seconds(microseconds: i64) -> f64 {
    microseconds as f64 / 1e6
}

/// What stands in [`TEMPLATES`]: 8 bytes of time, 512 of vector, and the model's id to the end.
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

/// The version of the tables; the file is of use only up to [`SCHEMA`].
pub(super) fn read_schema(read: &ReadTransaction) -> Result<u64, GalleryError> {
    read_meta(&read.open_table(META)?, META_SCHEMA)
}

/// A number of [`META`]; each of them is always there.
pub(super) fn read_meta(
    meta: &impl ReadableTable<&'static str, u64>,
    name: &str,
) -> Result<u64, GalleryError> {
    match meta.get(name)? {
        Some(value) => Ok(value.value()),
        None => Err(GalleryError::Damaged(format!("{name:?} is missing in meta"))),
    }
}

/// What a damaged file lost that this one was filled from.
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

/// The meta of a gallery that is filled from a damaged one.
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

/// How many templates a subject has.
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

/// Reads and checks every subject and every template, and gives the index of those of one model.
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

/// How many templates each model made.
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
