//! A real, private ZooKeeper: Debian's `zookeeper` package, standalone, on 127.0.0.1.
//!
//! `java` is started with an explicit class path rather than by `zkServer.sh`, because Debian's script has its folders
//! built in and logs nothing. A tick of 500 ms permits sessions as short as one second.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::timeout;
use zookeeper_client as zk;

use crate::leash::{Leash, Program};
use crate::{eventually, free_port};

const JARS: [&str; 2] = [
    "/usr/share/java/zookeeper.jar",
    "/usr/share/java/slf4j-simple.jar",
];

/// A server is ready in half a second on a quiet machine; this is for a very busy one.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Somebody else may take the chosen port first; more than a few times in a row means something else is wrong.
const ATTEMPTS: usize = 5;

/// A private ZooKeeper server, for a test that kills, pauses or restarts it. Others take [`ZooKeeper::shared`].
#[derive(Debug)]
pub struct ZooKeeper {
    leash: Leash,
    /// Whoever holds the disk for its data, where that is one of its own.
    disk: Option<Leash>,
    port: u16,
    connect_string: String,
}

impl ZooKeeper {
    /// Starts a server on a free port with an empty data folder, and returns when it serves.
    ///
    /// # Panics
    ///
    /// When the `zookeeper` package is not installed, or the server does not come up; with the end of its log.
    pub async fn start() -> Self {
        Self::start_by(async |port| (launch(port), None)).await
    }

    /// Starts a server whose data lies on a disk of its own, of so many MB. Nobody else sees that disk, but for
    /// [`disk`](Self::disk).
    ///
    /// # Panics
    ///
    /// As [`ZooKeeper::start`], or when the machine lets nobody mount anything, not even for himself.
    pub async fn start_on_disk(megabytes: u32) -> Self {
        Self::start_by(async |port| {
            let (server, disk) = launch_on_disk(port, megabytes).await;
            (server, Some(disk))
        })
        .await
    }

    /// Its disk.
    ///
    /// # Panics
    ///
    /// When it has none of its own.
    pub fn disk(&self) -> PathBuf {
        let holder = self.disk.as_ref().and_then(Leash::pid);
        let holder = holder.expect("it has a disk of its own");
        let data = self.leash.folder().join("data");
        PathBuf::from(format!("/proc/{holder}/root{}", data.display()))
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.leash.is_running()
    }

    async fn start_by(launch: impl AsyncFn(u16) -> (Leash, Option<Leash>)) -> Self {
        for jar in JARS {
            assert!(
                Path::new(jar).exists(),
                "{jar} is missing; install what tests need by: scripts/setup test"
            );
        }
        let mut log = String::new();
        for _ in 0..ATTEMPTS {
            let port = free_port();
            let (leash, disk) = launch(port).await;
            let server = Self {
                leash,
                disk,
                port,
                connect_string: format!("127.0.0.1:{port}"),
            };
            match server.ready().await {
                Ok(()) => return server,
                Err(Ended) => log = server.leash.log_tail(),
            }
        }
        panic!(
            "ZooKeeper ended {ATTEMPTS} times while it started (is `java` there? scripts/setup test); its log:\n{log}"
        );
    }

    /// This test program's one shared server, with a chroot of the caller's own.
    ///
    /// # Panics
    ///
    /// As [`ZooKeeper::start`], or when the chroot's node cannot be created.
    pub async fn shared() -> SharedZooKeeper {
        static SERVER: OnceCell<ZooKeeper> = OnceCell::const_new();
        static TESTS: AtomicU32 = AtomicU32::new(1);
        let server = SERVER.get_or_init(Self::start).await;
        let root = format!("/test-{}", TESTS.fetch_add(1, Ordering::Relaxed));
        let client = connect(server.address()).await;
        client
            .mkdir(
                &root,
                &zk::CreateMode::Persistent.with_acls(zk::Acls::anyone_all()),
            )
            .await
            .unwrap_or_else(|error| {
                panic!(
                    "could not create the chroot {root} on {}: {error}",
                    server.address()
                )
            });
        SharedZooKeeper {
            server,
            connect_string: format!("{}{root}", server.address()),
        }
    }

    /// What a client is given: `127.0.0.1:PORT`.
    pub fn connect_string(&self) -> &str {
        &self.connect_string
    }

    /// Host and port, without a chroot: `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.connect_string
    }

    /// Ends the server by `kill -9`. Its port and data are kept for [`ZooKeeper::restart`].
    pub async fn kill(&mut self) {
        self.leash.kill();
    }

    /// Starts the server again with the same port and data (killing it first if it runs), and returns when it serves.
    ///
    /// # Panics
    ///
    /// When it does not come up again.
    pub async fn restart(&mut self) {
        let mut log = String::new();
        for _ in 0..ATTEMPTS {
            self.leash.start_again();
            match self.ready().await {
                Ok(()) => return,
                // For instance, somebody got the port as an outgoing connection's for a moment.
                Err(Ended) => log = self.leash.log_tail(),
            }
        }
        panic!("ZooKeeper ended {ATTEMPTS} times while it restarted; its log:\n{log}");
    }

    /// Stops the server's clockwork (SIGSTOP): connections stay open and nobody answers.
    pub fn pause(&mut self) {
        self.leash.signal("STOP");
    }

    /// Lets a paused server go on.
    pub fn resume(&mut self) {
        self.leash.signal("CONT");
    }

    /// The end of the server's log.
    pub fn log_tail(&self) -> String {
        self.leash.log_tail()
    }

    async fn ready(&self) -> Result<(), Ended> {
        // The port may have been taken by another test's ZooKeeper, which would answer as well. So the question is
        // `conf`, which names the data folder: only our own server names ours. Like `srvr` it is refused until serving.
        let ours = self.leash.folder().join("data");
        let ours = format!("dataDir={}", ours.display());
        eventually(READY_WITHIN, "ZooKeeper to serve", async || {
            if !self.leash.is_running() {
                return Some(Err(Ended));
            }
            let answer = ask(self.port, "conf").await.unwrap_or_default();
            answer.contains(&ours).then_some(Ok(()))
        })
        .await
    }
}

/// One test's part of the shared server.
#[derive(Debug)]
pub struct SharedZooKeeper {
    server: &'static ZooKeeper,
    connect_string: String,
}

impl SharedZooKeeper {
    /// What a client is given: `127.0.0.1:PORT/test-N`. The node `/test-N` exists and is empty.
    pub fn connect_string(&self) -> &str {
        &self.connect_string
    }

    /// Host and port, without the chroot.
    pub fn address(&self) -> &str {
        self.server.address()
    }
}

impl Drop for SharedZooKeeper {
    fn drop(&mut self) {
        self.server.leash.show_log_if_the_test_fails();
    }
}

/// The server ended by itself while it was awaited.
struct Ended;

fn launch(port: u16) -> Leash {
    let folder =
        TempDir::with_prefix("maas-test-zookeeper-").expect("a temporary folder can be made");
    let program = program(folder.path(), port, "");
    Leash::start("ZooKeeper", folder, &program)
}

/// A server with its data on a disk of its own, and who holds that one.
async fn launch_on_disk(port: u16, megabytes: u32) -> (Leash, Leash) {
    const MOUNT: &str = r#"mount -t tmpfs -o "size=$1" tmpfs "$2" && exec sleep 1000000"#;
    let temporary =
        || TempDir::with_prefix("maas-test-zookeeper-").expect("a temporary folder can be made");
    let folder = temporary();
    let data = folder.path().join("data");
    fs::create_dir(&data).expect("a new temporary folder can be written to");
    let holder = Program::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", MOUNT, "sh"])
        .arg(format!("{megabytes}m"))
        .arg(&data);
    let holder = Leash::start("the disk of ZooKeeper", temporary(), &holder);
    let pid = holder.pid().expect("it has just been started").to_string();
    eventually(READY_WITHIN, "a disk to be mounted", async || {
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        mounts.contains(&format!(" {} ", data.display()))
    })
    .await;
    let server = program(folder.path(), port, "").within(
        "nsenter",
        [
            "--user",
            "--preserve-credentials",
            "--mount",
            "--target",
            &pid,
        ],
    );
    (Leash::start("ZooKeeper", folder, &server), holder)
}

/// The program of a server with its data in `folder`, and `more` in its configuration.
pub(crate) fn program(folder: &Path, port: u16, more: &str) -> Program {
    let path = folder
        .to_str()
        .expect("the path of temporary folders is UTF-8");
    let config = format!(
        "tickTime=500\n\
         dataDir={path}/data\n\
         clientPort={port}\n\
         clientPortAddress=127.0.0.1\n\
         maxClientCnxns=0\n\
         admin.enableServer=false\n\
         4lw.commands.whitelist=*\n\
         minSessionTimeout=1000\n\
         maxSessionTimeout=60000\n\
         extendedTypesEnabled=true\n\
         {more}"
    );
    let config_file = folder.join("zoo.cfg");
    fs::write(&config_file, config).expect("a new temporary folder can be written to");
    Program::new("java")
        .args([
            "-Xmx256m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-XX:-UsePerfData",
        ])
        .args([
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dznode.container.checkIntervalMs=500",
        ])
        .args(["-cp", &JARS.join(":")])
        .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
        .arg(config_file)
}

/// Asks one of ZooKeeper's four letter words; nothing if nobody (or a mute server) is there.
pub(crate) async fn ask(port: u16, word: &str) -> Option<String> {
    let answer = async {
        let mut connection = TcpStream::connect(("127.0.0.1", port)).await?;
        connection.write_all(word.as_bytes()).await?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    // A server that is still booting may accept the connection and never answer it (a fault of 3.8.0).
    timeout(Duration::from_secs(1), answer).await.ok()?.ok()
}

/// A client connected to the server at `address`.
async fn connect(address: &str) -> zk::Client {
    zk::Client::connector()
        .with_session_timeout(Duration::from_secs(10))
        // The same fault as above would otherwise cost a stall of four seconds.
        .with_connection_timeout(Duration::from_millis(1500))
        .connect(address)
        .await
        .unwrap_or_else(|error| {
            panic!("could not connect to the test's ZooKeeper at {address}: {error}")
        })
}
