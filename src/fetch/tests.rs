//! Tests the client against servers on loopback: limits, redirects, hosts, ports and logins.

use super::*;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

const LIMIT: usize = 100_000;

/// Starts a server on a loopback address that reads each request and passes the connection to
/// `answer`.
fn server_on(address: &str, answer: impl Fn(&mut TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let request = BufReader::new(stream.try_clone().unwrap());
            request
                .lines()
                .map_while(Result::ok)
                .take_while(|line| !line.is_empty())
                .for_each(drop);
            answer(&mut stream);
        }
    });
    address
}

fn server(answer: impl Fn(&mut TcpStream) + Send + 'static) -> SocketAddr {
    server_on("127.0.0.1", answer)
}

/// Starts a server that always sends the same bytes.
fn sending(answer: impl Into<Vec<u8>>) -> SocketAddr {
    let answer = answer.into();
    server(move |stream| drop(stream.write_all(&answer)))
}

fn redirect(to: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")
}

fn fetcher(allow: &[&str]) -> Fetcher {
    Fetcher::new(allow, &[], Duration::from_millis(1500), LIMIT).unwrap()
}

fn fetch(server: SocketAddr) -> Result<Vec<u8>, FetchError> {
    fetcher(&["127.0.0.1:*"]).fetch(&format!("http://{server}/a.jpg"))
}

#[test]
fn a_body_is_returned() {
    let body = vec![7; LIMIT];
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LIMIT}\r\n\r\n");
    assert_eq!(fetch(sending([head.as_bytes(), &body].concat())), Ok(body.clone()));
    assert_eq!(fetch(sending([b"HTTP/1.1 200 OK\r\n\r\n", &body[..]].concat())), Ok(body));
    let chunked =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    assert_eq!(fetch(sending(chunked)), Ok(b"abcde".to_vec()));
}

#[test]
fn too_many_bytes_are_refused_with_or_without_content_length() {
    let stated = sending("HTTP/1.1 200 OK\r\nContent-Length: 100001\r\n\r\n");
    assert_eq!(fetch(stated), Err(FetchError::TooLarge(LIMIT)));
    for head in ["", "Transfer-Encoding: chunked\r\n"] {
        let endless = server(move |stream| {
            let _ = write!(stream, "HTTP/1.1 200 OK\r\n{head}\r\n");
            while write!(stream, "400\r\n{}\r\n", "x".repeat(0x400)).is_ok() {}
        });
        assert_eq!(fetch(endless), Err(FetchError::TooLarge(LIMIT)), "{head:?}");
    }
}

#[test]
fn a_wrong_content_length_is_a_failure() {
    let answer = fetch(sending("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort"));
    assert!(matches!(answer, Err(FetchError::Failed(_))), "{answer:?}");
}

#[test]
fn one_deadline_covers_head_and_body() {
    for head in ["HTTP/1.1 200 OK\r\nX: ", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"] {
        let slow = server(move |stream| {
            let _ = stream.write_all(head.as_bytes());
            while stream.write_all(b"H").is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let start = Instant::now();
        let deadline = Duration::from_millis(300);
        let fetcher = Fetcher::new(&["127.0.0.1:*"], &[], deadline, LIMIT).unwrap();
        assert_eq!(fetcher.fetch(&format!("http://{slow}/")), Err(FetchError::Timeout(deadline)));
        assert!(start.elapsed() < Duration::from_millis(1000), "{:?}", start.elapsed());
    }
}

#[test]
fn redirects_are_followed_and_checked() {
    let target = sending("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(fetch(sending(redirect(&format!("http://{target}/x")))), Ok(b"hi".to_vec()));

    let inside = server_on("127.0.0.2", |_| panic!("reached"));
    for to in
        [format!("http://{inside}/"), "http://169.254.169.254/".into(), "http://[::1]/".into()]
    {
        let answer = fetch(sending(redirect(&to)));
        assert!(matches!(answer, Err(FetchError::NotAllowed(_))), "{to}: {answer:?}");
    }
    for to in ["file:///etc/passwd", "ftp://127.0.0.1/"] {
        let answer = fetch(sending(redirect(to)));
        assert!(
            matches!(answer, Err(FetchError::NotAllowed(_) | FetchError::Failed(_))),
            "{to}: {answer:?}"
        );
    }
}

#[test]
fn a_redirect_loop_is_a_failure() {
    let answer = fetch(sending(redirect("/again")));
    assert!(matches!(answer, Err(FetchError::Failed(_))), "{answer:?}");
}

#[test]
fn unlisted_hosts_are_not_reached() {
    let server = server(|_| panic!("reached"));
    let url = format!("http://{server}/");
    let by_name = format!("http://localhost:{}/", server.port());
    let login = format!("http://someone:secret@{server}/");
    for (allow, url) in [
        (&[][..], &url),
        (&["192.0.2.0/24:*"], &url),
        (&["photos.example.org"], &url),
        // A listed name that resolves to an address inside.
        (&["localhost:*"], &by_name),
        (&["127.0.0.1:*"], &login),
        // Listed, but for the usual port.
        (&["127.0.0.1"], &url),
        // The resolver recognises other spellings of 127.0.0.1.
        (&["10.0.0.0/8:*"], &format!("http://2130706433:{}/", server.port())),
    ] {
        let answer = fetcher(allow).fetch(url);
        assert!(matches!(answer, Err(FetchError::NotAllowed(_))), "{allow:?} {url}: {answer:?}");
    }
}

#[test]
fn a_listed_name_in_a_listed_network_is_reached() {
    let server = sending("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    let url = format!("http://localhost:{}/", server.port());
    assert_eq!(fetcher(&["localhost:*", "127.0.0.0/8:*"]).fetch(&url), Ok(b"hi".to_vec()));
}

#[test]
fn any_other_answer_is_a_failure() {
    for answer in [
        "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
        "HTTP/1.1 206 Partial Content\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nhi",
        "SSH-2.0-OpenSSH_9.6\r\n",
        "",
    ] {
        let failed = fetch(sending(answer));
        assert!(matches!(failed, Err(FetchError::Failed(_))), "{answer:?}: {failed:?}");
    }
    let unreachable = fetcher(&["127.0.0.1:*"]).fetch("http://127.0.0.1:1/");
    assert!(matches!(unreachable, Err(FetchError::Failed(_))), "{unreachable:?}");
    assert!(matches!(fetcher(&["127.0.0.1:*"]).fetch("http://"), Err(FetchError::Failed(_))));
}

/// Starts a server that requires a login, and reports the header of each request.
fn with_login(next: Option<SocketAddr>) -> (SocketAddr, std::sync::mpsc::Receiver<String>) {
    let (seen, requests) = std::sync::mpsc::channel();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let lines = lines.map_while(Result::ok).take_while(|line| !line.is_empty());
            let head = lines.collect::<Vec<_>>().join("\n").to_ascii_lowercase();
            let answer = match (head.contains("authorization:"), next) {
                (true, Some(next)) => redirect(&format!("http://{next}/")),
                (true, None) => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi".to_owned(),
                (false, _) => "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n".to_owned(),
            };
            seen.send(head).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (address, requests)
}

fn fetcher_with(logins: &[String]) -> Fetcher {
    let logins: Vec<Secret> = logins.iter().cloned().map(Secret::from).collect();
    Fetcher::new(&["127.0.0.1:*"], &logins, Duration::from_millis(1500), LIMIT).unwrap()
}

#[test]
fn a_configured_login_is_sent_to_its_host_and_never_on_after_a_redirect() {
    let (target, seen) = with_login(None);
    let url = format!("http://{target}/");
    let login = format!("http://{target} cam:swordfish");
    assert_eq!(fetcher_with(std::slice::from_ref(&login)).fetch(&url), Ok(b"hi".to_vec()));
    let expected =
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, "cam:swordfish");
    assert!(seen.recv().unwrap().contains(&expected.to_ascii_lowercase()));
    // Without one, and with one that must not be sent unencrypted.
    for logins in [vec![], vec![format!("{target} cam:swordfish")]] {
        let error = fetcher_with(&logins).fetch(&url).unwrap_err();
        assert!(error.to_string().contains("image_url.logins"), "{error}");
        assert!(!seen.recv().unwrap().contains("authorization"));
    }
    // Another host redirects here: neither its login nor ours is sent.
    let (other, asked) = with_login(Some(target));
    let logins = [login, format!("http://{other} cam:other")];
    let error = fetcher_with(&logins).fetch(&format!("http://{other}/")).unwrap_err();
    assert!(error.to_string().contains("401"), "{error}");
    assert!(asked.recv().unwrap().contains("authorization"));
    assert!(!seen.recv().unwrap().contains("authorization"));
}

#[test]
fn https_starts_a_tls_handshake() {
    // There is no certificate, but the handshake must start and fail as a handshake.
    let server = sending("HTTP/1.1 400 Bad Request\r\n\r\n");
    let answer = fetcher(&["127.0.0.1:*"]).fetch(&format!("https://{server}/"));
    assert!(matches!(answer, Err(FetchError::Failed(_))), "{answer:?}");
}
