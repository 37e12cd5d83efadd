//! A network between a terminal and its broker that can fail: what is on the way then is lost, and
//! before that, if so wished, what the broker answers. Or it stalls, and delivers later.
#![allow(dead_code, reason = "each test program takes what it needs")]

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Carries connections to a broker on this machine while it is open.
pub struct Network {
    port: u16,
    open: Arc<AtomicBool>,
    ways: Ways,
    carried: Arc<Mutex<Vec<TcpStream>>>,
}

/// What happens to bytes on their way.
#[derive(Clone, Default)]
struct Ways {
    to_broker: Way,
    to_terminal: Way,
}

#[derive(Clone, Default)]
struct Way {
    loses: Arc<AtomicBool>,
    stalls: Arc<AtomicBool>,
}

impl Network {
    /// An open network to the broker on `broker`.
    pub fn to(broker: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let open = Arc::new(AtomicBool::new(true));
        let ways = Ways::default();
        let carried = Arc::new(Mutex::new(Vec::new()));
        let network =
            Self { port, open: open.clone(), ways: ways.clone(), carried: carried.clone() };
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                // A closed network hangs up on whoever tries.
                if open.load(Ordering::SeqCst) {
                    let _ = carry(client, broker, &carried, &ways);
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
        self.ways.to_terminal.loses.store(true, Ordering::SeqCst);
    }

    /// Holds back what the broker sends, and what the terminal sends too if `both`.
    pub fn stall(&self, both: bool) {
        self.ways.to_terminal.stalls.store(true, Ordering::SeqCst);
        self.ways.to_broker.stalls.store(both, Ordering::SeqCst);
    }

    /// Delivers all that was held back.
    pub fn resume(&self) {
        self.ways.to_broker.stalls.store(false, Ordering::SeqCst);
        self.ways.to_terminal.stalls.store(false, Ordering::SeqCst);
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
        self.ways.to_terminal.loses.store(false, Ordering::SeqCst);
        self.open.store(true, Ordering::SeqCst);
    }
}

fn carry(
    client: TcpStream,
    broker: u16,
    carried: &Mutex<Vec<TcpStream>>,
    ways: &Ways,
) -> io::Result<()> {
    let broker = TcpStream::connect((Ipv4Addr::LOCALHOST, broker))?;
    for stream in [&client, &broker] {
        stream.set_nodelay(true)?;
        carried.lock().unwrap().push(stream.try_clone()?);
    }
    for (from, to, way) in [
        (client.try_clone()?, broker.try_clone()?, ways.to_broker.clone()),
        (broker, client, ways.to_terminal.clone()),
    ] {
        std::thread::spawn(move || {
            let _ = copy(&from, &to, &way);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}

fn copy(mut from: &TcpStream, mut to: &TcpStream, way: &Way) -> io::Result<()> {
    let mut bytes = [0; 16 * 1024];
    loop {
        let length = from.read(&mut bytes)?;
        while way.stalls.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        match length {
            0 => return Ok(()),
            _ if way.loses.load(Ordering::SeqCst) => {}
            length => to.write_all(&bytes[..length])?,
        }
    }
}
