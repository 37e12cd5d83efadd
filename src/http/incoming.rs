//! Turns a message into a [`Request`]: the form of its body, fields in path and query, credentials.
//!
//! A file of a form becomes the base64 text that its field would hold in JSON, so that both pass
//! the same checks.

use crate::contract::{API_KEY, APP_ID, Body, Caller, Credentials, Request, field, without_bom};
use crate::transport::Digest;
use axum::body::Body as HttpBody;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use std::time::Instant;

/// Names and texts.
pub(super) type Fields = Vec<(String, String)>;

/// A message, its body read.
pub(super) struct Message {
    pub operation: &'static str,
    pub headers: HeaderMap,
    /// Fields in the path.
    pub path: Fields,
    /// Fields in the query.
    pub query: Fields,
    pub bytes: Vec<u8>,
    pub expires: Instant,
}

/// Returns the credentials in the headers.
pub(super) fn credentials(headers: &HeaderMap) -> Credentials {
    let text = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
    Credentials { app_id: text(APP_ID), api_key: text(API_KEY) }
}

impl Message {
    /// Returns a digest of what the client sent. The boundary of a form has no part in it: a client
    /// makes another one when it sends the same form again.
    pub fn digest(&self) -> Digest {
        let mut hash = Sha256::new();
        let mut add = |bytes: &[u8]| {
            hash.update(bytes.len().to_be_bytes());
            hash.update(bytes);
        };
        for (name, value) in self.path.iter().chain(&self.query) {
            add(name.as_bytes());
            add(value.as_bytes());
        }
        match multer::parse_boundary(self.content_type()) {
            Ok(boundary) => {
                add(b"multipart/form-data");
                without(&self.bytes, format!("--{boundary}").as_bytes()).for_each(add);
            }
            Err(_) => {
                add(self.content_type().as_bytes());
                add(&self.bytes);
            }
        }
        hash.finalize().into()
    }

    fn content_type(&self) -> &str {
        self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// Builds the request; the second value is the fault of a body in no known form. Such a body is
    /// read as JSON: it may hold a key, and a client without a key is not told what is wrong.
    pub async fn request(self) -> (Request, Result<(), String>) {
        let declared = self.content_type().to_owned();
        let media_type = declared.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        let Self { operation, headers, path, mut query, bytes, expires } = self;
        // Addresses are logged by proxies and kept by browsers.
        let all = query.len();
        query.retain(|(name, _)| ![field::APP_ID, field::API_KEY].contains(&name.as_str()));
        let has_key_in_query = query.len() < all;
        let first = without_bom(&bytes).iter().find(|byte| !byte.is_ascii_whitespace());
        let mut fields = path.clone();
        let (body, beside_json, form) = match media_type.as_str() {
            "multipart/form-data" => {
                fields.extend(query);
                match parts(&declared, bytes).await {
                    Ok(parts) => {
                        fields.extend(parts);
                        (Body::Image { bytes: Vec::new(), fields }, Vec::new(), Ok(()))
                    }
                    Err(why) => (Body::Image { bytes: Vec::new(), fields }, Vec::new(), Err(why)),
                }
            }
            // A query without a body.
            _ if bytes.is_empty() => {
                fields.extend(query);
                (Body::Image { bytes, fields }, Vec::new(), Ok(()))
            }
            "image/jpeg" | "image/jpg" | "image/png" => {
                fields.extend(query);
                (Body::Image { bytes, fields }, Vec::new(), Ok(()))
            }
            "" if first != Some(&b'{') => {
                fields.extend(query);
                (Body::Image { bytes, fields }, Vec::new(), Ok(()))
            }
            other => {
                let beside = query.into_iter().map(|(name, _)| name).collect();
                let known = matches!(other, "" | "application/json");
                let form = known.then_some(()).ok_or_else(|| {
                    format!(
                        "content type {declared:?} is not known: use application/json, \
                         multipart/form-data, image/jpeg or image/png"
                    )
                });
                (Body::Json(with_fields(bytes, &path)), beside, form)
            }
        };
        let form = match has_key_in_query {
            true => {
                Err("App-ID and API-Key belong in headers or the body, not in the address".into())
            }
            false => form,
        };
        let request = Request {
            operation: operation.to_owned(),
            body,
            beside_json,
            credentials: credentials(&headers),
            caller: Caller::Http,
            expires: Some(expires),
            // How long a message was on its way is unknown; an unlock must say when it was issued.
            fresh_until: None,
        };
        (request, form)
    }
}

/// Returns the pieces of `bytes` between the occurrences of `separator`, which is not empty.
fn without<'a>(bytes: &'a [u8], separator: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let all = rest?;
        let at = all.windows(separator.len()).position(|window| window == separator);
        rest = at.map(|at| &all[at + separator.len()..]);
        Some(&all[..at.unwrap_or(all.len())])
    })
}

/// Writes fields into the beginning of an object. A field that the object has too is then given
/// twice, which the contract refuses.
fn with_fields(bytes: Vec<u8>, fields: &Fields) -> Vec<u8> {
    let text = without_bom(&bytes);
    let start = text.iter().position(|byte| !byte.is_ascii_whitespace());
    let Some(start) = start.filter(|&at| text[at] == b'{' && !fields.is_empty()) else {
        return bytes;
    };
    let rest = &text[start + 1..];
    let ends = rest.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'}');
    let mut object = vec![b'{'];
    for (index, (name, value)) in fields.iter().enumerate() {
        if index > 0 {
            object.push(b',');
        }
        let [name, value] = [name, value].map(|text| serde_json::Value::from(text.as_str()));
        object.extend_from_slice(format!("{name}:{value}").as_bytes());
    }
    if !ends {
        object.push(b',');
    }
    object.extend_from_slice(rest);
    object
}

/// Reads the parts of a form.
async fn parts(content_type: &str, bytes: Vec<u8>) -> Result<Fields, String> {
    let boundary = multer::parse_boundary(content_type)
        .map_err(|error| format!("the multipart body has no boundary: {error}"))?;
    let stream = HttpBody::from(bytes).into_data_stream();
    let mut form = multer::Multipart::new(stream, boundary);
    let faulty = |error: multer::Error| format!("the multipart body cannot be read: {error}");
    let mut fields = Fields::new();
    while let Some(part) = form.next_field().await.map_err(faulty)? {
        let name = part.name().unwrap_or_default().to_owned();
        let is_file = part.file_name().is_some()
            || part.content_type().is_some_and(|it| is_picture(it.as_ref()));
        let data = part.bytes().await.map_err(faulty)?;
        let text = match is_file {
            true => STANDARD.encode(&data),
            false => String::from_utf8(data.to_vec())
                .map_err(|_| format!("the part `{}` is not UTF-8", name.escape_debug()))?,
        };
        fields.push((name, text));
    }
    Ok(fields)
}

fn is_picture(content_type: &str) -> bool {
    content_type.starts_with("image/") || content_type.starts_with("application/octet-stream")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(content_type: &str, bytes: &[u8], path: &[(&str, &str)]) -> Message {
        let mut headers = HeaderMap::new();
        if !content_type.is_empty() {
            headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
        }
        Message {
            operation: "search",
            headers,
            path: path.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect(),
            query: vec![("limit".into(), "2".into())],
            bytes: bytes.to_vec(),
            expires: Instant::now(),
        }
    }

    #[test]
    fn the_same_form_with_another_boundary_has_the_same_digest() {
        let form = |boundary: &str, text: &str| {
            let body = format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"subject_id\"\r\n\r\n{text}\r\n\
                 --{boundary}--\r\n"
            );
            let content_type = format!("multipart/form-data; boundary={boundary}");
            message(&content_type, body.as_bytes(), &[]).digest()
        };
        assert_eq!(form("A1", "anna"), form("BBB2", "anna"));
        assert_ne!(form("A1", "anna"), form("A1", "ben"));
    }

    #[tokio::test]
    async fn a_key_in_the_address_is_no_key_and_is_refused() {
        let mut sent = message("application/json", b"{}", &[]);
        sent.query = vec![("app_id".into(), "a".into()), ("api_key".into(), "dwk_b".into())];
        let (request, form) = sent.request().await;
        assert!(form.unwrap_err().contains("address"));
        assert!(request.beside_json.is_empty() && request.credentials.api_key.is_none());
    }

    #[tokio::test]
    async fn a_field_of_the_path_joins_the_object() {
        let path = [("subject_id", "a\"b")];
        for (sent, read) in [
            (r#"{"name":"x"}"#, r#"{"subject_id":"a\"b","name":"x"}"#),
            (" { } ", r#"{"subject_id":"a\"b" } "#),
            ("{", r#"{"subject_id":"a\"b","#),
            ("[1]", "[1]"),
        ] {
            let (request, form) =
                message("application/json", sent.as_bytes(), &path).request().await;
            let Body::Json(bytes) = request.body else { panic!("{sent}") };
            assert_eq!((String::from_utf8(bytes).unwrap().as_str(), form), (read, Ok(())));
            assert_eq!(request.beside_json, ["limit"]);
        }
    }

    #[tokio::test]
    async fn a_file_of_a_form_is_base64_and_a_text_is_itself() {
        let body = "--B\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.jpg\"\r\n\
                    Content-Type: image/jpeg\r\n\r\nabc\r\n--B\r\nContent-Disposition: form-data; \
                    name=\"threshold\"\r\n\r\n90\r\n--B--\r\n";
        let sent = message("multipart/form-data; boundary=B", body.as_bytes(), &[]);
        let (request, form) = sent.request().await;
        let Body::Image { bytes, fields } = request.body else { panic!() };
        let expected = [("limit", "2"), ("image", "YWJj"), ("threshold", "90")];
        let expected = expected.map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!((bytes, fields, form), (Vec::new(), expected.to_vec(), Ok(())));
        for bad in ["", "--B\r\n", "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx"] {
            let sent = message("multipart/form-data; boundary=B", bad.as_bytes(), &[]);
            assert!(sent.request().await.1.is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn forms_of_bodies() {
        for (content_type, body, is_json, is_known) in [
            ("application/json; charset=utf-8", "{}", true, true),
            ("", " {}", true, true),
            ("", "\u{feff}{}", true, true),
            ("", "", false, true),
            ("", "\u{1}", false, true),
            ("image/png", "{}", false, true),
            ("text/plain", "{}", true, false),
            ("application/x-www-form-urlencoded", "image=x", true, false),
        ] {
            let (request, form) = message(content_type, body.as_bytes(), &[]).request().await;
            assert_eq!(matches!(request.body, Body::Json(_)), is_json, "{content_type}");
            assert_eq!(form.is_ok(), is_known, "{content_type}");
        }
    }
}
