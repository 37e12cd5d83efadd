//! Tests successful operations: the 200s of the contract, each field that changes them, and the
//! gallery afterwards. Uses the real daemon over its embedded broker.

use crate::support::client::{Client, verdict};
use crate::support::pictures;
use crate::support::terminal::Terminal;
use serde_json::{Value, json};

/// The people of the portraits, by the id of their enrolment.
const PEOPLE: [(&str, &str); 3] = [("barack", "obama"), ("joe", "biden"), ("someone", "obama3")];

async fn start(more: &str) -> (Terminal, Client) {
    let terminal = Terminal::start(more);
    let client = Client::connect(&terminal).await;
    (terminal, client)
}

async fn enroll(client: &mut Client, id: &str, portrait: &str) {
    let body = json!({"image": pictures::face(portrait), "subject_id": id});
    assert_eq!(verdict(&client.ask("enroll", &body).await), (200, "", ""), "{id}");
}

fn ids(matches: &Value) -> Vec<&str> {
    matches.as_array().unwrap().iter().map(|entry| entry["subject_id"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn remembered_answers_of_a_deleted_subject_are_forgotten() {
    let (terminal, mut client) = start("").await;
    let image = pictures::face("obama");
    let enroll = json!({"image": image, "subject_id": "anna", "request_id": "visit-7"});
    assert_eq!(verdict(&client.ask("enroll", &enroll).await), (200, "", ""));
    let templates = async |client: &mut Client| {
        let subject = client.ask("subject/get", &json!({"subject_id": "anna"})).await;
        subject["templates"].as_u64()
    };
    assert_eq!(terminal.json(&["gallery", "delete", "anna"])["status"], 200);
    assert_eq!(templates(&mut client).await, None);
    // Answered from memory, it would say that she is enrolled, and she would not be.
    assert_eq!(verdict(&client.ask("enroll", &enroll).await), (200, "", ""));
    assert_eq!(templates(&mut client).await, Some(1));
    // A deletion that is repeated is answered again.
    let delete = json!({"subject_id": "anna", "request_id": "visit-8"});
    for _ in 0..2 {
        assert_eq!(verdict(&client.ask("subject/delete", &delete).await), (200, "", ""));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn enroll_creates_replaces_and_adds() {
    let (_terminal, mut client) = start("").await;
    let (obama, biden) = (pictures::face("obama"), pictures::face("biden"));

    let answer = client.ask("enroll", &json!({"image": obama})).await;
    let made = answer["subject_id"].as_str().unwrap().to_owned();
    assert_eq!(uuid::Uuid::parse_str(&made).unwrap().get_version_num(), 4);
    let answer = client.ask("subject/delete", &json!({"subject_id": made})).await;
    assert_eq!(answer["status"], 200);

    enroll(&mut client, "anna", "obama").await;
    let subject = client.ask("subject/get", &json!({"subject_id": "anna"})).await;
    assert_eq!((&subject["groups"], &subject["templates"]), (&json!([]), &json!(1)));
    let verify = async |client: &mut Client, image: &str| {
        let answer = client.ask("verify", &json!({"image": image, "subject_id": "anna"})).await;
        answer["similarity_status"].as_bool().unwrap()
    };
    assert!(verify(&mut client, &obama).await);
    assert!(!verify(&mut client, &biden).await);

    // The photo is replaced: the old face does not match anna.
    enroll(&mut client, "anna", "biden").await;
    assert!(!verify(&mut client, &obama).await);
    assert!(verify(&mut client, &biden).await);

    // The face is added: both match. At most ten.
    for templates in 2..=10 {
        let body = json!({"image": obama, "subject_id": "anna", "mode": "add"});
        assert_eq!(client.ask("enroll", &body).await["status"], 200);
        let subject = client.ask("subject/get", &json!({"subject_id": "anna"})).await;
        assert_eq!(subject["templates"], templates);
    }
    assert!(verify(&mut client, &obama).await);
    assert!(verify(&mut client, &biden).await);
    let before = client.gallery().await;
    let body = json!({"image": obama, "subject_id": "anna", "mode": "add"});
    assert_eq!(verdict(&client.ask("enroll", &body).await), (400, "INVALID_PAYLOAD", "mode"));
    assert_eq!(client.gallery().await, before);

    let body = json!({"image": obama, "subject_id": "anna", "mode": "replace"});
    assert_eq!(client.ask("enroll", &body).await["status"], 200);
    let subject = client.ask("subject/get", &json!({"subject_id": "anna"})).await;
    assert_eq!(subject["templates"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_and_compare_decide_by_three_thresholds() {
    let (_terminal, mut client) = start("").await;
    enroll(&mut client, "barack", "obama").await;
    let reference = pictures::face("obama");
    for probe in ["obama", "obama2", "obama3", "biden"] {
        let image = pictures::face(probe);
        for (level, mark) in [("basic", 75.0), ("moderate", 82.0), ("high", 90.0)] {
            let body = json!({"image": image, "subject_id": "barack", "threshold": level});
            let verified = client.ask("verify", &body).await;
            let body = json!({"image_1": reference, "image_2": image, "threshold": level});
            let compared = client.ask("compare", &body).await;
            for answer in [&verified, &compared] {
                let similarity = answer["similarity"].as_f64().unwrap();
                let same = similarity >= mark;
                assert_eq!(answer["similarity_status"], same, "{probe} {level} {similarity}");
                let code = if same { "" } else { "FAIL_ON_16" };
                assert_eq!(verdict(answer), (200, code, ""), "{probe} {level} {similarity}");
                assert_eq!(probe == "biden", similarity < 75.0, "{probe} {similarity}");
            }
            assert_eq!(verified["subject_id"], "barack");
            assert_eq!(verified["similarity"], compared["similarity"]);
        }
    }
    // The default threshold is `moderate`.
    let body = json!({"image": reference, "subject_id": "barack"});
    let answer = client.ask("verify", &body).await;
    assert!(answer["similarity"].as_f64().unwrap() > 99.0, "{answer}");
    // Checks apply only to the probe: the reference may show more people.
    let two = pictures::base64(&pictures::jpeg(&pictures::two_people()));
    let body = json!({"image_1": two, "image_2": reference, "validate_nface": true});
    assert_eq!(verdict(&client.ask("compare", &body).await), (200, "", ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn search_by_limit_threshold_and_with_crops() {
    let (_terminal, mut client) = start("").await;
    let image = pictures::face("obama2");
    let answer = client.ask("search", &json!({"image": image})).await;
    assert_eq!(verdict(&answer), (200, "", ""), "search in an empty gallery");
    assert_eq!(answer["matches"], json!([]));

    for (id, portrait) in PEOPLE {
        enroll(&mut client, id, portrait).await;
    }
    // A second template of a subject is not a second match.
    let body = json!({"image": image, "subject_id": "barack", "mode": "add"});
    assert_eq!(client.ask("enroll", &body).await["status"], 200);

    let answer = client.ask("search", &json!({"image": image})).await;
    assert_eq!(ids(&answer["matches"]), ["barack"]);
    assert!(answer["matches"][0].get("image").is_none());

    let all = json!({"image": image, "limit": 10.0, "threshold": 0});
    let answer = client.ask("search", &all).await;
    let matches = answer["matches"].as_array().unwrap();
    assert_eq!(ids(&answer["matches"]), ["barack", "someone", "joe"]);
    let similarities: Vec<_> = matches.iter().map(|m| m["similarity"].as_f64().unwrap()).collect();
    assert!(similarities.is_sorted_by(|a, b| a >= b), "{similarities:?}");

    // At or above: shown values are rounded, so leave a margin of a hundredth.
    for (step, expected) in [(-0.01, 2), (0.01, 1)] {
        let threshold = similarities[1] + step;
        let body = json!({"image": image, "limit": 3, "threshold": threshold});
        let answer = client.ask("search", &body).await;
        assert_eq!(answer["matches"].as_array().unwrap().len(), expected, "{threshold}");
    }
    let answer = client.ask("search", &json!({"image": image, "limit": 2, "threshold": 0})).await;
    assert_eq!(ids(&answer["matches"]), ["barack", "someone"]);

    let body = json!({"image": image, "limit": 3, "threshold": 0, "return_image": true});
    let answer = client.ask("search", &body).await;
    for entry in answer["matches"].as_array().unwrap() {
        let file = pictures::from_base64(entry["image"].as_str().unwrap());
        assert_eq!(image::guess_format(&file).unwrap(), image::ImageFormat::Jpeg);
        let crop = image::load_from_memory(&file).unwrap();
        let longer = crop.width().max(crop.height());
        assert!((64..=320).contains(&longer), "{longer}");
        // A search with the returned crop finds the same subject.
        let body = json!({"image": entry["image"], "threshold": 90});
        let again = client.ask("search", &body).await;
        assert_eq!(again["matches"][0]["subject_id"], entry["subject_id"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn terminal_that_stores_no_crops_returns_none() {
    let (_terminal, mut client) = start("[gallery]\nstore_images = false").await;
    enroll(&mut client, "barack", "obama").await;
    let body = json!({"image": pictures::face("obama"), "return_image": true});
    let answer = client.ask("search", &body).await;
    assert_eq!(ids(&answer["matches"]), ["barack"]);
    assert!(answer["matches"][0].get("image").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn requested_blocks_are_present() {
    let (_terminal, mut client) = start("").await;
    let image = pictures::face("obama");
    let answer = client.ask("search", &json!({"image": image, "request_id": "r-1"})).await;
    assert_eq!(answer["request_id"], "r-1");
    assert_eq!(answer["image_quality"], json!({"blur": false, "dark": false, "grayscale": false}));
    assert_eq!((&answer["rotation"], &answer["nface"]), (&json!(0), &json!(1)));
    assert_eq!(answer["meta"]["device_id"], "front");
    assert_eq!(answer["liveness"]["status"], true);
    let bare = json!({
        "sunglasses_on": false, "mask_on": false, "veil_on": false, "hat_on": false
    });
    assert_eq!(answer["attributes"], bare);

    let body = json!({
        "image": image, "is_quality": false, "is_attribute": false, "is_liveness": false
    });
    let answer = client.ask("search", &body).await;
    assert!(answer.get("image_quality").is_none());
    assert!(answer.get("attributes").is_none() && answer.get("liveness").is_none());
    for stage in ["quality", "attributes", "liveness"] {
        assert!(answer["meta"]["timings_ms"].get(stage).is_none(), "{stage}");
    }
    assert!(answer["meta"]["scores"].get("sharpness").is_none());
}

/// Sends the picture's bytes as the payload and the fields as user properties.
#[tokio::test(flavor = "multi_thread")]
async fn picture_is_accepted_as_the_raw_payload() {
    let (_terminal, mut client) = start("").await;
    let picture = pictures::scaled("obama");
    let (jpeg, png) = (pictures::jpeg(&picture), pictures::png(&picture));
    let fields = [("subject_id", "anna"), ("mode", "add"), ("validate_nface", "true")];
    let answer = client.ask_bytes("enroll", &jpeg, Some("image/jpeg"), &fields).await;
    assert_eq!((verdict(&answer), &answer["subject_id"]), ((200, "", ""), &json!("anna")));

    let fields = [
        ("limit", "3"),
        ("threshold", "75.5"),
        ("return_image", "true"),
        ("is_quality", "false"),
        ("request_id", "r-7"),
        ("x-mqtt-client-id", "a bridge was here"),
    ];
    for (payload, content_type) in
        [(&jpeg, Some("image/jpeg")), (&png, Some("image/png")), (&png, None)]
    {
        let mut fields = fields;
        let id = format!("r-{content_type:?}");
        fields[4].1 = &id;
        let answer = client.ask_bytes("search", payload, content_type, &fields).await;
        assert_eq!(verdict(&answer), (200, "", ""));
        assert_eq!(answer["request_id"], id);
        assert!(answer.get("image_quality").is_none());
        assert!(answer["matches"][0]["image"].is_string());
    }
    let answer = client.ask_bytes("verify", &jpeg, None, &[("subject_id", "anna")]).await;
    assert_eq!(answer["similarity_status"], true);

    let before = client.gallery().await;
    for (operation, fields, field) in [
        ("search", &[("limit", "many")][..], "limit"),
        ("search", &[("is_quality", "yes")], "is_quality"),
        ("search", &[("limt", "1")], "limt"),
        ("search", &[("limit", "1"), ("limit", "1")], ""),
        ("search", &[("image", "aGVsbG8=")], ""),
        ("compare", &[], ""),
        ("subject/list", &[], ""),
    ] {
        let answer = client.ask_bytes(operation, &jpeg, Some("image/jpeg"), fields).await;
        assert_eq!(verdict(&answer), (400, "INVALID_PAYLOAD", field), "{operation} {fields:?}");
    }
    let answer = client.ask_bytes("verify", &jpeg, None, &[]).await;
    assert_eq!(verdict(&answer).1, "MISSING_PAYLOAD_SUBJECT_ID");
    assert_eq!(client.gallery().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn subjects_are_listed_by_pages_and_deleted() {
    let (_terminal, mut client) = start("").await;
    let image = pictures::face("obama");
    for id in ["e", "a", "c", "b", "d"] {
        enroll(&mut client, id, "obama").await;
    }
    let (mut seen, mut cursor) = (Vec::new(), Value::Null);
    for expected in [2, 2, 1] {
        let page = client.ask("subject/list", &json!({"limit": 2, "cursor": cursor})).await;
        let subjects = page["subjects"].as_array().unwrap();
        assert_eq!(subjects.len(), expected, "{page}");
        seen.extend(subjects.iter().map(|subject| subject["subject_id"].clone()));
        assert_eq!(page.get("cursor").is_some(), seen.len() < 5, "{page}");
        cursor = page["cursor"].clone();
    }
    assert_eq!(seen, ["a", "b", "c", "d", "e"]);

    let answer = client.ask("subject/delete", &json!({"subject_id": "c"})).await;
    assert_eq!((verdict(&answer), &answer["subject_id"]), ((200, "", ""), &json!("c")));
    for operation in ["subject/get", "subject/delete", "verify"] {
        let mut body = json!({"subject_id": "c"});
        if operation == "verify" {
            body["image"] = json!(image);
        }
        let answer = client.ask(operation, &body).await;
        assert_eq!(verdict(&answer).1, "INVALID_PAYLOAD_SUBJECT_ID", "{operation}");
    }
    let answer = client.ask("search", &json!({"image": image, "limit": 10})).await;
    let mut found = ids(&answer["matches"]);
    found.sort_unstable();
    assert_eq!(found, ["a", "b", "d", "e"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_field_of_a_subject_is_changed_and_cleared() {
    let (_terminal, mut client) = start(r#"permissions = ["enroll", "subject", "admin"]"#).await;
    enroll(&mut client, "anna", "obama").await;
    let created = client.ask("subject/get", &json!({"subject_id": "anna"})).await;
    assert_eq!((&created["enabled"], &created["groups"]), (&json!(true), &json!([])));

    let changes = [
        ("name", json!("Anna Ä."), json!("Anna Ä.")),
        ("groups", json!(["staff", "night", "staff"]), json!(["staff", "night"])),
        ("card", json!("0012345"), json!("0012345")),
        ("enabled", json!(false), json!(false)),
        ("valid_from", json!(1_700_000_000), json!(1_700_000_000.0)),
        ("valid_until", json!(1_900_000_000.5), json!(1_900_000_000.5)),
    ];
    for (name, value, _) in &changes {
        let mut body = json!({"subject_id": "anna"});
        body[*name] = value.clone();
        let answer = client.ask("subject/update", &body).await;
        assert_eq!(verdict(&answer), (200, "", ""), "{name}");
    }
    let subject = client.ask("subject/get", &json!({"subject_id": "anna"})).await;
    for (name, _, expected) in &changes {
        assert_eq!(&subject[*name], expected, "{name}");
    }
    assert_eq!((&subject["created"], &subject["templates"]), (&created["created"], &json!(1)));
    assert!(subject["updated"].as_f64() > created["updated"].as_f64());

    // null counts as absent and changes nothing. Empty values clear the field.
    let body = json!({"subject_id": "anna", "name": null, "enabled": true});
    let answer = client.ask("subject/update", &body).await;
    assert_eq!((&answer["name"], &answer["enabled"]), (&json!("Anna Ä."), &json!(true)));
    for (name, empty) in [
        ("name", json!("")),
        ("card", json!("")),
        ("valid_from", json!(0)),
        ("valid_until", json!(0)),
    ] {
        let mut body = json!({"subject_id": "anna"});
        body[name] = empty;
        let answer = client.ask("subject/update", &body).await;
        assert!(answer.get(name).is_none(), "{name}: {answer}");
    }
    let answer = client.ask("subject/update", &json!({"subject_id": "anna", "groups": []})).await;
    assert_eq!(answer["groups"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn stats_and_health() {
    let (_terminal, mut client) = start("").await;
    enroll(&mut client, "anna", "obama").await;
    client.ask("search", &json!({"limit": 1})).await;
    let health = client.ask("health", &json!({})).await;
    assert_eq!((&health["health"], &health["device_id"]), (&json!("up"), &json!("front")));
    assert_eq!(health["queue"], json!({"waiting": 0, "capacity": 8}));
    let stats = client.ask_bytes("stats", b"", None, &[]).await;
    assert_eq!(stats["gallery"]["subjects"], 1);
    assert_eq!(stats["gallery"]["templates"], 1);
    assert_eq!(stats["requests"]["enroll"], json!({"OK": 1}));
    assert_eq!(stats["requests"]["search"], json!({"MISSING_PAYLOAD_IMAGE": 1}));
    assert!(stats["median_ms"]["embed"].as_f64().unwrap() > 0.0);
}

/// A subject that is disabled or outside its validity is not verified or found without a sign.
#[tokio::test(flavor = "multi_thread")]
async fn inactive_subjects_are_not_found_and_not_verified() {
    let (_terminal, mut client) = start(
        "permissions = [\"enroll\", \"verify\", \"search\", \"subject\", \"admin\"]\n\
         [schedules]\ntrust_clock = true",
    )
    .await;
    let (obama, biden) = (pictures::face("obama"), pictures::face("biden"));
    enroll(&mut client, "anna", "obama").await;
    enroll(&mut client, "again", "obama").await;
    let expired = json!({"subject_id": "anna", "valid_until": 1_700_000_000});
    let early = json!({"subject_id": "anna", "valid_until": 0, "valid_from": 4_000_000_000u64});
    let disabled = json!({"subject_id": "anna", "valid_from": 0, "enabled": false});
    let active = json!({"subject_id": "anna", "enabled": true});
    for (change, is_active) in
        [(&expired, false), (&early, false), (&disabled, false), (&active, true)]
    {
        let changed = client.ask("subject/update", change).await;
        assert_eq!(changed["status"], 200, "{changed}");
        for inclusive in [false, true] {
            let verify = async |client: &mut Client, image: &str| {
                let body = json!({
                    "image": image, "subject_id": "anna", "include_inactive": inclusive
                });
                client.ask("verify", &body).await
            };
            let same = verify(&mut client, &obama).await;
            let code = if is_active || inclusive { "" } else { "SUBJECT_NOT_ACTIVE" };
            assert_eq!(verdict(&same), (200, code, ""), "{change} {same}");
            assert_eq!(same["similarity_status"], code.is_empty(), "{same}");
            assert!(same["similarity"].as_f64().unwrap() > 90.0, "{same}");
            assert_eq!(same.get("active"), (!is_active).then_some(&json!(false)), "{same}");
            // Another person does not learn whether the subject is active.
            let other = verify(&mut client, &biden).await;
            assert_eq!(verdict(&other).1, "FAIL_ON_16");
            assert!(other.get("active").is_none(), "{other}");

            let body = json!({"image": obama, "limit": 2, "include_inactive": inclusive});
            let found = client.ask("search", &body).await;
            let expected: &[&str] =
                if is_active || inclusive { &["again", "anna"] } else { &["again"] };
            assert_eq!(ids(&found["matches"]), expected, "{change}");
            for found in found["matches"].as_array().unwrap() {
                let inactive = found["subject_id"] == "anna" && !is_active;
                assert_eq!(found.get("active"), inactive.then_some(&json!(false)), "{found}");
            }
            // The first place goes to an active subject.
            let body = json!({"image": obama, "limit": 1, "include_inactive": inclusive});
            assert_eq!(ids(&client.ask("search", &body).await["matches"]), ["again"]);
        }
    }
}

/// Checks requested beside a JSON body would be off without a word.
#[tokio::test(flavor = "multi_thread")]
async fn fields_beside_json_are_refused() {
    let (_terminal, mut client) = start("").await;
    let body = json!({"image": pictures::face("obama"), "subject_id": "anna"}).to_string();
    let json = Some("application/json");
    for name in ["validate_liveness", "mode", "image", "Validate_NFace", "request_id"] {
        let fields = [("traceparent", "00-1"), (name, "true")];
        let answer = client.ask_bytes("enroll", body.as_bytes(), json, &fields).await;
        assert_eq!(verdict(&answer), (400, "INVALID_PAYLOAD", name), "{answer}");
        assert!(answer["data"]["message"].as_str().unwrap().contains(name), "{answer}");
    }
    let fields = [("traceparent", "00-1"), ("x-validate_liveness", "true")];
    let answer = client.ask_bytes("enroll", body.as_bytes(), json, &fields).await;
    assert_eq!(verdict(&answer), (200, "", ""), "{answer}");
}

/// What clients of other services send: a byte order mark, image/jpg, URL-safe base64.
#[tokio::test(flavor = "multi_thread")]
async fn harmless_variants_are_accepted() {
    let (_terminal, mut client) = start("").await;
    let obama = pictures::face("obama");
    let marked = format!("\u{feff}{}", json!({"image": obama}));
    for content_type in [Some("application/json"), None] {
        let answer = client.ask_bytes("liveness", marked.as_bytes(), content_type, &[]).await;
        assert_eq!(verdict(&answer), (200, "", ""), "{answer}");
    }
    let file = pictures::jpeg(&pictures::scaled("obama"));
    let answer = client.ask_bytes("liveness", &file, Some("image/jpg"), &[]).await;
    assert_eq!(verdict(&answer), (200, "", ""), "{answer}");
    let safe = obama.replace('+', "-").replace('/', "_");
    assert_ne!(safe, obama);
    assert_eq!(client.ask("liveness", &json!({"image": safe})).await["status"], 200);
    let posted = obama.replace('+', " ");
    let answer = client.ask("liveness", &json!({"image": posted})).await;
    assert_eq!(verdict(&answer).1, "INVALID_PAYLOAD_IMAGE_MISSING");
    assert!(answer["data"]["message"].as_str().unwrap().contains('+'), "{answer}");
}

/// Who replaces a face by another person's, or takes a spoof's name for a person, is told.
#[tokio::test(flavor = "multi_thread")]
async fn another_persons_photo_and_a_matched_spoof_are_advised() {
    let (_terminal, mut client) = start("").await;
    let advised = |answer: &Value, code: &str| {
        assert_eq!(answer["status"], 200, "{answer}");
        answer["meta"]["advice"].as_array().unwrap().iter().any(|given| given == code)
    };
    enroll(&mut client, "anna", "obama").await;
    for (portrait, differs) in [("obama2", false), ("biden", true), ("biden", false)] {
        let body = json!({"image": pictures::face(portrait), "subject_id": "anna"});
        let answer = client.ask("enroll", &body).await;
        assert_eq!(advised(&answer, "replaced_face_differs"), differs, "{portrait} {answer}");
    }
    enroll(&mut client, "anna", "obama2").await;
    let spoof = pictures::base64(&pictures::jpeg(&pictures::replayed(&pictures::scaled("obama2"))));
    for (image, is_spoof) in [(&spoof, true), (&pictures::face("obama2"), false)] {
        let found = client.ask("search", &json!({"image": image})).await;
        assert_eq!(ids(&found["matches"]), ["anna"]);
        assert_eq!(advised(&found, "not_live"), is_spoof, "{found}");
        let body = json!({"image": image, "subject_id": "anna", "is_liveness": true});
        assert_eq!(advised(&client.ask("verify", &body).await, "not_live"), is_spoof);
    }
    let answer = client.ask("liveness", &json!({"image": spoof})).await;
    assert!(!advised(&answer, "not_live"), "{answer}");
}
