//! What is asked of every list: the keys of an indicator with their hashes, worked out once however many lists there are.

use std::borrow::Cow;

use indicators::{DomainName, Host, Indicator};
use ipnet::IpNet;

use crate::key::Key;

/// One indicator, as lists are asked about it.
#[derive(Debug)]
pub(crate) struct Question<'i> {
    pub(crate) indicator: &'i Indicator,
    pub(crate) itself: Subject<'i>,
    /// Where it lives, if it lives somewhere.
    pub(crate) host: Option<Subject<'i>>,
}

/// What an entry may speak of.
#[derive(Debug)]
pub(crate) enum Subject<'i> {
    /// A name, and those above it, the nearest first.
    Name(Vec<Probe<'i>>),
    /// An address.
    Ip(Probe<'i>, IpNet),
    /// A range.
    Net(IpNet),
    /// What is spoken of by itself only.
    Exact(Probe<'i>),
}

/// A key and its hash.
#[derive(Debug)]
pub(crate) struct Probe<'i> {
    family: u8,
    bytes: Cow<'i, [u8]>,
    pub(crate) hash: u64,
}

impl<'i> Question<'i> {
    pub(crate) fn new(indicator: &'i Indicator) -> Self {
        let (itself, host) = match indicator {
            Indicator::Ip(ip) => (Subject::ip(IpNet::from(*ip)), None),
            Indicator::Range(net) => (Subject::Net(*net), None),
            Indicator::Domain(name) => (Subject::name(name), None),
            Indicator::Url(url) => {
                let host = match url.host() {
                    Host::Ip(ip) => Subject::ip(IpNet::from(*ip)),
                    Host::Name(name) => Subject::name(name),
                };
                (Subject::Exact(Probe::of(indicator)), Some(host))
            }
            Indicator::Email(email) => (
                Subject::Exact(Probe::of(indicator)),
                Some(Subject::name(email.domain())),
            ),
            Indicator::Hash(_) => (Subject::Exact(Probe::of(indicator)), None),
        };
        Question {
            indicator,
            itself,
            host,
        }
    }

    /// Everything that is asked.
    pub(crate) fn subjects(&self) -> impl Iterator<Item = &Subject<'i>> {
        std::iter::once(&self.itself).chain(&self.host)
    }
}

impl<'i> Subject<'i> {
    fn name(name: &'i DomainName) -> Self {
        let names = std::iter::once(name.as_str()).chain(name.ancestors());
        Subject::Name(names.map(|name| Probe::new(Key::name(name))).collect())
    }

    fn ip(net: IpNet) -> Self {
        Subject::Ip(Probe::of(&Indicator::Ip(net.addr())), net)
    }
}

impl<'i> Probe<'i> {
    fn new(key: Key<'i>) -> Self {
        Probe {
            family: key.family(),
            bytes: Cow::Borrowed(key.bytes()),
            hash: key.hash(),
        }
    }

    fn of(indicator: &Indicator) -> Self {
        Key::of(indicator, |key| Probe {
            family: key.family(),
            bytes: Cow::Owned(key.bytes().to_vec()),
            hash: key.hash(),
        })
    }

    /// Whether a record's key is this one.
    pub(crate) fn is(&self, key: Key<'_>) -> bool {
        self.family == key.family() && *self.bytes == *key.bytes()
    }
}
