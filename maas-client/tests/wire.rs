//! Whoever can write this ZooKeeper, or a model's folder, can write anything: no bytes bring a reader down, and what was understood
//! is written so that it is understood again.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

use maas_client::wire::complaint::Complaint;
use maas_client::wire::config::MaasConfig;
use maas_client::wire::endpoint_dat::EndpointDat;
use maas_client::wire::history::History;
use maas_client::wire::progress::{Leader, Progress};
use maas_client::wire::registration::Registration;
use maas_client::wire::request::ModelRequest;
use maas_client::wire::state::{DeadLetter, Desired, InstanceStatus, RequestResult};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// A reader: what it makes of bytes, written again, if it understands them.
type Reader = fn(&[u8]) -> Option<Vec<u8>>;

macro_rules! reader {
    ($document:ty) => {
        |bytes| Some(<$document>::parse(bytes).ok()?.to_bytes())
    };
}

/// Every document with its reader.
const DOCUMENTS: [(&str, Reader); 12] = [
    (
        r#"{"queue":"ZOOKEEPER","queueConfig":{"zk_path":"/maas/queue","maas_state_path":"/st"},"serviceRoot":"/maas/service"}"#,
        reader!(MaasConfig),
    ),
    (
        r#"{"name":"dga","version":"1.0","numInstances":2,"memory":512,"action":"ADD","path":"/m","replace":"0.9","deadline":60,"id":"r"}"#,
        reader!(ModelRequest),
    ),
    (
        r#"{"name":"dga","id":"2","address":"node1","port":36161,"sslPort":null,"payload":{"@class":"org.apache.metron.maas.config.ModelEndpoint","endpoint":{"url":"http://node1:36161","functions":{"apply":"apply"}},"name":"dga","version":"1.0","containerId":"2"},"registrationTimeUTC":1571163620277,"serviceType":"STATIC","uriSpec":null}"#,
        reader!(Registration),
    ),
    (
        r#"{"url":"http://0.0.0.0:1500","functions":{"apply":"echo","score":2.50}}"#,
        |bytes| EndpointDat::parse(bytes).ok().map(|_| Vec::new()),
    ),
    (
        r#"{"name":"dga","version":"1.0","instances":2,"memory_mb":512,"path":"file:/m","generation":3,"request":"r"}"#,
        reader!(Desired),
    ),
    (
        r#"{"instance":"i","name":"dga","version":"1.0","host":"node1","phase":"backoff","since_ms":1,"restarts":2,"pid":7,"url":"http://node1:1","reason":"exit code 1","retry_at_ms":5,"generation":3,"last_failure":{"at_ms":1,"why":"exit code 1","exit_code":1,"out_of_memory":{"limit_mb":1,"used_mb":2},"last_output":["boom"]}}"#,
        reader!(InstanceStatus),
    ),
    (
        r#"{"request":"r","outcome":"accepted","action":"ADD","name":"dga","version":"1.0","instances":2,"generation":3,"answered_ms":1}"#,
        reader!(RequestResult),
    ),
    (
        r#"{"item":"qn-0000000000","reason":"empty","bytes":0,"excerpt":"","at_ms":1}"#,
        reader!(DeadLetter),
    ),
    (
        r#"{"generations":[{"generation":1,"change":"added","request":"r","instances":2,"memory_mb":64,"path":"/m","at_ms":1}]}"#,
        reader!(History),
    ),
    (
        r#"{"wanted":2,"running":1,"serving":1,"reached":3,"doing":["starting 1 copy"],"pending":{"copies":1,"reason":"no room"},"since_ms":1}"#,
        reader!(Progress),
    ),
    (
        r#"{"host":"node1","pid":7,"since_ms":1,"memory_mb":4096,"memory_used_mb":512,"vcores":8,"copies":1}"#,
        reader!(Leader),
    ),
    (
        r#"{"instance":"i","name":"dga","version":"1.0","why":"it answers 500","since_ms":1,"host":"node1","program":"loader","pid":7}"#,
        reader!(Complaint),
    ),
];

/// What is put into a document, or in the place of a part of it.
const PIECES: [&str; 18] = [
    "",
    "null",
    "0",
    "-1",
    "1e400",
    "9223372036854775808",
    "18446744073709551616",
    "true",
    "\"",
    "\\u0000",
    "\\ud800",
    "{}",
    "[[",
    "}",
    ",",
    ":",
    "\"name\":\"a/b\",",
    "\u{202e}é",
];

fn check(read: Reader, bytes: &[u8]) {
    if let Some(written) = read(bytes) {
        let again = read(&written);
        let text = String::from_utf8_lossy(bytes);
        assert!(
            written.is_empty() || again.as_ref() == Some(&written),
            "{text} is written as {}",
            String::from_utf8_lossy(&written)
        );
    }
}

#[test]
fn every_sample_is_understood() {
    for (sample, read) in DOCUMENTS {
        assert!(read(sample.as_bytes()).is_some(), "{sample}");
        check(read, sample.as_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn damaged_documents_are_errors_or_understood_the_same_way_twice(
        document in select(DOCUMENTS.to_vec()),
        edits in vec((any::<Index>(), 0..6_usize, select(PIECES.to_vec())), 1..4),
    ) {
        let (sample, read) = document;
        let mut bytes = sample.as_bytes().to_vec();
        for (at, taken, piece) in edits {
            let at = at.index(bytes.len() + 1);
            let end = (at + taken).min(bytes.len());
            bytes.splice(at..end, piece.bytes());
        }
        check(read, &bytes);
    }

    #[test]
    fn arbitrary_bytes_are_errors(bytes in vec(any::<u8>(), 0..100), document in select(DOCUMENTS.to_vec())) {
        check(document.1, &bytes);
    }
}
