//! Sources on this machine: geolocation files and Safe Browsing lists. They answer offline and whatever the marking.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

#[path = "support/upstream.rs"]
mod upstream;

use std::net::Ipv4Addr;
use std::path::Path;

use gatherers::{Config, GatherOptions, Gatherers, Handling, Missing, Pap, Reading, Tlp, Value};
use serde_json::{Value as Json, json};
use upstream::{Hands, gather, gather_with, start};

/// A database in MaxMind's form, version 2, that knows one IPv4 network: a search tree with one bit of the address for each
/// node, and the record behind it.
fn database(network: Ipv4Addr, length: u32, record: &Json) -> Vec<u8> {
    database_of("Test-City", network, length, record)
}

fn database_of(database_type: &str, network: Ipv4Addr, length: u32, record: &Json) -> Vec<u8> {
    let nodes = length;
    let data = 16 + nodes;
    let mut bytes = Vec::new();
    for depth in 0..nodes {
        let next = if depth + 1 == nodes { data } else { depth + 1 };
        let bit = network.to_bits() >> (31 - depth) & 1;
        let (left, right) = if bit == 0 {
            (next, nodes)
        } else {
            (nodes, next)
        };
        for side in [left, right] {
            bytes.extend(&side.to_be_bytes()[1..]);
        }
    }
    bytes.extend([0; 16]);
    write(record, &mut bytes);
    bytes.extend(b"\xab\xcd\xefMaxMind.com");
    let about = json!({
        "binary_format_major_version": 2, "binary_format_minor_version": 0, "build_epoch": 1_767_225_600,
        "database_type": database_type, "description": {"en": "made by a test"}, "ip_version": 4,
        "languages": ["en"], "node_count": nodes, "record_size": 24,
    });
    write(&about, &mut bytes);
    bytes
}

/// Writes a value with its control byte: the type in the upper three bits, the size in the lower five.
fn write(value: &Json, bytes: &mut Vec<u8>) {
    let size = |size: usize| u8::try_from(size).unwrap();
    match value {
        Json::Object(members) => {
            bytes.push(7 << 5 | size(members.len()));
            for (key, member) in members {
                write(&json!(key), bytes);
                // The form wants these two wider than they need to be.
                match (key.as_str(), member.as_u64()) {
                    ("node_count", Some(nodes)) => {
                        bytes.push(6 << 5 | 4);
                        bytes.extend(&nodes.to_be_bytes()[4..]);
                    }
                    ("build_epoch", Some(second)) => {
                        bytes.extend([8, 9 - 7]);
                        bytes.extend(second.to_be_bytes());
                    }
                    _ => write(member, bytes),
                }
            }
        }
        Json::Array(items) => {
            bytes.extend([size(items.len()), 11 - 7]);
            items.iter().for_each(|item| write(item, bytes));
        }
        Json::String(text) => {
            // A size that does not fit into the control byte goes on in the next one.
            match text.len() {
                short @ ..29 => bytes.push(2 << 5 | size(short)),
                long => bytes.extend([2 << 5 | 29, size(long - 29)]),
            }
            bytes.extend(text.as_bytes());
        }
        Json::Bool(flag) => bytes.extend([u8::from(*flag), 14 - 7]),
        Json::Number(number) if number.is_f64() => {
            bytes.push(3 << 5 | 8);
            bytes.extend(number.as_f64().unwrap().to_be_bytes());
        }
        Json::Number(number) => {
            let number = u16::try_from(number.as_u64().unwrap()).unwrap();
            bytes.push(5 << 5 | 2);
            bytes.extend(number.to_be_bytes());
        }
        Json::Null => panic!("the form has no null"),
    }
}

fn settings(folder: &Path, files: &[&str]) -> String {
    let files: Vec<String> = files
        .iter()
        .map(|file| folder.join(file).display().to_string())
        .collect();
    format!("[gatherers.geo]\nfiles = {files:?}\n")
}

#[tokio::test]
async fn geolocation_files_are_laid_over_each_other_and_nobody_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let city = json!({
        "country": {"iso_code": "NL"}, "continent": {"code": "EU"},
        "location": {"latitude": 52.37, "longitude": 4.9, "accuracy_radius": 20},
        "traits": {"is_anonymous": true},
    });
    let network =
        json!({"autonomous_system_number": 64500, "autonomous_system_organization": "Test"});
    let at = Ipv4Addr::new(8, 8, 0, 0);
    std::fs::write(folder.path().join("city.mmdb"), database(at, 16, &city)).unwrap();
    std::fs::write(folder.path().join("asn.mmdb"), database(at, 24, &network)).unwrap();
    let log = folder.path().join("queries.ndjson");
    let settings = format!(
        "query_log = {{ path = \"{}\" }}\n{}",
        log.display(),
        settings(folder.path(), &["city.mmdb", "asn.mmdb"])
    );
    let gatherers = start(&settings, &Hands::new()).await;
    let strict = GatherOptions {
        handling: Handling {
            tlp: Tlp::Red,
            pap: Pap::Red,
            offline: true,
        },
        ..GatherOptions::default()
    };
    let gathered = gather_with(&gatherers, "8.8.0.4", strict).await;
    for (feature, value) in [
        ("geo_country", Value::Text("NL".into())),
        ("geo_latitude", Value::Number(52.37)),
        ("geo_accuracy_km", Value::Number(20.0)),
        ("geo_network", Value::Number(64500.0)),
        ("geo_anonymous", Value::Flag(true)),
    ] {
        assert_eq!(gathered.value(feature), Some(&value), "{feature}");
    }
    let missing = async |ip: &str, feature: &str| {
        let gathered = gather(&gatherers, ip).await;
        gathered.feature(feature).unwrap().reading.clone()
    };
    // In the wider network alone; in neither; of a family that the files don't have.
    let absent = Reading::Missing(Missing::Absent);
    let unknown = Reading::Missing(Missing::Unknown);
    assert_eq!(missing("8.8.7.4", "geo_network").await, absent);
    // These files have no such trait.
    assert_eq!(missing("8.8.0.4", "geo_hosting").await, absent);
    assert_eq!(missing("9.9.9.9", "geo_country").await, unknown);
    assert_eq!(missing("2606:4700::1", "geo_country").await, unknown);
    assert_eq!(
        missing("example.com", "geo_country").await,
        Reading::Missing(Missing::NotApplicable)
    );
    assert_eq!(gatherers.counts()["geo"].calls, 0, "nobody was called");
    drop(gatherers);
    let logged = std::fs::read_to_string(log).unwrap();
    assert_eq!(logged, "", "nobody was asked");
}

#[tokio::test]
async fn who_hides_is_denied_only_where_a_file_knows() {
    let folder = tempfile::tempdir().unwrap();
    let at = Ipv4Addr::new(8, 8, 0, 0);
    let write = |file: &str, bytes| std::fs::write(folder.path().join(file), bytes).unwrap();
    let hosting = json!({"is_anonymous": true, "is_hosting_provider": true});
    write(
        "city.mmdb",
        database(at, 8, &json!({"country": {"iso_code": "NL"}})),
    );
    write(
        "anonymous.mmdb",
        database_of("GeoIP2-Anonymous-IP", at, 16, &hosting),
    );
    let told = async |files: &[&str], ip: &str| {
        let gatherers = start(&settings(folder.path(), files), &Hands::new()).await;
        let gathered = gather(&gatherers, ip).await;
        ["geo_anonymous", "geo_hosting"].map(|name| gathered.value(name).cloned())
    };
    let flags = |flag| [Some(Value::Flag(flag)), Some(Value::Flag(flag))];
    let both = ["city.mmdb", "anonymous.mmdb"];
    assert_eq!(told(&both, "8.8.7.4").await, flags(true));
    assert_eq!(told(&both, "8.9.7.4").await, flags(false));
    assert_eq!(told(&both[1..], "9.9.9.9").await, flags(false));
    assert_eq!(told(&both[..1], "8.8.7.4").await, [None, None]);
    assert_eq!(told(&both[1..], "2606:4700::1").await, [None, None]);
}

#[tokio::test]
async fn a_file_that_is_no_database_disables_the_gatherer_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("city.mmdb"), "not a database").unwrap();
    let config = Config::parse(&settings(folder.path(), &["city.mmdb"])).unwrap();
    let gatherers = Gatherers::start(&config, Vec::new(), Hands::new().clock())
        .await
        .unwrap();
    let (name, reason) = gatherers.disabled().next().unwrap();
    assert!(name == "geo" && reason.contains("city.mmdb"), "{reason}");
    let gathered = gather(&gatherers, "8.8.4.4").await;
    assert_eq!(
        gathered.feature("geo_country").unwrap().reading,
        Reading::Missing(Missing::Disabled)
    );
}

#[tokio::test]
async fn a_safe_browsing_list_is_asked_without_asking_anybody() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list.txt");
    // The first eight bytes of the SHA-256 of `evil.test/`.
    std::fs::write(&list, "MALWARE d22d396c1aa5e36e\n").unwrap();
    let settings = format!("[gatherers.safe_browsing]\nlist = \"{}\"\n", list.display());
    let gatherers = start(&settings, &Hands::new()).await;
    for (indicator, matches) in [
        ("http://www.evil.test/some/path", true),
        ("evil.test", true),
        ("me@evil.test", true),
        ("good.test", false),
    ] {
        let gathered = gather(&gatherers, indicator).await;
        let found = gathered.value("safe_browsing_match");
        assert_eq!(found, Some(&Value::Flag(matches)), "{indicator}");
    }
    assert_eq!(gatherers.counts()["safe_browsing"].calls, 0);
}
