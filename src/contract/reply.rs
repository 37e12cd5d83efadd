//! Writes an answer: the fields of an operation or a refusal, then session, time and request id.

use super::answer::Answer;
use super::answer_fields::Meta;
use super::checks::Failed;
use super::field;
use super::operation::Operation;
use super::refusal::{Refusal, UNAUTHORIZED};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// The code of a verification of a subject that is disabled or outside its validity.
const SUBJECT_NOT_ACTIVE: &str = "SUBJECT_NOT_ACTIVE";

/// Identifies an answer; made by the sender of the answer.
#[derive(Clone, Debug)]
pub(crate) struct Stamp {
    /// `session_id`, a UUID.
    pub session_id: String,
    /// `timestamp`, Unix seconds.
    pub timestamp: f64,
}

/// An answer without its stamp.
#[derive(Debug, PartialEq)]
pub(crate) struct Reply {
    status: u16,
    message: Cow<'static, str>,
    fields: Map<String, Value>,
}

impl Reply {
    /// Makes a 200 for a request that was done.
    pub fn success(operation: Operation) -> Self {
        let mut fields = Map::new();
        if let Some(code) = operation.status_code() {
            fields.insert("status_code".into(), code.into());
        }
        Self { status: 200, message: "Request Success".into(), fields }
    }

    /// Makes a 200 with these fields.
    pub fn of(operation: Operation, fields: &impl Serialize) -> Self {
        Self::success(operation).with(fields)
    }

    /// Adds these fields.
    pub fn with(mut self, fields: &impl Serialize) -> Self {
        match serde_json::to_value(fields) {
            Ok(Value::Object(fields)) => self.fields.extend(fields),
            Ok(_) => return Self::from(&Refusal::internal("fields that are no object")),
            Err(error) => return Self::from(&Refusal::internal(error)),
        }
        self
    }

    /// Adds the block `meta`, which is the last.
    pub fn with_meta(self, meta: Meta) -> Self {
        #[derive(Serialize)]
        struct Last {
            meta: Meta,
        }
        self.with(&Last { meta })
    }

    /// Makes a 200 that names the failed checks; a success if none failed.
    pub fn checked(operation: Operation, failed: Failed) -> Self {
        let mut reply = Self::success(operation);
        if !failed.none() {
            reply.message = failed.message().into();
            reply.insert("error_code", failed.code());
        }
        reply
    }

    /// Makes a 200 for a face that is the subject's, while the subject is not active.
    pub fn subject_not_active(operation: Operation) -> Self {
        let mut reply = Self::success(operation);
        reply.message = "Subject is not active".into();
        reply.insert("error_code", SUBJECT_NOT_ACTIVE);
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

    /// Makes the answer to a refused request.
    pub fn refusal(refusal: &Refusal, request_id: Option<String>, stamp: Stamp) -> Answer {
        Self::from(refusal).seal(request_id, stamp)
    }

    /// Returns the code for the log and the statistics: the `error_code`, or `OK`.
    pub fn code(&self) -> &str {
        let none = if self.status == 401 { UNAUTHORIZED } else { "OK" };
        self.fields.get("error_code").and_then(Value::as_str).unwrap_or(none)
    }

    /// Returns the HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Makes the answer.
    pub fn seal(self, request_id: Option<String>, stamp: Stamp) -> Answer {
        let mut fields = Map::new();
        fields.insert("message".into(), self.message.into());
        fields.insert("session_id".into(), stamp.session_id.into());
        fields.insert("timestamp".into(), stamp.timestamp.into());
        if let Some(request_id) = request_id {
            fields.insert(field::REQUEST_ID.into(), request_id.into());
        }
        fields.extend(self.fields);
        Answer { status: self.status, fields }
    }
}

impl From<&Refusal> for Reply {
    fn from(refusal: &Refusal) -> Self {
        let mut reply = Self {
            status: refusal.status(),
            message: refusal.to_string().into(),
            fields: Map::new(),
        };
        if *refusal != Refusal::Unauthorized {
            reply.insert("error_code", refusal.code());
        }
        if let Some(field) = refusal.error_field() {
            reply.insert("error_field", field);
        }
        if let Some(reason) = refusal.reason() {
            reply.insert("data", json!({ "message": reason }));
        }
        if let (Some(after), Some(data)) =
            (refusal.retry_after(), reply.fields.get_mut("data").and_then(Value::as_object_mut))
        {
            data.insert("retry_after_ms".into(), (after.as_millis() as u64).into());
        }
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp() -> Stamp {
        Stamp { session_id: "s".into(), timestamp: 1.5e9 }
    }

    #[test]
    fn an_error_has_the_fields_of_the_contract() {
        let refusal = Refusal::field("limt", "search takes no `limt`");
        let answer = Reply::from(&refusal).seal(Some("r1".into()), stamp());
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
    fn a_401_has_no_details() {
        let reply = Reply::from(&Refusal::Unauthorized);
        assert_eq!((reply.status(), reply.code()), (401, "UNAUTHORIZED"));
        let answer = reply.seal(Some("r1".into()), stamp());
        let names: Vec<_> = answer.fields.keys().map(String::as_str).collect();
        assert_eq!(names, ["message", "session_id", "timestamp", "request_id"]);
        assert_eq!(answer.fields["message"], "Authorization failed");
    }

    #[test]
    fn failed_checks_are_a_200_with_both_codes() {
        let reply = Reply::checked(Operation::Enroll, Failed::QUALITY);
        assert_eq!((reply.status(), reply.code()), (200, "FAIL_ON_4"));
        let answer = reply.seal(None, stamp());
        assert_eq!(answer.fields["message"], "fail on quality");
        assert_eq!(answer.fields["status_code"], "FACE-101");
        assert_eq!(answer.fields.get("request_id"), None);
    }

    #[test]
    fn session_and_time_are_added() {
        let answer = Reply::success(Operation::Health).seal(None, stamp());
        assert_eq!(answer.fields["session_id"], "s");
        assert_eq!(answer.fields["timestamp"], 1.5e9);
        assert_eq!(answer.fields.get("status_code"), None);
        assert_eq!(answer.with_status()["status"], 200);
    }
}
