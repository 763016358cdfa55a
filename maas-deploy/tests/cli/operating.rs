//! Running models over time: new versions, restarts, and the one command that explains what is wrong.

use maas_client::layout::Layout;
use maas_client::wire::state::now_ms;
use maas_client::{MaasClient, SessionConfig};
use test_support::{Daemon, ModelFolder, Proxy, eventually};
use zookeeper_client as zk;

use crate::LIMIT;
use crate::site::{Run, Site, deploy};

/// An ADD of version 2.0 that replaces 1.0, waited for.
fn replace(site: &Site, model: &ModelFolder, more: &[&str]) -> Run {
    let folder = model.path().to_str().unwrap();
    let mut all = vec![
        "-mo",
        "ADD",
        "-n",
        "dga",
        "-v",
        "2.0",
        "-m",
        "64",
        "-lmp",
        folder,
        "-hmp",
        site.store(),
        "--replace",
        "1.0",
        "--wait",
    ];
    all.extend(more);
    site.deploy(&all)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_replaces_the_old_one_with_as_many_copies() {
    let site = Site::new().await;
    let _daemon = Daemon::start(site.zookeeper.connect_string(), &[]);
    let (old, new) = (
        ModelFolder::answering(),
        ModelFolder::with_script(r#"exec "$python" -S -E serve.py new"#),
    );
    let run = replace(&site, &new, &[]);
    assert!(
        run.code == 2 && run.stderr.contains("there is nothing to replace"),
        "{} {}",
        run.code,
        run.stderr
    );
    assert_eq!(site.add("dga", old.path(), &["-ni", "2", "--wait"]).code, 0);
    let run = replace(&site, &new, &[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(
        run.stderr
            .contains("taking the place of 1.0: 1 of 2 copies are in place"),
        "{}",
        run.stderr
    );
    eventually(LIMIT, "the old version to be gone", async || {
        let list = site.deploy(&["-mo", "LIST"]).stdout;
        (list.contains("Model dga @ 2.0") && !list.contains("Model dga @ 1.0"))
            .then_some(())
            .ok_or(list)
    })
    .await;
    let run = site.deploy(&["-mo", "RESTART", "-n", "dga", "-v", "2.0", "--wait"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(
        run.stderr.matches("serving at http://").count(),
        2,
        "{}",
        run.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_that_fails_is_given_up_with_the_reason() {
    let site = Site::new().await;
    let _daemon = Daemon::start(site.zookeeper.connect_string(), &[]);
    let (old, new) = (
        ModelFolder::answering(),
        ModelFolder::with_script("exec sleep 1000"),
    );
    assert_eq!(site.add("dga", old.path(), &["-ni", "1", "--wait"]).code, 0);
    let run = replace(&site, &new, &["--deadline", "2"]);
    assert!(
        run.code == 3
            && run
                .stderr
                .contains("1.0 is back: only 0 of 1 copies came to serve within 2 s"),
        "{} {}",
        run.code,
        run.stderr
    );
    let status = site.deploy(&["-mo", "STATUS", "-n", "dga", "-v", "2.0"]);
    assert!(status.stdout.contains("rolled back"), "{}", status.stdout);
}

/// Every kind of trouble is told by STATUS: what, why, since when, and the model's own last words.
#[tokio::test(flavor = "multi_thread")]
async fn status_explains_what_does_not_serve_and_why() {
    let site = Site::new().await;
    let run = site.deploy(&["-mo", "STATUS"]);
    assert!(
        run.code == 0 && run.stdout.contains("none leads"),
        "{}",
        run.stdout
    );
    let _daemon = Daemon::start(
        site.zookeeper.connect_string(),
        &["--memory", "1000", "--start_timeout", "2"],
    );
    let scripts = [
        ("code", "echo 'weights are missing' >&2; exit 3"),
        ("signal", "kill -SEGV $$"),
        ("mute", "exec sleep 1000"),
        (
            "greedy",
            r#"exec "$python" -S -c 'import time; hoard = bytearray(200 * 1024 * 1024); time.sleep(1000)'"#,
        ),
    ];
    let folders: Vec<ModelFolder> = scripts
        .iter()
        .map(|(_, script)| ModelFolder::with_script(script))
        .collect();
    for ((name, _), folder) in scripts.iter().zip(&folders) {
        assert_eq!(site.add(name, folder.path(), &["-ni", "1"]).code, 0);
    }
    let good = ModelFolder::answering();
    assert_eq!(
        site.add("good", good.path(), &["-ni", "1", "--wait"]).code,
        0
    );
    // 320 MB of 1000 are given; eleven copies of 64 MB have no room beside them.
    assert_eq!(site.add("crowded", good.path(), &["-ni", "11"]).code, 0);
    let run = site.add("huge", good.path(), &["-ni", "100", "--wait"]);
    assert!(
        run.code == 4 && run.stderr.contains("1000 MB"),
        "{}",
        run.stderr
    );
    let expected = [
        "service: leads on",
        "good 1.0: 1 of 1 copies serve",
        "exit code 3",
        "| weights are missing",
        "signal 11",
        "the model did not serve within 2 s",
        "MB used of 64 MB",
        "a copy needs 64 MB",
        "this machine has 1000 MB for copies in all",
    ];
    eventually(LIMIT, "everything to be explained", async || {
        let status = site.deploy(&["-mo", "STATUS"]).stdout;
        match expected.iter().find(|text| !status.contains(**text)) {
            None => Ok(()),
            Some(missing) => Err(format!("without `{missing}`: {status}")),
        }
    })
    .await;
    let run = site.deploy(&["-mo", "STATUS", "-n", "code", "-o", "json"]);
    let document: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let failure = &document["models"][0]["copies"][0]["last_failure"];
    assert_eq!(failure["exit_code"], 3, "{document:#}");
    assert!(
        failure["at_ms"].is_i64() && document["service"]["memory_mb"] == 1000,
        "{document:#}"
    );
}

/// F21: what passes its probes and answers nobody is known from those who call it.
#[tokio::test(flavor = "multi_thread")]
async fn status_tells_which_copy_gives_programs_no_answers() {
    let site = Site::new().await;
    let quorum = site.zookeeper.connect_string();
    let daemon = Daemon::start(quorum, &[]);
    let half_alive = ModelFolder::with_script(
        r#"sed 's/200 OK/500 Broken/' serve.py > broken.py; exec "$python" -S -E broken.py"#,
    );
    let run = site.add("dga", half_alive.path(), &["-ni", "1", "--wait"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let maas = MaasClient::connect(SessionConfig::new(quorum))
        .await
        .unwrap();
    let told = |status: String| {
        let line = status.lines().find(|line| line.contains("no answers"));
        line.map(str::to_owned).ok_or(status)
    };
    let line = eventually(LIMIT, "the complaint to be told", async || {
        let endpoint = maas.get_endpoint("dga", None).unwrap();
        maas.model_apply(&endpoint, None, &[]).await.unwrap_err();
        told(site.deploy(&["-mo", "STATUS"]).stdout)
    })
    .await;
    assert!(
        line.contains("a program gets no answers from it, for 1")
            && line.contains("it answers 500 (`cli")
            && line.contains(&format!("process {}", std::process::id())),
        "{line}"
    );
    let json = site.deploy(&["-mo", "STATUS", "-o", "json"]).stdout;
    let document: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        document["models"][0]["complaints"][0]["why"], "it answers 500",
        "{json}"
    );
    eventually(LIMIT, "the service to log it", async || {
        let log = daemon.log_tail();
        let told = log.contains("a copy serves and gives a program no answers");
        told.then_some(()).ok_or(log)
    })
    .await;
    // It goes with the program.
    maas.close().await;
    let status = site.deploy(&["-mo", "STATUS"]).stdout;
    assert!(told(status).is_err());
}

/// A service that comes to lead in another folder counts the copies of the one before, and says that it can't stop them.
#[tokio::test(flavor = "multi_thread")]
async fn status_tells_of_copies_that_the_service_cannot_reach() {
    let site = Site::new().await;
    let quorum = site.zookeeper.connect_string();
    let options = ["--session_timeout", "3000"];
    let mut first = Daemon::start(quorum, &options);
    let model = ModelFolder::answering();
    let run = site.add("dga", model.path(), &["-ni", "1", "--wait"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    first.kill();
    let _second = Daemon::start(quorum, &options);
    let expected = [
        "1 of 1 copies serve",
        "1 copy runs out of the service's reach",
        "end it there",
    ];
    eventually(LIMIT, "the copy to be told of", async || {
        let status = site.deploy(&["-mo", "STATUS"]).stdout;
        let all = expected.iter().all(|text| status.contains(text));
        all.then_some(()).ok_or(status)
    })
    .await;
}

/// The request goes on without it.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_request_waits_on_when_an_answer_of_zookeepers_is_lost() {
    let site = Site::new().await;
    let daemon = Daemon::start(site.zookeeper.connect_string(), &[]);
    let proxy = Proxy::start(site.zookeeper.address()).await;
    let direct = site.zookeeper.connect_string();
    let quorum = direct.replace(site.zookeeper.address(), &proxy.address());
    let model = ModelFolder::with_script(
        r#"while [ ! -e go ]; do sleep 0.02; done; exec "$python" -S -E serve.py"#,
    );
    let (folder, store) = (
        model.path().to_str().unwrap().to_owned(),
        site.store().to_owned(),
    );
    let waiting = tokio::task::spawn_blocking(move || {
        let place = ["-zq", &quorum, "-lmp", &folder, "-hmp", &store];
        let what = [
            "-mo",
            "ADD",
            "-n",
            "dga",
            "-v",
            "1.0",
            "-m",
            "64",
            "-ni",
            "1",
            "--wait",
            "--timeout",
            "60",
        ];
        deploy(&[place.as_slice(), &what].concat())
    });
    let work = async || Some(daemon.folders().first()?.join("work")).filter(|work| work.exists());
    let work = eventually(LIMIT, "the copy to be started", work).await;
    // It looks again at once when something changes, long before it gives up a connection over which nothing comes.
    let desired = Layout::default().desired(&"dga".parse().unwrap(), &"1.0".parse().unwrap());
    let client = zk::Client::connect(direct).await.unwrap();
    let (data, _) = client.get_data(desired.as_str()).await.unwrap();
    proxy.hold_requests();
    let touch = client.set_data(desired.as_str(), &data, None);
    touch.await.unwrap();
    let asks = async || proxy.holds_request("/maas/state/");
    eventually(LIMIT, "it to look what has become of the request", asks).await;
    proxy.break_connections();
    proxy.let_through();
    std::fs::write(work.join("go"), "").unwrap();
    let run = waiting.await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_what_cannot_be_read_of_what_should_run_and_why() {
    let site = Site::new().await;
    let _daemon = Daemon::start(site.zookeeper.connect_string(), &[]);
    let model = ModelFolder::answering();
    let run = site.add("dga", model.path(), &["-ni", "1", "--wait"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let desired = Layout::default().desired(&"dga".parse().unwrap(), &"1.0".parse().unwrap());
    let client = zk::Client::connect(site.zookeeper.connect_string());
    let client = client.await.unwrap();
    let set = client.set_data(desired.as_str(), b"garbage", None);
    set.await.unwrap();
    let run = site.deploy(&["-mo", "STATUS"]);
    let znode = format!("znode `{desired}`");
    let told =
        "dga 1.0: 1 copy serves; what should run can't be read, so they are left as they are: ";
    let line = run.stdout.lines().find_map(|line| line.strip_prefix(told));
    assert!(
        line.is_some_and(|why| why.starts_with(&znode)),
        "{}",
        run.stdout
    );
    let json = site.deploy(&["-mo", "STATUS", "-o", "json"]).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let why = json["models"][0]["unreadable"].as_str();
    assert!(why.is_some_and(|why| why.starts_with(&znode)), "{json}");
    let no_reading = [zk::Acl::new(zk::Permission::ADMIN, zk::AuthId::anyone())];
    let close = client.set_acl(desired.as_str(), &no_reading, None);
    close.await.unwrap();
    let run = site.deploy(&["-mo", "STATUS"]);
    let line = run.stdout.lines().find_map(|line| line.strip_prefix(told));
    let tells = |why: &str| why.contains(&znode) && why.ends_with("not authorized");
    assert!(line.is_some_and(tells), "{}", run.stdout);

    // Nor may the versions be listed: the copy that serves is told of all the same.
    let (model, _) = desired.as_str().rsplit_once('/').unwrap();
    let close = client.set_acl(model, &no_reading, None);
    close.await.unwrap();
    let run = site.deploy(&["-mo", "STATUS"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let told_why = "there may be more models than are told of here, for not all can be listed: ";
    let line = run
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix(told_why));
    assert!(
        line.is_some_and(|why| why.contains(model)),
        "{}",
        run.stdout
    );
    assert!(
        run.stdout.contains("\ndga 1.0: 1 copy serves; "),
        "{}",
        run.stdout
    );
}

/// An item that can neither be carried out nor set aside, here for want of the right to write results, holds up the queue.
#[tokio::test(flavor = "multi_thread")]
async fn status_tells_which_item_holds_up_the_queue_why_and_since_when_until_it_is_taken() {
    let site = Site::new().await;
    let _daemon = Daemon::start(site.zookeeper.connect_string(), &[]);
    let model = ModelFolder::answering();
    let run = site.add("dga", model.path(), &["-ni", "1", "--wait"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let queue = async || {
        // In this order: what the first tells of, the second does, too.
        let json = site.deploy(&["-mo", "STATUS", "-o", "json"]).stdout;
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let run = site.deploy(&["-mo", "STATUS"]);
        let lines = run.stdout.lines();
        let queue: Vec<String> = lines.skip(1).take(2).map(str::to_owned).collect();
        (queue, json["service"]["held"].clone())
    };
    assert_eq!(queue().await.1, serde_json::Value::Null);

    let results = Layout::default().results_root();
    let client = zk::Client::connect(site.zookeeper.connect_string());
    let client = client.await.unwrap();
    let closed = zk::Permission::READ | zk::Permission::ADMIN;
    let closed = [zk::Acl::new(closed, zk::AuthId::anyone())];
    let set = client.set_acl(results.as_str(), &closed, None);
    set.await.unwrap();
    let began = now_ms();
    for name in ["first", "second"] {
        assert_eq!(site.add(name, model.path(), &["-ni", "1"]).code, 0);
    }
    let told = async || {
        let (queue, held) = queue().await;
        if held.is_object() {
            Ok((queue, held))
        } else {
            Err((queue, held))
        }
    };
    let (text, held) = eventually(LIMIT, "the item to be told of", told).await;
    let item = held["item"].as_str().unwrap();
    let why = held["why"].as_str().unwrap();
    let since = held["since_ms"].as_i64().unwrap();
    assert!(item.starts_with("qn-"), "{held}");
    assert!(why.contains(results.as_str()), "{held}");
    assert!((began..=now_ms()).contains(&since), "{held}");
    assert_eq!(text[0], "queue: 2 requests wait");
    assert!(
        text[1].starts_with("  held up for ")
            && text[1].ends_with(&format!("by item {item}, which can't be taken: {why}")),
        "{text:?}"
    );

    let open = client.set_acl(results.as_str(), &zk::Acls::anyone_all(), None);
    open.await.unwrap();
    let taken = async || {
        let (queue, held) = queue().await;
        let taken = held.is_null() && queue == ["queue: 0 requests wait", ""];
        taken.then_some(()).ok_or((queue, held))
    };
    eventually(LIMIT, "both to be taken", taken).await;
    let both = async || {
        let list = site.deploy(&["-mo", "LIST"]).stdout;
        let both = list.contains("Model first @ 1.0") && list.contains("Model second @ 1.0");
        both.then_some(()).ok_or(list)
    };
    eventually(LIMIT, "both models to serve", both).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_never_changes_its_content_also_when_nothing_runs_of_it_and_status_tells_what_that_is()
 {
    let site = Site::new().await;
    let _daemon = Daemon::start(site.zookeeper.connect_string(), &[]);
    let (old, new) = (
        ModelFolder::answering(),
        ModelFolder::with_script(r#"exec "$python" -S -E serve.py new"#),
    );
    let one = ["-ni", "1", "--wait"];
    let refused = || {
        let run = site.add("dga", new.path(), &one);
        let why = "a version never changes its content";
        assert!(run.code != 0 && run.stderr.contains(why), "{}", run.stderr);
    };
    assert_eq!(site.add("dga", old.path(), &one).code, 0);
    refused();
    let remove = ["-mo", "REMOVE", "-n", "dga", "-v", "1.0"];
    assert_eq!(site.deploy(&[&remove[..], &one].concat()).code, 0);
    refused();
    let run = site.add("dga", old.path(), &one);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let status = site.deploy(&["-mo", "STATUS", "-n", "dga"]).stdout;
    let place = |generation: &str| {
        let line = status.lines().find(|line| line.contains(generation));
        let (_, from) = line.unwrap_or(&status).split_once(" from ").unwrap();
        from.split(';').next().unwrap().to_owned()
    };
    let [first, removed, last] = ["generation 1:", "generation 2:", "generation 3:"].map(place);
    assert!(first.contains(site.store()), "{status}");
    assert!(first == removed && first == last, "{status}");
}
