//! The settings of a controller. They are read once, from the arguments or from the table `[door]`
//! of the daemon's configuration, so that one file configures both.

use crate::contact::ContactLimits;
use crate::profile::{Function, Profile, ProfileError};
use crate::strike::{Lock, Pulse, PulseError};
use core::time::Duration;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The settings of a controller.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The board; its lines are only the wired ones.
    pub profile: Profile,
    /// How the lock behaves without current.
    pub lock: Lock,
    /// How long the button releases the strike.
    pub pulse: Pulse,
    /// True if the coil is rated for continuous current.
    pub continuous: bool,
    /// When an open door is an alarm.
    pub limits: ContactLimits,
}

/// Settings that do not describe a controller.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// No door is configured.
    #[error("no door is configured: name its board in door.board")]
    NoDoor,
    /// The board is simulated.
    #[error(
        "the board {0} is simulated, and the daemon simulates it by itself: it needs no lock controller"
    )]
    Simulated(String),
    /// The file cannot be read.
    #[error("cannot read {path}: {reason}")]
    File {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        reason: std::io::Error,
    },
    /// The file has a wrong content.
    #[error("{path}: {reason}")]
    Form {
        /// Its path.
        path: PathBuf,
        /// The error.
        reason: toml::de::Error,
    },
    /// The profile is wrong.
    #[error("door.board: {0}")]
    Profile(#[from] ProfileError),
    /// The lock is neither of the two.
    #[error("door.lock: `{0}` is neither fail_secure nor fail_safe")]
    Lock(String),
    /// The pulse is out of range.
    #[error("door.pulse_ms: {0}")]
    Pulse(#[from] PulseError),
    /// A wired function has no line.
    #[error("door.{key}: the board {board} has no such line: add [lines.{key}] to its profile")]
    NoLine {
        /// The key, which is also the line's name.
        key: &'static str,
        /// The board.
        board: String,
    },
    /// The lock is a magnet that would lock people in.
    #[error(
        "door.lock = \"fail_safe\" needs the line request_to_exit in the profile of {0}: without a button \
         that it can read the controller gives the lock no current"
    )]
    NoExit(String),
}

/// The keys of `[door]` that a controller needs, with the daemon's defaults.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct Keys {
    /// A shipped profile's name or a profile's file.
    pub board: String,
    /// `fail_secure` or `fail_safe`.
    pub lock: String,
    /// Length of a pulse in milliseconds.
    pub pulse_ms: u32,
    /// Seconds after which an open door is an alarm.
    pub held_open_s: u32,
    /// True if the coil is rated for continuous current.
    pub strike_continuous: bool,
    /// True if the fire input is wired.
    pub fire: bool,
    /// True if the interlock is wired.
    pub interlock: bool,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            board: String::new(),
            lock: "fail_secure".into(),
            pulse_ms: 3000,
            held_open_s: 30,
            strike_continuous: false,
            fire: false,
            interlock: false,
        }
    }
}

/// The daemon's configuration. The daemon checks everything outside `[door]`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct File {
    door: Keys,
}

impl Keys {
    /// Reads the table `[door]` of a configuration file.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, or a key of the table has a wrong type.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = read(path)?;
        let file: Result<File, _> = toml::from_str(&text);
        Ok(file.map_err(|reason| SettingsError::Form { path: path.to_owned(), reason })?.door)
    }

    /// Checks the keys and returns the settings.
    ///
    /// # Errors
    /// No door, an unusable profile, or a value out of range.
    pub fn settings(&self) -> Result<Settings, SettingsError> {
        if self.board.is_empty() {
            return Err(SettingsError::NoDoor);
        }
        let lock = match self.lock.as_str() {
            "fail_secure" => Lock::FailSecure,
            "fail_safe" => Lock::FailSafe,
            other => return Err(SettingsError::Lock(other.to_owned())),
        };
        let mut profile = profile(&self.board)?;
        let wished = [
            ("fire", Function::Fire, self.fire),
            ("interlock", Function::Interlock, self.interlock),
        ];
        for (key, function, wished) in wished {
            if !wished {
                // Not wired: its pull-up would always read as active.
                profile.lines.remove(&function);
            } else if !profile.lines.contains_key(&function) {
                return Err(SettingsError::NoLine { key, board: profile.board });
            }
        }
        if lock == Lock::FailSafe && !profile.lines.contains_key(&Function::RequestToExit) {
            return Err(SettingsError::NoExit(profile.board));
        }
        Ok(Settings {
            profile,
            lock,
            pulse: Pulse::new(Duration::from_millis(self.pulse_ms.into()))?,
            continuous: self.strike_continuous,
            limits: ContactLimits {
                held_open_after: Duration::from_secs(self.held_open_s.into()),
                ..ContactLimits::default()
            },
        })
    }
}

/// Reads a shipped profile by its name, any other by its file.
fn profile(name: &str) -> Result<Profile, SettingsError> {
    match name.contains(['/', '.']) {
        true => Ok(Profile::parse(&read(Path::new(name))?)?),
        false => Ok(Profile::shipped(name)?),
    }
}

fn read(path: &Path) -> Result<String, SettingsError> {
    std::fs::read_to_string(path)
        .map_err(|reason| SettingsError::File { path: path.to_owned(), reason })
}

impl Settings {
    /// Returns a number that differs if the settings differ: FNV-1a of all settings.
    pub fn fingerprint(&self) -> u64 {
        fingerprint(self)
    }
}

/// Returns a number that differs if values differ: FNV-1a of their debug text.
pub(super) fn fingerprint(of: &impl core::fmt::Debug) -> u64 {
    format!("{of:?}").bytes().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(board: &str) -> Keys {
        Keys { board: board.into(), ..Keys::default() }
    }

    #[test]
    fn optional_inputs_are_read_only_when_they_are_wired() {
        for shipped in Profile::names() {
            let has = |keys: &Keys, function| {
                keys.settings().unwrap().profile.lines.contains_key(&function)
            };
            let plain = keys(shipped);
            assert!(!has(&plain, Function::Interlock) && !has(&plain, Function::Fire));
            let wired = Keys { interlock: true, fire: true, ..plain };
            assert!(has(&wired, Function::Interlock) && has(&wired, Function::Fire), "{shipped}");
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("board.toml");
        std::fs::write(&file, "board = \"x\"\nchip = \"c\"\ntested = \"no\"\n[lines]\n").unwrap();
        let bare = keys(file.to_str().unwrap());
        let error = Keys { interlock: true, ..bare.clone() }.settings().unwrap_err();
        assert!(error.to_string().starts_with("door.interlock: the board x has no"), "{error}");
        let error = Keys { fire: true, ..bare.clone() }.settings().unwrap_err();
        assert!(error.to_string().starts_with("door.fire: the board x has no"), "{error}");
        let error = Keys { lock: "fail_safe".into(), ..bare }.settings().unwrap_err();
        assert!(matches!(error, SettingsError::NoExit(_)), "{error}");
    }

    #[test]
    fn fingerprint_differs_where_settings_do() {
        let plain = keys("pc").settings().unwrap();
        assert_eq!(plain.fingerprint(), keys("pc").settings().unwrap().fingerprint());
        let others = [
            Keys { lock: "fail_safe".into(), ..keys("pc") },
            Keys { pulse_ms: 3001, ..keys("pc") },
            Keys { strike_continuous: true, ..keys("pc") },
            Keys { fire: true, ..keys("pc") },
            keys("raspberry-pi-5"),
        ];
        for other in others {
            assert_ne!(other.settings().unwrap().fingerprint(), plain.fingerprint(), "{other:?}");
        }
    }
}
