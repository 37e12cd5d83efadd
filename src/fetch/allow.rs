//! The allow-list: hosts that pictures may be fetched from, and the addresses they may resolve to.
//!
//! A terminal is inside a private network, and any client that may send it a request could use it
//! to reach hosts that only that network reaches. So only listed entries are allowed, and a listed
//! *name* does not give access to inside addresses: the owner of a name chooses its address at
//! every lookup. Only a listed address or network does. An entry without a port stands for the
//! usual port of the scheme: other services of a listed host are not pictures.

use super::BadEntry;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4 addresses outside the public internet: RFC 6890 and its successors in the IANA registry.
const INSIDE_V4: [Ipv4Net; 16] = [
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 0, 2, 0], 24),
    v4([192, 31, 196, 0], 24),
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    v4([224, 0, 0, 0], 4),
    v4([240, 0, 0, 0], 4),
];

/// The network of all public IPv6 addresses, except [`INSIDE_V6`].
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0], 3);

/// Exceptions: Teredo and other IETF protocols, documentation, and 6to4, which carries an IPv4
/// address. NAT64, IPv4-compatible, unique local, link-local and multicast addresses are outside
/// [`GLOBAL_V6`].
const INSIDE_V6: [Ipv6Net; 4] =
    [v6([0x2001, 0], 23), v6([0x2001, 0x0DB8], 32), v6([0x2002, 0], 16), v6([0x3FFF, 0], 20)];

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(start: [u16; 2], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(start[0], start[1], 0, 0, 0, 0, 0, 0), prefix)
}

/// The parsed allow-list. An empty list allows nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowList(Vec<Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    hosts: Hosts,
    ports: Ports,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    Name(String),
    Network(IpNet),
}

/// The ports of a host that may be asked. A host that serves pictures may serve other things that
/// are not meant for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ports {
    /// 80 for http, 443 for https.
    OfScheme,
    Only(u16),
    Every,
}

/// The host and port of a URL.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Name or address as in the URL.
    pub host: &'a str,
    /// Its port.
    pub port: u16,
    /// True if the port is the usual one of the scheme.
    pub is_usual: bool,
}

/// Why a host is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The list is empty.
    #[error("fetching pictures is off: list hosts or networks in image_url.allow to switch it on")]
    Off,
    /// Neither the name nor its addresses are listed.
    #[error("host {0} is not listed in image_url.allow")]
    NotListed(String),
    /// The host is listed, for other ports.
    #[error(
        "host {host} is listed in image_url.allow, but not with port {port}: list it as {host}:{port} \
         if that is meant"
    )]
    Port {
        /// The host.
        host: String,
        /// The port of the URL.
        port: u16,
    },
    /// The name is listed, but resolves to addresses inside that are not.
    #[error(
        "host {0} is listed, but resolves to a loopback, private or otherwise reserved address: list that \
         address or its network in image_url.allow too if it is meant"
    )]
    Inside(String),
}

impl AllowList {
    /// Reads host names, addresses and networks in CIDR notation, each with or without `:port`.
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<Self, BadEntry> {
        let parsed = entries.iter().map(|entry| {
            let entry = entry.as_ref().trim();
            Entry::parse(entry).ok_or_else(|| BadEntry::Allow(entry.to_owned()))
        });
        parsed.collect::<Result<_, _>>().map(Self)
    }

    /// Checks whether the host must be resolved at all: `Ok` if its name is listed, or if a network
    /// may allow its address.
    pub fn check_name(&self, target: Target<'_>) -> Result<(), Refusal> {
        let may_allow = |entry: &Entry| match &entry.hosts {
            Hosts::Name(name) => *name == normal_name(target.host),
            Hosts::Network(_) => true,
        };
        if self.0.is_empty() {
            return Err(Refusal::Off);
        }
        self.check(target, may_allow)
    }

    /// Checks whether the target may be fetched from at `address`, which is one of its resolved
    /// addresses or the host itself.
    pub fn check_address(&self, target: Target<'_>, address: IpAddr) -> Result<(), Refusal> {
        self.check_name(target)?;
        // ::ffff:10.0.0.1 reaches 10.0.0.1.
        let address = address.to_canonical();
        let name = normal_name(target.host);
        let is_named = |entry: &Entry| entry.hosts == Hosts::Name(name.clone());
        let allows = |entry: &Entry| match &entry.hosts {
            Hosts::Network(network) => network.contains(&address),
            Hosts::Name(_) => is_named(entry) && is_public(address),
        };
        match self.check(target, allows) {
            Err(Refusal::NotListed(host)) if self.0.iter().any(is_named) => {
                Err(Refusal::Inside(host))
            }
            checked => checked,
        }
    }

    /// Checks for an entry that `allows` the host, and its port.
    fn check(&self, target: Target<'_>, allows: impl Fn(&Entry) -> bool) -> Result<(), Refusal> {
        let mut refusal = Refusal::NotListed(target.host.to_owned());
        for entry in self.0.iter().filter(|entry| allows(entry)) {
            if entry.ports.hold(target) {
                return Ok(());
            }
            refusal = Refusal::Port { host: target.host.to_owned(), port: target.port };
        }
        Err(refusal)
    }
}

impl Entry {
    fn parse(entry: &str) -> Option<Self> {
        if let Some(hosts) = Hosts::parse(entry) {
            return Some(Self { hosts, ports: Ports::OfScheme });
        }
        let (hosts, ports) = entry.rsplit_once(':')?;
        // An IPv6 address with a port stands in brackets, as in URLs.
        let hosts = match hosts.strip_prefix('[') {
            Some(address) => address.strip_suffix(']')?,
            None if hosts.contains(':') => return None,
            None => hosts,
        };
        let ports = match ports {
            "*" => Ports::Every,
            port => Ports::Only(port.parse().ok().filter(|port| *port > 0)?),
        };
        Some(Self { hosts: Hosts::parse(hosts)?, ports })
    }
}

impl Hosts {
    fn parse(text: &str) -> Option<Self> {
        if let Ok(network) = text.parse::<IpNet>() {
            Some(Self::Network(network.trunc()))
        } else if let Ok(address) = text.parse::<IpAddr>() {
            Some(Self::Network(IpNet::from(address.to_canonical())))
        } else {
            is_host_name(text).then(|| Self::Name(normal_name(text)))
        }
    }
}

impl Ports {
    fn hold(self, target: Target<'_>) -> bool {
        match self {
            Self::OfScheme => target.is_usual,
            Self::Only(port) => port == target.port,
            Self::Every => true,
        }
    }
}

/// Returns the usual port of a scheme.
pub(super) fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// Checks for a host name or an address; an IPv6 address may stand in brackets.
pub(super) fn is_host(text: &str) -> bool {
    let address = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    address.parse::<IpAddr>().is_ok() || is_host_name(text)
}

/// Checks whether an address belongs to the public internet.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !INSIDE_V4.iter().any(|network| network.contains(&address)),
        IpAddr::V6(address) => {
            GLOBAL_V6.contains(&address)
                && !INSIDE_V6.iter().any(|network| network.contains(&address))
        }
    }
}

/// Normalises a name for comparison: lower case, without the dot of a fully qualified name.
pub(super) fn normal_name(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Checks for a host name: letters, digits, `-` and `_` in labels. The last label must not be all
/// digits, or it would be read as an address.
fn is_host_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253 && name.split('.').all(label) && !last.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&str]) -> AllowList {
        AllowList::parse(entries).unwrap()
    }

    fn at(host: &str) -> Target<'_> {
        Target { host, port: 443, is_usual: true }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_empty_list_disables_fetching() {
        assert_eq!(list(&[]).check_name(at("a.example")), Err(Refusal::Off));
        assert_eq!(list(&[]).check_address(at("8.8.8.8"), ip("8.8.8.8")), Err(Refusal::Off));
    }

    #[test]
    fn a_listed_name_allows_only_public_addresses() {
        let list = list(&["Photos.Example.org."]);
        let check = |address| list.check_address(at("photos.example.ORG"), ip(address));
        for public in ["93.184.216.34", "2606:2800:220:1::1", "::ffff:8.8.8.8"] {
            assert_eq!(check(public), Ok(()), "{public}");
        }
        for inside in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.31.0.1",
            "192.168.0.1",
            "192.0.2.1",
            "198.19.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::10.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "2001::1",
            "2001:db8::1",
            "2002:a00:1::",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "3fff::1",
            "100::1",
        ] {
            assert!(matches!(check(inside), Err(Refusal::Inside(_))), "{inside}");
        }
        assert!(matches!(list.check_name(at("example.org")), Err(Refusal::NotListed(_))));
        assert!(matches!(list.check_name(at("a.photos.example.org")), Err(Refusal::NotListed(_))));
    }

    #[test]
    fn a_listed_network_allows_its_addresses() {
        let list = list(&["192.168.7.0/24", "fd00::5", "::ffff:10.0.0.9"]);
        assert_eq!(list.check_address(at("nas.lan"), ip("192.168.7.200")), Ok(()));
        assert_eq!(list.check_address(at("x"), ip("::ffff:192.168.7.1")), Ok(()));
        assert_eq!(list.check_address(at("[fd00::5]"), ip("fd00::5")), Ok(()));
        assert_eq!(list.check_address(at("10.0.0.9"), ip("10.0.0.9")), Ok(()));
        assert!(list.check_address(at("nas.lan"), ip("192.168.8.1")).is_err());
        assert!(list.check_address(at("public.example"), ip("8.8.8.8")).is_err());
    }

    #[test]
    fn a_listed_name_and_network_allow_inside_addresses() {
        let list = list(&["nas.lan", "10.0.0.0/8"]);
        assert_eq!(list.check_address(at("nas.lan"), ip("10.9.9.9")), Ok(()));
        assert!(matches!(
            list.check_address(at("nas.lan"), ip("192.168.0.1")),
            Err(Refusal::Inside(_))
        ));
    }

    #[test]
    fn entries_of_another_form_are_refused() {
        for entry in [
            "",
            "*.example.org",
            "host:0",
            "host:65536",
            "host:",
            "fd00::5:*:80",
            "http://host",
            "10.0.0.0/33",
            "1.2.3",
            "a..b",
            "host/24",
            "-",
        ] {
            let parsed = AllowList::parse(&[entry]);
            assert_eq!(parsed.is_ok(), entry == "-", "{entry:?}");
        }
    }

    #[test]
    fn an_entry_without_a_port_allows_only_the_usual_one() {
        let list =
            list(&["a.example", "b.example:8080", "10.0.0.0/8", "10.0.0.9:*", "[fd00::5]:81"]);
        let check = |host, port, is_usual, address: &str| {
            list.check_address(Target { host, port, is_usual }, ip(address))
        };
        let port = |host: &str, port| Err(Refusal::Port { host: host.to_owned(), port });
        let public = "93.184.216.34";
        assert_eq!(check("a.example", 443, true, public), Ok(()));
        assert_eq!(check("a.example", 22, false, public), port("a.example", 22));
        // The usual port of the other scheme.
        assert_eq!(check("a.example", 443, false, public), port("a.example", 443));
        assert_eq!(check("b.example", 8080, false, public), Ok(()));
        assert_eq!(check("b.example", 80, true, public), port("b.example", 80));
        assert_eq!(check("10.1.1.1", 80, true, "10.1.1.1"), Ok(()));
        assert_eq!(check("10.1.1.1", 1883, false, "10.1.1.1"), port("10.1.1.1", 1883));
        assert_eq!(check("10.0.0.9", 1883, false, "10.0.0.9"), Ok(()));
        assert_eq!(check("[fd00::5]", 81, false, "fd00::5"), Ok(()));
        assert_eq!(check("[fd00::5]", 80, true, "fd00::5"), port("[fd00::5]", 80));
    }
}
