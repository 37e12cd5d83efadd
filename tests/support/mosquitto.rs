//! A real mosquitto for a test: its own directory, a free port on loopback, stopped with the test.

use super::ports::Port;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A broker, and the directory with its files.
pub struct Mosquitto {
    dir: TempDir,
    address: IpAddr,
    port: Port,
    child: Option<Child>,
}

/// Options of a broker.
#[derive(Clone, Copy, Default)]
pub struct Wanted {
    /// Only the logins of [`Mosquitto::LOGINS`], with the access lists of `docs/mqtt.md`.
    pub logins: bool,
    /// TLS with a certificate for `localhost`, signed by `ca.pem`.
    pub tls: bool,
    /// Clients must show a certificate that `ca.pem` signed.
    pub client_certificates: bool,
    /// Largest packet it accepts and announces, in bytes.
    pub largest_packet: Option<u32>,
}

impl Mosquitto {
    /// Name and password of the terminal, of a client, and of one that may write only below its
    /// name.
    pub const LOGINS: [(&str, &str); 3] =
        [("terminal", "t3rminal"), ("desk", "d3sk"), ("office", "0ffice")];

    /// Name and password of Home Assistant.
    pub const HOME_ASSISTANT: (&str, &str) = ("house", "h0use");

    /// Starts a broker on 127.0.0.1 and waits until it listens.
    pub fn start(wanted: Wanted) -> Self {
        Self::start_on(Ipv4Addr::LOCALHOST.into(), wanted).unwrap()
    }

    /// Starts a broker on another address of this machine; `None` if it cannot listen there.
    pub fn start_on(address: IpAddr, wanted: Wanted) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        // As root, mosquitto becomes the user mosquitto before it reads its files.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let port = Port::reserve(address)?;
        let mut broker = Self { dir, address, port, child: None };
        broker.configure(wanted);
        broker.revive();
        Some(broker)
    }

    /// Returns its port.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Returns the path of a file in its directory: `ca.pem`, `client.pem`, `client.key`,
    /// `mosquitto.log`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Kills it as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it again on the same port.
    pub fn revive(&mut self) {
        let log = fs::File::create(self.file("mosquitto.log")).unwrap();
        let child = Command::new(program())
            .arg("-c")
            .arg(self.file("mosquitto.conf"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let start = Instant::now();
        while TcpStream::connect((self.address, self.port())).is_err() {
            let log = || fs::read_to_string(self.file("mosquitto.log")).unwrap_or_default();
            assert!(start.elapsed() < Duration::from_secs(10), "no mosquitto:\n{}", log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn configure(&self, wanted: Wanted) {
        let path = |name: &str| self.file(name).display().to_string();
        let mut lines = vec![format!("listener {} {}", self.port(), self.address)];
        lines.push("persistence false".into());
        lines.push("set_tcp_nodelay true".into());
        lines.extend(wanted.largest_packet.map(|bytes| format!("max_packet_size {bytes}")));
        lines.push(format!("allow_anonymous {}", !wanted.logins));
        if wanted.logins {
            // Logs the refusals of the access list.
            lines.push("log_type all".into());
            for (name, password) in Self::LOGINS.into_iter().chain([Self::HOME_ASSISTANT]) {
                let create = if self.file("passwords").exists() { &[][..] } else { &["-c"] };
                run(Command::new("mosquitto_passwd").args(create).args([
                    "-b",
                    &path("passwords"),
                    name,
                    password,
                ]));
            }
            fs::write(self.file("acl"), ACL).unwrap();
            lines.push(format!("password_file {}", path("passwords")));
            lines.push(format!("acl_file {}", path("acl")));
        }
        if wanted.tls {
            make_certificates(self.dir.path());
            lines.push(format!("cafile {}", path("ca.pem")));
            lines.push(format!("certfile {}", path("server.pem")));
            lines.push(format!("keyfile {}", path("server.key")));
            lines.push(format!("require_certificate {}", wanted.client_certificates));
        }
        fs::write(self.file("mosquitto.conf"), lines.join("\n")).unwrap();
        for entry in fs::read_dir(self.dir.path()).unwrap() {
            let readable = fs::Permissions::from_mode(0o644);
            fs::set_permissions(entry.unwrap().path(), readable).unwrap();
        }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Both access lists of `docs/mqtt.md`, for the device `front`. `desk` may write to `cmd/` as
/// without a table of clients: with a table the terminal, not the broker, refuses these commands.
const ACL: &str = "\
user terminal
topic read doorward/front/cmd/#
topic read doorward/front/from/+/cmd/#
topic readwrite doorward/front/echo
topic readwrite doorward/front/availability
topic readwrite doorward/front/state/#
topic write doorward/front/event/#
topic write doorward/front/response/#
topic write doorward/front/client/#
topic read homeassistant/status
topic write homeassistant/device/doorward_front/config

user house
topic readwrite homeassistant/#
topic read doorward/front/#
topic write doorward/front/cmd/unlock

user desk
topic write doorward/front/cmd/#
topic read doorward/front/availability
topic read doorward/front/state/#
topic read doorward/front/client/#

user office

pattern write doorward/front/from/%u/cmd/#
pattern read doorward/front/client/%u/#
";

/// Finds the program: Debian installs daemons outside a user's PATH.
fn program() -> &'static str {
    let path = std::env::var("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|dir| dir.join("mosquitto").exists()) {
        return "mosquitto";
    }
    let sbin = "/usr/sbin/mosquitto";
    assert!(
        Path::new(sbin).exists(),
        "this test needs a real MQTT broker: apt-get install mosquitto mosquitto-clients"
    );
    sbin
}

/// Makes an authority, a certificate for the broker (`localhost`, 127.0.0.1) and one for a client.
pub fn make_certificates(dir: &Path) {
    let path = |name: &str| dir.join(name).display().to_string();
    run(Command::new("openssl").args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=doorward test authority",
        "-keyout",
        &path("ca.key"),
        "-out",
        &path("ca.pem"),
    ]));
    for (name, subject, extension) in [
        ("server", "/CN=localhost", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        ("client", "/CN=terminal", "extendedKeyUsage=clientAuth"),
    ] {
        let request = path(&format!("{name}.csr"));
        run(Command::new("openssl").args([
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-subj",
            subject,
            "-keyout",
            &path(&format!("{name}.key")),
            "-out",
            &request,
        ]));
        fs::write(dir.join("extensions"), extension).unwrap();
        run(Command::new("openssl").args([
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            &path("ca.pem"),
            "-CAkey",
            &path("ca.key"),
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            &path("extensions"),
            "-out",
            &path(&format!("{name}.pem")),
        ]));
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{:?}: {error}: apt-get install mosquitto openssl", command.get_program())
    });
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
}
