//! The answer as a transport sends it and a client reads it.

use super::field;
use super::operation::Operation;
use serde_json::{Map, Value};

/// The answer of the service.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The HTTP status: 200, 400, 401, 403, 409, 500, 503; over HTTP
    /// also those of a faulty message, 404, 405, 408, 413, 421.
    pub status: u16,
    /// The fields of the answer, without `status`; a transport without a status line sends
    /// [`Answer::with_status`].
    pub fields: Map<String, Value>,
}

/// The outcome of a request for its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done, and the answer is yes.
    Done,
    /// It was processed, and the answer is no: a check failed, the faces differ, the face is not
    /// live or of no subject, the audit log is broken.
    No,
    /// It was refused: the request is invalid, or its sender has no permission.
    Refused,
    /// The service failed or was busy.
    Failed,
}

impl Answer {
    /// Returns the answer as one JSON object whose first field is `status`.
    pub fn with_status(&self) -> Value {
        let mut object = Map::new();
        object.insert("status".into(), self.status.into());
        object.extend(self.fields.clone());
        Value::Object(object)
    }

    /// Reads the JSON of [`Answer::with_status`]; `None` for any other JSON.
    pub fn from_json(value: Value) -> Option<Self> {
        let Value::Object(mut fields) = value else { return None };
        let status = fields.shift_remove("status")?.as_u64()?;
        Some(Self { status: u16::try_from(status).ok()?, fields })
    }

    /// Checks whether the answer carries a new API-Key.
    pub(crate) fn has_key(&self) -> bool {
        self.fields.contains_key(field::API_KEY)
    }

    /// Returns the answer without a new API-Key, for a memory of answers: the key is shown once.
    pub(crate) fn without_key(mut self) -> Self {
        self.fields.shift_remove(field::API_KEY);
        self
    }

    /// Returns the payload for a transport without a status line.
    pub(crate) fn to_payload(&self) -> Vec<u8> {
        self.with_status().to_string().into_bytes()
    }

    /// Reads the payload of [`Answer::to_payload`].
    pub(crate) fn from_payload(payload: &[u8]) -> Option<Self> {
        Self::from_json(serde_json::from_slice(payload).ok()?)
    }

    /// Returns whether it was done, and whether the answer is yes.
    pub fn outcome(&self) -> Outcome {
        match self.status {
            200 if self.error_code().is_some() || self.is_spoof() || self.is_unknown() => {
                Outcome::No
            }
            200 => Outcome::Done,
            400..=499 => Outcome::Refused,
            _ => Outcome::Failed,
        }
    }

    /// Checks for a spoof: the operation liveness succeeded, and its answer is no.
    fn is_spoof(&self) -> bool {
        let code = self.fields.get("status_code").and_then(Value::as_str);
        let live = self.fields.get("liveness").and_then(|block| block.get("status"));
        code == Operation::Liveness.status_code() && live == Some(&Value::Bool(false))
    }

    /// Checks for an unknown face: the operation search succeeded and found no subject.
    fn is_unknown(&self) -> bool {
        self.fields.get("matches").and_then(Value::as_array).is_some_and(Vec::is_empty)
    }

    /// Returns the `error_code`, if there is one.
    pub fn error_code(&self) -> Option<&str> {
        self.fields.get("error_code")?.as_str()
    }

    /// Returns why a request was refused, if the code alone does not say it.
    pub fn reason(&self) -> Option<&str> {
        self.fields.get("data")?.get("message")?.as_str()
    }

    /// Returns after how many milliseconds the same request may succeed.
    pub fn retry_after_ms(&self) -> Option<u64> {
        self.fields.get("data")?.get("retry_after_ms")?.as_u64()
    }

    /// Returns the `request_id` of the request.
    pub fn request_id(&self) -> Option<&str> {
        self.fields.get(field::REQUEST_ID)?.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(value: Value) -> Answer {
        Answer::from_json(value).unwrap()
    }

    #[test]
    fn statuses_and_codes_have_their_outcome() {
        let spoof =
            json!({"status": 200, "status_code": "FACE-401", "liveness": {"status": false}});
        let live = json!({"status": 200, "status_code": "FACE-401", "liveness": {"status": true}});
        // In other operations the block accompanies the result.
        let beside =
            json!({"status": 200, "status_code": "FACE-201", "liveness": {"status": false}});
        for (value, outcome) in [
            (json!({"status": 200}), Outcome::Done),
            (live, Outcome::Done),
            (beside, Outcome::Done),
            (spoof, Outcome::No),
            (json!({"status": 200, "matches": [{"subject_id": "a"}]}), Outcome::Done),
            (json!({"status": 200, "matches": []}), Outcome::No),
            (json!({"status": 200, "error_code": "FAIL_ON_4"}), Outcome::No),
            (json!({"status": 200, "error_code": "AUDIT_BROKEN"}), Outcome::No),
            (json!({"status": 400, "error_code": "INVALID_PAYLOAD"}), Outcome::Refused),
            (json!({"status": 401}), Outcome::Refused),
            (json!({"status": 500}), Outcome::Failed),
            (json!({"status": 503, "error_code": "BUSY"}), Outcome::Failed),
        ] {
            assert_eq!(answer(value.clone()).outcome(), outcome, "{value}");
        }
    }

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        let value = json!({
            "status": 400, "message": "Invalid Payload", "request_id": "r",
            "error_code": "INVALID_PAYLOAD", "data": {"message": "why"}
        });
        let read = answer(value.clone());
        assert_eq!(read.error_code(), Some("INVALID_PAYLOAD"));
        assert_eq!((read.request_id(), read.reason()), (Some("r"), Some("why")));
        assert_eq!(read.with_status().to_string(), value.to_string());
        for other in [json!(null), json!([]), json!({}), json!({"status": "200"})] {
            assert_eq!(Answer::from_json(other), None);
        }
    }
}
