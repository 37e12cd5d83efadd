//! Tests the whole service with a real gallery, as far as no face is needed.

use super::*;
use crate::contract::{Body, Caller, Credentials, Permission};
use crate::face::{EMBEDDING_LEN, Embedding};
use crate::gallery::{self, EnrolMode, Enrolment};
use serde_json::{Value, json};
use std::sync::mpsc;
use std::time::{Duration, Instant};

mod applications;

struct Fixture {
    service: Service,
    gallery: Arc<Gallery>,
    outbox: Arc<Outbox>,
    _folder: tempfile::TempDir,
}

fn setup() -> Fixture {
    setup_with(Settings::default())
}

fn setup_with(settings: Settings) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let analyzer = Arc::new(Analyzer::load().unwrap());
    let used_by = gallery::Settings { model_id: analyzer.model_id().into(), store_images: true };
    let gallery = Arc::new(Gallery::open(&folder.path().join("gallery"), used_by).unwrap());
    let applications = Applications::open(&folder.path().join("applications")).unwrap();
    let outbox = Outbox::open(&folder.path().join("events"), Default::default()).unwrap();
    let outbox = Arc::new(outbox);
    let parts = Parts {
        analyzer,
        gallery: gallery.clone(),
        applications,
        outbox: outbox.clone(),
        door: None,
        clock: Arc::new(|| None),
    };
    let service = Service::new(parts, settings).unwrap();
    Fixture { service, gallery, outbox, _folder: folder }
}

impl Fixture {
    fn enrol(&self, id: &str) {
        self.gallery.enroll(enrolment(id, face(0.0))).unwrap();
    }

    async fn ask(&self, operation: &str, fields: Value) -> Answer {
        self.service.handle(request(operation, fields)).await.unwrap()
    }

    async fn ask_locally(&self, operation: &str, fields: Value) -> Answer {
        let request = Request { caller: Caller::Local, ..request(operation, fields) };
        self.service.handle(request).await.unwrap()
    }

    async fn code(&self, operation: &str, fields: Value) -> (u16, String) {
        let answer = self.ask(operation, fields).await;
        (answer.status, answer.fields["error_code"].as_str().unwrap().to_owned())
    }
}

/// Makes a face at an angle, in degrees, from the first axis.
fn face(degrees: f32) -> Embedding {
    let mut embedding = Embedding([0.0; EMBEDDING_LEN]);
    (embedding.0[0], embedding.0[1]) = (degrees.to_radians().cos(), degrees.to_radians().sin());
    embedding
}

/// Makes an enrolment by a client without `admin`.
fn enrolment(id: &str, embedding: Embedding) -> Enrolment {
    Enrolment {
        subject_id: id.into(),
        mode: EnrolMode::Replace,
        embedding,
        image: None,
        by_admin: false,
        max_templates: 10,
        time: 1e9,
    }
}

fn request(operation: &str, fields: Value) -> Request {
    Request {
        operation: operation.into(),
        body: Body::Json(fields.to_string().into_bytes()),
        beside_json: Vec::new(),
        credentials: Credentials::default(),
        caller: Caller::Mqtt { client: None },
        expires: None,
        fresh_until: None,
    }
}

#[tokio::test]
async fn subjects_are_listed_changed_and_deleted() {
    let setup = setup();
    for id in ["anna", "bob", "carl"] {
        setup.enrol(id);
    }
    let first = setup.ask("subject/list", json!({"limit": 2})).await;
    assert_eq!(first.fields["subjects"].as_array().unwrap().len(), 2);
    let rest = setup.ask("subject/list", json!({"cursor": first.fields["cursor"]})).await;
    assert_eq!(rest.fields["subjects"][0]["subject_id"], "carl");
    assert_eq!(rest.fields.get("cursor"), None);

    let change = json!({"subject_id": "anna", "name": "Anna", "groups": ["staff"]});
    let changed = setup.ask_locally("subject/update", change).await;
    assert_eq!((changed.status, &changed.fields["groups"]), (200, &json!(["staff"])));
    let anna = setup.ask("subject/get", json!({"subject_id": "anna"})).await;
    assert_eq!(anna.fields["name"], "Anna");
    assert_eq!(anna.fields["created"], 1e9);

    let gone = setup.ask("subject/delete", json!({"subject_id": "anna"})).await;
    assert_eq!((gone.status, &gone.fields["subject_id"]), (200, &json!("anna")));
    for operation in ["subject/get", "subject/delete"] {
        let code = setup.code(operation, json!({"subject_id": "anna"})).await;
        assert_eq!(code, (400, "INVALID_PAYLOAD_SUBJECT_ID".into()));
    }
}

#[tokio::test]
async fn every_answer_contains_the_request_id() {
    let setup = setup();
    for (operation, fields) in [
        ("health", json!({"request_id": "r"})),
        ("search", json!({"request_id": "r"})),
        ("unlock", json!({"request_id": "r", "reason": "x"})),
    ] {
        let answer = setup.ask(operation, fields).await;
        assert_eq!(answer.fields["request_id"], "r", "{operation}");
    }
    let none = setup.ask("health", json!({})).await;
    assert_eq!(none.fields.get("request_id"), None);
}

#[tokio::test]
async fn invalid_images_have_their_codes() {
    let setup = setup();
    let code = |image: String| {
        let setup = &setup;
        async move { setup.code("search", json!({"image": image})).await }
    };
    assert_eq!(code("aGk=".into()).await, (400, "INVALID_PAYLOAD_IMAGE_FORMAT".into()));
    let large = "A".repeat((5 << 20) / 3 * 4 + 8);
    assert_eq!(code(large).await, (400, "INVALID_PAYLOAD_IMAGE_SIZE".into()));
    assert_eq!(code("camera:".into()).await, (503, "CAMERA_UNAVAILABLE".into()));
    let url = "http://127.0.0.1/a.jpg".to_owned();
    assert_eq!(code(url).await, (400, "INVALID_PAYLOAD_IMAGE_FORMAT".into()));
    let both = json!({"image_1": "aGk=", "image_2": "aGk="});
    let code = setup.code("compare", both).await;
    assert_eq!(code, (400, "INVALID_PAYLOAD_IMAGE_1_FORMAT".into()));
}

#[tokio::test]
async fn an_expired_request_is_neither_done_nor_answered() {
    let setup = setup();
    setup.enrol("anna");
    let delete = request("subject/delete", json!({"subject_id": "anna"}));
    let expired = Request { expires: Some(Instant::now()), ..delete.clone() };
    assert_eq!(setup.service.handle(expired).await, None);
    assert!(setup.gallery.contains("anna"));
    let in_time = Instant::now() + Duration::from_secs(60);
    let answer = setup.service.handle(Request { expires: Some(in_time), ..delete }).await;
    assert_eq!(answer.unwrap().status, 200);
    assert!(!setup.gallery.contains("anna"));
}

#[tokio::test]
async fn stats_count_requests_by_result() {
    let setup = setup();
    setup.enrol("anna");
    setup.ask("search", json!({"image": "aGk="})).await;
    let stats = setup.ask("stats", json!({})).await;
    assert_eq!(stats.fields["gallery"]["subjects"], 1);
    assert_eq!(stats.fields["requests"], json!({"search": {"INVALID_PAYLOAD_IMAGE_FORMAT": 1}}));
    assert_eq!(stats.fields["health"], "up");
    assert_eq!(stats.fields["queue"]["waiting"], 0);
}

#[tokio::test]
async fn dropping_the_service_releases_its_files() {
    let Fixture { service, gallery, outbox, _folder: folder } = setup();
    drop((service, gallery, outbox));
    let settings = gallery::Settings { model_id: "x".into(), store_images: true };
    assert!(Gallery::open(&folder.path().join("gallery"), settings).is_ok());
    assert!(Applications::open(&folder.path().join("applications")).is_ok());
    assert!(Outbox::open(&folder.path().join("events"), Default::default()).is_ok());
}

/// Returns the operations refused for lack of a permission, whatever else is wrong with the
/// request.
async fn denied(setup: &Fixture, caller: &Caller) -> Vec<&'static str> {
    let mut denied = Vec::new();
    for operation in Operation::ALL.into_iter().filter(|operation| !operation.is_local()) {
        let request = Request { caller: caller.clone(), ..request(operation.name(), json!({})) };
        let answer = setup.service.handle(request).await.unwrap();
        if answer.fields.get("error_code").is_some_and(|code| code == "PERMISSION_DENIED") {
            assert_eq!(answer.status, 403);
            denied.push(operation.name());
        }
    }
    denied
}

const ALL_GUARDED: [&str; 11] = [
    "enroll",
    "verify",
    "search",
    "liveness",
    "compare",
    "enroll_mode",
    "subject/list",
    "subject/get",
    "subject/update",
    "subject/delete",
    "unlock",
];

const ON_APPLICATIONS: [&str; 6] = [
    "application/create",
    "application/list",
    "application/get",
    "application/update",
    "application/rotate",
    "application/revoke",
];

#[tokio::test]
async fn clients_can_use_only_permitted_operations() {
    let anybody = Caller::Mqtt { client: None };
    let named = |name: &str| Caller::Mqtt { client: Some(name.into()) };
    let settings = Settings {
        // Without effect while there is a table of clients.
        permissions: Permission::ALL.iter().copied().collect(),
        clients: clients(&["desk: verify search".into(), "office: subject admin".into()]).unwrap(),
        ..Settings::default()
    };
    let setup = setup_with(settings);
    let everything: Vec<_> =
        ALL_GUARDED.into_iter().chain(["stats", "health"]).chain(ON_APPLICATIONS).collect();
    assert_eq!(denied(&setup, &named("stranger")).await, everything);
    assert_eq!(denied(&setup, &Caller::Local).await, [""; 0]);
    let desk = denied(&setup, &named("desk")).await;
    assert!(!desk.contains(&"verify") && !desk.contains(&"search") && desk.len() == 15, "{desk:?}");
    let office = ["enroll", "verify", "search", "liveness", "compare", "enroll_mode", "unlock"];
    assert_eq!(denied(&setup, &named("office")).await, office);
    assert_eq!(denied(&setup, &anybody).await, everything);
    let answer = setup.ask("search", json!({"request_id": "r"})).await;
    let why = answer.fields["data"]["message"].as_str().unwrap();
    assert!(why.contains("from/NAME/cmd/") && answer.fields["request_id"] == "r", "{answer:?}");
    let nothing = Settings { permissions: [].into(), ..Settings::default() };
    assert_eq!(
        denied(&setup_with(nothing), &anybody).await,
        [&ALL_GUARDED[..], &ON_APPLICATIONS].concat()
    );
    assert_eq!(
        denied(&self::setup(), &anybody).await,
        [&["unlock"][..], &ON_APPLICATIONS].concat()
    );
    assert_eq!(denied(&self::setup(), &named("desk")).await, everything);
}

#[tokio::test]
async fn only_admins_change_fields_that_decide_entry() {
    let change = |name: &str, value: Value| {
        let mut fields = json!({"subject_id": "anna"});
        fields[name] = value;
        fields
    };
    let entry = [
        change("groups", json!(["staff"])),
        change("groups", json!([])),
        change("card", json!("007")),
        change("enabled", json!(true)),
        change("valid_from", json!(0)),
        change("valid_until", json!(2e9)),
    ];
    let setup = setup();
    setup.enrol("anna");
    for fields in &entry {
        let denied = setup.code("subject/update", fields.clone()).await;
        assert_eq!(denied, (403, "PERMISSION_DENIED".into()), "{fields}");
        // Errors of the request are reported first.
        let mut unknown = fields.clone();
        unknown["subject_id"] = json!("unknown");
        let code = setup.code("subject/update", unknown).await;
        assert_eq!(code, (400, "INVALID_PAYLOAD_SUBJECT_ID".into()));
    }
    let both = json!({"subject_id": "anna", "name": "Anna", "enabled": true, "groups": ["x"]});
    let denied = setup.ask("subject/update", both).await;
    let why = denied.fields["data"]["message"].as_str().unwrap();
    assert!(why.starts_with("subject/update of groups, enabled needs"), "{why}");
    let anna = setup.gallery.subject("anna").unwrap().unwrap();
    assert!(anna.name.is_none() && anna.groups.is_empty() && anna.enabled, "{anna:?}");
    assert_eq!(setup.ask("subject/update", change("name", json!("Anna"))).await.status, 200);
    // A client without `admin` may disable a subject, but not enable it again or give it another
    // face.
    let disabled = setup.ask("subject/update", change("enabled", json!(false))).await;
    assert_eq!((disabled.status, &disabled.fields["enabled"]), (200, &json!(false)));
    assert!(!disabled.fields.contains_key("barred"));
    let again = setup.code("subject/update", change("enabled", json!(true))).await;
    assert_eq!(again, (403, "PERMISSION_DENIED".into()));
    // Deleting a subject that an administrator disabled needs `admin` too.
    setup.enrol("bert");
    let bert = json!({"subject_id": "bert", "enabled": false});
    let barred = setup.ask_locally("subject/update", bert.clone()).await;
    assert_eq!(barred.fields["barred"], json!(true));
    assert_eq!(setup.ask("subject/update", bert).await.fields["barred"], json!(true));
    let delete = json!({"subject_id": "bert"});
    let denied = setup.code("subject/delete", delete.clone()).await;
    assert_eq!(denied, (403, "PERMISSION_DENIED".into()));
    assert_eq!(setup.ask_locally("subject/delete", delete).await.status, 200);
    for mode in [EnrolMode::Replace, EnrolMode::Add] {
        let refused = setup.gallery.enroll(Enrolment { mode, ..enrolment("anna", face(0.0)) });
        assert!(matches!(refused, Err(gallery::GalleryError::Disabled(id)) if id == "anna"));
    }

    let permissions = Permission::ALL.iter().copied().collect();
    let setup = setup_with(Settings { permissions, ..Settings::default() });
    setup.enrol("anna");
    for fields in entry {
        assert_eq!(setup.ask("subject/update", fields.clone()).await.status, 200, "{fields}");
    }
}

#[tokio::test]
async fn the_command_line_is_answered_during_a_flood() {
    let setup = setup_with(Settings { queue: 1, vision_threads: 1, ..Settings::default() });
    let workers = &setup.service.workers;
    let (open, gate) = mpsc::channel::<()>();
    let (started, starts) = mpsc::channel::<()>();
    let first = workers.run(None, move || started.send(()).is_ok() && gate.recv().is_ok());
    let rest = async {
        while starts.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
        let asked = async {
            let list = setup.code("subject/list", json!({})).await;
            assert_eq!(list, (503, "BUSY".into()));
            setup.enrol("anna");
            for (operation, fields) in [
                ("application/create", json!({"name": "kiosk"})),
                ("application/rotate", json!({"app": "kiosk"})),
                ("application/revoke", json!({"app": "kiosk"})),
                ("application/list", json!({})),
                ("subject/list", json!({})),
                ("subject/update", json!({"subject_id": "anna", "enabled": false})),
                ("subject/delete", json!({"subject_id": "anna"})),
                ("stats", json!({})),
            ] {
                assert_eq!(setup.ask_locally(operation, fields).await.status, 200, "{operation}");
            }
            drop(open);
        };
        tokio::join!(workers.run(None, || ()), asked).0
    };
    assert_eq!(tokio::join!(first, rest), (Ok(false), Ok(())));
}

#[tokio::test]
async fn administration_is_audited_and_only_the_command_line_reads_the_audit_log() {
    let setup = setup();
    setup.enrol("anna");
    let mut changes = setup.service.gallery_changes();
    changes.borrow_and_update();
    let change = json!({"subject_id": "anna", "name": "Anna A.", "groups": ["staff"]});
    assert_eq!(setup.ask_locally("subject/update", change).await.status, 200);
    assert!(changes.has_changed().unwrap());
    let name_alone = json!({"subject_id": "anna", "name": "Anna B."});
    assert_eq!(setup.ask("subject/update", name_alone).await.status, 200);
    assert_eq!(setup.ask("subject/delete", json!({"subject_id": "anna"})).await.status, 200);
    // An operation that was not done leaves no line.
    assert_eq!(setup.ask("subject/delete", json!({"subject_id": "anna"})).await.status, 400);
    let made = setup.ask_locally("application/create", json!({"name": "kiosk"})).await;
    assert_eq!(setup.ask_locally("application/rotate", json!({"app": "kiosk"})).await.status, 200);
    assert_eq!(setup.ask_locally("application/revoke", json!({"app": "kiosk"})).await.status, 200);

    for operation in ["audit/list", "audit/verify"] {
        let refused = setup.code(operation, json!({})).await;
        assert_eq!(refused, (400, "INVALID_PAYLOAD".to_owned()));
    }
    let listed = setup.ask_locally("audit/list", json!({})).await;
    let lines = listed.fields["lines"].as_array().unwrap();
    let told: Vec<_> =
        lines.iter().map(|line| (&line["action"], &line["by"])).map(|it| json!(it)).collect();
    let expected = [
        ("subject/update", "local"),
        ("subject/update", "anybody"),
        ("subject/delete", "anybody"),
        ("application/create", "local"),
        ("application/rotate", "local"),
        ("application/revoke", "local"),
    ];
    assert_eq!(told, expected.map(|it| json!(it)));
    assert_eq!((&lines[0]["groups"], &lines[0]["name"]), (&json!(["staff"]), &json!("changed")));
    assert_eq!(lines[3]["app_id"], made.fields["app_id"]);
    let text = listed.with_status().to_string();
    assert!(!text.contains("Anna") && !text.contains(made.fields["api_key"].as_str().unwrap()));

    let page = setup.ask_locally("audit/list", json!({"line": 3, "limit": 2})).await;
    assert_eq!(page.fields["lines"].as_array().unwrap().len(), 2);
    assert_eq!(page.fields["next"], 5);
    let verified = setup.ask_locally("audit/verify", json!({})).await;
    assert_eq!((&verified.fields["lines"], &verified.fields["last"]), (&json!(6), &json!(6)));
    assert_eq!(verified.fields["head"], lines[5]["hash"]);
    let noted = |line: u64, hash: &Value| json!({"line": line, "hash": hash});
    let kept = setup.ask_locally("audit/verify", noted(4, &lines[3]["hash"])).await;
    assert_eq!(kept.fields.get("error_code"), None);
    for (line, hash) in [(4, &lines[4]["hash"]), (7, &lines[5]["hash"])] {
        let unlike = setup.ask_locally("audit/verify", noted(line, hash)).await;
        assert_eq!(unlike.fields["error_code"], "AUDIT_BROKEN");
        assert_eq!(unlike.fields["line"], line);
    }
    for wrong in [json!({"line": 0}), json!({"line": 1.5}), json!({"limit": 501})] {
        assert_eq!(setup.ask_locally("audit/list", wrong).await.status, 400);
    }
    assert_eq!(setup.outbox.stats().depth, 0);
}

#[tokio::test]
async fn a_subject_with_disagreeing_faces_gets_a_group_only_with_accept_faces() {
    let permissions = Permission::ALL.iter().copied().collect();
    let setup = setup_with(Settings { permissions, ..Settings::default() });
    setup.enrol("anna");
    let planted = Enrolment { mode: EnrolMode::Add, ..enrolment("anna", face(80.0)) };
    setup.gallery.enroll(planted).unwrap();
    let give = |groups: &[&str]| json!({"subject_id": "anna", "groups": groups});
    for answer in [
        setup.ask("subject/update", give(&["family"])).await,
        setup.ask_locally("subject/update", give(&["family"])).await,
    ] {
        assert_eq!((answer.status, &answer.fields["error_code"]), (409, &json!("FACES_DISAGREE")));
        let why = answer.fields["data"]["message"].as_str().unwrap();
        assert!(why.contains("accept_faces") && why.contains("anna"), "{why}");
        let anna = setup.gallery.subject("anna").unwrap().unwrap();
        assert!(anna.groups.is_empty());
    }
    // A change that adds no group is accepted.
    assert_eq!(setup.ask("subject/update", give(&[])).await.status, 200);
    let mut accepted = give(&["family"]);
    accepted["accept_faces"] = json!(true);
    let answer = setup.ask_locally("subject/update", accepted).await;
    assert_eq!((answer.status, &answer.fields["groups"]), (200, &json!(["family"])));
    assert_eq!(answer.fields["meta"]["advice"], json!(["faces_disagree"]));
    let listed = setup.ask_locally("audit/list", json!({})).await;
    assert_eq!(listed.fields["lines"][1]["accept_faces"], true);
    // Keeping a group is accepted; adding one is not.
    assert_eq!(setup.ask("subject/update", give(&["family"])).await.status, 200);
    assert_eq!(setup.ask("subject/update", give(&["family", "staff"])).await.status, 409);
    // Faces of one person are accepted without `accept_faces`.
    setup.enrol("bob");
    let turned = Enrolment { mode: EnrolMode::Add, ..enrolment("bob", face(60.0)) };
    setup.gallery.enroll(turned).unwrap();
    let bob = json!({"subject_id": "bob", "groups": ["family"]});
    let answer = setup.ask("subject/update", bob).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.fields["meta"]["duplicate_of"]["subject_id"], "anna");
}

#[tokio::test]
async fn faces_of_mixed_origin_get_no_group() {
    let permissions = Permission::ALL.iter().copied().collect();
    let setup = setup_with(Settings { permissions, ..Settings::default() });
    let by = |by_admin: bool, mode: EnrolMode, degrees: f32| Enrolment {
        mode,
        by_admin,
        ..enrolment("anna", face(degrees))
    };
    let give = json!({"subject_id": "anna", "groups": ["family"]});
    // Even if the faces are alike.
    for (first, slipped) in [
        (true, by(false, EnrolMode::Add, 20.0)),
        (true, by(false, EnrolMode::Replace, 20.0)),
        (false, by(true, EnrolMode::Add, 20.0)),
    ] {
        setup.gallery.enroll(by(first, EnrolMode::Replace, 0.0)).unwrap();
        setup.gallery.enroll(slipped).unwrap();
        let answer = setup.ask_locally("subject/update", give.clone()).await;
        assert_eq!(answer.fields["error_code"], "FACES_DISAGREE", "{answer:?}");
        let why = answer.fields["data"]["message"].as_str().unwrap();
        assert!(why.contains("mode replace"), "{why}");
        setup.gallery.delete("anna").unwrap();
    }
    // After a replacement by the administrator, all faces are the administrator's.
    setup.gallery.enroll(by(false, EnrolMode::Replace, 20.0)).unwrap();
    setup.gallery.enroll(by(true, EnrolMode::Replace, 0.0)).unwrap();
    setup.gallery.enroll(by(true, EnrolMode::Add, 10.0)).unwrap();
    assert_eq!(setup.ask_locally("subject/update", give).await.status, 200);
}
