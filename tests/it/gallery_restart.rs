//! Tests that the index equals the file and both equal the requested changes: after any sequence of
//! operations, after each restart, and after a scrub. A difference would admit a deleted person
//! until the next restart, or reject an enrolled one after it.

use crate::support::gallery_people::{Random, enrolment, open};
use doorward::face::Embedding;
use doorward::gallery::{
    EnrolMode, Enrolment, Gallery, GalleryError, OpenError, Pose, Settings, SubjectChange,
    TemplateId,
};
use std::collections::BTreeMap;

/// The expected content: by subject, the template, vector and image.
type Model = BTreeMap<String, Vec<(TemplateId, Embedding, Option<Vec<u8>>)>>;

fn cosine(a: &Embedding, b: &Embedding) -> f32 {
    a.0.iter().zip(&b.0).map(|(a, b)| a * b).sum()
}

fn check(gallery: &Gallery, model: &Model, random: &mut Random) {
    let probe = random.embedding();
    let mut expected: Vec<(f32, &str)> = model
        .iter()
        .map(|(id, templates)| {
            let best = templates.iter().map(|(_, vector, _)| cosine(vector, &probe));
            (best.fold(-1.0, f32::max), id.as_str())
        })
        .collect();
    expected.sort_by(|a, b| b.0.total_cmp(&a.0));
    for limit in [1, 10, usize::MAX] {
        let found = gallery.search(&probe, limit);
        assert_eq!(found.len(), limit.min(model.len()));
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found.cosine - expected.0).abs() < 1e-5);
            assert_eq!(found.subject_id, expected.1);
            assert!(model[expected.1].iter().any(|(template, _, _)| *template == found.template));
        }
    }
    for (cosine, id) in expected {
        assert!(gallery.contains(id));
        assert!((gallery.verify(id, &probe).unwrap() - cosine).abs() < 1e-5);
        let subject = gallery.subject(id).unwrap().unwrap();
        assert_eq!(subject.templates, model[id].len());
        for (template, _, image) in &model[id] {
            assert_eq!(&gallery.image(*template).unwrap(), image);
        }
    }
    let stats = gallery.stats().unwrap();
    assert_eq!(stats.subjects as usize, model.len());
    assert_eq!(stats.templates as usize, model.values().map(Vec::len).sum::<usize>());
}

#[test]
fn random_history_survives_restarts_and_scrubs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gallery.redb");
    let mut random = Random(7);
    let mut model = Model::new();
    let mut given = Vec::new();
    let mut gallery = open(&path).unwrap();
    for step in 0..600 {
        let id = format!("p{}", random.below(30));
        match random.below(10) {
            0..6 => {
                let mode = match random.below(3) {
                    0 => EnrolMode::Replace,
                    _ => EnrolMode::Add,
                };
                let embedding = random.embedding();
                let image = (random.below(2) == 0).then(|| {
                    let len = random.below(9000);
                    random.bytes(len)
                });
                let result = gallery.enroll(Enrolment {
                    mode,
                    image: image.clone(),
                    max_templates: 5,
                    ..enrolment(&id, embedding.clone())
                });
                let created = !model.contains_key(&id);
                let templates = model.entry(id).or_default();
                if mode == EnrolMode::Replace {
                    templates.clear();
                }
                if templates.len() == 5 {
                    assert!(matches!(result, Err(GalleryError::TooManyTemplates { max: 5, .. })));
                } else {
                    let enrolled = result.unwrap();
                    assert!(!given.contains(&enrolled.template), "template id given twice");
                    given.push(enrolled.template);
                    templates.push((enrolled.template, embedding, image));
                    assert_eq!(enrolled.created, created);
                    assert_eq!(enrolled.templates, templates.len());
                }
            }
            6..9 => {
                let gone = model.remove(&id);
                assert_eq!(gallery.delete(&id).unwrap(), gone.is_some());
                for (template, _, _) in gone.into_iter().flatten() {
                    assert_eq!(gallery.image(template).unwrap(), None);
                }
                assert!(!gallery.contains(&id));
                assert_eq!(gallery.subject(&id).unwrap(), None);
            }
            _ => {
                let before = gallery.stats().unwrap();
                let probe = random.embedding();
                let found = gallery.search(&probe, 100);
                if random.below(2) == 0 {
                    gallery.scrub().unwrap();
                    assert_eq!(gallery.stats().unwrap().remnants, 0);
                } else {
                    drop(gallery);
                    gallery = open(&path).unwrap();
                    assert_eq!(gallery.stats().unwrap().remnants, before.remnants);
                }
                assert_eq!(gallery.search(&probe, 100), found, "bit for bit");
            }
        }
        if step % 10 == 0 {
            check(&gallery, &model, &mut random);
        }
    }
    drop(gallery);
    check(&open(&path).unwrap(), &model, &mut random);
}

#[test]
fn replacing_the_face_keeps_the_other_fields() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gallery.redb");
    let mut random = Random(1);
    let gallery = open(&path).unwrap();
    gallery.enroll(enrolment("anna", random.embedding())).unwrap();
    let fresh = gallery.subject("anna").unwrap().unwrap();
    assert!(fresh.enabled && fresh.groups.is_empty() && fresh.name.is_none());
    assert_eq!(fresh.created, 1_660_185_524.239_292);

    let change = SubjectChange {
        name: Some(Some("Anna Ä.".into())),
        groups: Some(vec!["staff".into()]),
        card: Some(Some("0042".into())),
        enabled: Some(false),
        by_admin: true,
        valid_from: Some(Some(1.5)),
        valid_until: Some(Some(2e9)),
        time: 1_700_000_000.000_001,
    };
    let changed = gallery.update("anna", change).unwrap().unwrap();
    assert_eq!(gallery.update("unknown", SubjectChange::default()).unwrap(), None);
    let face = random.embedding();
    let refused = gallery.enroll(enrolment("anna", face.clone()));
    assert!(matches!(refused, Err(GalleryError::Grouped(id)) if id == "anna"));
    assert_ne!(gallery.verify("anna", &face), Some(1.0));
    let added =
        gallery.enroll(Enrolment { mode: EnrolMode::Add, ..enrolment("anna", face.clone()) });
    assert!(matches!(added, Err(GalleryError::Grouped(_))));
    gallery
        .enroll(Enrolment {
            by_admin: true,
            time: 1_800_000_000.0,
            ..enrolment("anna", face.clone())
        })
        .unwrap();

    drop(gallery);
    let gallery = open(&path).unwrap();
    let mut kept = gallery.subject("anna").unwrap().unwrap();
    assert_eq!(kept.updated, 1_800_000_000.0);
    kept.updated = changed.updated;
    assert_eq!(kept, changed);
    assert!(gallery.verify("anna", &face).unwrap() > 0.9999);
    let cleared =
        SubjectChange { name: Some(None), valid_until: Some(None), ..SubjectChange::default() };
    let cleared = gallery.update("anna", cleared).unwrap().unwrap();
    assert_eq!((cleared.name, cleared.valid_until), (None, None));
    assert_eq!(cleared.groups, ["staff"]);
}

#[test]
fn templates_of_another_model_are_kept_and_never_compared() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gallery.redb");
    let face = Random(1).embedding();
    let gallery = open(&path).unwrap();
    gallery.enroll(enrolment("anna", face.clone())).unwrap();
    gallery.enroll(enrolment("ben", face.clone())).unwrap();
    drop(gallery);

    let settings = Settings { model_id: "model-b".into(), store_images: true };
    let gallery = Gallery::open(&path, settings).unwrap();
    assert!(gallery.contains("anna"));
    assert_eq!(gallery.verify("anna", &face), None);
    assert_eq!(gallery.search(&face, 10), []);
    assert_eq!(gallery.other_models().unwrap(), BTreeMap::from([("model-a".to_string(), 2)]));
    let add = Enrolment { mode: EnrolMode::Add, ..enrolment("anna", face.clone()) };
    assert_eq!(gallery.enroll(add).unwrap().templates, 2);
    assert_eq!(gallery.search(&face, 10).len(), 1);
    gallery.enroll(enrolment("ben", face.clone())).unwrap();
    let stats = gallery.stats().unwrap();
    assert_eq!((stats.templates, stats.templates_of_other_models), (3, 1));
}

#[test]
fn images_are_not_stored_when_the_settings_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { model_id: "model-a".into(), store_images: false };
    let gallery = Gallery::open(&folder.path().join("g"), settings).unwrap();
    let image = Random(3).bytes(5000);
    let enrolled = gallery
        .enroll(Enrolment {
            image: Some(image.clone()),
            ..enrolment("anna", Random(1).embedding())
        })
        .unwrap();
    assert_eq!(gallery.image(enrolled.template).unwrap(), None);
    drop(gallery);
    let bytes = std::fs::read(folder.path().join("g")).unwrap();
    assert!(!bytes.windows(16).any(|window| window == &image[..16]));
}

#[test]
fn pages_follow_the_order_of_ids() {
    let folder = tempfile::tempdir().unwrap();
    let gallery = open(&folder.path().join("g")).unwrap();
    assert!(gallery.subjects(10, None).unwrap().subjects.is_empty());
    for id in ["c", "a", "e", "b", "d"] {
        gallery.enroll(enrolment(id, Random(1).embedding())).unwrap();
    }
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let page = gallery.subjects(2, cursor.as_deref()).unwrap();
        assert!(page.subjects.len() <= 2);
        seen.extend(page.subjects.into_iter().map(|subject| subject.id));
        // The last subject of a page may be deleted before the next page.
        gallery.delete(seen.last().unwrap()).unwrap();
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["a", "b", "c", "d", "e"]);
    assert_eq!(gallery.subjects(3, None).unwrap().next, None);
}

#[test]
fn invalid_values_are_refused_and_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("g");
    let gallery = open(&path).unwrap();
    let good = || enrolment("anna", Random(1).embedding());
    for bad in [f32::NAN, f32::INFINITY, 0.0, 1.0] {
        let mut enrolment = good();
        enrolment.embedding.0 = [bad; 128];
        assert!(matches!(gallery.enroll(enrolment), Err(GalleryError::Embedding)));
    }
    for bad in [String::new(), "x".repeat(129)] {
        let refused = gallery.enroll(enrolment(&bad, Random(1).embedding()));
        assert!(matches!(refused, Err(GalleryError::SubjectId(_))));
    }
    let time = f64::NAN;
    let refused = gallery.enroll(Enrolment { time, ..good() });
    assert!(matches!(refused, Err(GalleryError::Time(_))));
    assert_eq!(gallery.stats().unwrap().subjects, 0);

    gallery.enroll(good()).unwrap();
    let change = SubjectChange {
        name: Some(Some("Eve".into())),
        valid_from: Some(Some(f64::INFINITY)),
        ..SubjectChange::default()
    };
    assert!(matches!(gallery.update("anna", change), Err(GalleryError::Time(_))));
    assert_eq!(gallery.subject("anna").unwrap().unwrap().name, None);

    let missing = open(&folder.path().join("no/folder/g"));
    assert!(matches!(missing, Err(OpenError::NoFolder { .. })));
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// Several faces of one person are one enrolment: all are stored, or nothing changes.
#[test]
fn poses_are_stored_together_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gallery.redb");
    let mut random = Random(7);
    let old = random.embedding();
    let faces: Vec<Embedding> = (0..4).map(|_| random.embedding()).collect();
    let gallery = open(&path).unwrap();
    gallery.enroll(enrolment("anna", old.clone())).unwrap();
    let pose = |face: &Embedding| Pose { embedding: face.clone(), image: Some(vec![7; 9]) };
    let further: Vec<Pose> = faces[1..].iter().map(pose).collect();
    let anna = |max_templates| Enrolment { max_templates, ..enrolment("anna", faces[0].clone()) };

    let refused = gallery.enroll_poses(anna(3), further.clone());
    assert!(matches!(refused, Err(GalleryError::TooManyTemplates { max: 3, .. })), "{refused:?}");
    let mut damaged = further.clone();
    damaged[2].embedding.0[5] = f32::NAN;
    assert!(matches!(gallery.enroll_poses(anna(20), damaged), Err(GalleryError::Embedding)));
    assert_eq!(gallery.subject("anna").unwrap().unwrap().templates, 1);
    assert!(gallery.verify("anna", &old).unwrap() > 0.9999);

    let enrolled = gallery.enroll_poses(anna(4), further).unwrap();
    assert_eq!((enrolled.templates, enrolled.created), (4, false));
    drop(gallery);
    let gallery = open(&path).unwrap();
    for face in &faces {
        assert!(gallery.verify("anna", face).unwrap() > 0.9999);
        let found = gallery.search(face, 1).remove(0);
        let image = gallery.image(found.template).unwrap();
        assert_eq!(image.is_some(), face.0 != faces[0].0, "only the first has no image");
    }
    assert!(gallery.verify("anna", &old).unwrap() < 0.9);
}
