//! Answers of some operations as a client reads them, and as the service writes some of them.

use super::answer::Answer;
use super::answer_fields::{DuplicateOf, Match};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A page of `audit/list`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuditPage {
    /// Lines of the audit log.
    pub lines: Vec<Value>,
    /// Number of the first line of the next page, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// The subjects that a search found, best first.
#[derive(Clone, Debug, Deserialize)]
pub struct Matches {
    /// Empty if no subject is similar enough.
    pub matches: Vec<Match>,
}

/// Result of `gallery/reindex`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Reindexed {
    /// Number of templates with a new vector.
    pub reembedded: u64,
    /// Subjects with a template without a crop.
    pub without_crop: Vec<String>,
    /// Crops that could not be embedded.
    pub failed: Vec<NotEmbedded>,
    /// Subjects without any comparable template.
    pub not_recognised: Vec<String>,
    /// The subject after which the next portion starts, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A crop that could not be embedded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NotEmbedded {
    /// The subject of the crop.
    pub subject_id: String,
    /// The cause.
    pub reason: String,
}

/// The number of templates in an answer of `stats`.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Templates {
    gallery: InGallery,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct InGallery {
    subjects: u64,
    templates: u64,
}

impl Templates {
    /// Returns the number of subjects.
    pub fn subjects(self) -> u64 {
        self.gallery.subjects
    }

    /// Returns the number of templates of all subjects.
    pub fn in_gallery(self) -> u64 {
        self.gallery.templates
    }
}

impl Reindexed {
    /// Adds the result of the next portion; its cursor replaces this one's.
    pub fn add(&mut self, portion: Reindexed) {
        self.reembedded += portion.reembedded;
        self.without_crop.extend(portion.without_crop);
        self.failed.extend(portion.failed);
        self.not_recognised.extend(portion.not_recognised);
        self.cursor = portion.cursor;
    }

    /// Checks whether every template has a vector of the present model.
    pub fn is_complete(&self) -> bool {
        self.without_crop.is_empty() && self.failed.is_empty() && self.not_recognised.is_empty()
    }
}

impl Answer {
    /// Returns the other subject that is enrolled with the face, from the answer to an enrolment.
    pub fn duplicate_of(&self) -> Option<DuplicateOf> {
        let block = self.fields.get("meta")?.get("duplicate_of")?;
        serde_json::from_value(block.clone()).ok()
    }

    /// Returns the fields of a successful answer; `None` for any other.
    pub fn read<T: DeserializeOwned>(&self) -> Option<T> {
        let fields = (self.status == 200).then(|| self.fields.clone())?;
        serde_json::from_value(Value::Object(fields)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_refusal_is_read_as_nothing() {
        let fields = json!({"lines": []}).as_object().unwrap().clone();
        let page = |status| Answer { status, fields: fields.clone() }.read::<AuditPage>();
        assert!(page(200).is_some_and(|page| page.next.is_none()));
        assert!(page(500).is_none());
    }

    #[test]
    fn portions_add_up() {
        let portion = |cursor: Option<&str>| Reindexed {
            reembedded: 2,
            without_crop: vec!["a".into()],
            cursor: cursor.map(str::to_owned),
            ..Reindexed::default()
        };
        let mut all = portion(Some("a"));
        assert!(!all.is_complete());
        all.add(portion(None));
        assert_eq!((all.reembedded, all.without_crop.len(), all.cursor), (4, 2, None));
    }
}
