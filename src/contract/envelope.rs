//! Faults of the message around a request that only HTTP can have. Each has its status and code.

use std::fmt;

/// Why a message is not read as a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Envelope {
    /// Nothing is at this address.
    NotFound,
    /// The address has other methods.
    Method,
    /// The message can be read in two ways.
    Malformed { why: &'static str },
    /// The name of the server in the message is not one of this terminal.
    Host { why: String },
    /// The body is larger than [`crate::contract`] allows.
    TooLarge { limit: usize },
    /// The body did not arrive in time.
    Slow,
}

impl Envelope {
    /// Returns the HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Envelope::Malformed { .. } => 400,
            Envelope::NotFound => 404,
            Envelope::Method => 405,
            Envelope::Slow => 408,
            Envelope::TooLarge { .. } => 413,
            Envelope::Host { .. } => 421,
        }
    }

    /// Returns the `error_code`.
    pub fn code(&self) -> &'static str {
        match self {
            Envelope::Malformed { .. } => "MALFORMED_REQUEST",
            Envelope::NotFound => "NOT_FOUND",
            Envelope::Method => "METHOD_NOT_ALLOWED",
            Envelope::Slow => "REQUEST_TIMEOUT",
            Envelope::TooLarge { .. } => "REQUEST_TOO_LARGE",
            Envelope::Host { .. } => "UNKNOWN_HOST",
        }
    }

    /// Returns what the sender can do.
    pub fn reason(&self) -> String {
        match self {
            Envelope::Malformed { why } => (*why).to_owned(),
            Envelope::NotFound => "nothing is at this address; /openapi.json lists them".into(),
            Envelope::Method => "the address has other methods; see the header Allow".into(),
            Envelope::Slow => "the body did not arrive in time; send it again".into(),
            Envelope::TooLarge { limit } => format!("a request has at most {limit} bytes"),
            Envelope::Host { why } => why.clone(),
        }
    }
}

impl fmt::Display for Envelope {
    /// Writes the answer's `message`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Envelope::Malformed { .. } => "Malformed request",
            Envelope::NotFound => "Not found",
            Envelope::Method => "Method not allowed",
            Envelope::Slow => "Request timeout",
            Envelope::TooLarge { .. } => "Request too large",
            Envelope::Host { .. } => "Unknown host",
        })
    }
}
