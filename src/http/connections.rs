//! The connections that are held. When there are too many, or too many of one address, the one that
//! has been idle for the longest ends, so that slow and silent clients lock no other client out.
//!
//! A request is *open* until it has an answer. It is *in work* only once its body is read, or the
//! key in its headers is right: a client without a key must never hold a connection by silence.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::task_local;

/// Connections held; each takes a file descriptor and some KiB.
pub(super) const MOST: usize = 256;
/// Connections of one address.
pub(super) const MOST_OF_ONE: usize = 64;
/// A connection without a request for this long ends. The time for headers, handshake and the wait
/// for a next request.
pub(super) const IDLE: Duration = Duration::from_secs(15);
/// A connection with an answer that the client has not read for this long ends.
const UNREAD: Duration = Duration::from_secs(30);

task_local! {
    /// The request that a task answers.
    static REQUEST: OpenRequest;
}

/// One connection.
pub(super) struct Connection {
    pub peer: IpAddr,
    /// This terminal's address on it.
    pub local: IpAddr,
    since: Instant,
    /// Milliseconds after `since` when a request last began or ended.
    last: AtomicU64,
    /// Requests without an answer.
    open: AtomicUsize,
    /// Requests in work.
    working: AtomicUsize,
    unread: Mutex<Frames>,
    /// Notified when it has to end.
    pub end: Notify,
}

/// Frames of answers that the client has not read.
#[derive(Default)]
struct Frames {
    made: u64,
    since: BTreeMap<u64, Instant>,
}

impl Connection {
    fn new(peer: IpAddr, local: IpAddr) -> Self {
        Self {
            peer,
            local,
            since: Instant::now(),
            last: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            working: AtomicUsize::new(0),
            unread: Mutex::default(),
            end: Notify::new(),
        }
    }

    fn touch(&self) {
        self.last.store(self.since.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    fn since_last(&self) -> Duration {
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        self.since.elapsed().saturating_sub(last)
    }

    /// Returns the time since a request began or ended; `None` while one is in work.
    fn idle(&self) -> Option<Duration> {
        (self.working.load(Ordering::Relaxed) == 0).then(|| self.since_last())
    }

    /// Returns how long it may last before this is asked again; zero when it has to end.
    pub fn rest(&self) -> Duration {
        let is_used = [&self.open, &self.working].iter().any(|it| it.load(Ordering::Relaxed) > 0);
        let rest = if is_used { IDLE } else { IDLE.saturating_sub(self.since_last()) };
        let oldest = self.frames().since.values().next().copied();
        oldest.map_or(rest, |since| rest.min(UNREAD.saturating_sub(since.elapsed())))
    }

    /// Notes that a request is in work, until the result is dropped.
    pub fn work(self: &Arc<Self>) -> Working {
        self.working.fetch_add(1, Ordering::Relaxed);
        Working(self.clone())
    }

    /// Notes that the client has not read a frame, until the result is dropped.
    pub fn unread(self: &Arc<Self>) -> Unread {
        let mut frames = self.frames();
        frames.made += 1;
        let number = frames.made;
        frames.since.insert(number, Instant::now());
        drop(frames);
        Unread { connection: self.clone(), number }
    }

    fn frames(&self) -> MutexGuard<'_, Frames> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
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

/// A frame that the client has not read.
pub(super) struct Unread {
    connection: Arc<Connection>,
    number: u64,
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.connection.frames().since.remove(&self.number);
    }
}

/// A request without an answer.
struct OpenRequest {
    connection: Arc<Connection>,
    working: OnceLock<Working>,
}

impl OpenRequest {
    fn new(connection: Arc<Connection>) -> Self {
        connection.touch();
        connection.open.fetch_add(1, Ordering::Relaxed);
        Self { connection, working: OnceLock::new() }
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.connection.touch();
        self.connection.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Answers a request that came on this connection.
pub(super) fn answer<F: Future>(
    connection: Arc<Connection>,
    answering: F,
) -> impl Future<Output = F::Output> {
    REQUEST.scope(OpenRequest::new(connection), answering)
}

/// Notes that the request that this task answers is in work.
pub(super) fn is_in_work() {
    // Outside of a request, in a live stream, the stream itself is in work.
    let _ = REQUEST.try_with(|request| {
        request.working.get_or_init(|| request.connection.work());
    });
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

    #[tokio::test]
    async fn an_open_request_is_in_work_only_once_it_says_so() {
        let all = Arc::new(Connections::default());
        let one: IpAddr = [192, 0, 2, 1].into();
        let held = all.admit(one, one).unwrap();
        let connection = held.connection.clone();
        answer(connection.clone(), async {
            assert!(connection.idle().is_some());
            is_in_work();
            is_in_work();
            assert!(connection.idle().is_none());
        })
        .await;
        assert!(connection.idle().is_some());
        assert_eq!(connection.working.load(Ordering::Relaxed), 0);
        assert_eq!(connection.open.load(Ordering::Relaxed), 0);
    }
}
