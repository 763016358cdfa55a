//! One list, indexed so that a look-up costs a few hash probes however long the list is.

use std::collections::HashMap;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::line::{self, BadLine, Entry, Line, Pattern};
use indicators::{DomainName, Host, Indicator};

/// What a list means for the things on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ListKind {
    /// Known to be harmless.
    Whitelist,
    /// Known to be malicious.
    Blacklist,
    /// Seen in dark places: suspicious.
    Darklist,
    /// Reported as malicious by a trusted open-source feed.
    Feed,
}

/// One list file in memory.
#[derive(Debug)]
pub struct List {
    kind: ListKind,
    name: String,
    version: String,
    weight: Option<f64>,
    entries: Vec<Entry>,
    index: Index,
    set_aside: Vec<BadLine>,
}

/// Where in `entries` an indicator is spoken of.
#[derive(Debug, Default)]
struct Index {
    names: HashMap<Box<str>, NameSlot>,
    v4: PrefixMap<Ipv4Net, usize>,
    v6: PrefixMap<Ipv6Net, usize>,
    /// URLs, mail addresses and hashes by their normal form; these cannot be mistaken for each other.
    exact: HashMap<Box<str>, usize>,
}

#[derive(Debug, Default)]
struct NameSlot {
    itself: Option<usize>,
    below: Option<usize>,
}

/// One entry that speaks of an indicator.
#[derive(Clone, Copy, Debug)]
pub struct Hit<'l> {
    /// The list.
    pub list: &'l List,
    /// The entry in it.
    pub entry: &'l Entry,
    /// What the entry speaks of.
    pub scope: Scope,
    /// How it fits.
    pub matched: Match,
}

/// Whether an entry speaks of the indicator, or only of the host a URL or mail address lives on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// The indicator.
    Itself,
    /// Its host.
    Host,
}

/// How an entry fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Match {
    /// It names exactly this.
    Exact,
    /// It is a range that holds all of this.
    Range,
    /// It speaks for the names below it, of which this is one.
    Subdomain,
}

impl ListKind {
    /// The name answers use.
    pub fn name(self) -> &'static str {
        match self {
            ListKind::Whitelist => "whitelist",
            ListKind::Blacklist => "blacklist",
            ListKind::Darklist => "darklist",
            ListKind::Feed => "feed",
        }
    }
}

impl List {
    /// Makes a list of a file's content. Never fails: lines that cannot be used are in [`set_aside`](Self::set_aside).
    ///
    /// Without a version of its own, a list is called after a digest of its content, so that two versions never share a name.
    pub fn parse(kind: ListKind, name: &str, bytes: &[u8]) -> List {
        let mut list = List {
            kind,
            name: name.to_owned(),
            version: digest(bytes),
            weight: None,
            entries: Vec::new(),
            index: Index::default(),
            set_aside: Vec::new(),
        };
        for (number, bytes) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
            match line::parse(kind, number, bytes) {
                Ok(Line::Nothing) => {}
                Ok(Line::Version(version)) => list.version = version,
                Ok(Line::Weight(weight)) => list.weight = Some(weight),
                Ok(Line::Entry(pattern, entry)) => list.add(pattern, entry),
                Err(reason) => list.set_aside.push(BadLine {
                    line: number,
                    reason,
                }),
            }
        }
        list
    }

    /// What it means to be on it.
    pub fn kind(&self) -> ListKind {
        self.kind
    }

    /// Its name: the file's, without `.txt`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Kind and name for people, without saying `whitelist whitelist`.
    pub fn title(&self) -> String {
        if self.name.starts_with(self.kind.name()) {
            self.name.clone()
        } else {
            format!("{} {}", self.kind.name(), self.name)
        }
    }

    /// The version it gives itself, or a digest of its content.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// How much its entries count when they don't say so themselves.
    pub fn weight(&self) -> Option<f64> {
        self.weight
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The lines that could not be used.
    pub fn set_aside(&self) -> &[BadLine] {
        &self.set_aside
    }

    /// What this list says: about the indicator if it can, else about the host it lives on.
    pub fn find(&self, indicator: &Indicator) -> Option<Hit<'_>> {
        let index = &self.index;
        let found = match indicator {
            Indicator::Ip(ip) => index.net(IpNet::from(*ip)),
            Indicator::Range(range) => index.net(*range),
            Indicator::Domain(name) => index.name(name),
            Indicator::Hash(hash) => index.exact(&hash.to_string()),
            Indicator::Url(url) => index.exact(url.as_str()),
            Indicator::Email(email) => index.exact(&email.to_string()),
        };
        if let Some((at, matched)) = found {
            return Some(self.hit(at, matched, Scope::Itself));
        }
        let (at, matched) = match indicator {
            Indicator::Url(url) => match url.host() {
                Host::Ip(ip) => index.net(IpNet::from(*ip)),
                Host::Name(name) => index.name(name),
            },
            Indicator::Email(email) => index.name(email.domain()),
            Indicator::Ip(_) | Indicator::Range(_) | Indicator::Domain(_) | Indicator::Hash(_) => {
                None
            }
        }?;
        Some(self.hit(at, matched, Scope::Host))
    }

    fn hit(&self, at: usize, matched: Match, scope: Scope) -> Hit<'_> {
        Hit {
            list: self,
            entry: &self.entries[at],
            scope,
            matched,
        }
    }

    /// Takes an entry in. If two lines speak of the same thing the later one counts, as it does for whoever appends to a file.
    fn add(&mut self, pattern: Pattern, entry: Entry) {
        let at = self.entries.len();
        self.entries.push(entry);
        match pattern {
            Pattern::Names {
                name,
                itself,
                below,
            } => {
                let slot = self.index.names.entry(name.as_str().into()).or_default();
                slot.itself = if itself { Some(at) } else { slot.itself };
                slot.below = if below { Some(at) } else { slot.below };
            }
            Pattern::One(Indicator::Ip(ip)) => self.index.add_net(IpNet::from(ip), at),
            Pattern::One(Indicator::Range(range)) => self.index.add_net(range, at),
            Pattern::One(
                other @ (Indicator::Domain(_)
                | Indicator::Url(_)
                | Indicator::Email(_)
                | Indicator::Hash(_)),
            ) => {
                self.index.exact.insert(other.to_string().into(), at);
            }
        }
    }
}

impl Index {
    fn add_net(&mut self, net: IpNet, at: usize) {
        match net {
            IpNet::V4(net) => self.v4.insert(net, at),
            IpNet::V6(net) => self.v6.insert(net, at),
        };
    }

    /// The smallest listed range that holds all of `net`.
    fn net(&self, net: IpNet) -> Option<(usize, Match)> {
        let (length, at) = match net {
            IpNet::V4(net) => self
                .v4
                .get_lpm(&net)
                .map(|(found, at)| (found.prefix_len(), *at))?,
            IpNet::V6(net) => self
                .v6
                .get_lpm(&net)
                .map(|(found, at)| (found.prefix_len(), *at))?,
        };
        let matched = if length == net.prefix_len() {
            Match::Exact
        } else {
            Match::Range
        };
        Some((at, matched))
    }

    /// The entry for the name, else the nearest one above it that speaks for sub-domains.
    fn name(&self, name: &DomainName) -> Option<(usize, Match)> {
        if let Some(at) = self.names.get(name.as_str()).and_then(|slot| slot.itself) {
            return Some((at, Match::Exact));
        }
        let above = |ancestor: &str| self.names.get(ancestor).and_then(|slot| slot.below);
        name.ancestors()
            .find_map(above)
            .map(|at| (at, Match::Subdomain))
    }

    fn exact(&self, normal: &str) -> Option<(usize, Match)> {
        self.exact.get(normal).map(|at| (*at, Match::Exact))
    }
}

/// The first 12 digits of the content's SHA-256, enough to tell versions apart.
fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let digits: String = digest
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{digits}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which entry of the list `text` speaks of `indicator`, how it fits and whether it is only about the host.
    fn check(text: &str, indicator: &str, expected: Option<(&str, Match, Scope)>) {
        let list = List::parse(ListKind::Blacklist, "sample", text.as_bytes());
        assert_eq!(list.set_aside(), [], "{text}");
        let parsed = indicator.parse().expect("a valid indicator");
        let found = list
            .find(&parsed)
            .map(|hit| (&*hit.entry.text, hit.matched, hit.scope));
        assert_eq!(found, expected, "{indicator} in {text:?}");
    }

    const ITSELF: Scope = Scope::Itself;

    #[test]
    fn the_longest_range_that_holds_an_address_is_reported() {
        let ranges = "198.51.100.0/24\n198.51.100.128/25\n198.51.100.200\n2001:db8::/32";
        check(
            ranges,
            "198.51.100.1",
            Some(("198.51.100.0/24", Match::Range, ITSELF)),
        );
        check(
            ranges,
            "198.51.100.129",
            Some(("198.51.100.128/25", Match::Range, ITSELF)),
        );
        check(
            ranges,
            "198.51.100.200",
            Some(("198.51.100.200", Match::Exact, ITSELF)),
        );
        check(
            ranges,
            "2001:db8:1::5",
            Some(("2001:db8::/32", Match::Range, ITSELF)),
        );
        check(
            ranges,
            "::ffff:198.51.100.200",
            Some(("198.51.100.200", Match::Exact, ITSELF)),
        );
        check(ranges, "192.0.2.1", None);
    }

    #[test]
    fn a_range_is_hit_only_by_what_holds_all_of_it() {
        check(
            "198.51.100.0/24",
            "198.51.100.0/25",
            Some(("198.51.100.0/24", Match::Range, ITSELF)),
        );
        check(
            "198.51.100.0/24",
            "198.51.100.7/24",
            Some(("198.51.100.0/24", Match::Exact, ITSELF)),
        );
        check("198.51.100.0/25", "198.51.100.0/24", None);
    }

    #[test]
    fn a_registrable_name_speaks_for_its_subdomains_and_a_deeper_one_does_not() {
        check(
            "evil.test",
            "evil.test",
            Some(("evil.test", Match::Exact, ITSELF)),
        );
        check(
            "evil.test",
            "a.b.evil.test",
            Some(("evil.test", Match::Subdomain, ITSELF)),
        );
        check("evil.test", "notevil.test", None);
        check("www.evil.test", "evil.test", None);
        check("www.evil.test", "a.www.evil.test", None);
        check(
            "someone.github.io",
            "a.someone.github.io",
            Some(("someone.github.io", Match::Subdomain, ITSELF)),
        );
    }

    #[test]
    fn wildcards_reach_below_and_a_leading_dot_also_the_name_itself() {
        check(
            "*.dyn.evil.test",
            "a.dyn.evil.test",
            Some(("*.dyn.evil.test", Match::Subdomain, ITSELF)),
        );
        check("*.dyn.evil.test", "dyn.evil.test", None);
        check(
            ".dyn.evil.test",
            "dyn.evil.test",
            Some((".dyn.evil.test", Match::Exact, ITSELF)),
        );
        check(
            "*.zip",
            "invoice.zip",
            Some(("*.zip", Match::Subdomain, ITSELF)),
        );
        check(
            "evil.test\n*.a.evil.test",
            "x.a.evil.test",
            Some(("*.a.evil.test", Match::Subdomain, ITSELF)),
        );
    }

    #[test]
    fn urls_mails_and_hashes_match_in_their_normal_form_and_else_by_their_host() {
        let url = "http://evil.test/a?b=1";
        check(
            url,
            "hxxp://EVIL[.]test:80/x/../%61?b=1#top",
            Some((url, Match::Exact, ITSELF)),
        );
        check(url, "http://evil.test/other", None);
        check(
            "evil.test",
            "http://www.evil.test/x",
            Some(("evil.test", Match::Subdomain, Scope::Host)),
        );
        check(
            "192.0.2.0/24",
            "http://192.0.2.9:8080/",
            Some(("192.0.2.0/24", Match::Range, Scope::Host)),
        );
        check(
            "Eve@evil.test",
            "eve@EVIL.test",
            Some(("Eve@evil.test", Match::Exact, ITSELF)),
        );
        check(
            "evil.test",
            "eve@evil.test",
            Some(("evil.test", Match::Exact, Scope::Host)),
        );
        let md5 = "44D88612FEA8A8F36DE82E1278ABB02F";
        check(md5, &md5.to_lowercase(), Some((md5, Match::Exact, ITSELF)));
    }

    #[test]
    fn a_list_is_called_by_its_version_or_its_content() {
        let named = List::parse(
            ListKind::Feed,
            "f",
            b"#! version: 7\n#! weight: 0.2\nevil.test",
        );
        assert_eq!((named.version(), named.weight()), ("7", Some(0.2)));
        let unnamed = |text: &[u8]| List::parse(ListKind::Feed, "f", text).version().to_owned();
        assert_ne!(unnamed(b"a.test"), unnamed(b"b.test"));
    }
}
