//! A site: a ZooKeeper tree, a model store, and somebody who runs `maas_deploy` there.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use test_support::{SharedZooKeeper, TempDir, ZooKeeper};

/// A ZooKeeper tree and a model store of its own.
pub(crate) struct Site {
    pub(crate) zookeeper: SharedZooKeeper,
    pub(crate) store: TempDir,
}

impl Site {
    pub(crate) async fn new() -> Self {
        Self {
            zookeeper: ZooKeeper::shared().await,
            store: TempDir::new().unwrap(),
        }
    }

    pub(crate) fn store(&self) -> &str {
        self.store.path().to_str().unwrap()
    }

    /// Runs `maas_deploy` on this site.
    pub(crate) fn deploy(&self, args: &[&str]) -> Run {
        let mut all = vec!["-zq", self.zookeeper.connect_string()];
        all.extend(args);
        deploy(&all)
    }

    pub(crate) fn add(&self, name: &str, folder: &Path, more: &[&str]) -> Run {
        let folder = folder.to_str().unwrap();
        let mut all = vec![
            "-mo",
            "ADD",
            "-n",
            name,
            "-v",
            "1.0",
            "-m",
            "64",
            "-lmp",
            folder,
            "-hmp",
            self.store(),
        ];
        all.extend(more);
        self.deploy(&all)
    }

    pub(crate) async fn queued(&self) -> Vec<String> {
        let config = maas_client::SessionConfig::new(self.zookeeper.connect_string());
        let session = maas_client::Session::connect(config).await.unwrap();
        let layout = maas_client::layout::Layout::default();
        let waiting = maas_client::queue::Queue::new(session.clone(), layout)
            .peek(100)
            .await
            .unwrap();
        session.close().await;
        waiting
            .into_iter()
            .map(|item| String::from_utf8(item.data).unwrap())
            .collect()
    }
}

/// What a run of the program gave.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) fn deploy(args: &[&str]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_maas_deploy"));
    command
        .args(args)
        .env_remove("MAAS_ZOOKEEPER")
        .env_remove("HADOOP_CONF_DIR")
        .stdin(Stdio::null());
    run(&mut command)
}

pub(crate) fn run(command: &mut Command) -> Run {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let [stdout, stderr] = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    Run {
        code: status.code().unwrap(),
        stdout,
        stderr,
    }
}
