//! A network between a terminal and its broker that can fail: data in transit are lost and, if
//! requested before, also the broker's answers. It can also stall and deliver later.
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

/// State of the bytes in transit.
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
    /// Creates an open network to the broker on port `broker`.
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
                // A closed network closes every new connection.
                if open.load(Ordering::SeqCst) {
                    let _ = carry(client, broker, &carried, &ways);
                }
            }
        });
        network
    }

    /// Returns its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Carries data of the terminal, but drops the broker's answers.
    pub fn lose_answers(&self) {
        self.ways.to_terminal.loses.store(true, Ordering::SeqCst);
    }

    /// Holds back data of the broker and, if `both`, also of the terminal.
    pub fn stall(&self, both: bool) {
        self.ways.to_terminal.stalls.store(true, Ordering::SeqCst);
        self.ways.to_broker.stalls.store(both, Ordering::SeqCst);
    }

    /// Delivers all data that were held back.
    pub fn resume(&self) {
        self.ways.to_broker.stalls.store(false, Ordering::SeqCst);
        self.ways.to_terminal.stalls.store(false, Ordering::SeqCst);
    }

    /// Cuts every connection and refuses new ones.
    pub fn fail(&self) {
        self.open.store(false, Ordering::SeqCst);
        for stream in self.carried.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Accepts new connections again.
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
