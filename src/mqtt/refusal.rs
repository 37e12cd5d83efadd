//! The answers that the MQTT side gives by itself, in the contract's shape: what is refused before
//! the service sees it. Messages and order of fields are the service's.

use crate::service::Answer;
use crate::time::unix_time;
use serde_json::{Map, Value, json};

/// `[503] BUSY`: no place for one more command.
pub(crate) fn busy(request_id: Option<String>) -> Answer {
    refusal(503, "Busy", "BUSY", None, request_id)
}

/// `[400] INVALID_PAYLOAD`, with the reason.
pub(crate) fn invalid_payload(why: &str, request_id: Option<String>) -> Answer {
    refusal(400, "Invalid Payload", "INVALID_PAYLOAD", Some(why), request_id)
}

/// `[403] INSECURE_BROKER`: the operation is not done where strangers could have asked for it.
pub(crate) fn insecure_broker(why: &str, request_id: Option<String>) -> Answer {
    refusal(403, "Insecure broker", "INSECURE_BROKER", Some(why), request_id)
}

/// `[500] INTERNAL_SERVER_ERROR`.
pub(crate) fn internal(request_id: Option<String>) -> Answer {
    refusal(500, "Internal server error", "INTERNAL_SERVER_ERROR", None, request_id)
}

fn refusal(
    status: u16,
    message: &str,
    error_code: &str,
    why: Option<&str>,
    request_id: Option<String>,
) -> Answer {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| fields.insert(name.into(), value);
    put("message", message.into());
    put("session_id", uuid::Uuid::new_v4().to_string().into());
    put("timestamp", unix_time().into());
    if let Some(id) = request_id {
        put("request_id", id.into());
    }
    put("error_code", error_code.into());
    if let Some(why) = why {
        put("data", json!({ "message": why }));
    }
    Answer { status, fields }
}
