//! Tests payloads as received, including hostile ones.

use super::*;

fn json(text: &str) -> Body {
    Body::Json(text.as_bytes().to_vec())
}

fn fault(body: &Body) -> Option<String> {
    Raw::read(Some(Operation::Search), body).fault
}

#[test]
fn values_keep_their_types() {
    let body = json(
        r#"{"a": null, "b": true, "c": 2.0, "d": "x\/y", "e": ["p", "q"], "f": {"g": [1]}, "h": [1, "x"]}"#,
    );
    let raw = Raw::read(None, &body);
    assert_eq!(raw.fault, None);
    assert_eq!(raw.get("a"), Some(&RawValue::Null));
    assert_eq!(raw.get("b"), Some(&RawValue::Bool(true)));
    assert_eq!(raw.get("c"), Some(&RawValue::Number(2.0)));
    assert_eq!(raw.text("d"), Some("x/y"));
    assert_eq!(raw.get("e"), Some(&RawValue::Texts(vec!["p".into(), "q".into()])));
    assert_eq!(raw.get("f"), Some(&RawValue::Other("an object")));
    assert_eq!(raw.get("h"), Some(&RawValue::Other("a list of other things")));
    assert_eq!(raw.get("i"), None);
}

#[test]
fn hostile_json_is_a_fault() {
    let deep_list = format!(r#"{{"image": {}"#, "[".repeat(1_000_000));
    let deep_object = format!(r#"{{"image": {}"#, r#"{"a":"#.repeat(200_000));
    let closed = format!(r#"{{"image": {}{}}}"#, "[".repeat(5000), "]".repeat(5000));
    let many: Vec<String> = (0..1000).map(|n| format!(r#""f{n}": 0"#)).collect();
    let many = format!("{{{}}}", many.join(","));
    let cases = [
        "{",
        "nonsense",
        r#"{"limit": 1} trailing"#,
        r#"{"limit": 1}{"limit": 2}"#,
        r#"{"limit": 1, "limit": 1}"#,
        r#"{"limit": 1, "lim\u0069t": 1}"#,
        r#"{"limit": 1e999}"#,
        r#"{"limit": NaN}"#,
        r#"{"limit": Infinity}"#,
        r#"{"limit": 01}"#,
        r#"{limit: 1}"#,
        r#"{"limit": 1,}"#,
        r#"{"image": "\ud800"}"#,
        "\"text\"",
        "[]",
        "7",
        "null",
        &deep_list,
        &deep_object,
        &closed,
        &many,
    ];
    for text in cases {
        let start: String = text.chars().take(40).collect();
        assert!(fault(&json(text)).is_some(), "{start}");
    }
    assert!(fault(&Body::Json(b"{\"image\": \"\xff\"}".to_vec())).is_some());
    assert!(fault(&Body::Json(b"\xff\xd8\xff".to_vec())).is_some());
}

#[test]
fn fields_before_a_fault_are_kept() {
    for text in [
        r#"{"request_id": "r1", "limit": 1, "limit": 2}"#,
        r#"{"limit": 1, "limit": 2, "request_id": "r1"}"#,
        r#"{"request_id": "r1"} trailing"#,
        r#"{"request_id": "r1", "limit": 1e999}"#,
    ] {
        let body = json(text);
        let raw = Raw::read(Some(Operation::Search), &body);
        assert!(raw.fault.is_some(), "{text}");
        assert_eq!(raw.text("request_id"), Some("r1"), "{text}");
    }
}

#[test]
fn an_object_with_faults_is_an_object() {
    for (text, is_object) in [
        ("{}", true),
        ("", true),
        (r#"{"limit": 1, "limit": 2}"#, true),
        (r#"{"api_key": "k""#, false),
        (r#"{"api_key": "k"} trailing"#, false),
        (r#"["api_key"]"#, false),
        ("nonsense", false),
    ] {
        let body = json(text);
        assert_eq!(Raw::read(Some(Operation::Search), &body).is_object, is_object, "{text}");
    }
    let latin = Body::Json(b"{\"api_key\": \"\xff\"}".to_vec());
    assert!(!Raw::read(None, &latin).is_object);
}

#[test]
fn sender_fields_are_read_after_too_many_fields() {
    let many: Vec<String> = (0..1000).map(|n| format!(r#""f{n}": 0"#)).collect();
    let identity = r#""app_id": "a", "api_key": "k", "request_id": "r""#;
    let body = json(&format!("{{{},{identity}}}", many.join(",")));
    let raw = Raw::read(Some(Operation::Search), &body);
    let names = ["app_id", "api_key", "request_id"];
    assert_eq!(names.map(|name| raw.text(name)), [Some("a"), Some("k"), Some("r")]);
    assert!(raw.fault.as_ref().is_some_and(|why| why.contains("more than 64")));
    assert_eq!(raw.fields().count(), MAX_FIELDS + 3);
}

#[test]
fn debug_output_does_not_show_values() {
    let body = json(r#"{"api_key": "s3cret", "image": "AAAA"}"#);
    assert_eq!(format!("{:?}", Raw::read(None, &body)), r#"["api_key", "image"]"#);
    assert_eq!(format!("{body:?}"), "Json(38 bytes)");
}

#[test]
fn an_empty_payload_is_an_empty_object() {
    for body in
        [json(""), json(" \n"), json("{}"), Body::Image { bytes: Vec::new(), fields: Vec::new() }]
    {
        let raw = Raw::read(Some(Operation::Stats), &body);
        assert_eq!(raw.fault, None);
        assert_eq!(raw.fields().count(), 0);
        assert_eq!(raw.image, None);
    }
}

#[test]
fn text_properties_take_the_type_of_their_field() {
    let properties = [
        ("limit", "2.0"),
        ("threshold", "82"),
        ("return_image", "true"),
        ("is_quality", "false"),
        ("validate_nface", "1"),
        ("subject_id", "7"),
        ("request_id", "12"),
    ];
    let body = Body::Image {
        bytes: vec![1],
        fields: properties.map(|(name, text)| (name.into(), text.into())).into(),
    };
    let raw = Raw::read(Some(Operation::Search), &body);
    assert_eq!(raw.fault, None);
    assert_eq!(raw.image, Some(&[1][..]));
    assert_eq!(raw.get("limit"), Some(&RawValue::Number(2.0)));
    assert_eq!(raw.get("threshold"), Some(&RawValue::Number(82.0)));
    assert_eq!(raw.get("return_image"), Some(&RawValue::Bool(true)));
    assert_eq!(raw.get("is_quality"), Some(&RawValue::Bool(false)));
    assert_eq!(raw.text("validate_nface"), Some("1"));
    assert_eq!(raw.text("request_id"), Some("12"));
}

#[test]
fn properties_that_are_not_decimal_numbers_stay_text() {
    for text in ["inf", "NaN", "0x10", " 8", "8 ", "", "1,5", "1e999", "true"] {
        let kind = Some(Kind::Number(None));
        assert_eq!(from_text(kind, text), RawValue::Text(text.into()), "{text:?}");
    }
    assert_eq!(from_text(Some(Kind::Bool(Some(true))), "True"), RawValue::Text("True".into()));
}

#[test]
fn an_image_given_twice_is_a_fault() {
    let image = |fields| Body::Image { bytes: vec![1], fields };
    assert!(fault(&image(vec![("image".into(), "aGk=".into())])).is_some());
    let twice = ("limit".to_owned(), "1".to_owned());
    assert!(fault(&image(vec![twice.clone(), twice])).is_some());
}

#[test]
fn long_lists_are_recognised_without_being_kept() {
    let list = vec![r#""g""#; 100_000].join(",");
    let body = json(&format!(r#"{{"groups": [{list}]}}"#));
    let raw = Raw::read(Some(Operation::SubjectUpdate), &body);
    let Some(RawValue::Texts(texts)) = raw.get("groups") else { panic!("no list") };
    assert_eq!(texts.len(), MAX_LIST + 1);
}
