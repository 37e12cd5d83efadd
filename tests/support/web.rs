//! A web server on loopback that serves one picture and simulates server faults.
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// Where it listens.
pub struct Web {
    port: u16,
}

impl Web {
    /// Serves until the test ends:
    ///
    /// | path | answer |
    /// |---|---|
    /// | `/face.jpg` | the picture |
    /// | `/text` | a text page |
    /// | `/missing` | 404 |
    /// | `/large` | more than 5 MiB, without a Content-Length |
    /// | `/elsewhere` | a redirect to 127.0.0.2 |
    /// | `/stall` | nothing for half a minute |
    pub fn serve(picture: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let picture = Arc::new(picture);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let picture = Arc::clone(&picture);
                // Fails when the daemon closes the connection, as expected.
                std::thread::spawn(move || drop(answer(&stream, &picture, port)));
            }
        });
        Self { port }
    }

    /// Returns the URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }
}

fn answer(mut stream: &TcpStream, picture: &[u8], port: u16) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    let mut send = |head: &str, body: &[u8]| -> std::io::Result<()> {
        write!(stream, "HTTP/1.1 {head}\r\nConnection: close\r\n\r\n")?;
        stream.write_all(body)
    };
    match request.split(' ').nth(1) {
        Some("/face.jpg") => send("200 OK\r\nContent-Type: image/jpeg", picture),
        Some("/text") => send("200 OK\r\nContent-Type: image/jpeg", b"<html>no picture</html>"),
        Some("/large") => send("200 OK", &vec![0xFF; (5 << 20) + 1]),
        Some("/elsewhere") => {
            let head = format!("302 Found\r\nLocation: http://127.0.0.2:{port}/face.jpg");
            send(&head, b"")
        }
        Some("/stall") => {
            std::thread::sleep(Duration::from_secs(30));
            Ok(())
        }
        _ => send("404 Not Found", b""),
    }
}
