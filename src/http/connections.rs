//! The connections that are held. When there are too many, or too many of one address, the one that
//! has been idle for the longest ends, so that slow and silent clients keep nobody else out.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Connections held; each takes a file descriptor and some KiB.
pub(super) const MOST: usize = 256;
/// Connections of one address.
pub(super) const MOST_OF_ONE: usize = 64;
/// A connection without a request for this long ends. The time for headers, handshake and the wait
/// for a next request.
pub(super) const IDLE: Duration = Duration::from_secs(15);

/// One connection.
pub(super) struct Connection {
    pub peer: IpAddr,
    /// This terminal's address on it.
    pub local: IpAddr,
    since: Instant,
    /// Milliseconds after `since` of the last request's end.
    last: AtomicU64,
    /// Requests in work.
    working: AtomicUsize,
    /// Notified when it has to end.
    pub end: Notify,
}

impl Connection {
    fn new(peer: IpAddr, local: IpAddr) -> Self {
        let (last, working) = (AtomicU64::new(0), AtomicUsize::new(0));
        Self { peer, local, since: Instant::now(), last, working, end: Notify::new() }
    }

    fn touch(&self) {
        self.last.store(self.since.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Returns how long it has been idle; `None` while a request is in work.
    pub fn idle(&self) -> Option<Duration> {
        if self.working.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        Some(self.since.elapsed().saturating_sub(last))
    }

    /// Notes that a request is in work, until the result is dropped.
    pub fn work(self: &Arc<Self>) -> Working {
        self.working.fetch_add(1, Ordering::Relaxed);
        Working(self.clone())
    }
}

/// A request in work.
pub(super) struct Working(Arc<Connection>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.touch();
        self.0.working.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Every connection.
#[derive(Default)]
pub(super) struct Connections(Mutex<Vec<Arc<Connection>>>);

impl Connections {
    fn list(&self) -> MutexGuard<'_, Vec<Arc<Connection>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits a connection, for which another may have to end; `None` if all are at work.
    pub fn admit(self: &Arc<Self>, peer: IpAddr, local: IpAddr) -> Option<Held> {
        let mut list = self.list();
        let of_peer = list.iter().filter(|connection| connection.peer == peer).count();
        if of_peer >= MOST_OF_ONE || list.len() >= MOST {
            let mine = of_peer >= MOST_OF_ONE;
            let idlest = list
                .iter()
                .enumerate()
                .filter(|(_, connection)| !mine || connection.peer == peer)
                .filter_map(|(index, connection)| Some((connection.idle()?, index)))
                .max();
            let (_, index) = idlest?;
            list.swap_remove(index).end.notify_one();
        }
        let connection = Arc::new(Connection::new(peer, local));
        list.push(connection.clone());
        Some(Held { connection, all: self.clone() })
    }
}

/// An admitted connection, until it is dropped.
pub(super) struct Held {
    pub connection: Arc<Connection>,
    all: Arc<Connections>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.list().retain(|other| !Arc::ptr_eq(other, &self.connection));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_idlest_connection_of_the_address_ends_for_a_new_one() {
        let all = Arc::new(Connections::default());
        let (one, two): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let other = all.admit(two, one).unwrap();
        let held: Vec<_> = (0..MOST_OF_ONE).map(|_| all.admit(one, one).unwrap()).collect();
        let _working = held[0].connection.work();
        std::thread::sleep(Duration::from_millis(5));
        for connection in &held[2..] {
            connection.connection.touch();
        }
        let _new = all.admit(one, one).unwrap();
        let kept = |held: &Held| all.list().iter().any(|it| Arc::ptr_eq(it, &held.connection));
        assert!(kept(&other) && kept(&held[0]) && !kept(&held[1]) && kept(&held[2]));
        assert_eq!(all.list().len(), MOST_OF_ONE + 1);
    }

    #[test]
    fn connections_at_work_do_not_end_for_a_new_one() {
        let all = Arc::new(Connections::default());
        let one: IpAddr = [192, 0, 2, 1].into();
        let held: Vec<_> = (0..MOST_OF_ONE).map(|_| all.admit(one, one).unwrap()).collect();
        let working: Vec<_> = held.iter().map(|held| held.connection.work()).collect();
        assert!(all.admit(one, one).is_none());
        assert!(all.admit([192, 0, 2, 2].into(), one).is_some());
        drop(working);
        assert!(all.admit(one, one).is_some());
    }
}
