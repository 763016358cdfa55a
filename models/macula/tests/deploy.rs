//! Macula as a model: its bundle made, deployed, found and called through the real control plane.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use maas_client::{MaasClient, SessionConfig};
use test_support::{Daemon, TempDir, ZooKeeper, binary, eventually};

const LIMIT: Duration = Duration::from_secs(60);

/// The folder that `scripts/bundle macula` makes of the program under test.
fn bundle(folder: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // A test program lies in <target>/<profile>/deps.
    let own = std::env::current_exe().unwrap();
    let profile = own.ancestors().nth(2).unwrap();
    let out = folder.join("macula");
    let made = Command::new(root.join("scripts/bundle"))
        .args([
            "macula",
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

fn copy_lists(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_lists(&path, &to);
        } else {
            std::fs::copy(&path, &to).unwrap();
        }
    }
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
    // Lists that change while it runs lie outside.
    let outside = folder.path().join("lists");
    copy_lists(&bundle.join("lists"), &outside);
    std::fs::write(outside.join("blacklist-outside.txt"), "outside.example\n").unwrap();
    let options = format!(
        "# said by the operator\n\n--lists={}\n--neutral-score=40\n",
        outside.display()
    );
    std::fs::write(bundle.join("options"), options).unwrap();
    let [from, to] = [&bundle, &store].map(|path| path.to_str().unwrap());
    let add = [
        "-mo", "ADD", "-n", "macula", "-v", "1.0", "-ni", "2", "-m", "256", "-lmp", from, "-hmp",
        to, "--wait",
    ];
    deploy(&add);

    let client = MaasClient::connect(SessionConfig::new(zookeeper.connect_string()))
        .await
        .unwrap();
    let endpoint = eventually(LIMIT, "an endpoint of Macula", async || {
        client.get_endpoint("macula", None)
    })
    .await;
    // By a list, by the model that comes along, by a list again, and by nobody.
    for (indicator, word, source) in [
        ("hxxp://evil[.]example/x", "malicious", "blacklist"),
        ("outside.example", "malicious", "blacklist"),
        ("intgmxdeadnxuyla.com", "malicious", "model"),
        ("www.wikipedia.org", "legit", "whitelist"),
        ("secure-paypal-login.com", "unknown", "none"),
    ] {
        let answer = client
            .model_apply(&endpoint, None, &[("indicator", indicator)])
            .await
            .unwrap();
        let told = |key: &str| answer.get(key).and_then(|value| value.as_str());
        assert_eq!(
            (told("is_malicious"), told("source")),
            (Some(word), Some(source)),
            "{indicator}: {answer:?}"
        );
    }
    let unknown = [("indicator", "secure-paypal-login.com")];
    let answer = client.model_apply(&endpoint, None, &unknown).await.unwrap();
    assert_eq!(answer["score"], 40.0, "as the options say: {answer:?}");
    let endpoint = client.get_endpoint("macula", Some("1.0")).unwrap();
    let answer = client
        .model_apply(&endpoint, Some("score"), &[("indicators", "evil.example")])
        .await
        .unwrap();
    let score = answer
        .get("evil.example")
        .and_then(|answer| answer.get("rescaled"));
    assert_eq!(
        score.and_then(|score| score.as_f64()),
        Some(100.0),
        "{answer:?}"
    );

    deploy(&[
        "-mo", "REMOVE", "-n", "macula", "-v", "1.0", "-ni", "2", "--wait",
    ]);
    eventually(LIMIT, "the copies to be gone", async || {
        daemon.processes_of_copies().is_empty()
    })
    .await;
}
