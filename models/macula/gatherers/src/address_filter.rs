//! The address filter: which addresses may be contacted on the word of an indicator.
//!
//! A name's own name servers are chosen by whoever owns the name, and that may be the adversary. Pointing them at `127.0.0.1`,
//! at a metadata service or at a router inside the house would make us knock there. Only addresses of the public Internet pass,
//! and those the operator has named.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// What of IPv4 is not the public Internet (IANA's registry of special-purpose addresses).
const SPECIAL_V4: [(Ipv4Addr, u8); 17] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 31, 196, 0), 24),
    (Ipv4Addr::new(192, 52, 193, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// What of `2000::/3` is not the public Internet. Nothing outside of it is.
const SPECIAL_V6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    DOCUMENTATION_V6[0],
    DOCUMENTATION_V6[1],
];

/// What of `2000::/3` is there for examples.
const DOCUMENTATION_V6: [(Ipv6Addr, u8); 2] = [
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// NAT64: an IPv4 address follows, and counts.
const NAT64: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];

/// Lets addresses through, or not.
#[derive(Clone, Debug, Default)]
pub struct AddressFilter {
    allowed: Vec<IpNet>,
}

impl AddressFilter {
    /// Lets through the public Internet and the given networks.
    pub fn new(allowed: Vec<IpNet>) -> AddressFilter {
        AddressFilter { allowed }
    }

    /// Whether this address may be contacted.
    pub fn passes(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.allowed.iter().any(|net| net.contains(&address)) || is_public(address)
    }
}

/// Whether this is an address of the public Internet.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !SPECIAL_V4
            .iter()
            .any(|(start, length)| in_v4(v4, *start, *length)),
        IpAddr::V6(v6) => {
            let segments = v6.segments();
            if segments[..6] == NAT64 {
                let [.., a, b, c, d] = v6.octets();
                return is_public(IpAddr::V4(Ipv4Addr::new(a, b, c, d)));
            }
            segments[0] & 0xe000 == 0x2000
                && !SPECIAL_V6
                    .iter()
                    .any(|(start, length)| in_v6(v6, *start, *length))
        }
    }
}

/// Whether this is an address that examples have and nobody else.
pub(crate) fn is_documentation(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_documentation(),
        IpAddr::V6(v6) => DOCUMENTATION_V6
            .iter()
            .any(|(start, length)| in_v6(v6, *start, *length)),
    }
}

fn in_v4(address: Ipv4Addr, start: Ipv4Addr, length: u8) -> bool {
    (address.to_bits() ^ start.to_bits()) >> (32 - length) == 0
}

fn in_v6(address: Ipv6Addr, start: Ipv6Addr, length: u8) -> bool {
    (address.to_bits() ^ start.to_bits()) >> (128 - length) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(address: &str) -> bool {
        AddressFilter::default().passes(address.parse().unwrap())
    }

    #[test]
    fn only_the_public_internet_passes() {
        for address in [
            "127.0.0.1",
            "127.255.255.254",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.2.7",
            "198.19.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2001::1",
            "::7f00:1",
        ] {
            assert!(!passes(address), "{address}");
        }
        for address in [
            "1.1.1.1",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "::ffff:9.9.9.9",
            "64:ff9b::101:101",
        ] {
            assert!(passes(address), "{address}");
        }
    }

    #[test]
    fn the_operator_may_name_networks_of_his_own() {
        let filter = AddressFilter::new(vec!["10.53.0.0/16".parse().unwrap()]);
        assert!(filter.passes("10.53.7.7".parse().unwrap()));
        assert!(filter.passes("::ffff:10.53.7.7".parse().unwrap()));
        assert!(!filter.passes("10.54.0.1".parse().unwrap()));
    }
}
