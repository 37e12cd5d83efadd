//! A network between a terminal and its broker that can fail: what is on the way then is lost, and
//! before that, if so wished, what the broker answers.
#![allow(dead_code, reason = "each test program takes what it needs")]

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Carries connections to a broker on this machine while it is open.
pub struct Network {
    port: u16,
    open: Arc<AtomicBool>,
    loses_answers: Arc<AtomicBool>,
    carried: Arc<Mutex<Vec<TcpStream>>>,
}

impl Network {
    /// An open network to the broker on `broker`.
    pub fn to(broker: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let open = Arc::new(AtomicBool::new(true));
        let loses_answers = Arc::new(AtomicBool::new(false));
        let carried = Arc::new(Mutex::new(Vec::new()));
        let network = Self {
            port,
            open: open.clone(),
            loses_answers: loses_answers.clone(),
            carried: carried.clone(),
        };
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                // A closed network hangs up on whoever tries.
                if open.load(Ordering::SeqCst) {
                    let _ = carry(client, broker, &carried, loses_answers.clone());
                }
            }
        });
        network
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Still carries what the terminal sends, and no longer what the broker answers.
    pub fn lose_answers(&self) {
        self.loses_answers.store(true, Ordering::SeqCst);
    }

    /// Cuts every connection, and lets none come about.
    pub fn fail(&self) {
        self.open.store(false, Ordering::SeqCst);
        for stream in self.carried.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Lets connections come about again.
    pub fn heal(&self) {
        self.loses_answers.store(false, Ordering::SeqCst);
        self.open.store(true, Ordering::SeqCst);
    }
}

fn carry(
    client: TcpStream,
    broker: u16,
    carried: &Mutex<Vec<TcpStream>>,
    loses_answers: Arc<AtomicBool>,
) -> io::Result<()> {
    let broker = TcpStream::connect((Ipv4Addr::LOCALHOST, broker))?;
    for stream in [&client, &broker] {
        stream.set_nodelay(true)?;
        carried.lock().unwrap().push(stream.try_clone()?);
    }
    let nothing_is_lost = Arc::new(AtomicBool::new(false));
    for (from, to, loses) in [
        (client.try_clone()?, broker.try_clone()?, nothing_is_lost),
        (broker, client, loses_answers),
    ] {
        std::thread::spawn(move || {
            let _ = copy(&from, &to, &loses);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}

fn copy(mut from: &TcpStream, mut to: &TcpStream, loses: &AtomicBool) -> io::Result<()> {
    let mut bytes = [0; 16 * 1024];
    loop {
        match from.read(&mut bytes)? {
            0 => return Ok(()),
            _ if loses.load(Ordering::SeqCst) => {}
            length => to.write_all(&bytes[..length])?,
        }
    }
}
