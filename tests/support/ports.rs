//! TCP ports for programs that bind them themselves. A locked file reserves a port while the
//! [`Port`] lives. The port is outside the system's ephemeral range: no other test and no outgoing
//! connection takes it, not even between two runs of a daemon.

use std::fs::{self, File};
use std::net::{IpAddr, TcpListener};
use std::os::unix::fs::MetadataExt;

/// Below the range of `net.ipv4.ip_local_port_range`.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A port that is reserved until this is dropped.
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Reserves a free port at an address; `None` if the address is not on this machine.
    pub fn reserve(address: IpAddr) -> Option<Self> {
        // Port 0 is free on every local address.
        TcpListener::bind((address, 0)).ok()?;
        let user = fs::metadata("/proc/self").unwrap().uid();
        let folder = std::env::temp_dir().join(format!("doorward-test-ports-{user}"));
        fs::create_dir_all(&folder).unwrap();
        // Programs that run at the same time start at different ports.
        let begin = (std::process::id() % u32::from(COUNT)) as u16;
        let mut numbers = (0..COUNT).map(|step| FIRST + (begin + step) % COUNT);
        let reserved = numbers.find_map(|number| {
            let lock = File::create(folder.join(number.to_string())).unwrap();
            lock.try_lock().ok()?;
            TcpListener::bind((address, number)).ok()?;
            Some(Self { number, _lock: lock })
        });
        Some(reserved.expect("none of 12,000 ports is free"))
    }

    /// Returns its number.
    pub fn number(&self) -> u16 {
        self.number
    }
}
