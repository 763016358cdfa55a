//! One list, indexed so that a look-up costs a few memory accesses however long the list is.

use std::path::Path;
use std::{io, mem, thread};

use indicators::Indicator;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use jiff::Timestamp;
use prefix_trie::PrefixMap;
use serde::Serialize;
use tracing::error;

use crate::checksums::Digest;
use crate::index::{Index, IndexBuilder};
use crate::key::Key;
use crate::kinds::Kinds;
use crate::line::{BadLine, Entry, Pattern};
use crate::patterns::Patterns;
use crate::question::{Probe, Question, Subject};
use crate::records::{Offset, Reach, Record, RecordWriter, Records};

/// So many of the lines that could not be used are kept to be shown. A file that is no list at all has millions.
const SHOWN: usize = 100;

/// A list of so many entries takes a while to give back.
const LONG: usize = 100_000;

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

/// What a whitelist says about who is behind its names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// One party owns each name and all that lives on it.
    Owned,
    /// Others may publish there, as on hosting platforms, dynamic DNS, CDNs and mail providers. So it is unless the list says
    /// otherwise.
    #[default]
    Shared,
}

/// One list in memory. Its entries' texts lie in a file of its own, which goes with it.
#[derive(Debug)]
pub struct List {
    kind: ListKind,
    name: String,
    version: String,
    weight: Option<f64>,
    class: Class,
    entries: usize,
    index: Index,
    nets: Nets,
    patterns: Patterns,
    /// Which kinds of indicators it is for.
    kinds: Kinds,
    /// The names above a name that are looked up have at least so many labels: no entry speaks for what is below fewer.
    fewest_labels: usize,
    records: Records,
    set_aside: SetAside,
    written: Timestamp,
    digest: Digest,
}

/// The ranges of a list, and where their entries stand.
#[derive(Debug, Default)]
struct Nets {
    v4: PrefixMap<Ipv4Net, Offset>,
    v6: PrefixMap<Ipv6Net, Offset>,
}

/// The lines that could not be used.
#[derive(Debug, Default)]
struct SetAside {
    count: usize,
    first: Vec<BadLine>,
}

/// A list in the making.
#[derive(Debug)]
pub(crate) struct ListBuilder {
    kind: ListKind,
    name: String,
    /// The version the list gives itself.
    pub(crate) version: Option<String>,
    /// The weight the list gives its entries.
    pub(crate) weight: Option<f64>,
    /// Whose the names of a whitelist are.
    pub(crate) class: Class,
    /// Which kinds of indicators it is for.
    pub(crate) kinds: Kinds,
    entries: usize,
    index: IndexBuilder,
    nets: Nets,
    expressions: Vec<(String, Offset)>,
    fewest_labels: usize,
    records: RecordWriter,
    set_aside: SetAside,
}

/// One entry that speaks of an indicator.
#[derive(Clone, Debug)]
pub struct Hit<'l> {
    /// The list.
    pub list: &'l List,
    /// The entry in it.
    pub entry: Entry,
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
    /// It is an expression that is found in this.
    Pattern,
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

impl ListBuilder {
    /// An empty list. When its entries get many, their texts go into a file in `folder`.
    pub(crate) fn new(kind: ListKind, name: &str, folder: &Path) -> Self {
        ListBuilder {
            kind,
            name: name.to_owned(),
            version: None,
            weight: None,
            class: Class::default(),
            kinds: Kinds::default(),
            entries: 0,
            index: IndexBuilder::default(),
            nets: Nets::default(),
            expressions: Vec::new(),
            fewest_labels: usize::MAX,
            records: RecordWriter::new(folder),
            set_aside: SetAside::default(),
        }
    }

    pub(crate) fn kind(&self) -> ListKind {
        self.kind
    }

    /// Notes that something could not be used.
    pub(crate) fn set_aside(&mut self, line: u32, reason: String) {
        self.set_aside.count += 1;
        if self.set_aside.first.len() < SHOWN {
            self.set_aside.first.push(BadLine { line, reason });
        }
    }

    /// Takes an entry in. If two speak of the same thing the later one counts, as it does for whoever appends to a file.
    pub(crate) fn add(&mut self, pattern: &Pattern, entry: &Entry) -> io::Result<()> {
        let itself = Reach {
            itself: true,
            below: false,
        };
        self.entries += 1;
        match pattern {
            Pattern::Names {
                name,
                itself,
                below,
            } => {
                if *below {
                    self.fewest_labels = self.fewest_labels.min(labels(name.as_str()));
                }
                let (itself, below) = (*itself, *below);
                self.find_by(Key::name(name.as_str()), Reach { itself, below }, entry)
            }
            Pattern::One(indicator @ Indicator::Range(net)) => {
                let at = Key::of(indicator, |key| self.records.write(key, itself, entry))?;
                match net {
                    IpNet::V4(net) => self.nets.v4.insert(*net, at),
                    IpNet::V6(net) => self.nets.v6.insert(*net, at),
                };
                Ok(())
            }
            Pattern::One(indicator) => Key::of(indicator, |key| self.find_by(key, itself, entry)),
            Pattern::Regex(expression) => {
                let at = self
                    .records
                    .write(Key::pattern(expression), itself, entry)?;
                self.expressions.push((expression.clone(), at));
                Ok(())
            }
        }
    }

    fn find_by(&mut self, key: Key<'_>, reach: Reach, entry: &Entry) -> io::Result<()> {
        let at = self.records.write(key, reach, entry)?;
        self.index.add(key, at);
        Ok(())
    }

    /// The list. Without a version of its own it is called after `digest`, one of its content.
    pub(crate) fn finish(self, digest: String) -> io::Result<List> {
        let records = self.records.finish()?;
        let patterns = Patterns::new(&self.expressions).map_err(|error| {
            let reason = format!("its expressions are too many: {error}");
            io::Error::new(io::ErrorKind::InvalidData, reason)
        })?;
        Ok(List {
            kind: self.kind,
            name: self.name,
            version: self.version.unwrap_or(digest),
            weight: self.weight,
            class: self.class,
            entries: self.entries,
            index: self.index.finish(&records)?,
            nets: self.nets,
            patterns,
            kinds: self.kinds,
            fewest_labels: self.fewest_labels,
            records,
            set_aside: self.set_aside,
            written: Timestamp::now(),
            digest: Digest([0; 32]),
        })
    }
}

impl List {
    /// Makes a list of the content of a text file, in memory. Never fails: lines that cannot be used are in
    /// [`set_aside`](Self::set_aside).
    ///
    /// # Panics
    /// When the content is larger than the few megabytes this is made for, and the temporary folder is not writable.
    pub fn parse(kind: ListKind, name: &str, bytes: &[u8]) -> List {
        let input = crate::format::Input {
            kind,
            name,
            folder: &std::env::temp_dir(),
            now: Timestamp::now(),
        };
        crate::format::Format::Lines
            .read(&input, &mut &*bytes)
            .expect("memory is readable and writable")
    }

    /// Makes a list of the content of a file with this extension (`txt`, `csv` or `json`), in memory. What can't be used of it
    /// is in [`set_aside`](Self::set_aside).
    ///
    /// # Errors
    /// When there are no lists with this extension, or the content is as a whole not of its form.
    pub fn parse_as(kind: ListKind, name: &str, extension: &str, bytes: &[u8]) -> io::Result<List> {
        let input = crate::format::Input {
            kind,
            name,
            folder: &std::env::temp_dir(),
            now: Timestamp::now(),
        };
        let format = crate::format::Format::of_extension(extension);
        let format = format.ok_or_else(|| {
            let reason = format!("there are no lists with the extension `{extension}`");
            io::Error::new(io::ErrorKind::InvalidInput, reason)
        })?;
        format.read(&input, &mut &*bytes)
    }

    /// What it means to be on it.
    pub fn kind(&self) -> ListKind {
        self.kind
    }

    /// Its name: the file's, without the extension.
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

    /// Whose the names are, if it is a whitelist.
    pub fn class(&self) -> Option<Class> {
        (self.kind == ListKind::Whitelist).then_some(self.class)
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Whether it has no entry.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// When its file was written, or, if it was not made of a file, the list.
    pub fn written(&self) -> Timestamp {
        self.written
    }

    /// The same list, of a content with this digest.
    pub(crate) fn with_digest(mut self, digest: Digest) -> List {
        self.digest = digest;
        self
    }

    /// The digest of the content it was made of.
    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    /// The same list, of a file that was written then.
    pub(crate) fn written_at(mut self, written: Timestamp) -> List {
        self.written = written;
        self
    }

    /// The first lines that could not be used; [`set_aside_count`](Self::set_aside_count) tells how many there were.
    pub fn set_aside(&self) -> &[BadLine] {
        &self.set_aside.first
    }

    /// How many lines could not be used.
    pub fn set_aside_count(&self) -> usize {
        self.set_aside.count
    }

    /// How many bytes of memory its index takes, ranges and expressions not counted.
    pub fn index_bytes(&self) -> usize {
        self.index.bytes()
    }

    /// What this list says: about the indicator if it can, else about the host it lives on.
    pub fn find(&self, indicator: &Indicator) -> Option<Hit<'_>> {
        self.answer(&Question::new(indicator), &|_| true)
    }

    /// Brings near what [`answer`](Self::answer) will look at, without waiting for it.
    pub(crate) fn touch(&self, question: &Question<'_>) -> u64 {
        let touch = |subject: &Subject<'_>| match subject {
            Subject::Name(names) => {
                let names = names.iter().take(1 + self.above(names));
                names.fold(0, |touched, name| touched ^ self.index.touch(name.hash))
            }
            Subject::Ip(probe, _) | Subject::Exact(probe) => self.index.touch(probe.hash),
            Subject::Net(_) => 0,
        };
        question.subjects().map(touch).fold(0, |a, b| a ^ b)
    }

    /// The closest entry that counts, or the closest if none does.
    pub(crate) fn answer(
        &self,
        question: &Question<'_>,
        counts: &dyn Fn(&Entry) -> bool,
    ) -> Option<Hit<'_>> {
        if !self.kinds.includes(question.indicator) {
            return None;
        }
        let mut seen = Seen {
            counts,
            closest: None,
        };
        let host = question.host.as_ref();
        let found = self
            .subject(&question.itself, Scope::Itself, &mut seen)
            .or_else(|| self.pattern(question.indicator, &mut seen))
            .or_else(|| self.subject(host?, Scope::Host, &mut seen));
        let (entry, matched, scope) = found.or(seen.closest)?;
        Some(Hit {
            list: self,
            entry,
            scope,
            matched,
        })
    }

    /// The entry whose expression is found in the indicator. Whoever is to be found out chooses the text: so a whitelist's
    /// expression is not looked for in what follows a URL's host or stands before a mail address's, and never speaks against an entry for the indicator itself.
    fn pattern(&self, indicator: &Indicator, seen: &mut Seen<'_>) -> Option<Found> {
        let (at, scope) = match (self.kind, indicator) {
            (ListKind::Whitelist, Indicator::Url(url)) => {
                (self.patterns.find_host(url.host())?, Scope::Host)
            }
            (ListKind::Whitelist, Indicator::Email(address)) => (
                self.patterns.find_in(address.domain().as_str())?,
                Scope::Host,
            ),
            (ListKind::Whitelist, _) => (self.patterns.find(indicator)?, Scope::Host),
            (ListKind::Blacklist | ListKind::Darklist | ListKind::Feed, _) => {
                (self.patterns.find(indicator)?, Scope::Itself)
            }
        };
        let entry = self.read(at, |record| Some(record.entry()))?;
        seen.see((entry, Match::Pattern, scope))
    }

    fn subject(&self, subject: &Subject<'_>, scope: Scope, seen: &mut Seen<'_>) -> Option<Found> {
        let exact = |probe, seen: &mut Seen<'_>| {
            let entry = self.latest(probe, |reach| reach.itself)?;
            seen.see((entry, Match::Exact, scope))
        };
        match subject {
            Subject::Name(names) => self.name_or_above(names, scope, seen),
            Subject::Ip(probe, net) => exact(probe, seen).or_else(|| self.net(net, scope, seen)),
            Subject::Net(net) => self.net(net, scope, seen),
            Subject::Exact(probe) => exact(probe, seen),
        }
    }

    /// The entry for the smallest listed range that holds all of `net`.
    fn net(&self, net: &IpNet, scope: Scope, seen: &mut Seen<'_>) -> Option<Found> {
        let closest = match net {
            IpNet::V4(net) => of_v4(self.nets.v4.get_lpm(net)?),
            IpNet::V6(net) => of_v6(self.nets.v6.get_lpm(net)?),
        };
        let mut see = |(length, at): (u8, Offset)| {
            let matched = if length == net.prefix_len() {
                Match::Exact
            } else {
                Match::Range
            };
            let entry = self.read(at, |record| Some(record.entry()))?;
            seen.see((entry, matched, scope))
        };
        if let Some(found) = see(closest) {
            return Some(found);
        }
        let all: Vec<_> = match net {
            IpNet::V4(net) => self.nets.v4.cover(net).map(of_v4).collect(),
            IpNet::V6(net) => self.nets.v6.cover(net).map(of_v6).collect(),
        };
        all.into_iter().rev().skip(1).find_map(see)
    }

    /// The entry for the first of the names, else for the nearest one above it that speaks for sub-domains.
    fn name_or_above(
        &self,
        names: &[Probe<'_>],
        scope: Scope,
        seen: &mut Seen<'_>,
    ) -> Option<Found> {
        let (name, above) = names.split_first()?;
        if let Some(entry) = self.latest(name, |reach| reach.itself)
            && let Some(found) = seen.see((entry, Match::Exact, scope))
        {
            return Some(found);
        }
        let mut above = above.iter().take(self.above(names));
        above.find_map(|name| {
            let entry = self.latest(name, |reach| reach.below)?;
            seen.see((entry, Match::Subdomain, scope))
        })
    }

    /// How many of the names above a name may have an entry. A name has as many labels as there are names from it to the top.
    fn above(&self, names: &[Probe<'_>]) -> usize {
        names.len().saturating_sub(self.fewest_labels)
    }

    /// The latest entry of the key that reaches as far as `wanted`.
    fn latest(&self, probe: &Probe<'_>, wanted: impl Fn(Reach) -> bool) -> Option<Entry> {
        let look = |record: &Record<'_>| {
            let fits = probe.is(record.key) && wanted(record.reach);
            fits.then(|| record.entry())
        };
        self.index.find(probe.hash, |at| self.read(at, look))
    }

    /// Looks at a record. Only a broken disk can keep us from it; then it is as if the entry did not fit, and the log says so.
    fn read(&self, at: Offset, look: impl FnOnce(&Record<'_>) -> Option<Entry>) -> Option<Entry> {
        let seen = self.records.with(at, look);
        seen.unwrap_or_else(|cause| {
            error!(list = self.title(), %cause, "an entry can't be read; the look-up goes on without it");
            None
        })
    }
}

/// The last who lets go of a list may be answering a request, and giving back hundreds of megabytes of memory and file takes tens of
/// milliseconds. So of a long list that is done by a thread of its own, which ends with it.
impl Drop for List {
    fn drop(&mut self) {
        if self.entries < LONG {
            return;
        }
        let memory = Records::Memory(Box::default());
        let parts = (
            mem::take(&mut self.index),
            mem::take(&mut self.nets),
            mem::replace(&mut self.records, memory),
        );
        // Where no thread can be had, they are given back here.
        let _ends_by_itself = thread::Builder::new().spawn(move || drop(parts));
    }
}

/// An entry that speaks of an indicator, and how.
type Found = (Entry, Match, Scope);

/// What was seen on the way from the closest entry to the widest.
struct Seen<'c> {
    counts: &'c dyn Fn(&Entry) -> bool,
    closest: Option<Found>,
}

impl Seen<'_> {
    /// Gives an entry back if it counts. Of those that don't, the closest is kept.
    fn see(&mut self, found: Found) -> Option<Found> {
        if (self.counts)(&found.0) {
            return Some(found);
        }
        self.closest.get_or_insert(found);
        None
    }
}

fn of_v4((net, at): (Ipv4Net, &Offset)) -> (u8, Offset) {
    (net.prefix_len(), *at)
}

fn of_v6((net, at): (Ipv6Net, &Offset)) -> (u8, Offset) {
    (net.prefix_len(), *at)
}

fn labels(name: &str) -> usize {
    1 + name.bytes().filter(|byte| *byte == b'.').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which entry of the list `text` speaks of `indicator`, how it fits and whether it is only about the host.
    fn check(text: &str, indicator: &str, expected: Option<(&str, Match, Scope)>) {
        let list = List::parse(ListKind::Blacklist, "sample", text.as_bytes());
        assert_eq!(list.set_aside(), [], "{text}");
        let parsed = indicator.parse().expect("a valid indicator");
        let found = list.find(&parsed);
        let found = found
            .as_ref()
            .map(|hit| (&*hit.entry.text, hit.matched, hit.scope));
        assert_eq!(found, expected, "{indicator} in {text:?}");
    }

    const ITSELF: Scope = Scope::Itself;

    #[test]
    fn a_wider_entry_speaks_where_a_closer_one_does_not_count() {
        let text = "a.evil.test,0.1\nevil.test,0.2\n*.test,0.9\n198.51.100.7,0.1\n198.51.100.0/25,0.2\n198.51.100.0/24,0.9\n\
                    http://a.evil.test/x,0.1";
        let list = List::parse(ListKind::Feed, "sample", text.as_bytes());
        let found = |indicator: &str, least: f64| {
            let indicator = indicator.parse().expect("a valid indicator");
            let counts = |entry: &Entry| entry.weight >= Some(least);
            let hit = list
                .answer(&Question::new(&indicator), &counts)
                .expect("a hit");
            hit.entry.text.to_string()
        };
        for (indicator, expected) in [
            (
                "a.evil.test",
                ["a.evil.test", "evil.test", "*.test", "a.evil.test"],
            ),
            (
                "198.51.100.7",
                [
                    "198.51.100.7",
                    "198.51.100.0/25",
                    "198.51.100.0/24",
                    "198.51.100.7",
                ],
            ),
            (
                "http://a.evil.test/x",
                [
                    "http://a.evil.test/x",
                    "evil.test",
                    "*.test",
                    "http://a.evil.test/x",
                ],
            ),
        ] {
            let texts = [0.1, 0.2, 0.9, 1.0].map(|least| found(indicator, least));
            assert_eq!(texts, expected, "{indicator}");
        }
    }

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
