//! Tests that the daemon gives away as little as its unit says: the exposure that systemd rates,
//! and no core dump, which would contain faces, also when no unit starts it.

use crate::support::terminal::Terminal;
use std::process::Command;

#[test]
fn systemd_rates_the_units_exposure_below_the_limit() {
    for unit in ["doorward.service", "doorward-lockd.service"] {
        let rating = Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager", "--threshold=16"])
            .arg(format!("{}/board/systemd/{unit}", env!("CARGO_MANIFEST_DIR")))
            .output();
        let Ok(rating) = rating else {
            eprintln!("no systemd-analyze: skipped");
            return;
        };
        assert!(rating.status.success(), "{}", String::from_utf8_lossy(&rating.stdout));
    }
}

#[test]
fn daemon_forbids_core_dumps_of_itself() {
    let mut terminal = Terminal::start("");
    let file = |name| std::fs::read_to_string(format!("/proc/{}/{name}", terminal.pid())).unwrap();
    let limits = file("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let words: Vec<_> = core.split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "{core}");
    assert!(terminal.stop());
}
