//! What entries are found by: the normal form of what they speak of, as bytes.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;
use std::sync::LazyLock;

use indicators::Indicator;

/// One seed for all lists, so that a look-up hashes a name once however many lists there are. It is secret, or whoever writes
/// to a feed could choose names that hide each other.
static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// A family, so that a name and a mail address never meet, and the bytes of the normal form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key<'b> {
    family: Family,
    bytes: &'b [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Family {
    Name = 1,
    Ip = 2,
    Net = 3,
    /// URLs, mail addresses and hashes, none of which can be mistaken for another.
    Text = 4,
    /// A regular expression or a part of a text.
    Pattern = 5,
}

impl<'b> Key<'b> {
    pub(crate) fn name(name: &'b str) -> Self {
        Key {
            family: Family::Name,
            bytes: name.as_bytes(),
        }
    }

    pub(crate) fn pattern(pattern: &'b str) -> Self {
        Key {
            family: Family::Pattern,
            bytes: pattern.as_bytes(),
        }
    }

    fn text(text: &'b str) -> Self {
        Key::new(Family::Text, text.as_bytes())
    }

    fn new(family: Family, bytes: &'b [u8]) -> Self {
        Key { family, bytes }
    }

    /// Calls `then` with the key of an address.
    pub(crate) fn of_ip<R>(ip: IpAddr, then: impl FnOnce(Key<'_>) -> R) -> R {
        match ip {
            IpAddr::V4(ip) => then(Key::new(Family::Ip, &ip.octets())),
            IpAddr::V6(ip) => then(Key::new(Family::Ip, &ip.octets())),
        }
    }

    /// Calls `then` with the key of an indicator.
    pub(crate) fn of<R>(indicator: &Indicator, then: impl FnOnce(Key<'_>) -> R) -> R {
        match indicator {
            Indicator::Ip(ip) => Key::of_ip(*ip, then),
            Indicator::Range(net) => then(Key::new(Family::Net, net.to_string().as_bytes())),
            Indicator::Domain(name) => then(Key::name(name.as_str())),
            Indicator::Url(url) => then(Key::text(url.as_str())),
            Indicator::Email(email) => then(Key::text(&email.to_string())),
            Indicator::Hash(hash) => then(Key::text(&hash.to_string())),
        }
    }

    /// The key that [`family`](Self::family) and [`bytes`](Self::bytes) were taken of.
    pub(crate) fn from_parts(family: u8, bytes: &'b [u8]) -> Option<Self> {
        use Family::{Ip, Name, Net, Pattern, Text};
        let family = [Name, Ip, Net, Text, Pattern]
            .into_iter()
            .find(|known| *known as u8 == family)?;
        Some(Key { family, bytes })
    }

    pub(crate) fn family(&self) -> u8 {
        self.family as u8
    }

    pub(crate) fn bytes(&self) -> &'b [u8] {
        self.bytes
    }

    /// The same for equal keys in this process, and not to be foreseen by others.
    pub(crate) fn hash(&self) -> u64 {
        let mut hasher = SEED.build_hasher();
        hasher.write(self.bytes);
        hasher.write_u8(self.family());
        hasher.finish()
    }
}
