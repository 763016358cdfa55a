//! Sources: those who can be asked about indicators. What is around the asking (cache, quota, rests, …) is not their business:
//! that is the [`crate::Gatherer`]'s, and the same for all.

mod dns;
mod geo_files;
mod http;
mod safe_browsing;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use indicators::{DomainName, Host, Indicator};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub(crate) use dns::understood as dns_reply;
pub use dns::{DnsConfig, DnsSource};
pub use geo_files::{GeoFiles, GeoFilesError};
pub(crate) use http::retry_after;
pub use http::{HttpSource, HttpSourceConfig, HttpSourceError};
pub use safe_browsing::{SafeBrowsing, SafeBrowsingError};

use crate::feature::{Category, FeatureSpec, Missing, Reading};
use crate::gate::Leaks;

/// Somebody who can be asked.
pub trait Source: Send + Sync {
    /// Its name, as settings, options and counters call it.
    fn name(&self) -> &str;

    /// What it can tell.
    fn features(&self) -> &[FeatureSpec];

    /// What it tells about, as callers may name it.
    fn categories(&self) -> BTreeSet<Category> {
        let features = self.features().iter();
        features.map(|feature| feature.category).collect()
    }

    /// Who learns of what it is asked.
    fn leaks(&self) -> Leaks;

    /// What tells its answers from those of other versions of it: part of the key they are remembered by.
    fn version(&self) -> &str;

    /// What is really asked for an indicator, so that questions with one answer share it (`www.example.com` and `example.com`
    /// have one registration); `None` when this source has nothing to say of it.
    fn subject(&self, question: &Question) -> Option<String>;

    /// Asks. Ends by itself, within the source's timeout. `subject` is what [`subject`](Self::subject) made of the question.
    fn ask<'a>(
        &'a self,
        question: &'a Question,
        subject: &'a str,
        now: Timestamp,
    ) -> BoxFuture<'a, Exchange>;
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// The features of an indicator.
    Features(Indicator),
    /// The names that led to an address lately, newest first.
    RecentDomains {
        /// The address.
        ip: IpAddr,
        /// At most so many names.
        limit: usize,
        /// Within so many days.
        days: u16,
    },
    /// The addresses of a name.
    Addresses(DomainName, AddressFamily),
}

/// Which kind of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressFamily {
    /// Those of IPv4.
    V4,
    /// Those of IPv6.
    V6,
}

impl AddressFamily {
    /// The family of an address.
    pub fn of(ip: IpAddr) -> AddressFamily {
        match ip {
            IpAddr::V4(_) => AddressFamily::V4,
            IpAddr::V6(_) => AddressFamily::V6,
        }
    }
}

impl Question {
    /// What it is about.
    pub fn indicator(&self) -> Indicator {
        match self {
            Question::Features(indicator) => indicator.clone(),
            Question::RecentDomains { ip, .. } => Indicator::Ip(*ip),
            Question::Addresses(name, _) => Indicator::Domain(name.clone()),
        }
    }
}

/// What a source knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// Nothing about this indicator.
    Nothing,
    /// Readings of its features, by name. A feature that is not there is absent.
    Features(Vec<(Arc<str>, Reading)>),
    /// Names that led to the address.
    Domains(Vec<RecentDomain>),
    /// Addresses of the name, of which there may be none.
    Addresses(Vec<IpAddr>),
}

impl Content {
    /// Whether it soon is another, so that it counts as long as "I know nothing of it" does.
    pub(crate) fn is_fleeting(&self) -> bool {
        match self {
            Content::Nothing | Content::Addresses(_) => true,
            Content::Features(_) | Content::Domains(_) => false,
        }
    }
}

/// A name that led to an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecentDomain {
    /// The name, in lower case and without the final dot.
    pub name: String,
    /// When it was last seen to.
    pub last_seen: Timestamp,
    /// How often it was seen to.
    pub count: u64,
}

/// One question put to a source, and what came of it.
#[derive(Debug)]
pub struct Exchange {
    /// The answer.
    pub result: Result<Content, Failure>,
    /// The HTTP status, where there is one.
    pub status: Option<u16>,
    /// How long the answer was.
    pub bytes: usize,
    /// The whole answer, for the watch over its shape.
    pub document: Option<serde_json::Value>,
    /// Which of the source's requests it answers, for each has answers of its own shape.
    pub request: usize,
}

impl Exchange {
    /// An exchange without a document.
    pub fn new(result: Result<Content, Failure>) -> Exchange {
        Exchange {
            result,
            status: None,
            bytes: 0,
            document: None,
            request: 0,
        }
    }
}

/// Why a source gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It took too long.
    #[error("no answer in time")]
    Timeout,
    /// No connection, or it broke.
    #[error("could not be reached: {0}")]
    Unreachable(String),
    /// It does not accept the key.
    #[error("refuses our key (HTTP {0})")]
    Refused(u16),
    /// It wants us to slow down.
    #[error("wants us to slow down")]
    RateLimited {
        /// For how long, if it said so.
        retry_after: Option<Duration>,
    },
    /// It answered an error.
    #[error("answered HTTP {0}")]
    Status(u16),
    /// It does not take this question, while it may take others.
    #[error("rejects the question (HTTP {0})")]
    Rejected(u16),
    /// Its answer cannot be read.
    #[error("gave an unreadable answer: {0}")]
    Malformed(String),
    /// Its answer is longer than any good one.
    #[error("gave an answer that is too long")]
    TooLarge,
    /// No authoritative server answered.
    #[error("no authoritative server answered")]
    NotAuthoritative,
    /// The servers of a name are silent.
    #[error("the servers of the name did not answer in time")]
    Silent,
    /// The zone was asked about too often.
    #[error("this zone was asked about too often")]
    ZoneLimit,
}

impl Failure {
    /// What it makes of the features.
    pub fn missing(&self) -> Missing {
        match self {
            Failure::Timeout | Failure::Silent => Missing::Timeout,
            Failure::Refused(_) => Missing::Refused,
            Failure::RateLimited { .. } => Missing::RateLimited,
            Failure::NotAuthoritative => Missing::NotAuthoritative,
            Failure::ZoneLimit => Missing::Quota,
            Failure::Rejected(_) => Missing::Rejected,
            Failure::Unreachable(_)
            | Failure::Status(_)
            | Failure::Malformed(_)
            | Failure::TooLarge => Missing::Failed,
        }
    }

    /// Whether it speaks against the source, and not only against this one question. What somebody else's name servers do must
    /// not: they could have us ask no servers at all. Neither must what an indicator is like that somebody asks for.
    pub fn is_the_sources_fault(&self) -> bool {
        !matches!(
            self,
            Failure::NotAuthoritative | Failure::Silent | Failure::ZoneLimit | Failure::Rejected(_)
        )
    }
}

/// How an indicator is put to a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectForm {
    /// The address of an address, or of a URL or mail domain that is one.
    Ip,
    /// The whole name of a domain, or of the host of a URL or mail address.
    Name,
    /// The part of that name which somebody registered.
    Registrable,
}

impl SubjectForm {
    /// The indicator in this form, if it has one.
    pub fn of(self, indicator: &Indicator) -> Option<String> {
        let host = host(indicator)?;
        match (self, host) {
            (SubjectForm::Ip, Host::Ip(ip)) => Some(ip.to_string()),
            (SubjectForm::Name, Host::Name(name)) => Some(name.as_str().into()),
            (SubjectForm::Registrable, Host::Name(name)) => {
                psl::domain_str(name.as_str()).map(str::to_owned)
            }
            (SubjectForm::Ip, Host::Name(_))
            | (SubjectForm::Name | SubjectForm::Registrable, Host::Ip(_)) => None,
        }
    }
}

/// Where an indicator lives; hashes and ranges live nowhere.
pub(crate) fn host(indicator: &Indicator) -> Option<Host> {
    match indicator {
        Indicator::Ip(ip) => Some(Host::Ip(*ip)),
        Indicator::Domain(name) => Some(Host::Name(name.clone())),
        Indicator::Url(url) => Some(url.host().clone()),
        Indicator::Email(email) => Some(Host::Name(email.domain().clone())),
        Indicator::Range(_) | Indicator::Hash(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(form: SubjectForm, indicator: &str, expected: Option<&str>) {
        let indicator: Indicator = indicator.parse().unwrap();
        assert_eq!(form.of(&indicator).as_deref(), expected, "{indicator}");
    }

    #[test]
    fn indicators_are_asked_for_as_the_source_knows_them() {
        check(SubjectForm::Ip, "192.0.2.7", Some("192.0.2.7"));
        check(SubjectForm::Ip, "http://192.0.2.7/x", Some("192.0.2.7"));
        check(SubjectForm::Ip, "example.com", None);
        check(
            SubjectForm::Name,
            "a.b.example.co.uk",
            Some("a.b.example.co.uk"),
        );
        check(
            SubjectForm::Registrable,
            "a.b.example.co.uk",
            Some("example.co.uk"),
        );
        check(
            SubjectForm::Registrable,
            "https://www.example.com:8443/a",
            Some("example.com"),
        );
        check(
            SubjectForm::Registrable,
            "me@mail.example.com",
            Some("example.com"),
        );
        check(SubjectForm::Registrable, "co.uk", None);
        check(SubjectForm::Name, "192.0.2.0/24", None);
        check(SubjectForm::Name, "d41d8cd98f00b204e9800998ecf8427e", None);
    }
}
