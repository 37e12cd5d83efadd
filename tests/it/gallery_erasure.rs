//! Tests that deleted faces leave the gallery's file by themselves. A deletion hides a face from
//! searches, but redb keeps its bytes in free pages until the file is scrubbed: at the end of the
//! command, by command, at the daemon's stop, and at its start after a power cut.

use crate::support::terminal::{Terminal, portrait};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of a piece of a crop: too long to occur by chance.
const PIECE: usize = 32;

/// Enrols a person, and returns the stored crop in pieces.
fn enrolled(terminal: &Terminal, id: &str, name: &str) -> HashSet<Vec<u8>> {
    let image = portrait(name).display().to_string();
    assert_eq!(terminal.json(&["enroll", &image, "--subject-id", id])["status"], 200);
    let found = terminal.json(&["search", &image, "--return-image"]);
    let crop = STANDARD.decode(found["matches"][0]["image"].as_str().unwrap()).unwrap();
    crop.chunks_exact(PIECE).map(<[u8]>::to_vec).collect()
}

/// Returns how many of the pieces are in any file of the data folder, at any place.
fn found(terminal: &Terminal, pieces: &HashSet<Vec<u8>>) -> usize {
    let files = fs::read_dir(terminal.data_dir()).unwrap().map(|file| file.unwrap().path());
    let mut found = HashSet::new();
    for bytes in files.filter(|path| path.is_file()).map(|path| fs::read(path).unwrap()) {
        found.extend(bytes.windows(PIECE).filter(|it| pieces.contains(*it)).map(<[u8]>::to_vec));
    }
    found.len()
}

fn deleted(terminal: &Terminal, id: &str) {
    assert_eq!(terminal.json(&["gallery", "delete", id])["status"], 200);
}

#[test]
fn deletion_by_the_command_line_leaves_no_trace() {
    let terminal = Terminal::prepare("");
    let mut gone = enrolled(&terminal, "gone", "biden");
    let kept = enrolled(&terminal, "kept", "obama");
    // Every JPEG begins with the same tables.
    gone.retain(|piece| !kept.contains(piece));
    assert!(gone.len() > 400, "{}", gone.len());
    assert_eq!(found(&terminal, &gone), gone.len());
    deleted(&terminal, "gone");
    assert_eq!(found(&terminal, &gone), 0, "of {} pieces", gone.len());
    assert_eq!(found(&terminal, &kept), kept.len());
    eprintln!("0 of {} pieces found", gone.len());
    // A changed name alone rewrites nothing.
    let inode = |terminal: &Terminal| {
        let file = fs::metadata(terminal.data_dir().join("gallery.redb")).unwrap();
        std::os::unix::fs::MetadataExt::ino(&file)
    };
    let before = inode(&terminal);
    let update = terminal.json(&["gallery", "update", "kept", "--field", "name=Barack"]);
    assert_eq!(update["status"], 200, "{update}");
    assert_eq!(inode(&terminal), before);
    // By command, without a daemon.
    let scrubbed = terminal.json(&["gallery", "scrub"]);
    assert_eq!(scrubbed["status"], 200, "{scrubbed}");
    assert!(scrubbed["bytes_after"].as_u64().unwrap() > 0, "{scrubbed}");
    assert_ne!(inode(&terminal), before);
}

#[test]
fn daemon_erases_deleted_faces_by_command_at_its_stop_and_at_its_start() {
    let mut terminal = Terminal::start("");
    let deleted_now = |terminal: &Terminal, id: &str| {
        let gone = enrolled(terminal, id, "biden");
        deleted(terminal, id);
        assert_eq!(found(terminal, &gone), gone.len(), "they leave with the scrub only");
        gone
    };
    let gone = deleted_now(&terminal, "by-command");
    assert_eq!(terminal.json(&["gallery", "scrub"])["status"], 200);
    assert_eq!(found(&terminal, &gone), 0);
    let refused = terminal.call("gallery/scrub", &json!({}));
    assert_eq!(refused["status"], 400, "a client may not: {refused}");

    let gone = deleted_now(&terminal, "at-the-stop");
    assert!(terminal.stop());
    assert_eq!(found(&terminal, &gone), 0, "{}", terminal.log());

    terminal.run();
    let gone = deleted_now(&terminal, "power-cut");
    terminal.kill();
    assert_eq!(found(&terminal, &gone), gone.len());
    terminal.run();
    let started = Instant::now();
    while found(&terminal, &gone) > 0 {
        assert!(started.elapsed() < PATIENCE, "{}", terminal.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(terminal.stop());
}

#[test]
fn restored_gallery_with_a_wide_mode_is_tightened() {
    let mut terminal = Terminal::prepare("");
    enrolled(&terminal, "anna", "obama");
    let file = terminal.data_dir().join("gallery.redb");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    terminal.run();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(terminal.stop());
}
