//! The detector as a model: its bundle made, deployed, found and called through the real control plane.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use maas_client::{MaasClient, SessionConfig};
use test_support::{Daemon, TempDir, ZooKeeper, binary, eventually};

const LIMIT: Duration = Duration::from_secs(60);

/// The folder that `scripts/bundle dga` makes of the program under test.
fn bundle(folder: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // A test program lies in <target>/<profile>/deps.
    let own = std::env::current_exe().unwrap();
    let profile = own.ancestors().nth(2).unwrap();
    let out = folder.join("dga");
    let made = Command::new(root.join("scripts/bundle"))
        .args([
            "dga",
            "--profile",
            if profile.ends_with("release") {
                "release"
            } else {
                "dev"
            },
            "--out",
        ])
        .arg(&out)
        .env("CARGO_TARGET_DIR", profile.parent().unwrap())
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    out
}

#[tokio::test]
async fn the_bundle_is_deployed_found_by_name_and_called() {
    let folder = TempDir::new().unwrap();
    let bundle = bundle(folder.path());
    let zookeeper = ZooKeeper::start().await;
    let daemon = Daemon::start(zookeeper.connect_string(), &[]);
    let store = folder.path().join("store");
    let deploy = |arguments: &[&str]| -> Output {
        let output = Command::new(binary("maas_deploy"))
            .args(["-zq", zookeeper.connect_string()])
            .args(arguments)
            .env_remove("MAAS_ZOOKEEPER")
            .env_remove("HADOOP_CONF_DIR")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}\n{}",
            String::from_utf8_lossy(&output.stderr),
            daemon.log_tail()
        );
        output
    };
    let [from, to] = [&bundle, &store].map(|path| path.to_str().unwrap());
    let add = [
        "-mo", "ADD", "-n", "dga", "-v", "1.0", "-ni", "2", "-m", "128", "-lmp", from, "-hmp", to,
        "--wait",
    ];
    deploy(&add);

    let client = MaasClient::connect(SessionConfig::new(zookeeper.connect_string()))
        .await
        .unwrap();
    let endpoint = eventually(LIMIT, "an endpoint of the detector", async || {
        client.get_endpoint("dga", None)
    })
    .await;
    for (host, word) in [
        ("google.com", "legit"),
        ("google", "legit"),
        ("intgmxdeadnxuyla.com", "dga"),
    ] {
        let answer = client
            .model_apply(&endpoint, None, &[("host", host)])
            .await
            .unwrap();
        assert_eq!(
            answer.get("is_malicious").and_then(|word| word.as_str()),
            Some(word),
            "{host}: {answer:?}"
        );
    }

    deploy(&[
        "-mo", "REMOVE", "-n", "dga", "-v", "1.0", "-ni", "2", "--wait",
    ]);
    eventually(LIMIT, "the copies to be gone", async || {
        daemon.processes_of_copies().is_empty()
    })
    .await;
}

#[test]
fn the_bundle_holds_all_that_it_needs_and_takes_prediction_lists() {
    let folder = TempDir::new().unwrap();
    let bundle = bundle(folder.path());
    let mut names: Vec<String> = fs::read_dir(&bundle)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["dga", "dga.sh", "model"]);
    fs::create_dir(bundle.join("predictions")).unwrap();
    fs::write(bundle.join("predictions/coming.txt"), "nofamily.example\n").unwrap();
    // A list that is none keeps the model from starting: half protection would look like all of it.
    let started = Command::new("timeout")
        .arg("60")
        .arg(bundle.join("dga.sh"))
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(started.status.code(), Some(2));
    assert!(!folder.path().join("endpoint.dat").exists());
}
