//! 1:N over a gallery of many templates: enrolled, on disk and indexed, and searched like a request
//! does. Subjects have many templates each, because each enrolment waits for the disk.
//!
//! `templates.f32` and `probes.f32` are rows of unit vectors, little-endian f32.

use super::{Failure, Work, read};
use doorward::face::{EMBEDDING_LEN, Embedding};
use doorward::gallery::{EnrolMode, Enrolment, Gallery, Pose, Settings};
use serde_json::{Value, json};
use std::fs;
use std::hint::black_box;
use std::path::Path;

/// Rows of one subject, one after the other.
const TEMPLATES: usize = 50;
/// Number of subjects requested.
const LIMIT: usize = 10;

pub struct Search {
    gallery: Gallery,
    probes: Vec<Embedding>,
    next: usize,
}

impl Search {
    /// Enrolls the templates unless they are enrolled already, which takes a minute or more for a
    /// million.
    pub fn load(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join("gallery.redb");
        let settings = || Settings { model_id: "random".into(), store_images: false };
        let bytes = folder.join("templates.f32").metadata();
        let bytes =
            bytes.map_err(|reason| Failure::File { path: folder.join("templates.f32"), reason })?;
        let expected = bytes.len() as usize / (EMBEDDING_LEN * size_of::<f32>());
        let enrolled =
            path.exists() && Gallery::open(&path, settings())?.comparable_templates() == expected;
        if !enrolled {
            if path.exists() {
                fs::remove_file(&path)?;
            }
            enrol(&Gallery::open(&path, settings())?, &rows(folder, "templates.f32")?)?;
        }
        let gallery = Gallery::open(&path, settings())?;
        Ok(Self { gallery, probes: rows(folder, "probes.f32")?, next: 0 })
    }
}

impl Work for Search {
    fn pass(&mut self) -> Result<(), Failure> {
        let probe = &self.probes[self.next % self.probes.len()];
        self.next += 1;
        black_box(self.gallery.search(probe, LIMIT));
        Ok(())
    }

    /// Returns for each probe the numbers of the subjects found, best first.
    fn outputs(&mut self) -> Result<Value, Failure> {
        let found = self.probes.iter().map(|probe| {
            let found = self.gallery.search(probe, LIMIT);
            found.iter().map(|one| one.subject_id.parse::<usize>().ok()).collect::<Vec<_>>()
        });
        Ok(json!(found.collect::<Vec<_>>()))
    }
}

fn enrol(gallery: &Gallery, templates: &[Embedding]) -> Result<(), Failure> {
    for (number, rows) in templates.chunks(TEMPLATES).enumerate() {
        let enrolment = Enrolment {
            subject_id: number.to_string(),
            mode: EnrolMode::Replace,
            embedding: rows[0].clone(),
            image: None,
            by_admin: false,
            max_templates: TEMPLATES,
            time: 0.0,
        };
        let further = rows[1..].iter().map(|row| Pose { embedding: row.clone(), image: None });
        gallery.enroll_poses(enrolment, further.collect())?;
    }
    Ok(())
}

fn rows(folder: &Path, name: &str) -> Result<Vec<Embedding>, Failure> {
    let bytes = read(folder, name)?;
    let (values, rest) = bytes.as_chunks::<4>();
    let (rows, values) = values.as_chunks::<EMBEDDING_LEN>();
    if !rest.is_empty() || !values.is_empty() || rows.is_empty() {
        return Err(Failure::Content(folder.join(name)));
    }
    Ok(rows.iter().map(|row| Embedding(row.map(f32::from_le_bytes))).collect())
}
