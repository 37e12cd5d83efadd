//! The description of the interface as OpenAPI 3.1, made from the tables of operations and fields.

use super::field::{self, ImageField};
use super::fields::{self, Kind};
use super::operation::Operation;
use super::route::{Method, Route};
use serde_json::{Map, Value, json};

/// Statuses of answers, with their meaning.
const STATUSES: &[(u16, &str)] = &[
    (200, "Done; `error_code` FAIL_ON_n names checks that failed"),
    (400, "The request is invalid; `error_code` and `error_field` say what"),
    (401, "App-ID or API-Key is missing or wrong"),
    (403, "The application has no permission, or its quota is used up"),
    (408, "The body did not arrive in time"),
    (409, "The change contradicts what is stored"),
    (413, "The body is too large"),
    (421, "The name of the server is not known; see http.hosts"),
    (500, "The terminal failed"),
    (503, "Too many requests wait, or camera or door are unavailable"),
];

/// Returns the description.
pub(crate) fn openapi() -> Value {
    let mut paths = Map::new();
    for operation in Operation::ALL {
        for route in operation.routes() {
            let method: &'static str = route.method.into();
            let entry = paths.entry(route.path).or_insert_with(|| json!({}));
            entry[method.to_ascii_lowercase()] = described(operation, *route);
        }
    }
    for (path, about, content) in [
        ("/healthz", "The process answers", "application/json"),
        ("/readyz", "The terminal does its work", "application/json"),
        ("/metrics", "Numbers for Prometheus", "application/openmetrics-text"),
        ("/openapi.json", "This description", "application/json"),
    ] {
        let mut responses = json!({"200": {"description": about, "content": {content: {}}}});
        let statuses: &[u16] = match path {
            "/readyz" => &[503, 421],
            "/metrics" => &[401, 421, 503],
            _ => &[421],
        };
        for &(status, meaning) in STATUSES.iter().filter(|(status, _)| statuses.contains(status)) {
            responses[status.to_string()] =
                json!({"description": meaning, "content": {"application/json": {}}});
        }
        let mut get = json!({"summary": about, "responses": responses});
        if path != "/metrics" {
            get["security"] = json!([]);
        }
        paths.insert(path.into(), json!({ "get": get }));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "doorward",
            "description": "Face recognition of one terminal",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "MIT OR Apache-2.0"},
        },
        "security": [{"appId": [], "apiKey": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "appId": {"type": "apiKey", "in": "header", "name": "App-ID"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "API-Key"},
            },
            "schemas": {"Answer": answer(false), "Refusal": answer(true)},
        },
    })
}

fn described(operation: Operation, route: Route) -> Value {
    let in_path: Vec<_> = route.fields().collect();
    let (mut parameters, mut properties, mut form) = (Vec::new(), Map::new(), Map::new());
    for field in fields::of(operation) {
        if [field::APP_ID, field::API_KEY].contains(&field.name) {
            continue;
        }
        let schema = schema(field.kind);
        if in_path.contains(&field.name) {
            parameters.push(json!({
                "name": field.name, "in": "path", "required": true,
                "schema": {"type": "string", "minLength": 1},
            }));
        } else if route.method == Method::Get {
            parameters.push(json!({"name": field.name, "in": "query", "schema": schema}));
        } else {
            let part = match is_image(field.name) {
                true => json!({"type": "string", "format": "binary"}),
                // A text of a form is never null.
                false => plain(schema.clone()),
            };
            form.insert(field.name.into(), part);
            properties.insert(field.name.into(), schema);
        }
    }
    let mut responses = Map::new();
    for &(status, meaning) in STATUSES {
        let name = if status == 200 { "Answer" } else { "Refusal" };
        let schema = json!({"$ref": format!("#/components/schemas/{name}")});
        let mut content = json!({"application/json": {"schema": schema}});
        if operation == Operation::AuditList && status == 200 {
            content["text/event-stream"] = json!({"schema": {"type": "string"}});
        }
        responses.insert(status.to_string(), json!({"description": meaning, "content": content}));
    }
    let mut described = json!({
        "operationId": format!("{}{}", operation.name().replace('/', "_"), match route.fields().next() {
            Some(_) => "_of",
            None => "",
        }),
        "summary": operation.about(),
        "parameters": parameters,
        "responses": responses,
    });
    if route.method != Method::Get {
        let object = |properties| {
            json!({"schema": {
                "type": "object", "properties": properties, "additionalProperties": false,
            }})
        };
        let mut content = json!({"application/json": object(properties)});
        if form.keys().any(|name| is_image(name)) {
            content["multipart/form-data"] = object(form);
        }
        described["requestBody"] = json!({
            "required": !(in_path.iter().any(|_| route.method == Method::Delete)),
            "content": content,
        });
    }
    described
}

/// Returns the schema of a field; null is absent.
fn schema(kind: Kind) -> Value {
    let (name, default) = match kind {
        Kind::Bool(default) => ("boolean", json!(default)),
        Kind::Number(default) => ("number", json!(default)),
        Kind::Text(default) => ("string", json!(default)),
        Kind::Texts => {
            return json!({"type": ["array", "null"], "items": {"type": "string"}});
        }
    };
    let mut schema = json!({"type": [name, "null"]});
    if !default.is_null() {
        schema["default"] = default;
    }
    schema
}

/// Returns the schema without null.
fn plain(mut schema: Value) -> Value {
    schema["type"] = schema["type"][0].take();
    schema
}

fn answer(is_refusal: bool) -> Value {
    let mut properties = json!({
        "message": {"type": "string"},
        "session_id": {"type": "string", "format": "uuid"},
        "timestamp": {"type": "number"},
        "request_id": {"type": "string"},
        "error_code": {"type": "string"},
    });
    if is_refusal {
        properties["error_field"] = json!({"type": "string"});
        properties["data"] = json!({"type": "object"});
    }
    json!({
        "type": "object",
        "properties": properties,
        "required": ["message", "session_id", "timestamp"],
    })
}

fn is_image(name: &str) -> bool {
    ImageField::ALL.iter().any(|field| field.name() == name)
}
