//! The answer: what an operation or a failure says, then sealed with session, time and request id.

use super::checks::Failed;
use super::failure::{Failure, UNAUTHORIZED};
use super::operation::Operation;
use super::request::Answer;
use crate::time::unix_time;
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// An answer but for what is the same in all.
#[derive(Debug, PartialEq)]
pub(super) struct Reply {
    status: u16,
    message: Cow<'static, str>,
    fields: Map<String, Value>,
}

impl Reply {
    /// A 200 that did what was asked.
    pub fn success(operation: Operation) -> Self {
        let mut fields = Map::new();
        if let Some(code) = operation.status_code() {
            fields.insert("status_code".into(), code.into());
        }
        Self { status: 200, message: "Request Success".into(), fields }
    }

    /// A 200 that says which checks failed; a success when none did.
    pub fn checked(operation: Operation, failed: Failed) -> Self {
        let mut reply = Self::success(operation);
        if !failed.none() {
            reply.message = failed.message().into();
            reply.insert("error_code", failed.code());
        }
        reply
    }

    /// Adds a field.
    pub fn insert(&mut self, name: &str, value: impl Into<Value>) {
        self.fields.insert(name.to_owned(), value.into());
    }

    /// Adds fields.
    pub fn extend(&mut self, fields: Map<String, Value>) {
        self.fields.extend(fields);
    }

    /// What the log and the counts know it by: the `error_code`, or `OK`.
    pub fn code(&self) -> &str {
        let none = if self.status == 401 { UNAUTHORIZED } else { "OK" };
        self.fields.get("error_code").and_then(Value::as_str).unwrap_or(none)
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The answer, at this moment.
    pub fn seal(self, request_id: Option<String>) -> Answer {
        let mut fields = Map::new();
        fields.insert("message".into(), self.message.into());
        fields.insert("session_id".into(), uuid::Uuid::new_v4().to_string().into());
        fields.insert("timestamp".into(), unix_time().into());
        if let Some(request_id) = request_id {
            fields.insert("request_id".into(), request_id.into());
        }
        fields.extend(self.fields);
        Answer { status: self.status, fields }
    }
}

impl From<&Failure> for Reply {
    fn from(failure: &Failure) -> Self {
        let mut reply = Self {
            status: failure.status(),
            message: failure.to_string().into(),
            fields: Map::new(),
        };
        if *failure != Failure::Unauthorized {
            reply.insert("error_code", failure.code());
        }
        if let Some(field) = failure.error_field() {
            reply.insert("error_field", field);
        }
        if let Some(reason) = failure.reason() {
            reply.insert("data", json!({ "message": reason }));
        }
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_as_the_contract_has_it() {
        let failure = Failure::field("limt", "search takes no `limt`");
        let answer = Reply::from(&failure).seal(Some("r1".into()));
        assert_eq!(answer.status, 400);
        let names: Vec<_> = answer.fields.keys().map(String::as_str).collect();
        let expected = [
            "message",
            "session_id",
            "timestamp",
            "request_id",
            "error_code",
            "error_field",
            "data",
        ];
        assert_eq!(names, expected);
        assert_eq!(answer.fields["message"], "Invalid Payload");
        assert_eq!(answer.fields["error_code"], "INVALID_PAYLOAD");
        assert_eq!(answer.fields["error_field"], "limt");
        assert_eq!(answer.fields["data"], json!({"message": "search takes no `limt`"}));
        assert_eq!(answer.fields["request_id"], "r1");
    }

    #[test]
    fn a_401_says_nothing_more() {
        let reply = Reply::from(&Failure::Unauthorized);
        assert_eq!((reply.status(), reply.code()), (401, "UNAUTHORIZED"));
        let answer = reply.seal(Some("r1".into()));
        let names: Vec<_> = answer.fields.keys().map(String::as_str).collect();
        assert_eq!(names, ["message", "session_id", "timestamp", "request_id"]);
        assert_eq!(answer.fields["message"], "Authorization failed");
    }

    #[test]
    fn failed_checks_are_a_200_with_both_codes() {
        let reply = Reply::checked(Operation::Enroll, Failed::QUALITY);
        assert_eq!((reply.status(), reply.code()), (200, "FAIL_ON_4"));
        let answer = reply.seal(None);
        assert_eq!(answer.fields["message"], "fail on quality");
        assert_eq!(answer.fields["status_code"], "FACE-101");
        assert_eq!(answer.fields.get("request_id"), None);
    }

    #[test]
    fn session_and_time() {
        let answer = Reply::success(Operation::Health).seal(None);
        let session = answer.fields["session_id"].as_str().unwrap();
        let session = uuid::Uuid::parse_str(session).unwrap();
        assert_eq!(session.get_version_num(), 4);
        assert!(answer.fields["timestamp"].as_f64().unwrap() > 1.6e9);
        assert_eq!(answer.fields.get("status_code"), None);
        assert_eq!(answer.with_status()["status"], 200);
    }
}
