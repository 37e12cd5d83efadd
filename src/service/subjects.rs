//! The operations on subjects: list, get, update, delete.

use super::faces::{self, Facts};
use super::recognition::{Recognizer, Requester};
use crate::contract::answer_fields::{Meta, SubjectBlock, SubjectGone, SubjectPage};
use crate::contract::{Change, Operation, Refusal, Reply, Sender};
use crate::gallery::{Gallery, GalleryError, Subject, SubjectChange};
use crate::time::unix_time;

/// `subject/list`: answers `subjects`, and `cursor` if there are more.
pub(super) fn list(
    gallery: &Gallery,
    limit: usize,
    cursor: Option<&str>,
) -> Result<Reply, Refusal> {
    let page = gallery.subjects(limit, cursor).map_err(Refusal::internal)?;
    let subjects = page.subjects.into_iter().map(block).collect();
    Ok(Reply::of(Operation::SubjectList, &SubjectPage { subjects, cursor: page.next }))
}

/// `subject/get`: answers the subject's fields.
pub(super) fn get(gallery: &Gallery, id: &str) -> Result<Reply, Refusal> {
    let subject = gallery.subject(id).map_err(Refusal::internal)?;
    found(Operation::SubjectGet, id, subject)
}

/// `subject/update`: changes a subject and answers its fields. If the faces may be of several
/// people, a group is added only if the request accepts the faces.
pub(super) fn update(
    recognizer: &Recognizer,
    by: &Requester,
    id: &str,
    change: Change,
    accept_faces: bool,
) -> Result<Reply, Refusal> {
    let Recognizer { gallery, audit_trail, .. } = recognizer;
    let change = subject_change(change, by.admin);
    // No face is added between checking the faces and adding the group. A change that adds no
    // group, such as a disabling, does not wait for another change's disk access.
    let _changing = change.groups.is_some().then(|| recognizer.changing());
    let gains = faces::gains_group(gallery, id, &change)?;
    let disagreement =
        gains.then(|| faces::disagreement(gallery, id).or_else(|| faces::mixed(gallery, id)));
    let disagreement = disagreement.flatten();
    if let (Some(disagreement), false) = (&disagreement, accept_faces) {
        tracing::warn!(subject_id = id, %disagreement, "group refused");
        return Err(Refusal::Faces { why: disagreement.why(id) });
    }
    let duplicate = gains.then(|| {
        let faces = gallery.faces(id).into_iter().map(|(_, face)| face);
        recognizer.duplicate(&faces.collect::<Vec<_>>(), id)
    });
    let duplicate = duplicate.flatten();
    let updated = gallery.update(id, change.clone());
    let on_disk = !matches!(updated, Err(GalleryError::NotOnDisk { .. }));
    if matches!(updated, Ok(Some(_))) || !on_disk {
        audit_trail.subject_updated(&by.sender, id, &change, disagreement.as_ref(), on_disk);
    }
    let subject = updated?;
    let reply = found(Operation::SubjectUpdate, id, subject)?;
    if duplicate.is_some() || disagreement.is_some() {
        let mut meta = Meta::default();
        let facts = Facts {
            duplicate: duplicate.as_ref(),
            replaced: None,
            disagreement: disagreement.as_ref(),
            liveness: None,
        };
        facts.add_to_meta(by, &mut meta);
        return Ok(reply.with_meta(meta));
    }
    Ok(reply)
}

/// Removes the bytes of deleted, replaced and changed records from the gallery's file. Answers
/// `bytes_before` and `bytes_after`, the size of the file.
pub(super) fn scrub(recognizer: &Recognizer, by: &Sender) -> Result<Reply, Refusal> {
    let scrubbed = recognizer.gallery.scrub().map_err(Refusal::internal)?;
    recognizer.audit_trail.scrubbed(by);
    Ok(Reply::of(Operation::GalleryScrub, &scrubbed))
}

/// Converts the change for the gallery, with the present time.
fn subject_change(change: Change, by_admin: bool) -> SubjectChange {
    let Change { name, groups, card, enabled, valid_from, valid_until } = change;
    let time = unix_time();
    SubjectChange { name, groups, card, enabled, by_admin, valid_from, valid_until, time }
}

/// `subject/delete`: removes a subject and answers its id. A barred subject counts against the
/// person's other ids, so deleting it may admit that person.
pub(super) fn delete(recognizer: &Recognizer, by: &Requester, id: &str) -> Result<Reply, Refusal> {
    let Recognizer { gallery, audit_trail, .. } = recognizer;
    let barred = gallery.subject(id).map_err(Refusal::internal)?.is_some_and(|it| it.barred);
    if barred && !by.admin {
        let why = format!(
            "an administrator disabled {id}; only a caller with the permission `admin` may delete it"
        );
        return Err(Refusal::Permission { why });
    }
    let deleted = gallery.delete(id);
    if let Err(GalleryError::NotOnDisk { .. }) = &deleted {
        audit_trail.subject_deleted(&by.sender, id, false);
    }
    if !deleted? {
        return Err(Refusal::unknown_subject(id));
    }
    audit_trail.subject_deleted(&by.sender, id, true);
    Ok(Reply::of(Operation::SubjectDelete, &SubjectGone { subject_id: id }))
}

fn found(operation: Operation, id: &str, subject: Option<Subject>) -> Result<Reply, Refusal> {
    let subject = subject.ok_or_else(|| Refusal::unknown_subject(id))?;
    Ok(Reply::of(operation, &block(subject)))
}

/// Returns a subject in the form of an answer.
fn block(subject: Subject) -> SubjectBlock {
    SubjectBlock {
        subject_id: subject.id,
        name: subject.name,
        groups: subject.groups,
        card: subject.card,
        enabled: subject.enabled,
        barred: subject.barred,
        valid_from: subject.valid_from,
        valid_until: subject.valid_until,
        created: subject.created,
        updated: subject.updated,
        templates: subject.templates,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_fields_of_a_subject_are_omitted() {
        let subject = Subject {
            id: "a".into(),
            name: None,
            groups: vec!["staff".into()],
            card: Some("007".into()),
            enabled: true,
            barred: false,
            mixed_faces: false,
            valid_from: None,
            valid_until: Some(2e9),
            created: 1.5,
            updated: 2.5,
            templates: 2,
        };
        assert_eq!(
            serde_json::to_string(&block(subject)).unwrap(),
            r#"{"subject_id":"a","groups":["staff"],"card":"007","enabled":true,"valid_until":2000000000.0,"created":1.5,"updated":2.5,"templates":2}"#
        );
    }
}
