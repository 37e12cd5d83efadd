//! Builds one checked [`Config`] from file, environment and defaults.

use super::keys::{Config, KEYS};
use super::row::Key;
use crate::secret::Secret;
use serde::Serialize;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use toml::Table;

/// Prefix of the environment variables: `DOORWARD__MQTT__HOST` is `mqtt.host`.
const PREFIX: &str = "DOORWARD__";
/// Read when no file is named, if it exists.
const DEFAULT_FILE: &str = "/etc/doorward/doorward.toml";

/// Longest `device.data_dir`: a socket's name has at most 107 bytes, `/control.sock` included.
const MAX_DATA_DIR: usize = 94;

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        reason: std::io::Error,
    },
    /// Not TOML, an unknown key, or a value of the wrong type.
    #[error("{origin}: {reason}")]
    Invalid {
        /// File or variable.
        origin: String,
        /// The fault.
        reason: String,
    },
    /// Well-formed values that are not allowed, or not together.
    #[error("the configuration is invalid:\n{}", .0.iter().map(|p| format!("  {p}")).collect::<Vec<_>>().join("\n"))]
    Refused(Vec<String>),
}

/// Returns the variable that a misspelt one probably means: `DOORWARD__MQTT__HOST` for
/// `DOORWARD_MQTT_HOST`. Variables of other names are not ours.
fn meant_by(name: &str) -> Option<String> {
    let letters = |text: &str| text.to_ascii_lowercase().replace('_', "");
    let wanted = letters(name.strip_prefix("DOORWARD_")?);
    let key = KEYS.iter().find(|key| letters(key.section) + &letters(key.name) == wanted)?;
    Some(format!("{PREFIX}{}__{}", key.section, key.name).to_ascii_uppercase())
}

impl Config {
    /// Returns the file that is read: `named`, else the default file if it exists.
    pub fn file(named: Option<&Path>) -> Option<&Path> {
        let default = Path::new(DEFAULT_FILE);
        // A file that may not be accessed is not skipped: reading it reports the error.
        named.or_else(|| default.try_exists().unwrap_or(true).then_some(default))
    }

    /// Reads `file` (or the default file, if it exists), then the environment; checks the result.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let file = Self::file(file);
        let text = match file {
            None => String::new(),
            Some(path) => std::fs::read_to_string(path)
                .map_err(|reason| ConfigError::Unreadable { path: path.to_owned(), reason })?,
        };
        let origin = file.map_or("configuration".into(), |path| path.display().to_string());
        // A variable that is not UTF-8 cannot be one of ours.
        let environment = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        let mut config = Self::from_sources(&origin, &text, environment)?;
        config.settle()?;
        Ok(config)
    }

    /// Builds a configuration from a file's text and environment variables, without checking it.
    fn from_sources(
        origin: &str,
        text: &str,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        // Parsed into the structs first, so that the message has line and column.
        let from_file: Self = toml::from_str(text).map_err(|error| ConfigError::Invalid {
            origin: origin.to_owned(),
            reason: located(text, &error),
        })?;
        let mut config = from_file;
        for (name, value) in environment {
            if let Some(key) = name.strip_prefix(PREFIX) {
                config.set(&name, &key.to_lowercase(), &value)?;
            } else if let Some(variable) = meant_by(&name) {
                let reason = format!("the variable of this key is {variable}");
                return Err(ConfigError::Invalid { origin: name, reason });
            }
        }
        Ok(config)
    }

    /// True if the text of a configuration file sets a secret key.
    pub fn has_secret_in(text: &str) -> bool {
        let Ok(table) = text.parse::<Table>() else { return false };
        let is_set =
            |key: &Key| table.get(key.section).is_some_and(|it| it.get(key.name).is_some());
        KEYS.iter().filter(|key| key.kind.is_secret()).any(is_set)
    }

    /// Sets `section__key` from an environment variable.
    fn set(&mut self, variable: &str, key: &str, text: &str) -> Result<(), ConfigError> {
        let invalid = |reason: String| ConfigError::Invalid { origin: variable.to_owned(), reason };
        let (section, name) =
            key.split_once("__").ok_or_else(|| invalid("not of the form SECTION__KEY".into()))?;
        let key = KEYS.iter().find(|key| (key.section, key.name) == (section, name));
        let key = key.ok_or_else(|| invalid(format!("there is no key {section}.{name}")))?;
        let value = key.kind.read(text).map_err(invalid)?;
        self.put(section, name, value)
            .map_err(|error| invalid(error.message().trim_end().to_owned()))
    }

    /// Fills derived values (names, folders, the password from its file) and refuses an invalid
    /// configuration.
    fn settle(&mut self) -> Result<(), ConfigError> {
        let mut problems = Vec::new();
        if self.device.id.is_empty() {
            self.device.id = host_name();
        }
        if self.device.data_dir.as_os_str().is_empty() {
            match default_data_dir() {
                Some(dir) => self.device.data_dir = dir,
                None => problems.push("device.data_dir: no home folder found, name one".into()),
            }
        }
        if self.device.data_dir.as_os_str().len() > MAX_DATA_DIR {
            problems.push(format!(
                "device.data_dir: at most {MAX_DATA_DIR} bytes, or the name of the socket in it is \
                 too long for the system"
            ));
        }
        let mqtt = &mut self.mqtt;
        read_secret("mqtt.password", &mut mqtt.password, &mqtt.password_file, &mut problems);
        let webhook = &mut self.webhook;
        read_secret("webhook.secret", &mut webhook.secret, &webhook.secret_file, &mut problems);
        if mqtt.host.is_empty() && (mqtt.tls || !mqtt.username.is_empty()) {
            problems.push(
                "mqtt.tls and mqtt.username need mqtt.host: the embedded broker has its own login"
                    .into(),
            );
        }
        problems.extend(self.problems());
        let (first, longest) = (self.access.lockout_s, self.access.lockout_longest_s);
        if longest < first {
            problems.push(format!(
                "access.lockout_longest_s: {longest} is shorter than access.lockout_s, which is {first}"
            ));
        }
        if problems.is_empty() { Ok(()) } else { Err(ConfigError::Refused(problems)) }
    }
}

/// Reads the secret of a key from the file of the key beside it, if that names one.
fn read_secret(key: &str, secret: &mut Secret, file: &Path, problems: &mut Vec<String>) {
    if file.as_os_str().is_empty() {
        return;
    }
    if !secret.is_empty() {
        problems.push(format!("{key} and {key}_file: give one of them"));
    }
    match std::fs::read_to_string(file) {
        Ok(text) => *secret = Secret::from(text.trim_end().to_owned()),
        Err(error) => problems.push(format!("{key}_file {}: {error}", file.display())),
    }
}

/// Checks the values of a section, such as `camera`, against the rows of the table: one line per
/// key.
pub(super) fn problems_in(section: &str, values: &impl Serialize) -> Vec<String> {
    let values = match Table::try_from(values) {
        Ok(values) => values,
        Err(error) => return vec![format!("{section}: {error}")],
    };
    let keys = KEYS.iter().filter(|key| key.section == section);
    keys.filter_map(|key| key.problem(values.get(key.name)?)).collect()
}

/// Returns the message with its line and column. The line itself, which the library would quote,
/// may hold a password; so may the message, if the value of a secret key is not a text.
fn located(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().trim_end();
    match error.span().and_then(|span| text.get(..span.start)) {
        None => message.to_owned(),
        Some(before) => {
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
            let message = if is_secret_at(text, line) { NOT_SHOWN } else { message };
            format!("line {line}, column {column}: {message}")
        }
    }
}

/// Shown in place of a message that may contain a secret.
const NOT_SHOWN: &str = "this value is secret and not shown: write it in quotes, such as \"…\"";

/// True if line `line`, from 1, may hold the value of a secret key: if the key is named in it, or
/// in the last assignment before it.
fn is_secret_at(text: &str, line: usize) -> bool {
    let names_secret = |line: &str| {
        let mut words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words.any(|word| KEYS.iter().any(|key| key.kind.is_secret() && key.name == word))
    };
    let lines: Vec<&str> = text.lines().take(line).collect();
    let assigned = lines.iter().rposition(|line| line.contains('=')).unwrap_or(0);
    lines[assigned..].iter().any(|line| names_secret(line))
        || lines.last().is_some_and(|line| names_secret(line))
}

/// Returns the host name cut to what a device id may hold, or `doorward` when there is none.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name
        .trim()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' })
        .take(64)
        .collect();
    if name.is_empty() { "doorward".into() } else { name }
}

fn default_data_dir() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    // Not by $HOME, which sudo may leave unchanged.
    let root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if root || home.is_none() {
        return Some(PathBuf::from("/var/lib/doorward"));
    }
    std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute())
        .or_else(|| home.map(|home| home.join(".local/state")))
        .map(|dir| dir.join("doorward"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let environment = environment.iter().map(|(k, v)| (k.to_string(), v.to_string()));
        let mut config = Config::from_sources("test.toml", text, environment)?;
        config.settle()?;
        Ok(config)
    }

    #[test]
    fn the_printed_defaults_read_back_as_the_defaults() {
        let defaults = from("", &[]).unwrap();
        let text = defaults.to_commented_toml().unwrap();
        for key in KEYS {
            assert!(text.contains(&format!("\n{} = ", key.name)), "{} is missing", key.name);
        }
        let read = from(&text, &[]).unwrap();
        assert_eq!(format!("{read:?}"), format!("{defaults:?}"));
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let config = from(
            "[mqtt]\nhost = 'a'\nport = 1\nusername = 'u'\npassword = 'from file'",
            &[
                ("DOORWARD__MQTT__PORT", "8883"),
                ("DOORWARD__IMAGE_URL__ALLOW", "a.example, 10.0.0.0/8"),
                ("DOORWARD__GALLERY__STORE_IMAGES", "false"),
                ("DOORWARD_DATA", "is not a key"),
            ],
        )
        .unwrap();
        assert_eq!((config.mqtt.host.as_str(), config.mqtt.port), ("a", 8883));
        assert_eq!(config.image_url.allow, ["a.example", "10.0.0.0/8"]);
        assert!(!config.gallery.store_images);
        assert_eq!(config.mqtt.password.reveal(), "from file");
        let config = from(
            "[mqtt]\nhost = 'a'\nusername = 'u'",
            &[("DOORWARD__MQTT__PASSWORD", "secret"), ("DOORWARD__MQTT__PORT", "5")],
        )
        .unwrap();
        assert_eq!(config.mqtt.password.reveal(), "secret");
    }

    #[test]
    fn errors_name_the_wrong_key() {
        let message =
            |text: &str, environment: &[_]| from(text, environment).unwrap_err().to_string();
        assert!(message("[mqtt]\nhots = 'a'", &[]).contains("hots"));
        assert!(message("[mqtt]\nport = 'a'", &[]).contains("line 2"));
        assert!(message("[mqtt]\nport = 70000", &[]).contains("70000"));
        assert!(message("", &[("DOORWARD__MQTT__HOTS", "a")]).contains("mqtt.hots"));
        assert!(message("", &[("DOORWARD__MQTT__PORT", "x")]).contains("DOORWARD__MQTT__PORT"));
        assert!(message("[service]\nqueue = 0", &[]).contains("1 to 64"));
        for (text, key) in [
            ("[outbox]\nmax_events = 0", "outbox.max_events"),
            ("[outbox]\nmax_age_days = 4000", "outbox.max_age_days"),
            ("[audit]\nmax_lines = 99", "audit.max_lines"),
            ("[audit]\nmax_age_days = 0", "audit.max_age_days"),
        ] {
            assert!(message(text, &[]).contains(key), "{text}");
        }
        for value in ["-4.1", "9", "nan", "-inf"] {
            let text = format!("[liveness]\noperating_point = {value}");
            assert!(message(&text, &[]).contains("liveness.operating_point"), "{value}");
        }
        for value in ["0", "0.2", "nan"] {
            let text = format!("[search]\ntarget_fpir = {value}");
            assert!(message(&text, &[]).contains("search.target_fpir"), "{value}");
        }
    }

    #[test]
    fn errors_list_the_allowed_words() {
        let message = |text: &str| from(text, &[]).unwrap_err().to_string();
        let said = message("[door]\nlock = 'shut'\nwiegand_bits = 30");
        assert!(said.contains("door.lock: fail_secure or fail_safe, not \"shut\""), "{said}");
        assert!(said.contains("door.wiegand_bits: 26 or 34, not 30"), "{said}");
        let said = message("[access]\nlockout_s = 40");
        assert!(said.contains("lockout_longest_s: 30 is shorter than access.lockout_s"), "{said}");
    }

    #[test]
    fn a_number_may_be_written_as_an_integer() {
        let config =
            from("[liveness]\noperating_point = 1", &[("DOORWARD__SEARCH__TARGET_FPIR", "0.01")])
                .unwrap();
        assert_eq!((config.liveness.operating_point, config.search.target_fpir), (1.0, 0.01));
    }

    #[test]
    fn a_secret_without_quotes_is_not_repeated_in_the_error() {
        for (text, line) in [
            ("[mqtt]\npassword = 4711815", 2),
            ("[mqtt]\npassword = swordfish4711815", 2),
            ("[mqtt]\nport = 1\npassword = 4711815.5 # mine", 3),
            ("mqtt.password = 4711815", 1),
            ("mqtt = { port = 1, password = 4711815 }", 1),
            ("[mqtt]\n\"password\" = [4711815]", 2),
            ("[mqtt]\npassword 4711815", 2),
            ("[image_url]\nlogins = [\n  \"a b:c\",\n  4711815,\n]", 4),
            ("[image_url]\nlogins = 4711815", 2),
        ] {
            let error = from(text, &[]).unwrap_err().to_string();
            assert!(!error.contains("4711815"), "{text}: {error}");
            assert!(error.contains(&format!("line {line}")), "{text}: {error}");
        }
        // Other values are repeated.
        let error = from("[mqtt]\nport = \"a\"", &[]).unwrap_err().to_string();
        assert!(error.contains("\"a\"") && error.contains("line 2"), "{error}");
    }

    #[test]
    fn a_file_with_a_secret_is_known() {
        assert!(Config::has_secret_in("[mqtt]\npassword = \"x\""));
        assert!(Config::has_secret_in("[image_url]\nlogins = [\"a b:c\"]"));
        assert!(!Config::has_secret_in("[mqtt]\npassword_file = \"x\""));
    }

    #[test]
    fn logins_are_masked_and_the_mask_is_not_read_back() {
        let config =
            from("", &[("DOORWARD__IMAGE_URL__LOGINS", "a.example b:hunter2, c.example d:e")])
                .unwrap();
        assert_eq!(config.image_url.logins[0].reveal(), "a.example b:hunter2");
        assert!(!format!("{config:?}").contains("hunter2"));
        let text = config.to_commented_toml().unwrap();
        assert!(!text.contains("hunter2") && text.contains("\nlogins = [] # 2 (secret)"), "{text}");
        assert!(from(&text, &[]).unwrap().image_url.logins.is_empty());
    }

    #[test]
    fn a_secret_is_never_printed() {
        let config = from("[mqtt]\nhost = 'a'\nusername='u'\npassword = 'hunter2'", &[]).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
        let text = config.to_commented_toml().unwrap();
        assert!(!text.contains("hunter2"));
        // Nor does the mask become a password.
        assert!(from(&text, &[]).unwrap().mqtt.password.is_empty());
    }
}
