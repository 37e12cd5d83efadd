//! A mosquitto on this machine's loopback, which the guest reaches as 10.0.2.2. For the terminal it
//! is encrypted and has a password, because doorward arms a strike only over such a broker when it
//! is on another machine; for this program it is plain.

use super::VmError;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// The guest's address of this machine's loopback.
pub const HOST: &str = "10.0.2.2";
/// The logins of the terminal and of this program.
pub const LOGINS: [(&str, &str); 2] = [("terminal", "t3rminal"), ("observer", "0bserver")];
const READY_WITHIN: Duration = Duration::from_secs(20);

/// A broker, stopped when dropped.
pub struct Broker {
    process: Child,
    folder: PathBuf,
    /// Port for this program.
    plain: u16,
    /// Port for the terminal.
    pub encrypted: u16,
}

impl Broker {
    /// Starts a broker, and waits until it listens.
    ///
    /// # Errors
    /// mosquitto or openssl fail.
    pub fn start(folder: &Path) -> Result<Self, VmError> {
        let _ = std::fs::remove_dir_all(folder);
        std::fs::create_dir_all(folder).map_err(VmError::file(folder))?;
        make_certificates(folder)?;
        let passwords = folder.join("passwords");
        for (number, (name, password)) in LOGINS.into_iter().enumerate() {
            let mut command = Command::new("mosquitto_passwd");
            command.args(if number == 0 { &["-c"][..] } else { &[] });
            VmError::succeed(command.arg("-b").arg(&passwords).args([name, password]))?;
        }
        let (plain, encrypted) = (free_port()?, free_port()?);
        let here = folder.display();
        // `user` only has an effect for root: otherwise it would become a user that may not read
        // this folder.
        let configuration = format!(
            "user root\npersistence false\nallow_anonymous false\n\
             password_file {here}/passwords\nmax_packet_size 9437184\n\
             listener {plain} 127.0.0.1\nlistener {encrypted} 127.0.0.1\n\
             certfile {here}/server.pem\nkeyfile {here}/server.key\n"
        );
        let file = folder.join("mosquitto.conf");
        std::fs::write(&file, configuration).map_err(VmError::file(&file))?;
        let log = folder.join("log");
        let log = std::fs::File::create(&log).map_err(VmError::file(&log))?;
        let path = std::env::var("PATH").unwrap_or_default();
        let process = Command::new("mosquitto")
            // Debian installs servers in a folder that a user's PATH may lack.
            .env("PATH", format!("{path}:/usr/sbin"))
            .arg("-c")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(VmError::io("mosquitto does not start"))?;
        let mut broker = Self { process, folder: folder.to_owned(), plain, encrypted };
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", encrypted)).is_err() {
            let ended = broker.process.try_wait().is_ok_and(|status| status.is_some());
            if ended || started.elapsed() > READY_WITHIN {
                let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
                return Err(VmError::Failed { command: "mosquitto".into(), output: log });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(broker)
    }

    /// Returns the certificate of its authority, for the terminal.
    pub fn authority(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Returns a client program with address and login.
    fn client(&self, program: &str) -> Command {
        let (name, password) = LOGINS[1];
        let mut command = Command::new(program);
        command.args(["-V", "5", "-h", "127.0.0.1", "-p", &self.plain.to_string()]);
        command.args(["-u", name, "-P", password]);
        command
    }

    /// Subscribes to some topics from here on; their payloads must be text.
    ///
    /// # Errors
    /// mosquitto_sub does not start.
    pub fn listen(&self, topics: &[&str]) -> Result<Messages, VmError> {
        let mut command = self.client("mosquitto_sub");
        command.args(["--retain-as-published", "-q", "1", "-F", "%r %t %p"]);
        for topic in topics {
            command.args(["-t", topic]);
        }
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(VmError::io("mosquitto_sub does not start"))?;
        let (sender, receiver) = channel();
        if let Some(output) = process.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if let Some(message) = Message::parse(&line)
                        && sender.send(message).is_err()
                    {
                        return;
                    }
                }
            });
        }
        Ok(Messages { process, receiver })
    }

    /// Publishes a command with a JSON body; the broker keeps it if `retained`.
    ///
    /// # Errors
    /// mosquitto_pub fails.
    pub fn publish(&self, topic: &str, body: &Value, retained: bool) -> Result<(), VmError> {
        let mut command = self.client("mosquitto_pub");
        command.args(if retained { &["-r"][..] } else { &[] });
        command.args(["-q", "1", "-t", topic, "-m", &body.to_string()]);
        command.args(["-D", "publish", "content-type", "application/json"]);
        VmError::succeed(&mut command).map(drop)
    }

    /// Publishes a command whose body is a JPEG and whose fields are user properties.
    ///
    /// # Errors
    /// mosquitto_pub fails.
    pub fn publish_picture(
        &self,
        topic: &str,
        picture: &Path,
        fields: &[(&str, &str)],
    ) -> Result<(), VmError> {
        let mut command = self.client("mosquitto_pub");
        command.args(["-q", "1", "-t", topic, "-f"]).arg(picture);
        command.args(["-D", "publish", "content-type", "image/jpeg"]);
        for (name, value) in fields {
            command.args(["-D", "publish", "user-property", name, value]);
        }
        VmError::succeed(&mut command).map(drop)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A message from the broker.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// True if it was published as retained.
    pub retained: bool,
    /// The body, as it came.
    pub text: String,
    /// The same as JSON; null if it is not JSON.
    pub body: Value,
}

impl Message {
    /// Parses `RETAINED TOPIC BODY`, the format of [`Broker::listen`].
    fn parse(line: &str) -> Option<Self> {
        let (retained, rest) = line.split_once(' ')?;
        let (topic, text) = rest.split_once(' ').unwrap_or((rest, ""));
        Some(Self {
            topic: topic.to_owned(),
            retained: retained == "1",
            text: text.to_owned(),
            body: serde_json::from_str(text).unwrap_or_default(),
        })
    }
}

/// The messages below a topic, in order.
pub struct Messages {
    process: Child,
    receiver: Receiver<Message>,
}

impl Messages {
    /// Returns the next message, if one comes in time.
    ///
    /// # Errors
    /// mosquitto_sub ended.
    pub fn next(&self, patience: Duration) -> Result<Option<Message>, VmError> {
        match self.receiver.recv_timeout(patience) {
            Ok(message) => Ok(Some(message)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(VmError::Failed {
                command: "mosquitto_sub".into(),
                output: "it ended: is the broker gone?".into(),
            }),
        }
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> Result<u16, VmError> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(VmError::io("no free port on loopback"))
}

/// Makes an authority, and a certificate for the address that the guest connects to.
fn make_certificates(folder: &Path) -> Result<(), VmError> {
    let openssl = |arguments: &[&str]| {
        let mut command = Command::new("openssl");
        VmError::succeed(command.current_dir(folder).args(arguments)).map(drop)
    };
    let extension = folder.join("extension");
    std::fs::write(&extension, format!("subjectAltName=IP:{HOST}"))
        .map_err(VmError::file(&extension))?;
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let mut authority = vec!["req", "-x509", "-days", "2", "-subj", "/CN=doorward test authority"];
    authority.extend(key);
    authority.extend(["-keyout", "ca.key", "-out", "ca.pem"]);
    openssl(&authority)?;
    let mut request = vec!["req", "-subj", "/CN=broker", "-keyout", "server.key"];
    request.extend(key);
    request.extend(["-out", "server.csr"]);
    openssl(&request)?;
    openssl(&[
        "x509",
        "-req",
        "-in",
        "server.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        "extension",
        "-out",
        "server.pem",
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_parsed_as_one_message() {
        let event = Message::parse(r#"0 doorward/vm/event/door {"outcome":"a b"}"#).unwrap();
        assert_eq!((event.topic.as_str(), event.retained), ("doorward/vm/event/door", false));
        assert_eq!(event.body["outcome"], "a b");
        let word = Message::parse("1 doorward/vm/availability online").unwrap();
        assert!(word.retained && word.body.is_null());
        assert_eq!(word.text, "online");
        let empty = Message::parse("1 doorward/vm/state/door").unwrap();
        assert_eq!(empty.text, "");
        assert!(Message::parse("nonsense").is_none());
    }
}
