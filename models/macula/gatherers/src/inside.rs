//! What belongs to the house: addresses and names that mean something on this side of the router alone.
//!
//! Nobody outside can tell anything of `10.0.0.7` or `payroll.corp`, and asking tells them how the house is built. So no source
//! that is not on this machine hears of them, unless the settings name them under `allow`.

use std::iter::once;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use indicators::{DomainName, Host, Indicator};
use ipnet::IpNet;
use serde::Deserialize;

use crate::address_filter::{is_documentation, is_public};
use crate::source::host;

/// What names of houses end with, by the standards (RFC 6761, 6762, 7686, 8375, ICANN's `internal`) and by custom. Names for
/// examples and tests are of no house.
const ENDINGS: [&str; 13] = [
    "local",
    "localhost",
    "localdomain",
    "internal",
    "intranet",
    "private",
    "corp",
    "home",
    "lan",
    "home.arpa",
    "invalid",
    "onion",
    "mail",
];

/// What of the house others may be asked about.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Allowed {
    /// Addresses.
    Net(IpNet),
    /// A name, and all below it.
    Name(DomainName),
}

/// Neither a network nor a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a network like 10.1.0.0/16 nor a name like corp or hq.corp")]
pub struct NotAllowable(String);

impl TryFrom<String> for Allowed {
    type Error = NotAllowable;

    fn try_from(text: String) -> Result<Allowed, NotAllowable> {
        if let Ok(net) = text.parse() {
            return Ok(Allowed::Net(net));
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Allowed::Net(ip.into()));
        }
        let name = DomainName::parse_suffix(text.trim_start_matches('.'));
        name.map(Allowed::Name).map_err(|_| NotAllowable(text))
    }
}

/// Whether an indicator is the house's own affair.
pub(crate) fn is_inside(indicator: &Indicator, allowed: &[Allowed]) -> bool {
    match host(indicator) {
        Some(Host::Ip(ip)) => is_address_inside(ip, allowed),
        Some(Host::Name(name)) => {
            let is_allowed = |one: &Allowed| match one {
                Allowed::Net(_) => false,
                Allowed::Name(allowed) => {
                    *allowed == name || name.ancestors().any(|above| above == allowed.as_str())
                }
            };
            let mut all = once(name.as_str()).chain(name.ancestors());
            let is_of_the_house = all.any(|one| ENDINGS.contains(&one))
                || of_reverse_zone(name.as_str())
                    .is_some_and(|ends| ends.into_iter().all(|ip| is_address_inside(ip, allowed)));
            is_of_the_house && !allowed.iter().any(is_allowed)
        }
        None => false,
    }
}

fn is_address_inside(ip: IpAddr, allowed: &[Allowed]) -> bool {
    let ip = ip.to_canonical();
    let is_allowed = |one: &Allowed| match one {
        Allowed::Net(net) => net.contains(&ip),
        Allowed::Name(_) => false,
    };
    // Addresses for documentation are nobody's.
    !is_public(ip) && !is_documentation(ip) && !allowed.iter().any(is_allowed)
}

/// The first and the last address that a name of the reverse tree is about: `7.0.0.10.in-addr.arpa`, `168.192.in-addr.arpa`,
/// `lb._dns-sd._udp.0.1.168.192.in-addr.arpa`, `d.f.ip6.arpa`. What it begins with may be no part of an address.
fn of_reverse_zone(name: &str) -> Option<[IpAddr; 2]> {
    if let Some(labels) = name.strip_suffix(".in-addr.arpa") {
        let ends = ends(labels, 32, 8, |label| label.parse().ok())?;
        let address = |bits: u128| IpAddr::from(Ipv4Addr::from_bits(bits as u32));
        Some(ends.map(address))
    } else {
        let labels = name.strip_suffix(".ip6.arpa")?;
        let digit = |label: &str| {
            u8::from_str_radix(label, 16)
                .ok()
                .filter(|_| label.len() == 1)
        };
        let ends = ends(labels, 128, 4, digit)?;
        Some(ends.map(|bits| Ipv6Addr::from_bits(bits).into()))
    }
}

/// The first and the last number of `size` bits that begin with the parts that the labels are, from the last to the first.
fn ends(
    labels: &str,
    size: u32,
    width: u32,
    part: impl Fn(&str) -> Option<u8>,
) -> Option<[u128; 2]> {
    let parts = labels.rsplit('.').map_while(part);
    let (mut start, mut free) = (0, size);
    for part in parts.take((size / width) as usize) {
        free -= width;
        start |= u128::from(part) << free;
    }
    (free < size).then(|| [start, start | ((1 << free) - 1)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inside(indicator: &str, allowed: &[&str]) -> bool {
        let allowed = allowed.iter().map(|text| (*text).to_owned().try_into());
        let allowed: Vec<Allowed> = allowed.collect::<Result<_, _>>().unwrap();
        is_inside(&indicator.parse().unwrap(), &allowed)
    }

    #[test]
    fn private_addresses_and_names_of_the_house_are_inside() {
        for indicator in [
            "10.0.0.7",
            "192.168.1.1",
            "http://172.16.3.4:8080/x",
            "169.254.169.254",
            "fd00::7",
            "fe80::1",
            "::ffff:10.0.0.7",
            "payroll.corp",
            "https://wiki.hq.internal/a",
            "mallory@mail.local",
            "printer.home.arpa",
            "home.arpa",
            "7.0.0.10.in-addr.arpa",
            "10.in-addr.arpa",
            "168.192.in-addr.arpa",
            "lb._dns-sd._udp.0.1.168.192.in-addr.arpa",
            "64-26.3.16.172.in-addr.arpa",
            "d.f.ip6.arpa",
            "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.e.f.ip6.arpa",
            "abcdefgh.onion",
        ] {
            assert!(inside(indicator, &[]), "{indicator}");
        }
        for indicator in [
            "8.8.8.8",
            "192.0.2.7",
            "2001:db8::1",
            "2606:4700::1",
            "corp.example.com",
            "evil.test",
            "local.example",
            "2.0.192.in-addr.arpa",
            "8.8.8.8.in-addr.arpa",
            "192.in-addr.arpa",
            "in-addr.arpa",
            "www.in-addr.arpa",
            "7.4.6.0.6.2.ip6.arpa",
            "ip6.arpa",
            "10.in-addr.arpa.example",
            "d41d8cd98f00b204e9800998ecf8427e",
        ] {
            assert!(!inside(indicator, &[]), "{indicator}");
        }
    }

    #[test]
    fn the_operator_may_let_others_be_asked() {
        let allowed = ["10.1.0.0/16", "hq.corp", ".lan", "172.in-addr.arpa"];
        for indicator in [
            "10.1.2.3",
            "3.2.1.10.in-addr.arpa",
            "1.10.in-addr.arpa",
            "16.172.in-addr.arpa",
            "hq.corp",
            "a.hq.corp",
            "printer.lan",
        ] {
            assert!(!inside(indicator, &allowed), "{indicator}");
        }
        for indicator in ["10.2.0.1", "10.in-addr.arpa", "other.corp", "printer.local"] {
            assert!(inside(indicator, &allowed), "{indicator}");
        }
        assert!(Allowed::try_from("no such thing".to_owned()).is_err());
    }
}
