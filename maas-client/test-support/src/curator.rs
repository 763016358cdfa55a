//! A real Apache Curator: a small Java program of ours on Debian's Curator packages, run from source and driven over pipes.
//!
//! Old fleets talk to ZooKeeper through Curator. What our code writes must be read by it, and the other way round, so a
//! test asks Curator itself: x-discovery for the registry, `SimpleDistributedQueue` for the request queue.
//!
//! The program ends when its stdin closes, so it cannot outlive the test.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/curator/Interop.java");

const JARS: [&str; 11] = [
    "curator-client",
    "curator-framework",
    "curator-recipes",
    "curator-x-discovery",
    "zookeeper",
    "zookeeper-jute",
    "guava",
    "jackson-annotations",
    "jackson-core",
    "jackson-databind",
    "slf4j-simple",
];

/// Java compiles the program first: two seconds on a quiet machine, more on a busy one.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// How long [`Curator::take`] waits for an item.
const TAKE_WITHIN: Duration = Duration::from_secs(30);

/// What the answer to any request may take at most.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Why Curator did not do what it was asked: its own exception, as text.
#[derive(Debug, thiserror::Error)]
#[error("Curator: {0}")]
pub struct CuratorError(String);

/// A registry entry as Curator's x-discovery sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CuratorInstance {
    /// The service's name.
    pub name: String,
    /// The instance's id, which is the last part of its znode's path.
    pub id: String,
    /// The host part of the URL.
    pub address: String,
    /// The port, -1 when the URL has none.
    pub port: i32,
    /// Milliseconds since 1970.
    pub registration_time_utc: i64,
    /// `STATIC` means a lasting znode, `DYNAMIC` an ephemeral one.
    pub service_type: String,
    /// What the entry says about the model.
    pub payload: Option<CuratorPayload>,
}

/// The payload bean `org.apache.metron.maas.config.ModelEndpoint`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CuratorPayload {
    /// Where it answers.
    pub endpoint: Option<CuratorEndpoint>,
    /// The model's name.
    pub name: Option<String>,
    /// The model's version.
    pub version: Option<String>,
    /// The id of the container it runs in.
    pub container_id: Option<String>,
}

/// The bean `org.apache.metron.maas.config.Endpoint`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CuratorEndpoint {
    /// The base URL.
    pub url: Option<String>,
    /// Function names and their paths.
    pub functions: Option<BTreeMap<String, String>>,
}

/// One Curator client, connected to a ZooKeeper.
#[derive(Debug)]
pub struct Curator {
    process: Child,
    requests: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    log: File,
}

impl Curator {
    /// Starts Curator and connects it; `connect_string` may have a chroot.
    ///
    /// # Panics
    ///
    /// When a package is missing or there is no connection; with the program's log.
    pub async fn start(connect_string: &str) -> Self {
        let jars: Vec<String> = JARS
            .iter()
            .map(|jar| format!("/usr/share/java/{jar}.jar"))
            .collect();
        for jar in &jars {
            assert!(
                Path::new(jar).exists(),
                "{jar} is missing; install what tests need by: scripts/setup test"
            );
        }
        // A file without a name: there is nothing to remove, whatever happens.
        let log = tempfile::tempfile().expect("a temporary file can be made");
        let mut process = Command::new("java")
            .args([
                "-Xmx256m",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "-XX:-UsePerfData",
            ])
            .args(["-cp", &jars.join(":"), PROGRAM, connect_string])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.try_clone().expect("an open file can be shared"))
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("could not run `java` ({error}); install it by: scripts/setup test")
            });
        let requests = process.stdin.take().expect("stdin was asked to be a pipe");
        let answers = BufReader::new(
            process
                .stdout
                .take()
                .expect("stdout was asked to be a pipe"),
        )
        .lines();
        let mut curator = Self {
            process,
            requests,
            answers,
            log,
        };
        let first = timeout(READY_WITHIN, curator.answers.next_line()).await;
        if !matches!(&first, Ok(Ok(Some(line))) if line == "ready") {
            panic!(
                "Curator did not get ready ({first:?}); its log:\n{}",
                curator.log_tail()
            );
        }
        curator
    }

    /// Registers `instance` by x-discovery under `root`.
    ///
    /// # Errors
    ///
    /// Curator's exception.
    pub async fn register(
        &mut self,
        root: &str,
        instance: &CuratorInstance,
    ) -> Result<(), CuratorError> {
        self.ask(json!({"do": "register", "root": root, "instance": instance}))
            .await
            .map(drop)
    }

    /// What x-discovery reads of the service `name` under `root`.
    ///
    /// # Errors
    ///
    /// Curator's exception, for instance about an entry it cannot read.
    ///
    /// # Panics
    ///
    /// When the program itself is broken.
    pub async fn instances(
        &mut self,
        root: &str,
        name: &str,
    ) -> Result<Vec<CuratorInstance>, CuratorError> {
        let found = self
            .ask(json!({"do": "instances", "root": root, "name": name}))
            .await?;
        Ok(serde_json::from_value(found).expect("Interop.java writes instances in this form"))
    }

    /// Puts an item into the `SimpleDistributedQueue` at `queue`.
    ///
    /// # Errors
    ///
    /// Curator's exception.
    pub async fn offer(&mut self, queue: &str, item: &[u8]) -> Result<(), CuratorError> {
        self.ask(json!({"do": "offer", "queue": queue, "item": to_text(item)}))
            .await
            .map(drop)
    }

    /// Takes the next item from the `SimpleDistributedQueue` at `queue`, waiting for it for up to 30 s.
    ///
    /// # Errors
    ///
    /// Curator's exception, or that nothing came.
    pub async fn take(&mut self, queue: &str) -> Result<Vec<u8>, CuratorError> {
        let limit_ms = TAKE_WITHIN.as_millis() as u64;
        let item = self
            .ask(json!({"do": "take", "queue": queue, "limit_ms": limit_ms}))
            .await?;
        let nothing = || {
            CuratorError(format!(
                "nothing came into the queue {queue} within {TAKE_WITHIN:?}"
            ))
        };
        item.as_str().map(from_text).ok_or_else(nothing)
    }

    async fn ask(&mut self, request: Value) -> Result<Value, CuratorError> {
        let exchange = async {
            self.requests
                .write_all(format!("{request}\n").as_bytes())
                .await?;
            self.answers.next_line().await
        };
        let line = match timeout(ANSWER_WITHIN, exchange).await {
            Ok(Ok(Some(line))) => line,
            other => panic!(
                "Curator did not answer ({other:?}); its log:\n{}",
                self.log_tail()
            ),
        };
        let mut answer: Value = serde_json::from_str(&line).expect("Interop.java answers in JSON");
        match answer.get_mut("error") {
            Some(error) => Err(CuratorError(error.as_str().unwrap_or_default().to_owned())),
            None => Ok(answer["ok"].take()),
        }
    }

    fn log_tail(&self) -> String {
        let mut text = Vec::new();
        let mut log = &self.log;
        let read = log
            .seek(SeekFrom::Start(0))
            .and_then(|_| log.read_to_end(&mut text));
        match read {
            Ok(_) => String::from_utf8_lossy(&text).into_owned(),
            Err(error) => format!("(no log: {error})"),
        }
    }
}

impl Drop for Curator {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- the log of Curator (process {:?}) ---\n{}\n---",
                self.process.id(),
                self.log_tail()
            );
        }
    }
}

/// Any bytes as text for a line of JSON: each byte is the character of the same number (ISO 8859-1).
fn to_text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn from_text(text: &str) -> Vec<u8> {
    text.chars()
        .map(|c| u8::try_from(c).expect("Interop.java sends one byte per character"))
        .collect()
}
