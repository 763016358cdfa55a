//! A real HDFS: one NameNode and one DataNode, each a JVM of its own, on 127.0.0.1.
//!
//! The jars come from Maven Central by `scripts/setup test`. Blocks are 1 MB, so that a few megabytes already make a file
//! of several blocks. The DataNode picks its own ports; the NameNode's have to be known beforehand.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::leash::{Leash, Program};
use crate::{eventually, free_port};

const VERSION: &str = "3.3.6";

/// About seven seconds on a quiet machine.
const READY_WITHIN: Duration = Duration::from_secs(180);

/// Somebody else may take a chosen port first; more than a few times in a row means something else is wrong.
const ATTEMPTS: usize = 5;

/// What a shell runs for the NameNode: a new one needs its folder formatted, a restarted one must keep it. `$1` is that
/// folder, the rest starts Java.
const FORMAT_AND_RUN: &str = r#"folder=$1; shift; [ -d "$folder/current" ] || "$@" -format -force -nonInteractive || exit; exec "$@""#;

const LOG4J: &str = "log4j.rootLogger=INFO,stderr\n\
    log4j.appender.stderr=org.apache.log4j.ConsoleAppender\n\
    log4j.appender.stderr.target=System.err\n\
    log4j.appender.stderr.layout=org.apache.log4j.PatternLayout\n\
    log4j.appender.stderr.layout.ConversionPattern=%d{ISO8601} %p %c: %m%n\n";

/// A private HDFS. Most tests share one by [`Hdfs::shared`].
#[derive(Debug)]
pub struct Hdfs {
    // The DataNode goes first, or its log fills with complaints about the other's absence.
    data_node: Leash,
    name_node: Leash,
    http_port: u16,
    uri: String,
}

impl Hdfs {
    /// Starts both daemons, and returns when files can be written: safe mode is off and the DataNode has room.
    ///
    /// # Panics
    ///
    /// When the jars are missing or a daemon does not come up; with the end of its log.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same, with further settings for both daemons (as in `hdfs-site.xml`).
    ///
    /// # Panics
    ///
    /// As [`Hdfs::start`].
    pub async fn start_with(settings: &[(&str, &str)]) -> Self {
        let jars = jars();
        let mut log = String::new();
        for _ in 0..ATTEMPTS {
            let (port, http_port) = (free_port(), free_port());
            let uri = format!("hdfs://127.0.0.1:{port}");
            let hdfs = Self {
                name_node: start_name_node(&jars, &uri, http_port, settings),
                data_node: start_data_node(&jars, &uri, settings),
                http_port,
                uri,
            };
            match hdfs.ready().await {
                Ok(()) => return hdfs,
                Err(ended) => log = ended,
            }
        }
        panic!(
            "HDFS ended {ATTEMPTS} times while it started (is `java` there? scripts/setup test); {log}"
        );
    }

    /// This test program's one shared HDFS, with a folder name of the caller's own.
    ///
    /// # Panics
    ///
    /// As [`Hdfs::start`].
    pub async fn shared() -> SharedHdfs {
        static HDFS: OnceCell<Hdfs> = OnceCell::const_new();
        static TESTS: AtomicU32 = AtomicU32::new(1);
        let hdfs = HDFS.get_or_init(Self::start).await;
        SharedHdfs {
            hdfs,
            folder: format!("/test-{}", TESTS.fetch_add(1, Ordering::Relaxed)),
        }
    }

    /// The file system's address, `hdfs://127.0.0.1:PORT`.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// A folder for `HADOOP_CONF_DIR`: its `core-site.xml` names this file system as the default one.
    pub fn conf_dir(&self) -> PathBuf {
        self.name_node.folder().join("conf")
    }

    async fn ready(&self) -> Result<(), String> {
        // Another HDFS may have taken the port and would answer as well, but only our own names our folder.
        let ours = self.name_node.folder().join("name").display().to_string();
        eventually(READY_WITHIN, "HDFS to take files", async || {
            for daemon in [&self.name_node, &self.data_node] {
                if !daemon.is_running() {
                    return Some(Err(format!("the log's end:\n{}", daemon.log_tail())));
                }
            }
            let info = self.bean("NameNodeInfo").await?;
            let state = self.bean("FSNamesystemState").await?;
            let is_ready = info.contains(&ours)
                && state.contains(r#""FSState" : "Operational""#)
                && state.contains(r#""NumLiveDataNodes" : 1,"#)
                // A DataNode counts as live before it has said how much room it has; until then every write fails.
                && !state.contains(r#""CapacityRemaining" : 0,"#);
            is_ready.then_some(Ok(()))
        })
        .await
    }

    /// One of the NameNode's management beans as JSON.
    async fn bean(&self, name: &str) -> Option<String> {
        let request = format!("GET /jmx?qry=Hadoop:service=NameNode,name={name} HTTP/1.0\r\n\r\n");
        let answer = async {
            let mut connection = TcpStream::connect(("127.0.0.1", self.http_port)).await?;
            connection.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            connection.read_to_string(&mut answer).await?;
            std::io::Result::Ok(answer)
        };
        timeout(Duration::from_secs(5), answer).await.ok()?.ok()
    }
}

/// One test's part of the shared HDFS.
#[derive(Debug)]
pub struct SharedHdfs {
    hdfs: &'static Hdfs,
    folder: String,
}

impl SharedHdfs {
    /// An absolute path that no other test uses. Nothing is there yet.
    pub fn folder(&self) -> &str {
        &self.folder
    }
}

impl Deref for SharedHdfs {
    type Target = Hdfs;

    fn deref(&self) -> &Hdfs {
        self.hdfs
    }
}

impl Drop for SharedHdfs {
    fn drop(&mut self) {
        self.hdfs.name_node.show_log_if_the_test_fails();
        self.hdfs.data_node.show_log_if_the_test_fails();
    }
}

/// Where `scripts/setup test` puts the jars.
fn jars() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| {
            let home = std::env::var_os("HOME")?;
            Some(Path::new(&home).join(".cache"))
        });
    let jars = cache
        .expect("HOME is set")
        .join("maas")
        .join(format!("hadoop-{VERSION}"));
    assert!(
        jars.is_dir(),
        "{} is missing; install what tests need by: scripts/setup test",
        jars.display()
    );
    jars
}

fn start_name_node(jars: &Path, uri: &str, http_port: u16, settings: &[(&str, &str)]) -> Leash {
    let folder =
        TempDir::with_prefix("maas-test-namenode-").expect("a temporary folder can be made");
    let path = folder.path().display();
    configure(
        folder.path(),
        uri,
        settings,
        &[
            ("dfs.namenode.name.dir", &format!("file://{path}/name")),
            (
                "dfs.namenode.http-address",
                &format!("127.0.0.1:{http_port}"),
            ),
            ("dfs.namenode.rpc-bind-host", "127.0.0.1"),
            ("dfs.namenode.safemode.extension", "0"),
            ("dfs.namenode.fs-limits.min-block-size", "1024"),
            ("dfs.namenode.handler.count", "4"),
            // On a nearly full disk the NameNode would stay in safe mode.
            ("dfs.namenode.resource.du.reserved", "0"),
            // Asking who 127.0.0.1 is takes a name server, which a test must not need.
            (
                "dfs.namenode.datanode.registration.ip-hostname-check",
                "false",
            ),
        ],
    );
    let java = java(
        jars,
        folder.path(),
        "384m",
        "org.apache.hadoop.hdfs.server.namenode.NameNode",
    );
    let program = Program::new("sh")
        .args(["-c", FORMAT_AND_RUN, "namenode"])
        .arg(folder.path().join("name"))
        .arg("java")
        .args(java);
    Leash::start("the NameNode", folder, &program)
}

fn start_data_node(jars: &Path, uri: &str, settings: &[(&str, &str)]) -> Leash {
    let folder =
        TempDir::with_prefix("maas-test-datanode-").expect("a temporary folder can be made");
    let path = folder.path().display();
    configure(
        folder.path(),
        uri,
        settings,
        &[
            ("dfs.datanode.data.dir", &format!("file://{path}/data")),
            ("dfs.datanode.hostname", "127.0.0.1"),
            ("dfs.datanode.address", "127.0.0.1:0"),
            ("dfs.datanode.http.address", "127.0.0.1:0"),
            ("dfs.datanode.ipc.address", "127.0.0.1:0"),
            ("dfs.datanode.du.reserved", "0"),
        ],
    );
    let java = java(
        jars,
        folder.path(),
        "256m",
        "org.apache.hadoop.hdfs.server.datanode.DataNode",
    );
    Leash::start("the DataNode", folder, &Program::new("java").args(java))
}

fn java(jars: &Path, folder: &Path, heap: &str, class: &str) -> Vec<String> {
    let conf = folder.join("conf");
    let class_path = format!("{}:{}/*", conf.display(), jars.display());
    let heap = format!("-Xmx{heap}");
    // In a container the machine's own name often means nothing, and then Hadoop does not start. With a hosts file of
    // their own the daemons know it, and ask no name server.
    let hosts = format!("-Djdk.net.hosts.file={}", conf.join("hosts").display());
    // Their web servers unpack things there.
    let temporary = format!("-Djava.io.tmpdir={}", folder.display());
    let quick = [
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:-UsePerfData",
    ];
    // Hadoop's injection library reaches into java.lang, which Java forbids unless told otherwise.
    let open = ["--add-opens", "java.base/java.lang=ALL-UNNAMED"];
    let main = [&heap, &hosts, &temporary, "-cp", &class_path, class];
    quick
        .into_iter()
        .chain(open)
        .chain(main)
        .map(str::to_owned)
        .collect()
}

/// Writes the folder `conf` with the settings that both daemons and all clients share, the daemon's own ones, and those
/// that the test gives.
fn configure(folder: &Path, uri: &str, given: &[(&str, &str)], own: &[(&str, &str)]) {
    let tmp = folder.join("tmp").display().to_string();
    let core = [("fs.defaultFS", uri), ("hadoop.tmp.dir", &tmp)];
    let mut hdfs = vec![
        ("dfs.replication", "1"),
        ("dfs.blocksize", "1048576"),
        ("dfs.heartbeat.interval", "1"),
    ];
    // Of a setting that is there twice, the last one counts.
    hdfs.extend_from_slice(own);
    hdfs.extend_from_slice(given);
    let conf = folder.join("conf");
    // Both daemons refuse to start when the class path lacks the folder of their web pages, which Maven's jars do not hold.
    fs::create_dir_all(conf.join("webapps/hdfs"))
        .and_then(|()| fs::create_dir_all(conf.join("webapps/datanode")))
        .and_then(|()| fs::write(conf.join("core-site.xml"), configuration(&core)))
        .and_then(|()| fs::write(conf.join("hdfs-site.xml"), configuration(&hdfs)))
        .and_then(|()| fs::write(conf.join("log4j.properties"), LOG4J))
        .and_then(|()| {
            let own_name = fs::read_to_string("/proc/sys/kernel/hostname")?;
            fs::write(
                conf.join("hosts"),
                format!("127.0.0.1 localhost {own_name}"),
            )
        })
        .expect("a new temporary folder can be written to");
}

fn configuration(settings: &[(&str, &str)]) -> String {
    let mut xml = String::from("<?xml version=\"1.0\"?>\n<configuration>\n");
    for (name, value) in settings {
        xml += &format!("  <property><name>{name}</name><value>{value}</value></property>\n");
    }
    xml + "</configuration>\n"
}
