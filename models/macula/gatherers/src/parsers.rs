//! What reads the words of others, without the asking: for fuzz targets.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use maxminddb::Reader;

use crate::cache::Answer;
use crate::drift::Shape;
use crate::feature::{Reading, ValueType};
use crate::mapping::Mapping;
use crate::source::{Content, GeoFiles, RecentDomain, dns_reply, retry_after};

/// What is read in an answer of the service of a mapping, each with the type that was promised: once for every question that the
/// mapping has.
pub fn readings(mapping: &Mapping, body: &[u8], now: Timestamp) -> Vec<(ValueType, Reading)> {
    let mut all = Vec::new();
    for request in &mapping.requests {
        let Ok(document) = request.body.parse(body) else {
            continue;
        };
        Shape::new(&mapping.name).observe(&document, now);
        if let Ok(Content::Features(found)) = request.read(&document, now) {
            let types = request.features.iter();
            let types = types.map(|feature| feature.take.value_type());
            all.extend(types.zip(found.into_iter().map(|(_, reading)| reading)));
        }
    }
    all
}

/// How long a service wants to be left alone, by the text of its `Retry-After`.
pub fn rest(text: &str, now: Timestamp) -> Option<Duration> {
    retry_after(text.trim(), now)
}

/// The names that are read in such an answer, at most so many.
pub fn names(mapping: &Mapping, body: &[u8], limit: usize, from: Timestamp) -> Vec<RecentDomain> {
    let found = mapping.recent_domains.as_ref().and_then(|domains| {
        let document = domains.body.parse(body).ok()?;
        domains.read(&document, limit, from).ok()
    });
    match found {
        Some(Content::Domains(domains)) => domains,
        Some(Content::Nothing | Content::Features(_) | Content::Addresses(_)) | None => Vec::new(),
    }
}

/// An answer that a store held, as it is written again; nothing when it is none.
pub fn stored_answer(bytes: &[u8]) -> Option<Vec<u8>> {
    let answer: Answer = serde_json::from_slice(bytes).ok()?;
    serde_json::to_vec(&answer).ok()
}

/// What a geolocation file says of an address.
pub fn geo_file(
    mapping: &Mapping,
    file: Vec<u8>,
    ip: IpAddr,
    now: Timestamp,
) -> Vec<(Arc<str>, Reading)> {
    let Ok(reader) = Reader::from_source(file) else {
        return Vec::new();
    };
    let files = GeoFiles::of(mapping.clone(), vec![reader]);
    match files.look_up(&ip.to_string(), now) {
        Ok(Content::Features(readings)) => readings,
        Ok(Content::Nothing | Content::Domains(_) | Content::Addresses(_)) | Err(_) => Vec::new(),
    }
}

/// What is made of a packet of a name server of `zone` that was asked where `name` leads: addresses, and the zone below that it
/// sends us to.
pub fn name_server_reply(
    packet: &[u8],
    name: &str,
    zone: &str,
) -> Option<(Vec<IpAddr>, Option<String>)> {
    dns_reply(packet, name, zone)
}
