//! Templates of other models: finding them and replacing their vectors by those of the present
//! model.
//!
//! A template remains one enrolled picture: its id, time and image do not change, only the vector
//! and the model's id. The gallery embeds nothing itself: the caller passes the vectors, one
//! subject at a time, and either all of a subject's vectors are stored or none. Nothing else of the
//! subject changes, nor any template of the present model.

use super::error::GalleryError;
use super::index::{Index, is_unit};
use super::subject::{Outdated, OutdatedPage, TemplateId};
use super::tables::{self, TemplateRecord};
use super::writing::Change;
use super::{Gallery, add_remnants};
use crate::face::Embedding;
use redb::{ReadTransaction, ReadableTable};
use std::ops::Bound;

impl Gallery {
    /// Returns the subjects after `cursor` that have templates of other models, in the order of
    /// their ids, with the images of these templates: at most `limit`, at least one.
    pub fn outdated(
        &self,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<OutdatedPage, GalleryError> {
        self.read(|read| self.outdated_in(read, limit, cursor))
    }

    fn outdated_in(
        &self,
        read: &ReadTransaction,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<OutdatedPage, GalleryError> {
        let images = read.open_table(tables::IMAGES)?;
        let after = cursor.map_or(Bound::Unbounded, |id| Bound::Excluded((id, u64::MAX)));
        let mut page = OutdatedPage { subjects: Vec::new(), next: None };
        // The subject whose templates are being read.
        let mut last = Outdated::default();
        let range = read.open_table(tables::TEMPLATES)?.range((after, Bound::Unbounded))?;
        for entry in range {
            let (key, record) = entry?;
            let (subject, template) = key.value();
            let record = TemplateRecord::decode(subject, template, record.value())?;
            if last.subject_id != subject {
                let next = Outdated { subject_id: subject.to_owned(), ..Outdated::default() };
                page.take(std::mem::replace(&mut last, next));
                if page.subjects.len() >= limit.max(1) {
                    page.next = page.subjects.last().map(|last| last.subject_id.clone());
                    return Ok(page);
                }
            }
            if record.model_id == self.settings.model_id {
                last.comparable += 1;
            } else {
                let image = images.get(template)?.map(|image| image.value().to_vec());
                last.templates.push((TemplateId(template), image));
            }
        }
        page.take(last);
        Ok(page)
    }

    /// Replaces the vectors of a subject's templates of other models by vectors of the gallery's
    /// model, all in one transaction. Skips a template that was removed in the meantime or is of
    /// the present model. Returns how many were replaced.
    pub fn reembed(
        &self,
        subject: &str,
        embeddings: &[(TemplateId, Embedding)],
    ) -> Result<usize, GalleryError> {
        if !embeddings.iter().all(|(_, embedding)| is_unit(embedding)) {
            return Err(GalleryError::Embedding);
        }
        self.changed(|write| {
            let mut given = Vec::with_capacity(embeddings.len());
            let mut templates = write.open_table(tables::TEMPLATES)?;
            for (template, embedding) in embeddings {
                let record = match templates.get((subject, template.0))? {
                    Some(record) => TemplateRecord::decode(subject, template.0, record.value())?,
                    None => continue,
                };
                if record.model_id == self.settings.model_id {
                    continue;
                }
                let record = TemplateRecord {
                    time_us: record.time_us,
                    embedding: embedding.clone(),
                    model_id: self.settings.model_id.clone(),
                };
                templates.insert((subject, template.0), record.encode().as_slice())?;
                given.push((*template, embedding));
            }
            add_remnants(write, given.len() as u64)?;
            let alters = !given.is_empty();
            let then = move |index: &mut Index| {
                for (template, embedding) in &given {
                    index.insert(subject, *template, embedding);
                }
                given.len()
            };
            Ok(Change { alters, then })
        })
    }
}

impl OutdatedPage {
    /// Adds a subject if it has templates to replace.
    fn take(&mut self, subject: Outdated) {
        if !subject.templates.is_empty() {
            self.subjects.push(subject);
        }
    }
}
