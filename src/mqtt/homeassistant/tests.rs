use super::*;

fn message(settings: &HomeAssistant) -> Value {
    let topics = Topics::new("front", &[]);
    serde_json::from_str(&settings.config("front", &topics)).unwrap()
}

#[test]
fn lock_and_button_are_offered_only_with_remote_unlock() {
    let without = message(&HomeAssistant::default());
    assert_eq!(without["components"]["lock"], json!({ "platform": "lock" }));
    assert_eq!(without["components"]["unlock"], json!({ "platform": "button" }));
    let with = HomeAssistant { remote_unlock: true, ..HomeAssistant::default() };
    let lock = &message(&with)["components"]["lock"];
    assert_eq!(lock["command_topic"], "doorward/front/cmd/unlock");
    assert_eq!((&lock["optimistic"], &lock["retain"]), (&json!(false), &json!(false)));
    let named = HomeAssistant { client: Some("house".into()), ..with };
    let button = &message(&named)["components"]["unlock"];
    assert_eq!(button["command_topic"], "doorward/front/from/house/cmd/unlock");
}

#[test]
fn topics_have_no_dots_and_ids_differ() {
    let settings = HomeAssistant::default();
    assert_eq!(settings.config_topic("front.1"), "homeassistant/device/doorward_front_2E1/config");
    assert_eq!(in_words("front-door_2.b"), "Front door 2 b");
    assert_eq!(in_words("---"), "---");
    let message = message(&settings);
    let components = message["components"].as_object().unwrap();
    let ids: Vec<_> = components.values().filter_map(|it| it["unique_id"].as_str()).collect();
    let unique: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!((ids.len(), unique.len()), (components.len() - 2, ids.len()));
}

#[test]
fn prefixes_that_reach_other_topics_are_refused() {
    let with = |prefix: &str| HomeAssistant { prefix: prefix.into(), ..Default::default() };
    assert!(with("homeassistant").is_valid() && with("house/ha").is_valid());
    for prefix in ["", "#", "a/+", "$SYS", "a//b", "doorward/front/cmd", "/a"] {
        assert!(!with(prefix).is_valid(), "{prefix}");
    }
    let client = HomeAssistant { client: Some("a/b".into()), ..Default::default() };
    assert!(!client.is_valid());
}
