//! Applications: their keys, what they may do, and who may manage them.

use super::*;

fn with_key() -> Settings {
    Settings { auth: Auth::AppKey, ..Settings::default() }
}

/// Creates an application; returns its id and key.
async fn app(setup: &Fixture, fields: Value) -> (String, String) {
    let made = setup.ask_locally("application/create", fields).await;
    assert_eq!(made.status, 200, "{:?}", made.fields);
    let text = |name: &str| made.fields[name].as_str().unwrap().to_owned();
    (text("app_id"), text("api_key"))
}

#[tokio::test]
async fn an_application_key_is_accepted_in_properties_or_body() {
    let setup = setup_with(with_key());
    let (id, key) = app(&setup, json!({"name": "kiosk"})).await;
    let ask = |app_id: Option<&str>, api_key: Option<&str>, body: &str| {
        let credentials =
            Credentials { app_id: app_id.map(Into::into), api_key: api_key.map(Into::into) };
        let body = Body::Json(body.as_bytes().to_vec());
        let request = Request { body, credentials, ..request("health", json!({})) };
        let sender = setup.service.sender(&request);
        let service = &setup.service;
        async move {
            let answer = match sender {
                Ok(_) => service.handle(request).await.unwrap(),
                Err(answer) => answer,
            };
            if answer.status == 401 {
                assert_eq!(answer.fields["message"], "Authorization failed");
                assert!(answer.fields.get("error_code").is_none());
            }
            answer.status
        }
    };
    let both = format!(r#"{{"app_id": "{id}", "api_key": "{key}"}}"#);
    let wrong = format!(r#"{{"app_id": "{id}", "api_key": "{key}x"}}"#);
    let key_alone = format!(r#"{{"api_key": "{key}"}}"#);
    let (id, key) = (Some(id.as_str()), Some(key.as_str()));
    assert_eq!(ask(id, key, "{}").await, 200);
    assert_eq!(ask(None, None, &both).await, 200);
    assert_eq!(ask(id, None, &key_alone).await, 200);
    assert_eq!(ask(id, key, &wrong).await, 200, "the properties come first");
    for (id, key, body) in [
        (None, None, "{}"),
        (None, None, ""),
        (id, None, "{}"),
        (None, key, "{}"),
        (id, Some(""), "{}"),
        (id, Some("wrong"), both.as_str()),
        (Some("wrong"), key, &both),
        (None, None, &wrong),
        (None, None, &format!("[{both}]")),
        (None, None, &format!("{both} trailing")),
        (None, None, &both[..both.len() - 1]),
        (None, None, r#"{"app_id": 7, "api_key": true}"#),
        (None, None, "nonsense"),
    ] {
        assert_eq!(ask(id, key, body).await, 401, "{body}");
    }
    // An authorised client gets the specific error.
    assert_eq!(ask(id, key, "nonsense").await, 400);
    assert_eq!(ask(None, None, &both.replace('}', r#", "limit": 1}"#)).await, 400);

    let stats = setup.ask_locally("stats", json!({})).await;
    assert_eq!(stats.fields["requests"]["health"]["UNAUTHORIZED"], 13);
}

#[tokio::test]
async fn without_a_key_every_operation_is_unauthorized() {
    let setup = setup_with(with_key());
    for operation in ["open_sesame", "application/list", "search", "stats", "subject/delete"] {
        let answer = setup.ask(operation, json!({"request_id": "r"})).await;
        assert_eq!((answer.status, &answer.fields["request_id"]), (401, &json!("r")));
    }
}

#[tokio::test]
async fn application_operations_need_admin() {
    let setup = setup();
    let operations = ["create", "list", "get", "update", "rotate", "revoke"];
    for operation in operations.map(|name| format!("application/{name}")) {
        let fields = json!({"name": "x", "app": "x"});
        let answer = setup.ask(&operation, fields).await;
        assert_eq!(
            (answer.status, &answer.fields["error_code"]),
            (403, &json!("PERMISSION_DENIED")),
            "{operation}"
        );
    }
    let permissions = [Permission::Admin, Permission::Search].into();
    let setup = setup_with(Settings { permissions, ..Settings::default() });
    let made = setup.ask("application/create", json!({"name": "kiosk", "allow": ["search"]})).await;
    assert_eq!(made.status, 200, "{:?}", made.fields);
    assert!(made.fields["api_key"].is_string());
    // Without `allow` it would get more than its maker has.
    let more = setup.ask("application/create", json!({"name": "other"})).await;
    assert_eq!(more.status, 403, "{:?}", more.fields);
    let list = setup.ask("application/list", json!({})).await;
    assert_eq!(list.fields["applications"].as_array().map(Vec::len), Some(1));
    let lines = setup.ask_locally("audit/list", json!({})).await;
    let line = &lines.fields["lines"][0];
    assert_eq!((&line["action"], &line["by"]), (&json!("application/create"), &json!("anybody")));
    assert!(!lines.fields["lines"].to_string().contains("dwk_"));
}

#[tokio::test]
async fn invalid_applications_are_refused() {
    let setup = setup();
    app(&setup, json!({"name": "kiosk", "testing": true, "quota": ["search=1"]})).await;
    for (fields, field) in [
        (json!({}), "name"),
        (json!({"name": ""}), "name"),
        (json!({"name": "a b"}), "name"),
        (json!({"name": "kiosk"}), "name"),
        (json!({"name": "a", "quota": ["search=1"]}), "quota"),
        (json!({"name": "a", "testing": true, "quota": ["dance=1"]}), "quota"),
        (json!({"name": "a", "allow": ["dance"]}), "allow"),
        (json!({"name": "a", "alow": ["search"]}), "alow"),
    ] {
        let answer = setup.ask_locally("application/create", fields.clone()).await;
        assert_eq!(answer.status, 400, "{fields}");
        if fields != json!({}) {
            assert_eq!(answer.fields["error_field"], field, "{fields}");
        }
    }
    for operation in ["get", "revoke", "rotate"].map(|name| format!("application/{name}")) {
        let answer = setup.ask_locally(&operation, json!({"app": "unknown"})).await;
        assert_eq!((answer.status, &answer.fields["error_field"]), (400, &json!("app")));
    }
    for grace in [json!(-1), json!(0.5), json!(30.0 * 86_400.0 + 1.0)] {
        let fields = json!({"app": "kiosk", "grace_seconds": grace});
        let answer = setup.ask_locally("application/rotate", fields).await;
        assert_eq!((answer.status, &answer.fields["error_field"]), (400, &json!("grace_seconds")));
    }
    let list = setup.ask_locally("application/list", json!({})).await;
    let apps = list.fields["applications"].as_array().unwrap();
    assert_eq!(apps.len(), 1);
    assert_eq!(apps[0]["quota"]["search"], json!({"quota": 1, "used": 0, "left": 1}));
    assert_eq!(apps[0]["quota"]["verify"]["quota"], 0);
    assert!(!list.fields["applications"].to_string().contains("key"), "{apps:?}");
}
