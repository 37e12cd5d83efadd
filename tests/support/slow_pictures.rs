//! A web server that answers every request with one picture, after a delay.
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Returns the URL of the picture, which is sent after `delay`, and a message per arriving request.
pub fn serve(picture: &Path, delay: Duration) -> (String, Receiver<()>) {
    serve_when(picture, move || std::thread::sleep(delay))
}

/// Like [`serve`], but sends the picture when `wait` returns. `image_url.allow` must contain
/// `127.0.0.1:*`. The server ends with the test program.
pub fn serve_when(
    picture: &Path,
    wait: impl Fn() + Send + Sync + 'static,
) -> (String, Receiver<()>) {
    let bytes = std::fs::read(picture).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (arrived, arrivals) = channel();
    let wait = Arc::new(wait);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, bytes) = (stream.unwrap(), bytes.clone());
            let (arrived, wait) = (arrived.clone(), wait.clone());
            std::thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                // A test that does not need the messages has dropped the receiver.
                let _ = arrived.send(());
                wait();
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\
                     Connection: close\r\n\r\n",
                    bytes.len()
                );
                // The client may have closed the connection.
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&bytes));
            });
        }
    });
    (format!("http://127.0.0.1:{port}/picture.jpg"), arrivals)
}
