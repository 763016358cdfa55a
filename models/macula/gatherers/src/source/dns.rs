//! DNS: what a name's own servers say of it.
//!
//! How long a name's addresses may be remembered (its TTL) tells much about it, and only its own servers know: every cache in
//! between counts down. So the servers are found by way of a resolver, and then asked directly, without recursion; only what
//! is marked as authoritative counts. If none of them answers so, the features are missing.
//!
//! Those servers are chosen by whoever owns the name. Their addresses pass the [address filter](crate::AddressFilter), the
//! number of questions for one name is bounded, and so is that for one zone in a minute. Asking tells the owner that somebody
//! looks.

mod authority;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use ipnet::IpNet;
use jiff::Timestamp;
use serde::Deserialize;

use super::{AddressFamily, Content, Exchange, Failure, Question, Source, SubjectForm};
use crate::address_filter::AddressFilter;
use crate::feature::{Category, FeatureSpec, Reading, Value, ValueType};
use crate::gate::Leaks;
use crate::quota::{Quota, QuotaPolicy};
use crate::span::Span;

const NAME: &str = "dns";

/// How many of a zone's servers are asked.
const SERVERS: usize = 2;

/// How often a server may say that another one knows better.
const REFERRALS: usize = 3;

/// How many names may stand for one another in a row.
const ALIASES: usize = 8;

/// Addresses of the older kind, and of the newer if there are none.
const ANY: &[RecordType] = &[RecordType::A, RecordType::AAAA];

/// How many zones are counted at a time.
const ZONES: u64 = 10_000;

/// How names are resolved.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DnsConfig {
    /// The resolvers that find a name's servers; this machine's own if none is named.
    pub resolvers: Vec<SocketAddr>,
    /// Networks that may be contacted though they are not the public Internet.
    pub allow: Vec<IpNet>,
    /// How long all questions for one name may take.
    pub timeout: Span,
    /// How many questions one name is worth.
    pub max_queries: usize,
    /// How many names of one zone are asked for in a minute.
    pub per_zone_per_minute: u64,
    /// The port at which name servers answer.
    pub port: u16,
}

impl Default for DnsConfig {
    fn default() -> Self {
        DnsConfig {
            resolvers: Vec::new(),
            allow: Vec::new(),
            timeout: Span::seconds(4),
            max_queries: 16,
            per_zone_per_minute: 30,
            port: 53,
        }
    }
}

/// Authoritative name servers.
pub struct DnsSource {
    config: DnsConfig,
    features: Vec<FeatureSpec>,
    resolver: TokioResolver,
    filter: AddressFilter,
    zones: moka::sync::Cache<Name, std::sync::Arc<Quota>>,
}

impl DnsSource {
    /// What it can tell.
    pub fn specs() -> Vec<FeatureSpec> {
        [
            ("dns_ttl", ValueType::Number),
            ("dns_addresses", ValueType::Number),
            ("dns_name_servers", ValueType::Number),
            ("dns_alias", ValueType::Flag),
        ]
        .map(|(name, value_type)| FeatureSpec {
            name: name.into(),
            category: Category::PassiveDns,
            value_type,
            gatherer: NAME.into(),
        })
        .into()
    }

    /// Asks as the settings say.
    ///
    /// # Errors
    /// When this machine names no resolvers, and the settings neither.
    pub fn new(config: DnsConfig) -> Result<DnsSource, NetError> {
        let resolver = if config.resolvers.is_empty() {
            TokioResolver::builder_tokio()?
        } else {
            let servers = config.resolvers.iter().map(|at| server(*at)).collect();
            let servers = ResolverConfig::from_name_servers(servers);
            TokioResolver::builder_with_config(servers, TokioRuntimeProvider::default())
        };
        let mut options = ResolverOpts::default();
        options.timeout = config.timeout.0 / 3;
        options.attempts = 1;
        options.edns0 = true;
        Ok(DnsSource {
            resolver: resolver.with_options(options).build()?,
            features: DnsSource::specs(),
            filter: AddressFilter::new(config.allow.clone()),
            zones: moka::sync::Cache::builder()
                .max_capacity(ZONES)
                .time_to_idle(Duration::from_secs(120))
                .build(),
            config,
        })
    }

    async fn look_up(&self, name: &str, now: Timestamp) -> Result<Content, Failure> {
        let name = absolute(name)?;
        let mut left = Budget(self.config.max_queries);
        let answer = self.ask_for(&name, ANY, now, &mut left).await?;
        let Some((answer, name_servers)) = answer else {
            return Ok(Content::Nothing);
        };
        let first = answer.answers.iter().find(|record| record.name == name);
        let Some(first) = first else {
            return Ok(Content::Nothing);
        };
        let ttl = f64::from(first.ttl);
        let is_alias = first.data.record_type() == RecordType::CNAME;
        let addresses = self.follow(&name, answer, ANY, now, &mut left).await;
        let addresses = addresses.ok().filter(|found| !found.is_empty());
        let mut readings = vec![
            ("dns_ttl".into(), Reading::number(ttl)),
            (
                "dns_name_servers".into(),
                Reading::number(name_servers as f64),
            ),
            ("dns_alias".into(), Reading::Value(Value::Flag(is_alias))),
        ];
        if let Some(found) = addresses {
            let count = found.len() as f64;
            readings.push(("dns_addresses".into(), Reading::number(count)));
        }
        Ok(Content::Features(readings))
    }

    /// Where a name leads, by its own servers' word.
    async fn resolve(
        &self,
        name: &str,
        family: AddressFamily,
        now: Timestamp,
    ) -> Result<Content, Failure> {
        let kinds = match family {
            AddressFamily::V4 => &[RecordType::A],
            AddressFamily::V6 => &[RecordType::AAAA],
        };
        let name = absolute(name)?;
        let mut left = Budget(self.config.max_queries);
        let answer = self.ask_for(&name, kinds, now, &mut left).await?;
        let addresses = match answer {
            Some((answer, _)) => self.follow(&name, answer, kinds, now, &mut left).await?,
            None => Vec::new(),
        };
        Ok(Content::Addresses(addresses))
    }

    /// What a name's own servers say of it, and how many of them there are. `None` when there is no such name.
    async fn ask_for(
        &self,
        name: &Name,
        kinds: &[RecordType],
        now: Timestamp,
        left: &mut Budget,
    ) -> Result<Option<(Message, usize)>, Failure> {
        let Some((zone, servers)) = self.find_zone(name, left).await? else {
            return Ok(None);
        };
        self.take_zone(&zone, now)?;
        let count = servers.len();
        let answer = self.ask_zone(name, zone, servers, kinds, left).await?;
        Ok(answer.map(|answer| (answer, count)))
    }

    /// The zone that the registrable name above this one is in, and the names of its servers. It need not be a zone of its own: below
    /// a suffix where a company gives names away, all may be in the company's.
    async fn find_zone(
        &self,
        name: &Name,
        left: &mut Budget,
    ) -> Result<Option<(Name, Vec<Name>)>, Failure> {
        let text = name.to_ascii().to_ascii_lowercase();
        let text = text.trim_end_matches('.');
        let registrable = psl::domain_str(text).unwrap_or(text);
        let mut zone = absolute(registrable)?;
        while !zone.is_root() {
            left.take()?;
            match self.resolver.lookup(zone.clone(), RecordType::NS).await {
                Ok(found) => {
                    let servers = found.answers().iter().filter_map(name_server);
                    let servers: Vec<Name> = servers.cloned().collect();
                    if !servers.is_empty() {
                        return Ok(Some((zone, servers)));
                    }
                }
                Err(error) => match response_code(&error) {
                    Some(ResponseCode::NXDomain) => return Ok(None),
                    Some(ResponseCode::NoError) => {}
                    _ => return Err(failure(&error)),
                },
            }
            zone = zone.base_name();
        }
        Err(Failure::NotAuthoritative)
    }

    fn take_zone(&self, zone: &Name, now: Timestamp) -> Result<(), Failure> {
        let policy = QuotaPolicy {
            per_minute: Some(self.config.per_zone_per_minute),
            per_day: None,
        };
        let quota = self
            .zones
            .get_with(zone.clone(), || std::sync::Arc::new(Quota::new(policy)));
        if quota.take(now) {
            Ok(())
        } else {
            Err(Failure::ZoneLimit)
        }
    }

    /// Asks a zone's servers, and those they send us to. `None` when they say that there is no such name.
    async fn ask_zone(
        &self,
        name: &Name,
        mut zone: Name,
        mut servers: Vec<Name>,
        kinds: &[RecordType],
        left: &mut Budget,
    ) -> Result<Option<Message>, Failure> {
        for _ in 0..=REFERRALS {
            let mut worst = Failure::NotAuthoritative;
            let mut referral = None;
            for address in self.addresses(&servers, left).await? {
                let reply = match self.ask_server(address, name, kinds, left).await {
                    Ok(reply) => reply,
                    Err(Failure::Timeout) => {
                        worst = Failure::Silent;
                        continue;
                    }
                    Err(_) => continue,
                };
                let meta = &reply.metadata;
                if meta.authoritative && meta.response_code == ResponseCode::NXDomain {
                    return Ok(None);
                }
                if meta.authoritative && meta.response_code == ResponseCode::NoError {
                    return Ok(Some(reply));
                }
                worst = Failure::NotAuthoritative;
                referral = referred(&reply, name, &zone).or(referral);
            }
            // A server that only sends us on must send us down, or we might go in circles.
            match referral {
                Some((below, next)) => (zone, servers) = (below, next),
                None => return Err(worst),
            }
        }
        Err(Failure::NotAuthoritative)
    }

    /// The name's records of the first of these kinds of which it has any.
    async fn ask_server(
        &self,
        address: IpAddr,
        name: &Name,
        kinds: &[RecordType],
        left: &mut Budget,
    ) -> Result<Message, Failure> {
        let server = SocketAddr::new(address, self.config.port);
        let timeout = self.config.timeout.0 / 3;
        let mut last = Err(Failure::NotAuthoritative);
        for kind in kinds {
            left.take()?;
            let reply = authority::ask(server, name, *kind, timeout).await?;
            let is_empty = reply.metadata.authoritative
                && reply.metadata.response_code == ResponseCode::NoError
                && reply.answers.is_empty();
            last = Ok(reply);
            if !is_empty {
                break;
            }
        }
        last
    }

    /// Addresses of servers, at most [`SERVERS`], which the filter lets through.
    async fn addresses(&self, names: &[Name], left: &mut Budget) -> Result<Vec<IpAddr>, Failure> {
        let mut addresses = BTreeSet::new();
        for name in names.iter().take(2 * SERVERS) {
            if addresses.len() >= SERVERS {
                break;
            }
            for kind in [RecordType::A, RecordType::AAAA] {
                left.take()?;
                let Ok(found) = self.resolver.lookup(name.clone(), kind).await else {
                    continue;
                };
                let mut good = found.answers().iter().filter_map(address_of);
                if let Some(address) = good.find(|address| self.filter.passes(*address)) {
                    addresses.insert(address);
                    break;
                }
            }
        }
        Ok(addresses.into_iter().collect())
    }

    /// The name's addresses, also when they are in another zone.
    async fn follow(
        &self,
        name: &Name,
        mut answer: Message,
        kinds: &[RecordType],
        now: Timestamp,
        left: &mut Budget,
    ) -> Result<Vec<IpAddr>, Failure> {
        let mut at = name.clone();
        for _ in 0..ALIASES {
            let (addresses, alias) = led_to(&answer, &at);
            if !addresses.is_empty() {
                return Ok(addresses);
            }
            let Some(target) = alias else {
                return Ok(Vec::new());
            };
            at = target;
            if answer.answers.iter().any(|record| record.name == at) {
                continue;
            }
            answer = match self.ask_for(&at, kinds, now, left).await? {
                Some((answer, _)) => answer,
                None => return Ok(Vec::new()),
            };
        }
        Err(Failure::NotAuthoritative)
    }
}

impl Source for DnsSource {
    fn name(&self) -> &str {
        NAME
    }

    fn features(&self) -> &[FeatureSpec] {
        &self.features
    }

    fn leaks(&self) -> Leaks {
        Leaks::ToAdversary
    }

    fn version(&self) -> &str {
        "2"
    }

    fn subject(&self, question: &Question) -> Option<String> {
        match question {
            Question::Features(_) | Question::Addresses(..) => {
                SubjectForm::Name.of(&question.indicator())
            }
            Question::RecentDomains { .. } => None,
        }
    }

    fn ask<'a>(
        &'a self,
        question: &'a Question,
        subject: &'a str,
        now: Timestamp,
    ) -> BoxFuture<'a, Exchange> {
        let asked = async move {
            match question {
                Question::Addresses(_, family) => self.resolve(subject, *family, now).await,
                Question::Features(_) | Question::RecentDomains { .. } => {
                    self.look_up(subject, now).await
                }
            }
        };
        let asked = tokio::time::timeout(self.config.timeout.0, asked);
        async move { Exchange::new(asked.await.unwrap_or(Err(Failure::Silent))) }.boxed()
    }
}

/// A name of text, from the root on.
fn absolute(name: &str) -> Result<Name, Failure> {
    Name::from_ascii(format!("{name}.")).map_err(|error| Failure::Malformed(error.to_string()))
}

/// How many questions are left for a name. Answers can be made that lead to ever more of them.
struct Budget(usize);

impl Budget {
    fn take(&mut self) -> Result<(), Failure> {
        self.0 = self.0.checked_sub(1).ok_or(Failure::NotAuthoritative)?;
        Ok(())
    }
}

fn server(at: SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(at.ip());
    for connection in &mut server.connections {
        connection.port = at.port();
    }
    server
}

fn address_of(record: &Record) -> Option<IpAddr> {
    if let RData::A(v4) = record.data {
        return Some(IpAddr::V4(v4.0));
    }
    if let RData::AAAA(v6) = record.data {
        return Some(IpAddr::V6(v6.0));
    }
    None
}

fn name_server(record: &Record) -> Option<&Name> {
    if let RData::NS(server) = &record.data {
        return Some(&server.0);
    }
    None
}

/// Where a reply says that a name leads: to these addresses, or to another name.
fn led_to(reply: &Message, name: &Name) -> (Vec<IpAddr>, Option<Name>) {
    let (mut addresses, mut alias) = (Vec::new(), None);
    for record in reply.answers.iter().filter(|record| record.name == *name) {
        addresses.extend(address_of(record));
        if let RData::CNAME(target) = &record.data {
            alias = Some(target.0.clone());
        }
    }
    (addresses, alias)
}

/// What is made of a packet that came as the reply to a question for the addresses of `name` in `zone`: those addresses, and the
/// zone it sends us to. For [`crate::parsers`].
pub(crate) fn understood(
    packet: &[u8],
    name: &str,
    zone: &str,
) -> Option<(Vec<IpAddr>, Option<String>)> {
    let (name, zone) = (absolute(name).ok()?, absolute(zone).ok()?);
    let reply = authority::read(packet, &name, RecordType::A)?;
    let (addresses, _) = led_to(&reply, &name);
    let below = referred(&reply, &name, &zone);
    Some((addresses, below.map(|(zone, _)| zone.to_ascii())))
}

/// The zone below `above` to which a reply sends us, and its servers.
fn referred(reply: &Message, name: &Name, above: &Name) -> Option<(Name, Vec<Name>)> {
    let mut zone = None;
    let mut servers = Vec::new();
    for record in &reply.authorities {
        if let Some(server) = name_server(record) {
            let below =
                above.zone_of(&record.name) && *above != record.name && record.name.zone_of(name);
            if below && zone.as_ref().is_none_or(|zone| *zone == record.name) {
                zone = Some(record.name.clone());
                servers.push(server.clone());
            }
        }
    }
    zone.map(|zone| (zone, servers))
}

/// How a reply without such records ended.
fn response_code(error: &NetError) -> Option<ResponseCode> {
    if let NetError::Dns(DnsError::NoRecordsFound(none)) = error {
        return Some(none.response_code);
    }
    None
}

/// A resolver that is slow or says that it failed may be so for the name's servers' sake.
fn failure(error: &NetError) -> Failure {
    if matches!(error, NetError::Timeout) {
        return Failure::Silent;
    }
    if matches!(error, NetError::Dns(_)) {
        return Failure::NotAuthoritative;
    }
    Failure::Unreachable(format!("the resolver: {error}"))
}
