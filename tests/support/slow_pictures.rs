//! A web server that answers every request with one picture, after a while.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// The URL of the picture, and a word for each request that arrives. To be fetched, 127.0.0.1 must stand in `image_url.allow`. The server
/// ends with the test program.
pub fn serve(picture: &Path, delay: Duration) -> (String, Receiver<()>) {
    let bytes = std::fs::read(picture).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (arrived, arrivals) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, bytes) = (stream.unwrap(), bytes.clone());
            let arrived = arrived.clone();
            std::thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                // A test that does not ask for it has dropped the other end.
                let _ = arrived.send(());
                std::thread::sleep(delay);
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\
                     Connection: close\r\n\r\n",
                    bytes.len()
                );
                // The one who asked may have left meanwhile.
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&bytes));
            });
        }
    });
    (format!("http://127.0.0.1:{port}/picture.jpg"), arrivals)
}
