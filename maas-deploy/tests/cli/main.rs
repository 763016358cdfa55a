//! `maas_deploy` as people and scripts use it, against a real service.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

mod operating;
mod site;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use test_support::{Daemon, Hdfs, ModelFolder, eventually};

use site::{Run, Site, deploy, run};

const LIMIT: Duration = Duration::from_secs(60);

fn curl(url: &str) -> String {
    let run = run(Command::new("curl").args(["-sS", "-i", "--max-time", "10", url]));
    assert_eq!(run.code, 0, "{url}: {}", run.stderr);
    run.stdout
}

fn models(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../models")
        .join(name)
}

#[test]
fn help_alone_works_and_names_every_option_of_the_original() {
    for flag in ["-h", "--help"] {
        let help = deploy(&[flag]);
        assert_eq!(help.code, 0);
        for option in [
            "zk_quorum",
            "zk_root",
            "mode",
            "name",
            "version",
            "num_instances",
            "memory",
            "local_model_path",
            "hdfs_model_path",
            "log4j",
        ] {
            assert!(
                help.stdout.contains(&format!("--{option}")),
                "--{option} is not in the help"
            );
        }
    }
}

#[test]
fn a_command_line_that_cannot_be_carried_out_is_told_what_it_lacks_and_reaches_nobody() {
    // Nobody listens at this address; whoever tries it would get another exit code.
    let nobody = format!("127.0.0.1:{}", test_support::free_port());
    let check = |args: &str, what: &str| {
        let mut all = vec!["-zq", nobody.as_str()];
        all.extend(args.split(' '));
        let run = deploy(&all);
        assert!(
            run.code == 2 && run.stderr.contains(what),
            "{args}: {} {}",
            run.code,
            run.stderr
        );
    };
    check("-mo SCALE", "SCALE");
    check("-mo null", "null");
    check("-n dga", "--mode");
    check("-mo ADD -v 1.0 -ni 1 -m 64 -hmp /x", "-n");
    check("-mo ADD -n dga -ni 1 -m 64 -hmp /x", "-v");
    check("-mo ADD -n dga -v 1.0 -m 64 -hmp /x", "-ni");
    check("-mo ADD -n dga -v 1.0 -ni 1 -hmp /x", "-m");
    check("-mo ADD -n dga -v 1.0 -ni 1 -m 64", "-hmp");
    check("-mo ADD -n dga -v 1.0 -ni 0 -m 64 -hmp /x", "more than 0");
    check("-mo ADD -n dga -v 1.0 -ni -1 -m 64 -hmp /x", "more than 0");
    check("-mo ADD -n dga -v 1.0 -ni two -m 64 -hmp /x", "two");
    check("-mo ADD -n ../x -v 1.0 -ni 1 -m 64 -hmp /x", "../x");
    check("-mo REMOVE -n dga -v 1.0", "-ni");
    assert_eq!(deploy(&["-mo", "LIST"]).code, 2, "no quorum");
}

#[test]
fn an_unreachable_zookeeper_has_its_own_exit_code() {
    let nobody = format!("127.0.0.1:{}", test_support::free_port());
    let run = deploy(&["-zq", &nobody, "-mo", "LIST"]);
    assert!(
        run.code == 5 && run.stderr.contains(&nobody),
        "{} {}",
        run.code,
        run.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn listing_nothing_prints_nothing_and_puts_nothing_into_the_queue() {
    let site = Site::new().await;
    for spelling in [
        ["-mo", "LIST"],
        ["-mo", "list"],
        ["--mode", "LIST"],
        ["--mode=List", "-o=text"],
    ] {
        let run = site.deploy(&spelling);
        assert_eq!(
            (run.code, run.stdout.as_str(), run.stderr.as_str()),
            (0, "", ""),
            "{spelling:?}"
        );
    }
    let run = site.deploy(&["-mo", "LIST", "-o", "json"]);
    let document: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(
        document,
        serde_json::json!({ "models": [], "problems": [] })
    );
    assert_eq!(site.queued().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_deployed_is_refused_before_anything_is_written() {
    let site = Site::new().await;
    let model = ModelFolder::answering();
    fs::write(model.path().join("second.sh"), "").unwrap();
    let run = site.add("dga", model.path(), &["-ni", "1"]);
    assert!(
        run.code == 2 && run.stderr.contains("second.sh"),
        "{} {}",
        run.code,
        run.stderr
    );
    let run = site.add("dga", Path::new("/no/such/folder"), &["-ni", "1"]);
    assert!(
        run.code == 2 && run.stderr.contains("/no/such/folder"),
        "{} {}",
        run.code,
        run.stderr
    );
    // Nothing to upload, and nothing there.
    let run = site.deploy(&[
        "-mo",
        "ADD",
        "-n",
        "m",
        "-v",
        "1",
        "-m",
        "64",
        "-ni",
        "1",
        "-hmp",
        "/no/such/folder",
    ]);
    assert!(
        run.code == 2 && run.stderr.contains("-lmp"),
        "{} {}",
        run.code,
        run.stderr
    );
    assert!(
        fs::read_dir(site.store.path()).unwrap().next().is_none(),
        "the store is untouched"
    );
    assert_eq!(site.queued().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_add_uploads_the_folder_and_offers_exactly_the_six_fields_of_the_original() {
    let site = Site::new().await;
    let model = ModelFolder::answering();
    fs::create_dir(model.path().join("weights")).unwrap();
    fs::write(model.path().join("weights/w.bin"), vec![7; 100_000]).unwrap();
    fs::write(model.path().join("endpoint.dat"), "{}").unwrap();
    let run = site.add("dga", model.path(), &["-ni", "2"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    for told in [
        "3 files",
        "endpoint.dat is left out",
        "uploaded to",
        "no maas_service is running",
    ] {
        assert!(
            run.stderr.contains(told),
            "`{told}` is not in: {}",
            run.stderr
        );
    }
    let queued = site.queued().await;
    let folder = format!("file:{}/dga/1.0/sha256-", site.store());
    let begin = format!(
        r#"{{"name":"dga","version":"1.0","numInstances":2,"memory":64,"action":"ADD","path":"{folder}"#
    );
    assert!(
        queued.len() == 1 && queued[0].starts_with(&begin),
        "{queued:?}"
    );
    // The same content again is not uploaded again.
    let run = site.add("dga", model.path(), &["-ni", "1"]);
    assert!(
        run.code == 0 && run.stderr.contains("already in the store"),
        "{}",
        run.stderr
    );
    let run = site.deploy(&["-mo", "remove", "-n", "dga", "-v", "1.0", "-ni", "1"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let remove = r#"{"name":"dga","version":"1.0","numInstances":1,"memory":0,"action":"REMOVE","path":null}"#;
    assert_eq!(site.queued().await[2], remove);
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_follows_a_request_to_its_effect_or_to_the_reason_why_not() {
    let site = Site::new().await;
    let _daemon = Daemon::start(site.zookeeper.connect_string(), &["--start_timeout", "20"]);
    let model = ModelFolder::answering();
    let run = site.add(
        "dga",
        model.path(),
        &["-ni", "2", "--wait", "--timeout", "60"],
    );
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(
        run.stderr.matches("serving at http://").count(),
        2,
        "{}",
        run.stderr
    );

    let broken = ModelFolder::with_script("echo 'weights are missing' >&2; exit 3");
    let run = site.add(
        "broken",
        broken.path(),
        &["-ni", "1", "--wait", "--timeout", "60"],
    );
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert!(
        run.stderr.contains("exit code 3") && run.stderr.contains("weights are missing"),
        "{}",
        run.stderr
    );

    let slow = ModelFolder::with_script("exec sleep 1000");
    let run = site.add(
        "slow",
        slow.path(),
        &["-ni", "1", "--wait", "--timeout", "2"],
    );
    assert!(
        run.code == 3 && run.stderr.contains("not ready after 2 s"),
        "{} {}",
        run.code,
        run.stderr
    );

    let other = ModelFolder::with_script("exec sleep 999");
    let run = site.add("dga", other.path(), &["-ni", "1", "--wait"]);
    assert!(
        run.code == 4 && run.stderr.contains("another version"),
        "{} {}",
        run.code,
        run.stderr
    );
    let run = site.deploy(&[
        "-mo", "REMOVE", "-n", "nobody", "-v", "1.0", "-ni", "1", "--wait",
    ]);
    assert!(
        run.code == 4 && run.stderr.contains("nothing runs"),
        "{} {}",
        run.code,
        run.stderr
    );

    // What does not serve is explained beside the list, and in it for machines.
    let run = site.deploy(&["-mo", "LIST"]);
    assert!(
        run.stdout.contains("Model dga @ 1.0\n") && !run.stdout.contains("broken"),
        "{}",
        run.stdout
    );
    assert!(run.stderr.contains("weights are missing"), "{}", run.stderr);
    let run = site.deploy(&["-mo", "LIST", "-n", "broken", "-o", "json"]);
    let document: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let status = &document["models"][0]["copies"][0]["status"];
    assert!(
        status["reason"].as_str().unwrap().contains("exit code 3"),
        "{document:#}"
    );

    let run = site.deploy(&[
        "-mo",
        "REMOVE",
        "-n",
        "dga",
        "-v",
        "1.0",
        "-ni",
        "2",
        "--wait",
        "--timeout",
        "60",
    ]);
    assert!(
        run.code == 0 && run.stderr.contains("0 copies"),
        "{}",
        run.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_squid_tutorials_check_works_to_the_letter() {
    let site = Site::new().await;
    let _daemon = Daemon::start(site.zookeeper.connect_string(), &[]);
    let mock_dga = models("mock_dga");
    let [quorum, folder] = [site.zookeeper.connect_string(), mock_dga.to_str().unwrap()];
    let store = format!("{}/user/root/models", site.store());
    let line = [
        "-zq", quorum, "-lmp", folder, "-hmp", &store, "-mo", "ADD", "-m", "512", "-n", "dga",
        "-v", "1.0", "-ni", "1",
    ];
    let run = deploy(&line);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let list = async || {
        let run = site.deploy(&["-mo", "LIST"]);
        run.stdout
            .contains("serving:")
            .then_some(run.stdout)
            .ok_or(run.stderr)
    };
    let list = eventually(LIMIT, "the model to be listed", list).await;
    let mut lines = list.lines();
    assert_eq!(lines.next(), Some("Model dga @ 1.0"));
    let url = lines
        .next()
        .unwrap()
        .strip_prefix("dga:1.0 @ ")
        .unwrap()
        .strip_suffix(" serving:")
        .unwrap()
        .to_owned();
    assert_eq!((lines.next(), lines.next()), (Some("\tapply=apply"), None));
    // The tutorial asks on the machine itself, by the port that was listed.
    let port = url.rsplit_once(':').unwrap().1;
    for base in [url.clone(), format!("http://localhost:{port}")] {
        let answer = curl(&format!("{base}/apply?host=caseystella.com"));
        assert!(
            answer.contains(r#"{"is_malicious":"malicious"}"#),
            "{answer}"
        );
        let answer = curl(&format!("{base}/apply?host=yahoo.com"));
        assert!(answer.contains(r#"{"is_malicious":"legit"}"#), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guides_echo_walk_works_with_its_own_spellings() {
    let site = Site::new().await;
    let port = test_support::free_port();
    let _daemon = Daemon::start(
        site.zookeeper.connect_string(),
        &["-e", &format!("ECHO_PORT={port}")],
    );
    let echo = models("echo");
    let quorum = site.zookeeper.connect_string();
    let add = [
        "-zk",
        quorum,
        "-lmp",
        echo.to_str().unwrap(),
        "-hmp",
        site.store(),
        "-mo",
        "ADD",
        "-m",
        "500",
        "-n",
        "sample",
    ];
    let run = deploy(
        &[
            add.as_slice(),
            &["-v", "1.0", "-ni", "1", "--wait", "--timeout", "60"],
        ]
        .concat(),
    );
    assert_eq!(run.code, 0, "{}", run.stderr);
    let url = format!("http://localhost:{port}/echo/foobar");
    assert!(curl(&url).ends_with("\r\n\r\nfoobar"));
    let run = deploy(&["-mo", "LIST", "-n", "sample", "-zk", quorum]);
    assert!(
        run.stdout.starts_with("Model sample @ 1.0\n") && run.stdout.ends_with("\tapply=echo\n"),
        "{}",
        run.stdout
    );
    let run = deploy(&[
        "-mo",
        "REMOVE",
        "-n",
        "sample",
        "-ni",
        "1",
        "-v",
        "1.0",
        "-zk",
        quorum,
        "--wait",
        "--timeout",
        "60",
    ]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(
        std::net::TcpStream::connect(("127.0.0.1", port)).is_err(),
        "it still listens"
    );
}

/// The guide's own way of serving: one netcat for each request, its answer through a named pipe, bare line feeds.
const ONE_NETCAT_PER_REQUEST: &str = r#"
mkfifo answers
trap 'rm -f answers' EXIT
echo "{\"url\":\"http://localhost:$ECHO_PORT\",\"functions\":{\"apply\":\"echo\"}}" > endpoint.dat
while true; do
    cat answers | ncat -l 0.0.0.0 "$ECHO_PORT" | while read -r line; do
        line=$(printf %s "$line" | tr -d '\r')
        case $line in
            GET\ *) path=${line#GET }; path=${path%% *} ;;
            '') printf 'HTTP/1.1 200 OK\nLocation: %s\n\n%s\n' "$path" "${path#/echo/}" > answers; break ;;
        esac
    done
done
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_takes_one_request_at_a_time_is_not_blocked_by_our_own_probe() {
    let site = Site::new().await;
    let port = test_support::free_port();
    let _daemon = Daemon::start(
        site.zookeeper.connect_string(),
        &["--shell_env", &format!("ECHO_PORT={port}")],
    );
    let model = ModelFolder::with_script(ONE_NETCAT_PER_REQUEST);
    let run = site.add(
        "sample",
        model.path(),
        &["-ni", "1", "--wait", "--timeout", "60"],
    );
    assert_eq!(run.code, 0, "{}", run.stderr);
    let url = format!("http://localhost:{port}/echo/casey");
    let answered = async || {
        let run = run_curl(&url);
        (run.code == 0 && run.stdout.contains("casey"))
            .then_some(())
            .ok_or(run.stderr)
    };
    eventually(LIMIT, "it to answer", answered).await;
}

fn run_curl(url: &str) -> Run {
    run(Command::new("curl").args(["-sS", "--http0.9", "--max-time", "3", url]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_deployed_through_hdfs() {
    let site = Site::new().await;
    let hdfs = Hdfs::shared().await;
    let store = format!("{}{}/models", hdfs.uri(), hdfs.folder());
    let _daemon = Daemon::start(site.zookeeper.connect_string(), &[]);
    let model = ModelFolder::answering();
    let folder = model.path().to_str().unwrap();
    let line = [
        "-mo", "ADD", "-n", "dga", "-v", "1.0", "-ni", "2", "-m", "64", "-lmp", folder, "-hmp",
        &store, "--wait",
    ];
    let run = site.deploy(&line);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(
        run.stderr
            .contains(&format!("uploaded to {store}/dga/1.0/sha256-")),
        "{}",
        run.stderr
    );
    let run = site.deploy(&["-mo", "LIST"]);
    assert_eq!(run.stdout.matches("serving:").count(), 2, "{}", run.stdout);
}
