//! Checks that the button inside opens within half a second while the daemon is killed, stopped,
//! hangs on a disk, has a full disk, is replaced on disk or starts without a gallery, and right
//! after its controller was killed; for both kinds of lock.

use super::VmError;
use super::terminal::{ON_DISK, Terminal, expect};
use serde_json::json;
use std::time::{Duration, Instant};

/// A person who presses the button expects the door to open at once.
const AT_ONCE: Duration = Duration::from_millis(500);

/// Time to test the other version and start it, emulated.
const UPGRADED_WITHIN: Duration = Duration::from_secs(30);

/// Runs every check for a lock that current releases, and for one that current holds.
pub fn for_both_locks(terminal: &mut Terminal<'_>) -> Result<(), VmError> {
    terminal.shell("mkdir -p /mnt && mount -o loop /disk /mnt")?;
    for lock in ["fail_secure", "fail_safe"] {
        let mut door = Door { terminal, lock, released: lock == "fail_secure" };
        door.controller()?;
        door.daemon_dies()?;
        door.disk_hangs()?;
        door.programs_are_replaced()?;
        door.no_gallery()?;
    }
    Ok(())
}

/// A door with one kind of lock.
struct Door<'a, 'b> {
    terminal: &'a mut Terminal<'b>,
    lock: &'static str,
    /// The level of the strike's line at which people can pass.
    released: bool,
}

impl Door<'_, '_> {
    fn step(&mut self, what: &str) -> Result<Instant, VmError> {
        let lock = self.lock;
        self.terminal.step(&format!("{lock}: {what}"))
    }

    /// Checks the controller of this lock, killed once.
    fn controller(&mut self) -> Result<(), VmError> {
        let lock = self.lock;
        self.step("the lock controller starts before any daemon, and the button opens")?;
        self.terminal.shell(&format!("echo {lock} > /run/lock; killall doorward-lockd"))?;
        self.terminal.level(!self.released)?;
        self.button()?;
        let resident =
            self.terminal.shell("grep ^Rss: /proc/$(pidof doorward-lockd)/smaps_rollup")?;
        println!("  {resident}");
        let kilobytes = resident.split_whitespace().nth(1).and_then(|number| number.parse().ok());
        let fits = kilobytes.is_some_and(|kib: u64| (256..2048).contains(&kib));
        expect("resident memory", &json!(resident), fits)?;
        self.step("the controller is killed in a release: no current, and it is back")?;
        self.opened()?;
        self.terminal.shell("killall -9 doorward-lockd")?;
        let killed = Instant::now();
        // A fail-safe lock has no current during a release: it gets it back when the button is
        // read.
        let low = self.terminal.level(false)?.at.saturating_duration_since(killed);
        println!("  no current {:.2} s after the kill", low.as_secs_f64());
        expect("the way to no current", &json!(low.as_secs_f64()), low <= Duration::from_secs(1))?;
        self.terminal.level(!self.released)?;
        self.button()
    }

    fn daemon_dies(&mut self) -> Result<(), VmError> {
        self.step("a daemon runs, and the button opens")?;
        self.terminal.start(self.lock)?;
        self.button()?;
        self.terminal.event("door", "exit_pressed")?;
        self.step("the daemon is killed: its release ends, and the button opens")?;
        let answer = self.terminal.unlock(&format!("{}-killed", self.lock))?;
        expect("the answer to unlock", &answer, answer["status"] == 200)?;
        let killed = Instant::now();
        self.terminal.kill()?;
        let locked = self.terminal.level(!self.released)?.at;
        println!(
            "  locked {:.2} s after the kill began",
            locked.duration_since(killed).as_secs_f64()
        );
        self.button()?;
        self.step("the next daemon records the missed presses, with their time")?;
        self.terminal.start(self.lock)?;
        self.terminal.event("door", "exit_pressed")?;
        self.step("the daemon is stopped in the middle: the same")?;
        let answer = self.terminal.unlock(&format!("{}-stopped", self.lock))?;
        expect("the answer to unlock", &answer, answer["status"] == 200)?;
        let daemon = self.terminal.daemon().unwrap_or_default().to_owned();
        let stopped = Instant::now();
        self.terminal.shell(&format!("kill -STOP {daemon}"))?;
        let locked = self.terminal.level(!self.released)?.at;
        let silence = locked.duration_since(stopped);
        println!("  locked {:.2} s after the stop", silence.as_secs_f64());
        let fact = json!(silence.as_secs_f64());
        expect("the end of a stopped daemon's release", &fact, silence < Duration::from_secs(4))?;
        self.button()?;
        self.terminal.shell(&format!("kill -CONT {daemon}"))?;
        self.button()
    }

    /// On a frozen file system every write blocks, and `fdatasync` too.
    fn disk_hangs(&mut self) -> Result<(), VmError> {
        self.step("the disk hangs")?;
        self.terminal.shell("fsfreeze --freeze /mnt")?;
        self.button()?;
        self.button()?;
        self.step("an unlock is refused, because it cannot be recorded first")?;
        let answer = self.terminal.unlock(&format!("{}-hung", self.lock))?;
        expect("the answer to unlock", &answer, answer["status"] == 503)?;
        self.terminal.shell("fsfreeze --unfreeze /mnt")?;
        self.step("the disk answers again: the presses are recorded")?;
        self.button()?;
        self.terminal.event("door", "exit_pressed")?;
        self.step("the disk is full")?;
        self.terminal.shell(
            "dd if=/dev/zero of=/mnt/fill bs=64k 2> /dev/null; \
             dd if=/dev/zero of=/mnt/rest bs=512 2> /dev/null; true",
        )?;
        self.button()?;
        self.button()?;
        self.terminal.shell("rm /mnt/fill /mnt/rest")?;
        Ok(())
    }

    fn programs_are_replaced(&mut self) -> Result<(), VmError> {
        self.step("both programs are replaced on disk while they run")?;
        self.terminal.shell(
            "for program in doorward doorward-lockd; do \
             cp /bin/$program /bin/$program.new && mv /bin/$program.new /bin/$program; done",
        )?;
        self.button()?;
        self.step("the controller starts the other version, and no line changes")?;
        let before = self.terminal.pulses();
        let id = self.terminal.shell("pidof doorward-lockd")?;
        let starts = self.starts()?;
        self.terminal.shell("killall -HUP doorward-lockd")?;
        let asked = Instant::now();
        while self.starts()? == starts && asked.elapsed() < UPGRADED_WITHIN {
            std::thread::sleep(Duration::from_millis(200));
        }
        let same = self.terminal.shell("pidof doorward-lockd")? == id;
        let facts = json!({ "starts": [starts, self.starts()?], "same process": same });
        expect(
            "the other version in the same process",
            &facts,
            same && self.starts()? == starts + 1,
        )?;
        let pulses = self.terminal.pulses();
        expect("the strike's pulses", &json!([before, pulses]), pulses == before)?;
        self.button()?;
        self.terminal.stop()
    }

    /// Returns how many times the controller has reported that it is ready.
    fn starts(&mut self) -> Result<u64, VmError> {
        let said = self.terminal.shell("grep -c ready /tmp/lockd.log")?;
        said.trim()
            .parse()
            .map_err(|_| VmError::Unexpected { what: "the controller's log".into(), found: said })
    }

    fn no_gallery(&mut self) -> Result<(), VmError> {
        self.step("the daemon starts without a gallery that it can open")?;
        self.terminal.shell(&format!("mv {ON_DISK} /mnt/aside; echo no folder > {ON_DISK}"))?;
        self.terminal.launch(self.lock)?;
        self.button()?;
        std::thread::sleep(Duration::from_secs(3));
        self.button()?;
        self.terminal.stop()?;
        self.terminal.shell(&format!("rm {ON_DISK}; mv /mnt/aside {ON_DISK}")).map(drop)
    }

    /// Checks that a press opens within half a second.
    fn opened(&mut self) -> Result<(), VmError> {
        let Some(after) = self.terminal.release_by_button(self.released)? else {
            return Err(VmError::Unexpected {
                what: "the strike's answer to the button".into(),
                found: "none".into(),
            });
        };
        println!("  open {:.2} s after the press", after.as_secs_f64());
        expect("the time to the opening", &json!(after.as_secs_f64()), after <= AT_ONCE)
    }

    /// The same, and that the door is locked again after the pulse.
    fn button(&mut self) -> Result<(), VmError> {
        self.opened()?;
        self.terminal.level(!self.released).map(drop)
    }
}
