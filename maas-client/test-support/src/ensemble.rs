//! A real ZooKeeper ensemble: three servers that elect a leader among them, for tests that take servers away.

use std::fs;
use std::time::Duration;

use tempfile::TempDir;

use crate::leash::Leash;
use crate::zookeeper::{ask, program};
use crate::{eventually, free_port};

/// How many servers there are: one may be missing.
const SERVERS: usize = 3;

/// An election takes a second or two on a quiet machine; this is for a very busy one.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// Somebody else may take a chosen port first.
const ATTEMPTS: usize = 3;

/// Three ZooKeeper servers. Gone when dropped.
#[derive(Debug)]
pub struct Ensemble {
    servers: Vec<Server>,
}

#[derive(Debug)]
struct Server {
    leash: Leash,
    port: u16,
}

impl Ensemble {
    /// Starts three servers with empty data folders, and returns when all of them serve.
    ///
    /// # Panics
    ///
    /// When ZooKeeper is not installed or the servers don't come to serve.
    pub async fn start() -> Self {
        for attempt in 1.. {
            let ensemble = Self::launch();
            let all_serve = async || {
                if ensemble
                    .servers
                    .iter()
                    .any(|server| !server.leash.is_running())
                {
                    return Some(false);
                }
                (ensemble.serving().await == SERVERS).then_some(true)
            };
            if eventually(READY_WITHIN, "three ZooKeeper servers to serve", all_serve).await {
                return ensemble;
            }
            assert!(
                attempt < ATTEMPTS,
                "a ZooKeeper server ends while it starts: {}",
                ensemble.servers[0].leash.log_tail()
            );
        }
        unreachable!("the attempts are counted")
    }

    fn launch() -> Self {
        let ports: Vec<[u16; 3]> = (0..SERVERS)
            .map(|_| [free_port(), free_port(), free_port()])
            .collect();
        let members: String = ports
            .iter()
            .enumerate()
            .map(|(n, [_, peer, election])| {
                format!("server.{}=127.0.0.1:{peer}:{election}\n", n + 1)
            })
            .collect();
        let servers = ports.iter().enumerate().map(|(n, [port, ..])| {
            let folder = TempDir::with_prefix("maas-test-zookeeper-")
                .expect("a temporary folder can be made");
            let data = folder.path().join("data");
            fs::create_dir(&data).expect("a new temporary folder can be written to");
            fs::write(data.join("myid"), format!("{}\n", n + 1))
                .expect("a new temporary folder can be written to");
            let more = format!("initLimit=20\nsyncLimit=10\n{members}");
            let program = program(folder.path(), *port, &more);
            Server {
                leash: Leash::start("ZooKeeper", folder, &program),
                port: *port,
            }
        });
        Self {
            servers: servers.collect(),
        }
    }

    /// What a client is given: all three servers.
    pub fn connect_string(&self) -> String {
        let addresses = self
            .servers
            .iter()
            .map(|server| format!("127.0.0.1:{}", server.port));
        addresses.collect::<Vec<_>>().join(",")
    }

    /// Which server leads now.
    ///
    /// # Panics
    ///
    /// When none does for long.
    pub async fn leader(&self) -> usize {
        eventually(READY_WITHIN, "a ZooKeeper server to lead", async || {
            for (n, server) in self.servers.iter().enumerate() {
                if mode(server.port).await.as_deref() == Some("leader") {
                    return Some(n);
                }
            }
            None
        })
        .await
    }

    /// A server that does not lead now.
    ///
    /// # Panics
    ///
    /// When none leads for long.
    pub async fn follower(&self) -> usize {
        (self.leader().await + 1) % SERVERS
    }

    /// Ends a server by `kill -9`. Its port and data are kept.
    pub fn kill(&mut self, server: usize) {
        self.servers[server].leash.kill();
    }

    /// Starts a server again. Does not wait until it serves.
    pub fn start_again(&mut self, server: usize) {
        self.servers[server].leash.start_again();
    }

    async fn serving(&self) -> usize {
        let mut serving = 0;
        for server in &self.servers {
            serving += usize::from(mode(server.port).await.is_some());
        }
        serving
    }
}

/// `leader` or `follower`; nothing of a server that does not serve.
async fn mode(port: u16) -> Option<String> {
    let answer = ask(port, "srvr").await?;
    let mode = answer
        .lines()
        .find_map(|line| line.strip_prefix("Mode: "))?;
    Some(mode.to_owned())
}
