//! People under several ids, in a real gallery.

use super::*;
use crate::access::look::Usable;
use crate::face::{Coverings, EMBEDDING_LEN};
use crate::gallery::{self, EnrolMode, Enrolment, SubjectChange};

/// A face at an angle, in degrees, from that of the door's visitor, to one of several sides.
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
    /// With these ids, each with the faces and groups.
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

    /// Who the visitor is; groups let in at all times, but for `night`.
    fn who(&self) -> Result<Person, Reason> {
        self.who_looks([0.0; 3])
    }

    /// The same, seen by looks at these angles to one side.
    fn who_looks(&self, degrees: [f32; 3]) -> Result<Person, Reason> {
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

/// Whether an id was let in, and the reason if not.
fn told(who: Result<Person, Reason>) -> (String, Result<String, Reason>) {
    match who {
        Ok(person) => (person.id, person.permitted),
        Err(reason) => ("nobody".into(), Err(reason)),
    }
}

fn granted(id: &str) -> (String, Result<String, Reason>) {
    (id.into(), Ok("family".into()))
}

#[test]
fn a_second_id_for_the_same_face_does_not_lock_the_resident_out() {
    // The very photograph, a better one, a worse one.
    for degrees in [30.0, 10.0, 32.0] {
        let fixture = Fixture::of(&[
            ("ada", &[face(0, 30.0)], &["family"]),
            ("guest-17", &[face(0, degrees)], &[]),
        ]);
        let person = fixture.who().unwrap();
        assert_eq!((person.id.as_str(), &person.also), ("ada", &vec!["guest-17".to_owned()]));
        assert_eq!(person.permitted, Ok("family".into()), "{degrees}");
        // The similarity is that of the id that opens.
        assert!((person.cosine - 30f32.to_radians().cos()).abs() < 1e-4);
    }
}

#[test]
fn looks_that_name_now_one_id_and_now_the_other_agree() {
    let fixture = Fixture::of(&[
        ("ada", &[face(0, 20.0)], &["family"]),
        ("guest-17", &[face(0, -20.0)], &[]),
    ]);
    assert_eq!(told(fixture.who_looks([10.0, -10.0, 10.0])), granted("ada"));
}

#[test]
fn many_ids_of_the_same_face_do_not_push_the_resident_out() {
    let ids: Vec<String> = (0..40).map(|index| format!("guest-{index:02}")).collect();
    let faces = [face(0, 5.0)];
    let mut all: Vec<(&str, &[Embedding], &[&str])> =
        ids.iter().map(|id| (id.as_str(), &faces[..], &[][..])).collect();
    let ada = [face(0, 30.0)];
    all.push(("ada", &ada, &["family"]));
    let person = Fixture::of(&all).who().unwrap();
    assert_eq!((person.id.as_str(), person.also.len()), ("ada", MOST_NAMED));
    assert!(person.permitted.is_ok());
}

#[test]
fn two_people_who_are_about_as_similar_are_nobody() {
    // 50° from the visitor each, to two sides: 66° from each other.
    let fixture = Fixture::of(&[
        ("ada", &[face(0, 50.0)], &["family"]),
        ("eve", &[face(1, 50.0)], &["family"]),
    ]);
    assert!(matches!(fixture.who(), Err(Reason::Ambiguous { .. })), "{:?}", fixture.who());
    let fixture =
        Fixture::of(&[("ada", &[face(0, 50.0)], &["family"]), ("eve", &[face(1, 50.0)], &[])]);
    assert!(matches!(fixture.who(), Err(Reason::Ambiguous { .. })), "{:?}", fixture.who());
}

#[test]
fn a_stranger_who_enrols_passes_no_more_than_before() {
    // Somebody who is nearly like the resident, and whom she would not open for: not even with the
    // resident's own photograph beside the own one, under one id or two.
    let (ada, own) = (face(0, 70.0), face(1, 5.0));
    for faces in [vec![own.clone()], vec![own.clone(), ada.clone()]] {
        let fixture = Fixture::of(&[
            ("ada", std::slice::from_ref(&ada), &["family"]),
            ("eve", &faces, &[]),
            ("eve-2", std::slice::from_ref(&ada), &[]),
        ]);
        assert_eq!(told(fixture.who()), ("eve".into(), Err(Reason::NoGroup)));
    }
}

#[test]
fn who_is_clearly_another_is_not_taken_for_a_look_alike() {
    // Enrolled, not let in, and less than surely like the resident: 60° is below 90.
    let fixture =
        Fixture::of(&[("ada", &[face(0, 60.0)], &["family"]), ("bob", &[face(0, 5.0)], &[])]);
    assert_eq!(told(fixture.who()), ("bob".into(), Err(Reason::NoGroup)));
    // A sibling with hours of its own keeps to them, however alike the two are.
    let fixture = Fixture::of(&[
        ("ada", &[face(0, 40.0)], &["family"]),
        ("bob", &[face(0, 5.0)], &["night"]),
    ]);
    assert_eq!(told(fixture.who()), ("bob".into(), Err(Reason::NoGroup)));
    // By the template that was found, not by another one of the same id.
    let fixture = Fixture::of(&[
        ("ada", &[face(0, 50.0)], &["family"]),
        ("bob", &[face(1, 50.0), face(0, 60.0)], &[]),
    ]);
    assert!(matches!(fixture.who(), Err(Reason::Ambiguous { .. })), "{:?}", fixture.who());
}

#[test]
fn an_id_disabled_by_an_administrator_denies_the_others_of_the_person() {
    for degrees in [10.0, 30.0, 45.0] {
        let ids: [(&str, &[Embedding], &[&str]); 2] =
            [("ada", &[face(0, 30.0)], &["family"]), ("ada-old", &[face(0, degrees)], &[])];
        let fixture = Fixture::of(&ids);
        fixture.disable("ada-old", true);
        // Nothing that a client does lifts it.
        fixture.disable("ada-old", false);
        let denied = Err(Reason::OtherIdDisabled("ada-old".into()));
        assert_eq!(told(fixture.who()), ("ada".into(), denied), "{degrees}");
        let fixture = Fixture::of(&ids);
        let outdated = SubjectChange { valid_until: Some(Some(2.0)), ..Default::default() };
        fixture.change("ada-old", outdated);
        assert_eq!(told(fixture.who()), granted("ada"), "{degrees}");
        let fixture = Fixture::of(&ids);
        fixture.disable("ada-old", false);
        assert_eq!(told(fixture.who()), granted("ada"), "{degrees}");
    }
    // Somebody else who is disabled is no matter.
    let fixture =
        Fixture::of(&[("ada", &[face(0, 10.0)], &["family"]), ("eve", &[face(1, 60.0)], &[])]);
    fixture.disable("eve", true);
    assert_eq!(told(fixture.who()), granted("ada"));
}

#[test]
fn each_look_by_itself_must_name_the_person() {
    let fixture = Fixture::of(&[
        ("ada", &[face(0, 60.0)], &["family"]),
        ("eve", &[face(1, 30.0)], &["family"]),
    ]);
    // The mean is nearer to eve, as two of the looks are, one is nearer to ada.
    assert_eq!(told(fixture.who_looks([0.0, 0.0, 0.0])), granted("eve"));
    let who = fixture.who_looks([25.0, 0.0, -25.0]);
    assert_eq!(told(who), ("nobody".into(), Err(Reason::NoAgreement)));
}
