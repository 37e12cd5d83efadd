//! Tests people with several ids in a real gallery.

use super::*;
use crate::access::look::Usable;
use crate::face::{Coverings, EMBEDDING_LEN};
use crate::gallery::{self, EnrolMode, Enrolment, SubjectChange};

/// Returns a face at an angle, in degrees, from the visitor's face, to one of several sides.
fn face(side: usize, degrees: f32) -> Embedding {
    let mut values = [0.0; EMBEDDING_LEN];
    let radians = degrees.to_radians();
    (values[0], values[1 + side]) = (radians.cos(), radians.sin());
    Embedding(values)
}

struct Fixture {
    gallery: Gallery,
    _folder: tempfile::TempDir,
}

impl Fixture {
    /// Creates a gallery with these ids, each with faces and groups.
    fn of(ids: &[(&str, &[Embedding], &[&str])]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = gallery::Settings { model_id: "m".into(), store_images: false };
        let gallery = Gallery::open(&folder.path().join("gallery"), settings).unwrap();
        let fixture = Self { gallery, _folder: folder };
        for (id, faces, groups) in ids {
            for face in *faces {
                fixture.enrol(id, face);
            }
            let groups = groups.iter().map(|group| (*group).to_owned()).collect();
            fixture.change(id, SubjectChange { groups: Some(groups), ..Default::default() });
        }
        fixture
    }

    fn enrol(&self, id: &str, face: &Embedding) {
        let enrolment = Enrolment {
            subject_id: id.to_owned(),
            mode: EnrolMode::Add,
            embedding: face.clone(),
            image: None,
            by_admin: true,
            max_templates: 10,
            time: 1.0,
        };
        self.gallery.enroll(enrolment).unwrap();
    }

    fn change(&self, id: &str, change: SubjectChange) {
        self.gallery.update(id, change).unwrap().unwrap();
    }

    fn disable(&self, id: &str, by_admin: bool) {
        let change = SubjectChange { enabled: Some(false), by_admin, ..Default::default() };
        self.change(id, change);
    }

    /// Identifies the visitor. Every group except `night` is open.
    fn person(&self) -> Result<Person, Reason> {
        self.person_by_looks([0.0; 3])
    }

    /// Identifies the visitor by looks at these angles to one side.
    fn person_by_looks(&self, degrees: [f32; 3]) -> Result<Person, Reason> {
        let settings = Settings::default();
        let threshold = 82.0;
        let least = cosine(threshold) as f32 - settings.margin;
        let seen = degrees.map(|degrees| face(0, degrees));
        let mean = Embedding::mean(&seen).unwrap();
        let looks = seen.map(|embedding| Usable {
            worn: Coverings { sunglasses: 0.0, mask: 0.0 },
            liveness: None,
            found: self.gallery.search(&embedding, 1).pop(),
            found_together: self.gallery.at_least(&mean, least),
            embedding,
        });
        let claim = Claim { looks: &looks, together: &looks[2].found_together };
        let asked = Identification { gallery: &self.gallery, settings: &settings, threshold };
        asked.identify(&claim, |subject| {
            if !subject.enabled {
                return Err(Reason::Disabled);
            }
            let open = subject.groups.iter().find(|group| *group != "night");
            open.cloned().ok_or(Reason::NoGroup)
        })
    }
}

/// Returns the id, and the group or the reason for a denial.
fn summary(person: Result<Person, Reason>) -> (String, Result<String, Reason>) {
    match person {
        Ok(person) => (person.id, person.permitted),
        Err(reason) => ("none".into(), Err(reason)),
    }
}

fn granted(id: &str) -> (String, Result<String, Reason>) {
    (id.into(), Ok("family".into()))
}

#[test]
fn second_id_for_the_same_face_never_locks_the_resident_out() {
    // The same photograph, a better one, a worse one.
    for degrees in [30.0, 10.0, 32.0] {
        let fixture = Fixture::of(&[
            ("ada", &[face(0, 30.0)], &["family"]),
            ("guest-17", &[face(0, degrees)], &[]),
        ]);
        let person = fixture.person().unwrap();
        assert_eq!((person.id.as_str(), &person.also), ("ada", &vec!["guest-17".to_owned()]));
        assert_eq!(person.permitted, Ok("family".into()), "{degrees}");
        // The similarity is that of the id that opens the door.
        assert!((person.cosine - 30f32.to_radians().cos()).abs() < 1e-4);
    }
}

#[test]
fn looks_that_name_different_ids_of_one_person_agree() {
    let fixture = Fixture::of(&[
        ("ada", &[face(0, 20.0)], &["family"]),
        ("guest-17", &[face(0, -20.0)], &[]),
    ]);
    assert_eq!(summary(fixture.person_by_looks([10.0, -10.0, 10.0])), granted("ada"));
}

#[test]
fn many_ids_of_the_same_face_never_lock_the_resident_out() {
    let ids: Vec<String> = (0..40).map(|index| format!("guest-{index:02}")).collect();
    let faces = [face(0, 5.0)];
    let mut all: Vec<(&str, &[Embedding], &[&str])> =
        ids.iter().map(|id| (id.as_str(), &faces[..], &[][..])).collect();
    let ada = [face(0, 30.0)];
    all.push(("ada", &ada, &["family"]));
    let person = Fixture::of(&all).person().unwrap();
    assert_eq!((person.id.as_str(), person.also.len()), ("ada", MOST_NAMED));
    assert!(person.permitted.is_ok());
}

#[test]
fn two_equally_similar_people_are_ambiguous() {
    // Each 50° from the visitor, to two sides: 66° from each other.
    let fixture = Fixture::of(&[
        ("ada", &[face(0, 50.0)], &["family"]),
        ("eve", &[face(1, 50.0)], &["family"]),
    ]);
    assert!(matches!(fixture.person(), Err(Reason::Ambiguous { .. })), "{:?}", fixture.person());
    let fixture =
        Fixture::of(&[("ada", &[face(0, 50.0)], &["family"]), ("eve", &[face(1, 50.0)], &[])]);
    assert!(matches!(fixture.person(), Err(Reason::Ambiguous { .. })), "{:?}", fixture.person());
}

#[test]
fn stranger_who_enrols_is_still_denied() {
    // A person who nearly resembles the resident is not admitted in her place, not even by
    // enrolling the resident's photograph along with an own one, under one id or two.
    let (ada, own) = (face(0, 70.0), face(1, 5.0));
    for faces in [vec![own.clone()], vec![own.clone(), ada.clone()]] {
        let fixture = Fixture::of(&[
            ("ada", std::slice::from_ref(&ada), &["family"]),
            ("eve", &faces, &[]),
            ("eve-2", std::slice::from_ref(&ada), &[]),
        ]);
        assert_eq!(summary(fixture.person()), ("eve".into(), Err(Reason::NoGroup)));
    }
}

#[test]
fn clearly_better_match_is_never_taken_for_another_subject() {
    // Enrolled without a group, and below the level high with the resident: 60° is below 90.
    let fixture =
        Fixture::of(&[("ada", &[face(0, 60.0)], &["family"]), ("bob", &[face(0, 5.0)], &[])]);
    assert_eq!(summary(fixture.person()), ("bob".into(), Err(Reason::NoGroup)));
    // A sibling with hours of its own keeps to them, however similar the two are.
    let fixture = Fixture::of(&[
        ("ada", &[face(0, 40.0)], &["family"]),
        ("bob", &[face(0, 5.0)], &["night"]),
    ]);
    assert_eq!(summary(fixture.person()), ("bob".into(), Err(Reason::NoGroup)));
    // The template that was found counts, not another template of the same id.
    let fixture = Fixture::of(&[
        ("ada", &[face(0, 50.0)], &["family"]),
        ("bob", &[face(1, 50.0), face(0, 60.0)], &[]),
    ]);
    assert!(matches!(fixture.person(), Err(Reason::Ambiguous { .. })), "{:?}", fixture.person());
}

#[test]
fn id_disabled_by_an_administrator_denies_all_ids_of_the_person() {
    for degrees in [10.0, 30.0, 45.0] {
        let ids: [(&str, &[Embedding], &[&str]); 2] =
            [("ada", &[face(0, 30.0)], &["family"]), ("ada-old", &[face(0, degrees)], &[])];
        let fixture = Fixture::of(&ids);
        fixture.disable("ada-old", true);
        // A client's change does not lift the denial.
        fixture.disable("ada-old", false);
        let denied = Err(Reason::OtherIdDisabled("ada-old".into()));
        assert_eq!(summary(fixture.person()), ("ada".into(), denied), "{degrees}");
        let fixture = Fixture::of(&ids);
        let outdated = SubjectChange { valid_until: Some(Some(2.0)), ..Default::default() };
        fixture.change("ada-old", outdated);
        assert_eq!(summary(fixture.person()), granted("ada"), "{degrees}");
        let fixture = Fixture::of(&ids);
        fixture.disable("ada-old", false);
        assert_eq!(summary(fixture.person()), granted("ada"), "{degrees}");
    }
    // A disabled id of another person does not matter.
    let fixture =
        Fixture::of(&[("ada", &[face(0, 10.0)], &["family"]), ("eve", &[face(1, 60.0)], &[])]);
    fixture.disable("eve", true);
    assert_eq!(summary(fixture.person()), granted("ada"));
}

#[test]
fn each_look_must_name_the_person() {
    let fixture = Fixture::of(&[
        ("ada", &[face(0, 60.0)], &["family"]),
        ("eve", &[face(1, 30.0)], &["family"]),
    ]);
    // The mean is closer to eve. Two looks are closer to eve, one is closer to ada.
    assert_eq!(summary(fixture.person_by_looks([0.0, 0.0, 0.0])), granted("eve"));
    let person = fixture.person_by_looks([25.0, 0.0, -25.0]);
    assert_eq!(summary(person), ("none".into(), Err(Reason::NoAgreement)));
}
