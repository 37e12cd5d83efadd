//! Clients that people use against the HTTP interface of the real daemon: `examples/clients/http`.
//! Failures: a library's form, header or body is read in another way than our own test client's.

use crate::support::http::address;
use crate::support::python;
use crate::support::terminal::{Terminal, portrait};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Runs a client, which enrolls one picture of a person and searches with another.
fn recognises(client: &mut Command, file: &str) {
    let terminal = Terminal::start("");
    let made = terminal.json(&["app", "create", "client", "--allow", "enroll,search"]);
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/clients/http").join(file);
    let output = client
        .arg(program)
        .args([format!("http://{}", address(&terminal)), text("app_id"), text("api_key")])
        .args([portrait("obama"), portrait("obama2")])
        .output()
        .unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let [enrolled, found] = &answers[..] else {
        panic!("{lines}{}", String::from_utf8_lossy(&output.stderr))
    };
    assert_eq!(
        (&enrolled["status_code"], &enrolled["subject_id"]),
        (&"FACE-101".into(), &"anna".into())
    );
    assert_eq!(found["matches"][0]["subject_id"], "anna", "{found}");
}

/// Checks whether a program can be run here.
fn is_there(test: &str, program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok_and(|it| it.status.success());
    if !there {
        eprintln!("SKIPPED {test}: there is no {program}");
    }
    there
}

#[test]
fn curl_enrolls_and_searches() {
    if is_there("curl_enrolls_and_searches", "curl") {
        recognises(&mut Command::new("sh"), "curl.sh");
    }
}

#[test]
fn python_requests_enrolls_and_searches() {
    let test = "python_requests_enrolls_and_searches";
    if let Some(packages) = python::packages(test, "http-requirements.txt") {
        recognises(Command::new("python3").env("PYTHONPATH", packages.path()), "python.py");
    }
}

#[test]
fn node_fetch_enrolls_and_searches() {
    if is_there("node_fetch_enrolls_and_searches", "node") {
        recognises(&mut Command::new("node"), "node.mjs");
    }
}
