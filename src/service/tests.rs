//! Requests answered by a whole service over a real gallery, as far as no face is needed.

use super::*;
use crate::face::{EMBEDDING_LEN, Embedding};
use crate::gallery::{EnrolMode, Enrolment};
use std::time::Duration;

struct House {
    service: Service,
    gallery: Arc<Gallery>,
    _folder: tempfile::TempDir,
}

fn house() -> House {
    let folder = tempfile::tempdir().unwrap();
    let analyzer = Arc::new(Analyzer::load().unwrap());
    let settings = gallery::Settings { model_id: analyzer.model_id().into(), store_images: true };
    let gallery = Arc::new(Gallery::open(&folder.path().join("gallery"), settings).unwrap());
    let service = Service::new(analyzer, Arc::clone(&gallery), Settings::default()).unwrap();
    House { service, gallery, _folder: folder }
}

impl House {
    fn enrol(&self, id: &str) {
        let mut embedding = Embedding([0.0; EMBEDDING_LEN]);
        embedding.0[0] = 1.0;
        let enrolment = Enrolment {
            subject_id: id.into(),
            mode: EnrolMode::Replace,
            embedding,
            image: None,
            allow_grouped: false,
            max_templates: 1,
            time: 1e9,
        };
        self.gallery.enroll(enrolment).unwrap();
    }

    async fn ask(&self, operation: &str, fields: Value) -> Answer {
        self.service.handle(request(operation, fields)).await.unwrap()
    }

    async fn code(&self, operation: &str, fields: Value) -> (u16, String) {
        let answer = self.ask(operation, fields).await;
        (answer.status, answer.fields["error_code"].as_str().unwrap().to_owned())
    }
}

fn request(operation: &str, fields: Value) -> Request {
    Request {
        operation: operation.into(),
        body: Body::Json(fields.to_string().into_bytes()),
        credentials: Credentials::default(),
        caller: Caller::Mqtt,
        expires: None,
    }
}

#[tokio::test]
async fn subjects_are_listed_changed_and_deleted() {
    let house = house();
    for id in ["anna", "bob", "carl"] {
        house.enrol(id);
    }
    let first = house.ask("subject/list", json!({"limit": 2})).await;
    assert_eq!(first.fields["subjects"].as_array().unwrap().len(), 2);
    let rest = house.ask("subject/list", json!({"cursor": first.fields["cursor"]})).await;
    assert_eq!(rest.fields["subjects"][0]["subject_id"], "carl");
    assert_eq!(rest.fields.get("cursor"), None);

    let change = json!({"subject_id": "anna", "name": "Anna", "groups": ["staff"]});
    let changed = house.ask("subject/update", change).await;
    assert_eq!((changed.status, &changed.fields["groups"]), (200, &json!(["staff"])));
    let anna = house.ask("subject/get", json!({"subject_id": "anna"})).await;
    assert_eq!(anna.fields["name"], "Anna");
    assert_eq!(anna.fields["created"], 1e9);

    let gone = house.ask("subject/delete", json!({"subject_id": "anna"})).await;
    assert_eq!((gone.status, &gone.fields["subject_id"]), (200, &json!("anna")));
    for operation in ["subject/get", "subject/delete"] {
        let code = house.code(operation, json!({"subject_id": "anna"})).await;
        assert_eq!(code, (400, "INVALID_PAYLOAD_SUBJECT_ID".into()));
    }
}

#[tokio::test]
async fn the_request_id_comes_back_whatever_the_answer() {
    let house = house();
    for (operation, fields) in [
        ("health", json!({"request_id": "r"})),
        ("search", json!({"request_id": "r"})),
        ("unlock", json!({"request_id": "r", "reason": "x"})),
    ] {
        let answer = house.ask(operation, fields).await;
        assert_eq!(answer.fields["request_id"], "r", "{operation}");
    }
    let none = house.ask("health", json!({})).await;
    assert_eq!(none.fields.get("request_id"), None);
}

#[tokio::test]
async fn images_that_are_none_have_their_codes() {
    let house = house();
    let code = |image: String| {
        let house = &house;
        async move { house.code("search", json!({"image": image})).await }
    };
    assert_eq!(code("aGk=".into()).await, (400, "INVALID_PAYLOAD_IMAGE_FORMAT".into()));
    let large = "A".repeat((5 << 20) / 3 * 4 + 8);
    assert_eq!(code(large).await, (400, "INVALID_PAYLOAD_IMAGE_SIZE".into()));
    assert_eq!(code("camera:".into()).await, (503, "CAMERA_UNAVAILABLE".into()));
    let url = "http://127.0.0.1/a.jpg".to_owned();
    assert_eq!(code(url).await, (400, "INVALID_PAYLOAD_IMAGE_FORMAT".into()));
    let both = json!({"image_1": "aGk=", "image_2": "aGk="});
    let code = house.code("compare", both).await;
    assert_eq!(code, (400, "INVALID_PAYLOAD_IMAGE_1_FORMAT".into()));
}

#[tokio::test]
async fn an_expired_request_is_neither_done_nor_answered() {
    let house = house();
    house.enrol("anna");
    let delete = request("subject/delete", json!({"subject_id": "anna"}));
    let expired = Request { expires: Some(Instant::now()), ..delete.clone() };
    assert_eq!(house.service.handle(expired).await, None);
    assert!(house.gallery.contains("anna"));
    let in_time = Instant::now() + Duration::from_secs(60);
    let answer = house.service.handle(Request { expires: Some(in_time), ..delete }).await;
    assert_eq!(answer.unwrap().status, 200);
    assert!(!house.gallery.contains("anna"));
}

#[tokio::test]
async fn stats_count_what_was_asked() {
    let house = house();
    house.enrol("anna");
    house.ask("search", json!({"image": "aGk="})).await;
    let stats = house.ask("stats", json!({})).await;
    assert_eq!(stats.fields["gallery"]["subjects"], 1);
    assert_eq!(stats.fields["requests"], json!({"search": {"INVALID_PAYLOAD_IMAGE_FORMAT": 1}}));
    assert_eq!(stats.fields["health"], "up");
    assert_eq!(stats.fields["queue"]["waiting"], 0);
}

#[tokio::test]
async fn the_gallery_file_is_free_once_the_service_is_gone() {
    let House { service, gallery, _folder: folder } = house();
    drop((service, gallery));
    let settings = gallery::Settings { model_id: "x".into(), store_images: true };
    assert!(Gallery::open(&folder.path().join("gallery"), settings).is_ok());
}

fn code(operation: Operation, caller: Caller, settings: &Settings) -> Option<String> {
    permitted(operation, caller, settings).err().map(|failure| failure.code())
}

#[test]
fn the_command_line_may_do_everything() {
    let none = Settings { permissions: [].into(), ..Settings::default() };
    for operation in Operation::ALL {
        assert_eq!(code(operation, Caller::Local, &none), None);
    }
    assert!(may(Caller::Local, Permission::Admin, &none));
}

#[test]
fn mqtt_may_do_what_it_was_permitted() {
    let none = Settings { permissions: [].into(), ..Settings::default() };
    for operation in Operation::ALL {
        let free = matches!(operation, Operation::Stats | Operation::Health);
        assert_eq!(code(operation, Caller::Mqtt, &none).is_none(), free, "{operation:?}");
        assert_eq!(code(operation, Caller::Mqtt, &Settings::default()), None);
    }
    assert!(!may(Caller::Mqtt, Permission::Admin, &Settings::default()));
}

#[test]
fn an_unknown_operation_is_told_which_there_are() {
    let failure = unknown("unlock");
    assert_eq!(failure.code(), "INVALID_PAYLOAD");
    assert!(failure.reason().unwrap().contains("subject/list"));
    assert!(unknown(&"x".repeat(10_000)).reason().unwrap().len() < 400);
}
