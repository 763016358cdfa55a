//! What is known about an indicator beyond lists, gathered from those who know it.
//!
//! [`Gatherers`] asks every [`Source`] at once and answers by a deadline with [`Gathered`], the form that models read: each
//! feature with its value, or why it is missing. Sources are web services described by [`Mapping`] files (Censys, Farsight,
//! WOT, Bitdefender, Majestic, Neutrino, WhoisXML, MaxMind), databases on this machine (geolocation, Safe Browsing) and the
//! domain name system itself. Around each stand, the same for all: the gate for confidential indicators, the cache, single
//! flight, the quota, the circuit breaker, the query log, counters and the watch over the shape of answers.
//!
//! Nothing is asked of anybody unless the settings name it: see [`Config`]. Nothing here follows a URL that an indicator or an
//! answer names; the only hosts contacted on an indicator's word are its own name servers, and only through the
//! [`AddressFilter`].

mod address_filter;
mod breaker;
mod cache;
mod clock;
mod config;
mod counters;
mod drift;
mod feature;
mod flights;
mod gate;
mod gatherer;
mod gatherers;
mod inside;
mod mapping;
#[doc(hidden)]
pub mod parsers;
mod query_log;
mod quota;
mod selection;
mod source;
mod span;

pub use address_filter::AddressFilter;
pub use breaker::BreakerPolicy;
pub use cache::{CachePolicy, StoreError};
pub use clock::Clock;
pub use config::{Config, GathererConfig, KeyError, StoreConfig};
pub use counters::GathererCounts;
pub use drift::{DriftAlert, DriftKind};
pub use feature::{Category, Feature, FeatureSpec, Gathered, Missing, Reading, Value, ValueType};
pub use gate::{Handling, Leaks, Pap, Tlp, UnknownMarking};
pub use gatherers::{
    GatherOptions, Gatherers, NameAt, NamesAt, OVERRIDE, Standing, StartError, shipped_features,
};
pub use mapping::{JsonPath, Mapping, MappingError};
pub use query_log::{QueryLogConfig, QueryLogError};
pub use quota::{QuotaLeft, QuotaPolicy};
pub use selection::{Selection, UnknownSelector, closest, is_slip_of};
pub use source::{
    AddressFamily, Content, DnsConfig, DnsSource, Exchange, Failure, GeoFiles, GeoFilesError,
    HttpSource, HttpSourceConfig, HttpSourceError, Question, RecentDomain, SafeBrowsing,
    SafeBrowsingError, Source, SubjectForm,
};
pub use span::{Span, SpanError};
