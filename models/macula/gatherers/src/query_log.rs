//! The query log: one JSON line for every question that was put to a source.
//!
//! What is investigated is confidential, so a line has a keyed hash of it and not the indicator, unless the settings want it in
//! clear. A plain hash would not do: there are so few IPv4 addresses that all of their hashes can be made in a minute. The key
//! is drawn at every start; name a secret in the settings to compare the lines of several runs.
//!
//! Lines are written by a thread of their own. If the disk is too slow, lines are dropped and counted; questions never wait.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tracing::warn;

/// Lines that may wait for the disk.
const WAITING: usize = 4096;

/// Where and how questions are logged.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueryLogConfig {
    /// The file. When it is full it becomes `….1`, and the one before that goes.
    pub path: PathBuf,
    /// How many bytes it may have.
    #[serde(default = "default_max_bytes")]
    pub max_bytes: u64,
    /// Whether indicators are written in clear.
    #[serde(default)]
    pub clear_indicators: bool,
    /// The file with the secret that indicators are hashed with.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
}

const fn default_max_bytes() -> u64 {
    64 * 1024 * 1024
}

/// One question.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) at: Timestamp,
    pub(crate) gatherer: String,
    pub(crate) indicator: String,
    pub(crate) outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    pub(crate) elapsed_ms: u64,
    pub(crate) bytes: usize,
    /// Why a question was put although there is a cache: `miss`, `refresh` or `bypass`.
    pub(crate) cache: &'static str,
}

/// Takes lines.
#[derive(Debug)]
pub(crate) struct QueryLog {
    lines: Option<SyncSender<Line>>,
    writer: Option<JoinHandle<()>>,
    dropped: Arc<AtomicU64>,
    secret: Option<[u8; 32]>,
}

impl QueryLog {
    pub(crate) fn open(config: &QueryLogConfig) -> Result<QueryLog, QueryLogError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| QueryLogError { path, source }
        };
        let secret = match &config.secret_file {
            Some(path) => Sha256::digest(fs::read(path).map_err(failed(path))?).into(),
            None => Sha256::digest(uuid::Uuid::new_v4().as_bytes()).into(),
        };
        let mut file = LogFile::open(config).map_err(failed(&config.path))?;
        let (sender, receiver) = sync_channel(WAITING);
        let writer = thread::Builder::new()
            .name("query-log".into())
            .spawn(move || file.write_all_of(&receiver))
            .map_err(failed(&config.path))?;
        Ok(QueryLog {
            lines: Some(sender),
            writer: Some(writer),
            dropped: Arc::default(),
            secret: (!config.clear_indicators).then_some(secret),
        })
    }

    pub(crate) fn write(&self, mut line: Line) {
        if let Some(secret) = &self.secret {
            line.indicator = hash(secret, &line.indicator);
        }
        let written = match &self.lines {
            Some(lines) => lines.try_send(line).is_ok(),
            None => false,
        };
        if !written {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for QueryLog {
    fn drop(&mut self) {
        // The writer ends when nobody can send any more; what was sent is written first.
        self.lines = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            warn!("the query log's writer panicked");
        }
    }
}

fn hash(secret: &[u8; 32], indicator: &str) -> String {
    let digest = Sha256::new()
        .chain_update(secret)
        .chain_update(indicator)
        .finalize();
    digest[..8].iter().map(|b| format!("{b:02x}")).collect()
}

struct LogFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    max_bytes: u64,
}

impl LogFile {
    fn open(config: &QueryLogConfig) -> io::Result<LogFile> {
        let file = append(&config.path)?;
        Ok(LogFile {
            bytes: file.metadata()?.len(),
            file,
            path: config.path.clone(),
            max_bytes: config.max_bytes,
        })
    }

    fn write_all_of(&mut self, lines: &Receiver<Line>) {
        let mut failing = false;
        for line in lines {
            let written = self.write(&line);
            if let Err(error) = &written
                && !failing
            {
                warn!(%error, path = %self.path.display(), "the query log cannot be written");
            }
            failing = written.is_err();
        }
    }

    fn write(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        let length = text.len() as u64;
        if self.bytes > 0 && self.bytes + length > self.max_bytes {
            let mut old = self.path.clone().into_os_string();
            old.push(".1");
            fs::rename(&self.path, old)?;
            self.file = append(&self.path)?;
            self.bytes = 0;
        }
        self.file.write_all(&text)?;
        self.bytes += length;
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// A log that cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("the query log needs `{path}`, which failed")]
pub struct QueryLogError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(indicator: &str) -> Line {
        Line {
            at: Timestamp::UNIX_EPOCH,
            gatherer: "geo".into(),
            indicator: indicator.into(),
            outcome: "ok",
            status: Some(200),
            elapsed_ms: 3,
            bytes: 17,
            cache: "miss",
        }
    }

    fn written(clear: bool, max_bytes: u64) -> (String, Option<String>) {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        fs::write(&secret, "s").unwrap();
        let path = folder.path().join("queries.ndjson");
        let config = QueryLogConfig {
            path: path.clone(),
            max_bytes,
            clear_indicators: clear,
            secret_file: Some(secret),
        };
        let log = QueryLog::open(&config).unwrap();
        log.write(line("192.0.2.7"));
        log.write(line("192.0.2.8"));
        assert_eq!(log.dropped(), 0);
        drop(log);
        let old = fs::read_to_string(folder.path().join("queries.ndjson.1"));
        (fs::read_to_string(path).unwrap(), old.ok())
    }

    #[test]
    fn a_line_is_this_json_and_hides_the_indicator_unless_told_otherwise() {
        let (clear, _) = written(true, 1000);
        assert_eq!(
            clear.lines().next().unwrap(),
            r#"{"at":"1970-01-01T00:00:00Z","gatherer":"geo","indicator":"192.0.2.7","outcome":"ok","status":200,"elapsed_ms":3,"bytes":17,"cache":"miss"}"#
        );
        let (hashed, _) = written(false, 1000);
        let (again, _) = written(false, 1000);
        assert!(!hashed.contains("192.0.2"));
        assert_eq!(hashed, again, "the secret makes lines comparable");
        let hashes: std::collections::HashSet<&str> = hashed.lines().collect();
        assert_eq!(hashes.len(), 2);
    }

    #[test]
    fn a_full_file_makes_way() {
        let (new, old) = written(true, 200);
        assert!(new.contains("192.0.2.8") && !new.contains("192.0.2.7"));
        assert!(old.unwrap().contains("192.0.2.7"));
    }
}
