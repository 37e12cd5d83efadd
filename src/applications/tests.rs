//! Tests the registry with a real file: keys, quotas, and what is on disk when.

use super::writer::COMMIT_EVERY;
use super::*;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The command line.
const LOCAL: Grantor = Grantor { permissions: None, application: None };

struct Fixture {
    applications: Applications,
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { applications: Applications::open(&folder.path().join("a.redb")).unwrap(), folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("a.redb")
    }

    /// Closes the file and opens it again.
    fn reopened(self) -> Self {
        let path = self.path();
        let Self { applications, folder } = self;
        drop(applications);
        Self { applications: Applications::open(&path).unwrap(), folder }
    }

    /// Makes an application; in testing mode if `searches` is set.
    fn create(&self, name: &str, searches: Option<u32>) -> (String, ApiKey) {
        let quota = searches.map(|number| vec![(QuotaKind::Search, number)]);
        let allow = [Permission::Search].into();
        let made = self.applications.create(&LOCAL, Creation { name: name.into(), quota, allow });
        let (listed, key) = made.unwrap();
        (listed.id, key)
    }

    fn used(&self, kind: QuotaKind) -> u64 {
        self.applications.list().unwrap()[0].used.of(kind)
    }

    /// Waits until a copy of the file, which is what a power cut would leave, has this usage. The
    /// test machine may be slow, and a copy made during a write may not open.
    fn wait_until_a_power_cut_leaves(&self, used: u64) {
        let copy = self.folder.path().join("copy.redb");
        let left = || {
            std::fs::copy(self.path(), &copy).unwrap();
            let used = Applications::open(&copy).and_then(|it| it.list());
            used.ok().map(|list| list[0].used.of(QuotaKind::Search))
        };
        let started = Instant::now();
        while left() != Some(used) {
            assert!(started.elapsed() < Duration::from_secs(30), "{used} are not on disk");
            std::thread::sleep(COMMIT_EVERY / 4);
        }
    }
}

#[test]
fn only_the_right_key_of_a_known_application_counts() {
    let fixture = Fixture::new();
    let (id, key) = fixture.create("kiosk", None);
    let (other, other_key) = fixture.create("office", None);
    let known = fixture.applications.authenticate(&id, key.reveal()).unwrap();
    assert_eq!(known, Known { id: id.clone(), allow: [Permission::Search].into() });
    for (id, key) in [
        (id.as_str(), other_key.reveal()),
        (id.as_str(), ""),
        (other.as_str(), key.reveal()),
        // The name is not a valid App-ID.
        ("kiosk", key.reveal()),
        ("", key.reveal()),
        ("unknown", ""),
    ] {
        assert_eq!(fixture.applications.authenticate(id, key), None, "{id}");
    }
    let listed = fixture.applications.list().unwrap();
    assert_eq!(listed.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["kiosk", "office"]);
    assert!(listed[0].last_used.is_some() && listed[1].last_used.is_none());
}

#[test]
fn an_unknown_application_takes_as_long_as_a_wrong_key() {
    let fixture = Fixture::new();
    let (id, key) = fixture.create("kiosk", None);
    let ask = |id: &str| {
        let started = Instant::now();
        for _ in 0..2_000 {
            assert_eq!(fixture.applications.authenticate(id, &key.reveal()[1..]), None);
        }
        started.elapsed().as_secs_f64()
    };
    // The quickest of several rounds: other load on the machine slows the others.
    let quickest = |id: &str| (0..15).map(|_| ask(id)).fold(f64::INFINITY, f64::min);
    let unknown = uuid::Uuid::new_v4().to_string();
    let (wrong, unknown) = (quickest(&id), quickest(&unknown));
    let ratio = wrong / unknown;
    println!("wrong key {:.0} ns, unknown {:.0} ns", wrong / 2e-6, unknown / 2e-6);
    assert!((0.5..2.0).contains(&ratio), "{ratio}");
}

#[test]
fn names_are_unique_and_revoked_ones_free() {
    let fixture = Fixture::new();
    let (id, key) = fixture.create("kiosk", None);
    for taken in ["kiosk", &id] {
        let again = Creation { name: taken.into(), quota: None, allow: BTreeSet::new() };
        let error = fixture.applications.create(&LOCAL, again).unwrap_err();
        assert!(matches!(error, ApplicationsError::Taken(_)), "{error}");
    }
    assert_eq!(fixture.applications.revoke("kiosk").unwrap().id, id);
    assert_eq!(fixture.applications.authenticate(&id, key.reveal()), None);
    assert!(matches!(fixture.applications.revoke(&id), Err(ApplicationsError::Unknown(_))));
    let (again, _) = fixture.create("kiosk", None);
    assert_ne!(again, id);
    let fixture = fixture.reopened();
    assert_eq!(fixture.applications.list().unwrap().len(), 1);
    assert_eq!(fixture.applications.authenticate(&id, key.reveal()), None);
}

#[test]
fn a_rotated_key_replaces_the_old_one_over_restarts() {
    let fixture = Fixture::new();
    let (id, old) = fixture.create("kiosk", Some(5));
    fixture.applications.reserve(&id, vec![QuotaKind::Search]).unwrap().unwrap().keep();
    let (_, new) = fixture.applications.rotate(&LOCAL, "kiosk", Duration::ZERO).unwrap();
    let fixture = {
        assert_eq!(fixture.applications.authenticate(&id, old.reveal()), None);
        assert!(fixture.applications.authenticate(&id, new.reveal()).is_some());
        fixture.reopened()
    };
    assert_eq!(fixture.applications.authenticate(&id, old.reveal()), None);
    assert!(fixture.applications.authenticate(&id, new.reveal()).is_some());
    assert_eq!(fixture.used(QuotaKind::Search), 1);
}

#[test]
fn quota_that_is_not_kept_is_returned() {
    let fixture = Fixture::new();
    let (id, _) = fixture.create("kiosk", Some(2));
    let reserve = || fixture.applications.reserve(&id, vec![QuotaKind::Search]);
    let (first, second) = (reserve().unwrap().unwrap(), reserve().unwrap().unwrap());
    assert_eq!(reserve().err(), Some(NotReserved::Short(QuotaKind::Search)));
    drop(first);
    second.keep();
    assert_eq!(fixture.used(QuotaKind::Search), 1);
    reserve().unwrap().unwrap().keep();
    assert_eq!(reserve().err(), Some(NotReserved::Short(QuotaKind::Search)));
    let short = fixture.applications.reserve(&id, vec![QuotaKind::Verify]).err();
    assert_eq!(short, Some(NotReserved::Short(QuotaKind::Verify)), "a kind that was not named");
    assert_eq!(fixture.applications.reserve("gone", vec![]).err(), Some(NotReserved::Revoked));

    let open = fixture.applications.reserve(&id, vec![QuotaKind::Search]).err();
    assert!(open.is_some());
    fixture.applications.revoke(&id).unwrap();
    let (live, _) = fixture.create("office", None);
    drop(fixture.applications.reserve(&live, vec![QuotaKind::Search]).unwrap());
    assert_eq!(fixture.used(QuotaKind::Search), 0);
}

#[test]
fn usage_is_on_disk_within_about_a_second() {
    let fixture = Fixture::new();
    let (id, _) = fixture.create("kiosk", Some(100));
    for _ in 0..50 {
        fixture.applications.reserve(&id, vec![QuotaKind::Search]).unwrap().unwrap().keep();
    }
    fixture.wait_until_a_power_cut_leaves(50);
}

#[test]
fn open_reservations_are_returned_after_a_crash() {
    let fixture = Fixture::new();
    let (id, _) = fixture.create("kiosk", Some(100));
    let reserve = || fixture.applications.reserve(&id, vec![QuotaKind::Search]).unwrap().unwrap();
    let (open, done) = (reserve(), reserve());
    done.keep();
    assert_eq!(fixture.used(QuotaKind::Search), 2);
    fixture.wait_until_a_power_cut_leaves(1);
    open.keep();
    assert_eq!(fixture.reopened().used(QuotaKind::Search), 2);
}

#[test]
fn usage_is_written_again_after_a_failed_write() {
    let fixture = Fixture::new();
    let (id, _) = fixture.create("kiosk", Some(100));
    let shared = Arc::clone(&fixture.applications.shared);
    // The writer thread cannot write while the file is locked.
    let file = shared.file();
    fixture.applications.reserve(&id, vec![QuotaKind::Search]).unwrap().unwrap().keep();
    let panicked = shared.hand_over(|_| panic!("a bug of the database"));
    assert!(matches!(panicked, Err(ApplicationsError::Damaged(_))), "{panicked:?}");
    let full = || Err(ApplicationsError::Damaged("the disk is full".into()));
    assert!(shared.hand_over(|_| full()).is_err());
    assert_eq!(shared.state().dirty, BTreeSet::from([id]));
    drop(file);
    drop(shared);
    assert_eq!(fixture.reopened().used(QuotaKind::Search), 1);
}

#[test]
fn a_file_that_others_could_read_is_made_private() {
    let fixture = Fixture::new();
    fixture.create("kiosk", None);
    let mode =
        |fixture: &Fixture| std::fs::metadata(fixture.path()).unwrap().permissions().mode() & 0o777;
    std::fs::set_permissions(fixture.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let fixture = fixture.reopened();
    assert_eq!(mode(&fixture), 0o600);
}

#[test]
fn many_reservations_at_once_spend_exactly_the_quota() {
    let fixture = Fixture::new();
    let (id, _) = fixture.create("kiosk", Some(100));
    let granted = std::thread::scope(|scope| {
        let ask = || {
            let reserved = (0..50).filter_map(|_| {
                fixture.applications.reserve(&id, vec![QuotaKind::Search]).ok().flatten()
            });
            reserved.map(Reservation::keep).count()
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
    });
    assert_eq!((granted, fixture.used(QuotaKind::Search)), (100, 100));
    assert_eq!(fixture.reopened().used(QuotaKind::Search), 100);
}

#[test]
fn the_file_is_private_and_holds_no_key() {
    let fixture = Fixture::new();
    let (_, first) = fixture.create("kiosk", None);
    let (_, second) = fixture.applications.rotate(&LOCAL, "kiosk", Duration::ZERO).unwrap();
    let mode = std::fs::metadata(fixture.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let bytes = std::fs::read(fixture.path()).unwrap();
    for key in [&first, &second] {
        let secret = &key.reveal().as_bytes()[4..];
        for trace in [&secret[..16], &secret[16..]] {
            assert!(!bytes.windows(trace.len()).any(|window| window == trace));
        }
    }
    assert!(bytes.windows(5).any(|window| window == b"kiosk"), "the search sees what is there");
}

#[test]
fn an_invalid_file_is_refused_and_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.redb");
    for content in [&b""[..], b"not a database", &[7; 9000]] {
        std::fs::write(&path, content).unwrap();
        let error = Applications::open(&path).err().unwrap();
        assert!(error.to_string().contains("a.redb"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
}

#[test]
fn usage_in_live_mode_is_counted_and_spends_no_quota() {
    let fixture = Fixture::new();
    let (id, _) = fixture.create("kiosk", None);
    let reserve = || fixture.applications.reserve(&id, vec![QuotaKind::Search]);
    for _ in 0..3 {
        reserve().unwrap().unwrap().keep();
    }
    drop(reserve().unwrap());
    let testing = Alteration { quota: Some(Some(vec![(QuotaKind::Search, 1)])), allow: None };
    fixture.applications.update(&LOCAL, "kiosk", testing).unwrap();
    reserve().unwrap().unwrap().keep();
    assert_eq!(reserve().err(), Some(NotReserved::Short(QuotaKind::Search)));
    let fixture = fixture.reopened();
    let listed = fixture.applications.get("kiosk").unwrap();
    let counts = (listed.used.of(QuotaKind::Search), listed.done.of(QuotaKind::Search));
    assert_eq!(counts, (1, 4), "three in live mode, one in testing mode");
}

#[test]
fn an_old_key_is_valid_during_its_overlap_only() {
    let hour = Duration::from_secs(3600);
    let fixture = Fixture::new();
    let (id, first) = fixture.create("kiosk", None);
    let is_valid = |fixture: &Fixture, key: &ApiKey| {
        fixture.applications.authenticate(&id, key.reveal()).is_some()
    };
    let (listed, second) = fixture.applications.rotate(&LOCAL, "kiosk", hour).unwrap();
    assert!(listed.old_key_until.is_some_and(|until| until > unix_seconds() + 3500));
    assert!(is_valid(&fixture, &first) && is_valid(&fixture, &second));
    let fixture = fixture.reopened();
    assert!(is_valid(&fixture, &first) && is_valid(&fixture, &second), "after a restart");
    // A change of something else keeps the overlap.
    let live = Alteration { quota: Some(None), allow: None };
    fixture.applications.update(&LOCAL, "kiosk", live).unwrap();
    assert!(is_valid(&fixture, &first));
    // At most one old key: another rotation ends the oldest.
    let (_, third) = fixture.applications.rotate(&LOCAL, "kiosk", hour).unwrap();
    let valid = [&first, &second, &third].map(|key| is_valid(&fixture, key));
    assert_eq!(valid, [false, true, true]);
    let (_, fourth) = fixture.applications.rotate(&LOCAL, "kiosk", Duration::ZERO).unwrap();
    let valid = [&second, &third, &fourth].map(|key| is_valid(&fixture, key));
    assert_eq!(valid, [false, false, true]);
    let (_, fifth) = fixture.applications.rotate(&LOCAL, "kiosk", Duration::from_secs(1)).unwrap();
    std::thread::sleep(Duration::from_millis(2100));
    assert_eq!([&fourth, &fifth].map(|key| is_valid(&fixture, key)), [false, true]);
    assert_eq!(fixture.applications.get("kiosk").unwrap().old_key_until, None);
    // A revoked application has no key at all.
    let (_, sixth) = fixture.applications.rotate(&LOCAL, "kiosk", hour).unwrap();
    fixture.applications.revoke("kiosk").unwrap();
    let fixture = fixture.reopened();
    assert!(!is_valid(&fixture, &fifth) && !is_valid(&fixture, &sixth));
}

/// A doorward that does not know old keys replaces the present one and leaves the old one in the
/// file.
#[test]
fn an_old_key_ends_with_the_key_that_replaced_it() {
    let fixture = Fixture::new();
    let (id, first) = fixture.create("kiosk", None);
    let hour = Duration::from_secs(3600);
    fixture.applications.rotate(&LOCAL, "kiosk", hour).unwrap();
    let (path, folder) = (fixture.path(), fixture.folder);
    drop(fixture.applications);
    let (mut file, loaded) = ApplicationsFile::open(&path).unwrap();
    let Stored { mut record, old_key, .. } = loaded.into_iter().next().unwrap().1;
    let other = ApiKey::random().unwrap();
    record.key = KeyHash::of(&other).unwrap();
    file.put(&BTreeSet::new(), &id, &record, old_key.as_ref()).unwrap();
    drop(file);
    let applications = Applications::open(&path).unwrap();
    assert!(applications.authenticate(&id, first.reveal()).is_none());
    assert!(applications.authenticate(&id, other.reveal()).is_some());
    drop((applications, folder));
}

#[test]
fn no_sender_gives_what_it_has_not() {
    let fixture = Fixture::new();
    let (id, _) = fixture.create("office", None);
    let by = Grantor {
        permissions: Some([Permission::Search, Permission::Admin].into()),
        application: Some(id.clone()),
    };
    let unlock = BTreeSet::from([Permission::Unlock]);
    let refused = |error: ApplicationsError| matches!(error, ApplicationsError::Exceeds(more) if more == unlock);
    let apps = &fixture.applications;
    let creation = |allow: &BTreeSet<Permission>| Creation {
        name: "new".into(),
        quota: None,
        allow: allow.clone(),
    };
    assert!(refused(apps.create(&by, creation(&unlock)).unwrap_err()));
    apps.create(&by, creation(&[Permission::Search].into())).unwrap();
    let alteration =
        |allow: &BTreeSet<Permission>| Alteration { quota: None, allow: Some(allow.clone()) };
    assert!(refused(apps.update(&by, "new", alteration(&unlock)).unwrap_err()));
    apps.update(&LOCAL, "new", alteration(&unlock)).unwrap();
    // The new key of an application that has more would be its way around.
    assert!(refused(apps.rotate(&by, "new", Duration::ZERO).unwrap_err()));
    // What the application has already may stay.
    apps.update(&by, "new", alteration(&[Permission::Unlock, Permission::Search].into())).unwrap();
    // Its own: neither more nor less, but another key, and an end.
    let none = Alteration { quota: None, allow: Some(BTreeSet::new()) };
    assert!(matches!(apps.update(&by, "office", none).unwrap_err(), ApplicationsError::Own));
    apps.rotate(&by, &id, Duration::ZERO).unwrap();
    apps.revoke(&id).unwrap();
}
