//! The allow-list: hosts that pictures may be fetched from, and the addresses they may resolve to.
//!
//! A terminal is inside a private network, and any client that may send it a request could use it
//! to reach hosts that only that network reaches. So only listed entries are allowed, and a listed
//! *name* does not give access to inside addresses: the owner of a name chooses its address at
//! every lookup. Only a listed address or network does.

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
pub struct AllowList {
    names: Vec<String>,
    networks: Vec<IpNet>,
}

/// An entry that is not a host name, address or network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "image_url.allow: {0:?} is neither a host name (photos.example.org), an address (192.168.1.5, fd00::5) \
     nor a network (192.168.1.0/24); ports, schemes and wildcards are not part of an entry"
)]
pub struct BadEntry(pub String);

/// Why a host is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The list is empty.
    #[error("fetching pictures is off: list hosts or networks in image_url.allow to switch it on")]
    Off,
    /// Neither the name nor its addresses are listed.
    #[error("host {0} is not listed in image_url.allow")]
    NotListed(String),
    /// The name is listed, but resolves to addresses inside that are not.
    #[error(
        "host {0} is listed, but resolves to a loopback, private or otherwise reserved address: list that \
         address or its network in image_url.allow too if it is meant"
    )]
    Inside(String),
}

impl AllowList {
    /// Reads host names, addresses and networks in CIDR notation.
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<Self, BadEntry> {
        let mut list = Self::default();
        for entry in entries {
            let entry = entry.as_ref().trim();
            if let Ok(network) = entry.parse::<IpNet>() {
                list.networks.push(network.trunc());
            } else if let Ok(address) = entry.parse::<IpAddr>() {
                list.networks.push(IpNet::from(address.to_canonical()));
            } else if is_host_name(entry) {
                list.names.push(normal_name(entry));
            } else {
                return Err(BadEntry(entry.to_owned()));
            }
        }
        Ok(list)
    }

    /// Checks whether `host` must be resolved at all: `Ok` if its name is listed, or if a network
    /// may allow its address.
    pub fn check_name(&self, host: &str) -> Result<(), Refusal> {
        if self.names.is_empty() && self.networks.is_empty() {
            Err(Refusal::Off)
        } else if self.networks.is_empty() && !self.names.contains(&normal_name(host)) {
            Err(Refusal::NotListed(host.to_owned()))
        } else {
            Ok(())
        }
    }

    /// Checks whether `host` may be fetched from at `address`, which is one of its resolved
    /// addresses or the host itself.
    pub fn check_address(&self, host: &str, address: IpAddr) -> Result<(), Refusal> {
        self.check_name(host)?;
        // ::ffff:10.0.0.1 reaches 10.0.0.1.
        let address = address.to_canonical();
        if self.networks.iter().any(|network| network.contains(&address)) {
            Ok(())
        } else if !self.names.contains(&normal_name(host)) {
            Err(Refusal::NotListed(host.to_owned()))
        } else if is_public(address) {
            Ok(())
        } else {
            Err(Refusal::Inside(host.to_owned()))
        }
    }
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
fn normal_name(name: &str) -> String {
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

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_empty_list_disables_fetching() {
        assert_eq!(list(&[]).check_name("a.example"), Err(Refusal::Off));
        assert_eq!(list(&[]).check_address("8.8.8.8", ip("8.8.8.8")), Err(Refusal::Off));
    }

    #[test]
    fn a_listed_name_allows_only_public_addresses() {
        let list = list(&["Photos.Example.org."]);
        let check = |address| list.check_address("photos.example.ORG", ip(address));
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
        assert!(matches!(list.check_name("example.org"), Err(Refusal::NotListed(_))));
        assert!(matches!(list.check_name("a.photos.example.org"), Err(Refusal::NotListed(_))));
    }

    #[test]
    fn a_listed_network_allows_its_addresses() {
        let list = list(&["192.168.7.0/24", "fd00::5", "::ffff:10.0.0.9"]);
        assert_eq!(list.check_address("nas.lan", ip("192.168.7.200")), Ok(()));
        assert_eq!(list.check_address("x", ip("::ffff:192.168.7.1")), Ok(()));
        assert_eq!(list.check_address("[fd00::5]", ip("fd00::5")), Ok(()));
        assert_eq!(list.check_address("10.0.0.9", ip("10.0.0.9")), Ok(()));
        assert!(list.check_address("nas.lan", ip("192.168.8.1")).is_err());
        assert!(list.check_address("public.example", ip("8.8.8.8")).is_err());
    }

    #[test]
    fn a_listed_name_and_network_allow_inside_addresses() {
        let list = list(&["nas.lan", "10.0.0.0/8"]);
        assert_eq!(list.check_address("nas.lan", ip("10.9.9.9")), Ok(()));
        assert!(matches!(
            list.check_address("nas.lan", ip("192.168.0.1")),
            Err(Refusal::Inside(_))
        ));
    }

    #[test]
    fn entries_of_another_form_are_refused() {
        for entry in [
            "",
            "*.example.org",
            "host:80",
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
}
