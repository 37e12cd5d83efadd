//! Tests the keys of the webhook: what `config check` refuses, what `webhook test` sends and
//! prints, and that an https server is verified. Failures: events go unencrypted or to another
//! server than the operator named, a wrong key is found only when the first event is lost.

use crate::support::mosquitto::make_certificates;
use crate::support::receiver::{Receiver, SECRET, answer, webhook};
use crate::support::terminal::Terminal;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// Longer than any expected operation takes.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn the_command_line_tests_the_webhook_and_checks_its_keys() {
    let receiver = Receiver::start(|number, stream| match number {
        0 => {
            let _ = stream.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nhi");
        }
        _ => answer(stream, "404 Not Found", ""),
    });
    let terminal = Terminal::prepare(&webhook(&receiver.url()));
    let output = terminal.cli(&["webhook", "test"]);
    assert_eq!(output.status.code(), Some(0));
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed, json!({"acknowledged": true, "status": 202, "body": "hi"}));
    let event = receiver.received()[0].event();
    assert_eq!((&event["kind"], &event["device_id"]), (&json!("test"), &json!("front")));
    let output = terminal.cli(&["webhook", "test"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8(output.stdout).unwrap().contains("404"));

    let check = |keys: &str| {
        let terminal = Terminal::prepare(keys);
        let output = terminal.cli(&["config", "check"]);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(check(&webhook("https://house.example/")).0, Some(0));
    for (keys, word) in [
        (webhook("http://house.example/"), "webhook.http_hosts"),
        ("[webhook]\nurl = \"https://house.example/\"\n".to_owned(), "webhook.secret_file"),
        (webhook("https://house.example/") + "kinds = [\"doors\"]\n", "there is no kind `doors`"),
        (webhook("https://house.example/") + "secret_file = \"/nowhere\"\n", "give one of them"),
        (webhook("https://house.example/").replace("whsec_", ""), "24 to 64 bytes"),
    ] {
        let (code, said) = check(&keys);
        assert_eq!(code, Some(2), "{keys}: {said}");
        assert!(said.contains(word) && !said.contains(&SECRET[6..]), "{said}");
    }
    let none = Terminal::prepare("").cli(&["webhook", "test"]);
    assert_eq!(none.status.code(), Some(2));
}

/// Serves https with the certificate of the folder; sends the head of each request.
fn https_server(folder: &Path) -> (u16, mpsc::Receiver<String>) {
    let certificate = CertificateDer::from_pem_file(folder.join("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut reader = BufReader::new(rustls::StreamOwned::new(connection, stream));
            // Fails when the client refuses the certificate.
            let lines = (&mut reader).lines().map_while(Result::ok);
            let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
            if head.is_empty() {
                continue;
            }
            let _ = reader.get_mut().write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
            let _ = tell.send(head.join("\n"));
        }
    });
    (port, told)
}

/// An authority of one's own is trusted if it is configured, and no other is.
#[test]
fn the_certificate_of_an_https_server_is_verified() {
    let folder = tempfile::tempdir().unwrap();
    make_certificates(folder.path());
    let (port, told) = https_server(folder.path());
    let keys = webhook(&format!("https://localhost:{port}/events"));
    let authority = format!("ca_file = {:?}\n", folder.path().join("ca.pem"));
    let test = |keys: &str| {
        let output = Terminal::prepare(keys).cli(&["webhook", "test"]);
        let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), printed)
    };
    let (code, printed) = test(&format!("{keys}{authority}"));
    assert_eq!((code, &printed["status"]), (Some(0), &json!(204)), "{printed}");
    let head = told.recv_timeout(PATIENCE).unwrap();
    assert!(head.contains("webhook-signature: v1,"), "{head}");
    // Signed by an authority that is not public; and for another name than that of the URL.
    let other = keys.replace("localhost", "127.0.0.2");
    for keys in [keys.clone(), format!("{other}{authority}")] {
        let (code, printed) = test(&keys);
        assert_eq!((code, &printed["status"]), (Some(4), &Value::Null), "{printed}");
    }
    assert!(told.try_recv().is_err(), "nothing was sent");
}
