//! A network between a terminal and its broker that can fail: what is on the way then is lost.
#![allow(dead_code, reason = "each test program takes what it needs")]

use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Carries connections to a broker on this machine while it is open.
pub struct Network {
    port: u16,
    open: Arc<AtomicBool>,
    carried: Arc<Mutex<Vec<TcpStream>>>,
}

impl Network {
    /// An open network to the broker on `broker`.
    pub fn to(broker: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let open = Arc::new(AtomicBool::new(true));
        let carried = Arc::new(Mutex::new(Vec::new()));
        let network = Self { port, open: open.clone(), carried: carried.clone() };
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                // A closed network hangs up on whoever tries.
                if open.load(Ordering::SeqCst) {
                    let _ = carry(client, broker, &carried);
                }
            }
        });
        network
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
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
        self.open.store(true, Ordering::SeqCst);
    }
}

fn carry(client: TcpStream, broker: u16, carried: &Mutex<Vec<TcpStream>>) -> io::Result<()> {
    let broker = TcpStream::connect((Ipv4Addr::LOCALHOST, broker))?;
    for stream in [&client, &broker] {
        stream.set_nodelay(true)?;
        carried.lock().unwrap().push(stream.try_clone()?);
    }
    for (mut from, mut to) in [(client.try_clone()?, broker.try_clone()?), (broker, client)] {
        std::thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}
