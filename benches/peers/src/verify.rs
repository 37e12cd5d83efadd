//! A whole verify, as for a client of the daemon: from the JPEG's bytes to the answer of the
//! contract, with every check requested and passed. It runs in the service itself, so that the
//! whole cost of a request, from reading its fields to the statistics, is included.

use super::{Failure, Work, read};
use doorward::applications::Applications;
use doorward::contract::{Body, Caller, Credentials, Request};
use doorward::face::{Analyzer, EMBEDDING_LEN, Embedding, ModelFiles};
use doorward::gallery::{self, EnrolMode, Enrolment, Gallery};
use doorward::outbox::Outbox;
use doorward::service::{Parts, Service, Settings};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Subjects enrolled besides the one who is verified.
const OTHERS: usize = 100;
const SUBJECT: &str = "subject";

pub struct Verify {
    runtime: Runtime,
    service: Service,
    probe: Vec<u8>,
    /// Dropped after the service, whose files are in it.
    _files: TempDir,
}

impl Verify {
    /// Loads `probe.jpg`, to be compared with the face in `enrolled.jpg`.
    pub fn load(folder: &Path, models: &ModelFiles<'_>) -> Result<Self, Failure> {
        let files = tempfile::tempdir()?;
        let analyzer = Arc::new(Analyzer::from_files(models)?);
        let model_id = analyzer.model_id().to_owned();
        let settings = gallery::Settings { model_id, store_images: true };
        let gallery = Arc::new(Gallery::open(&files.path().join("gallery"), settings)?);
        for other in 0..OTHERS {
            gallery.enroll(synthetic(other))?;
        }
        let parts = Parts {
            analyzer,
            gallery,
            applications: Applications::open(&files.path().join("applications"))?,
            outbox: Arc::new(Outbox::open(&files.path().join("events"), Default::default())?),
            door: None,
            clock: Arc::new(|| None),
        };
        let service = Service::new(parts, Settings::default())?;
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let verify = Self { runtime, service, probe: read(folder, "probe.jpg")?, _files: files };
        verify.ask("enroll", read(folder, "enrolled.jpg")?, &[("subject_id", SUBJECT)])?;
        Ok(verify)
    }

    /// Returns the fields of a 200 in which no check failed.
    fn ask(
        &self,
        operation: &str,
        bytes: Vec<u8>,
        fields: &[(&str, &str)],
    ) -> Result<Value, Failure> {
        let fields = fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let request = Request {
            operation: operation.into(),
            body: Body::Image { bytes, fields },
            credentials: Credentials::default(),
            caller: Caller::Local,
            expires: None,
            fresh_until: None,
            beside_json: Vec::new(),
        };
        let answer = self.runtime.block_on(self.service.handle(request));
        let answer = answer.map_or(Value::Null, |answer| answer.with_status());
        match answer["status"] == 200 && answer["error_code"].is_null() {
            true => Ok(answer),
            false => Err(Failure::Refused(answer)),
        }
    }

    fn verify(&self) -> Result<Value, Failure> {
        let fields = [
            ("subject_id", SUBJECT),
            ("is_quality", "true"),
            ("is_attribute", "true"),
            ("is_liveness", "true"),
            ("validate_quality", "true"),
            ("validate_attribute", "true"),
            ("validate_liveness", "true"),
            ("validate_nface", "true"),
        ];
        self.ask("verify", self.probe.clone(), &fields)
    }
}

impl Work for Verify {
    fn pass(&mut self) -> Result<(), Failure> {
        self.verify().map(drop)
    }

    fn outputs(&mut self) -> Result<Value, Failure> {
        let answer = self.verify()?;
        Ok(json!({
            "same": answer["similarity_status"],
            "cosine": answer["meta"]["scores"]["cosine"],
            "scores": answer["meta"]["scores"],
            "timings_ms": answer["meta"]["timings_ms"],
        }))
    }
}

/// A vector with two values, different for each number; not a real face.
fn synthetic(number: usize) -> Enrolment {
    let mut values = [0.0; EMBEDDING_LEN];
    values[number % EMBEDDING_LEN] = 1.0;
    Enrolment {
        subject_id: format!("other-{number}"),
        mode: EnrolMode::Replace,
        embedding: Embedding(values),
        image: None,
        by_admin: false,
        max_templates: 1,
        time: 0.0,
    }
}
