//! Models that misbehave: each ends in a status that says why, and none blocks another model.

use std::fs;
use std::process::{Command, Stdio};

use maas_client::wire::state::{InstanceStatus, Phase};
use maas_service::crash::Point;
use maas_service::process::ProcessIdentity;
use test_support::{ModelFolder, eventually, send_signal};

use crate::life::is_warden;
use crate::world::{LIMIT, World};

/// Deploys a model with this script beside a good one: the status tells `why`, and the good one serves.
async fn check(script: &str, phase: Phase, why: &str) -> InstanceStatus {
    check_folder(&ModelFolder::with_script(script), phase, why).await
}

async fn check_folder(folder: &ModelFolder, phase: Phase, why: &str) -> InstanceStatus {
    let world = World::start(&["--start_timeout", "3"]).await;
    let good = ModelFolder::answering();
    world.add("bad", 1, folder.path()).await;
    world.add("good", 1, good.path()).await;
    let status = world.explained("bad", phase, why).await;
    world.serving("good", 1).await;
    assert!(
        world.registered("bad").await.is_empty(),
        "a copy that does not serve must not be registered"
    );
    // Whatever state it is in, it can be removed, and then nothing of it is left.
    world.remove("bad", 1).await;
    world.remove("good", 1).await;
    world.nothing_is_left().await;
    status
}

#[tokio::test]
async fn a_folder_without_a_script() {
    let folder = ModelFolder::answering();
    fs::remove_file(folder.path().join("start.sh")).unwrap();
    check_folder(&folder, Phase::Backoff, ".sh").await;
}

#[tokio::test]
async fn a_script_that_is_not_executable_is_made_so() {
    let folder = ModelFolder::answering();
    let script = folder.path().join("start.sh");
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let world = World::start(&[]).await;
    world.add("dga", 1, folder.path()).await;
    world.serving("dga", 1).await;
}

#[tokio::test]
async fn a_script_without_an_interpreter() {
    let folder = ModelFolder::answering();
    fs::write(folder.path().join("start.sh"), "#!/no/such/interpreter\n").unwrap();
    check_folder(
        &folder,
        Phase::Backoff,
        "start.sh` can't be started: No such file",
    )
    .await;
}

/// F8.
#[tokio::test]
async fn a_copy_whose_warden_hangs_before_it_starts_the_script_can_be_removed() {
    let world = World::start(&["--drain_limit", "60"]).await;
    world.leads().await;
    world.daemon.sleep_at(Point::WardenBeforeStart.name());
    let model = ModelFolder::answering();
    world.add("dga", 1, model.path()).await;
    let asleep = async || world.daemon.has_crashed();
    eventually(LIMIT, "the warden to fall asleep", asleep).await;
    world.remove("dga", 1).await;
    // Sooner than the daemon loses its patience with the runner.
    world.nothing_is_left().await;
    assert!(!world.daemon.log_tail().contains("a runner hung"));
}

#[tokio::test]
async fn a_script_that_exits_at_once_with_what_it_printed() {
    let status = check(
        "echo 'no model file' >&2; exit 7",
        Phase::Backoff,
        "exit code 7",
    )
    .await;
    let failure = status.last_failure.unwrap();
    assert_eq!(failure.last_output, ["no model file"]);
    assert_eq!((failure.exit_code, failure.signal), (Some(7), None));
    assert!(status.retry_at_ms.is_some());
}

#[tokio::test]
async fn a_script_that_is_killed_by_a_signal() {
    let status = check("kill -SEGV $$", Phase::Backoff, "SIGSEGV").await;
    let failure = status.last_failure.unwrap();
    assert_eq!((failure.exit_code, failure.signal), (None, Some(11)));
}

#[tokio::test]
async fn a_script_that_never_writes_endpoint_dat() {
    check(
        "exec sleep 1000",
        Phase::Backoff,
        "did not serve within 3 s: it has not written endpoint.dat",
    )
    .await;
}

#[tokio::test]
async fn an_endpoint_dat_full_of_garbage() {
    let script = "echo 'http://localhost' > endpoint.dat; exec sleep 1000";
    check(script, Phase::Starting, "endpoint.dat is not usable yet").await;
    check(
        script,
        Phase::Backoff,
        "did not serve within 3 s: endpoint.dat is not usable yet",
    )
    .await;
}

#[tokio::test]
async fn an_endpoint_dat_that_is_a_link() {
    check(
        "ln -s /etc/passwd endpoint.dat; exec sleep 1000",
        Phase::Backoff,
        "symbolic link",
    )
    .await;
}

#[tokio::test]
async fn an_endpoint_dat_of_a_gigabyte() {
    check(
        "truncate -s 1G endpoint.dat; exec sleep 1000",
        Phase::Backoff,
        "1073741824 bytes",
    )
    .await;
}

/// F25 and F37: nested so deep that a reader which went down into it would run out of its stack.
#[tokio::test]
async fn an_endpoint_dat_that_is_deeply_nested() {
    for (text, phase, why) in [
        // Whatever is larger than a place can be.
        (r#""[" * 100000"#, Phase::Backoff, "100000 bytes"),
        (r#""[" * 60000"#, Phase::Starting, "is not usable yet"),
        (
            r#""{\"url\":" + "[" * 30000 + "]" * 30000 + "}""#,
            Phase::Starting,
            "is not usable yet",
        ),
        (
            r#""{\"functions\":" + "{\"a\":" * 10000"#,
            Phase::Starting,
            "is not usable yet",
        ),
        (
            r#""{\"url\":\"http://localhost:1\",\"functions\":{\"a\":" + "[" * 30000 + "]" * 30000 + "}}""#,
            Phase::Starting,
            "is not usable yet",
        ),
    ] {
        let write = format!(
            "\"$python\" -S -E -c 'import sys; sys.stdout.write({text})' > .new; mv .new endpoint.dat; exec sleep 1000"
        );
        check(&write, phase, why).await;
    }
}

#[tokio::test]
async fn an_endpoint_dat_that_is_a_pipe() {
    check(
        "mkfifo endpoint.dat; exec sleep 1000",
        Phase::Backoff,
        "not a regular file",
    )
    .await;
}

#[tokio::test]
async fn an_endpoint_dat_that_names_another_host() {
    let script = r#"echo '{"url":"http://192.0.2.7:80"}' > endpoint.dat; exec sleep 1000"#;
    check(script, Phase::Backoff, "192.0.2.7` is not this host").await;
}

/// What copies publish of themselves is open to read.
#[tokio::test]
async fn of_what_a_model_prints_and_writes_no_secret_is_published() {
    let script = r#"echo 'cannot reach redis://joe:hunter2@db/0' >&2; echo 'DB_PASSWORD=hunter2 is set' >&2
        echo '{"url":"http://joe:hunter2@192.0.2.7:80"}' > endpoint.dat; exec sleep 1000"#;
    let status = check(script, Phase::Backoff, "`http://joe:…@192.0.2.7").await;
    let failure = status.last_failure.as_ref().unwrap();
    let printed = ["cannot reach redis://joe:…@db/0", "DB_PASSWORD=… is set"];
    assert_eq!(failure.last_output, printed);
    assert!(!format!("{status:?}").contains("hunter2"), "{status:?}");
}

#[tokio::test]
async fn a_url_that_nobody_answers_at() {
    let port = test_support::free_port();
    let script =
        format!(r#"echo '{{"url":"http://localhost:{port}"}}' > endpoint.dat; exec sleep 1000"#);
    check(&script, Phase::Backoff, "can't be connected to").await;
}

#[tokio::test]
async fn a_server_that_listens_where_nobody_else_reaches_it() {
    // 127.0.0.2 stands for an address of this machine by which it is known to others.
    let world = World::start(&["--start_timeout", "3", "--hostname", "127.0.0.2"]).await;
    let folder = ModelFolder::with_script(
        r#"sed -i 's/("0.0.0.0", 0)/("127.0.0.1", 0)/; s|http://0.0.0.0|http://127.0.0.1|' serve.py; exec "$python" -S -E serve.py"#,
    );
    world.add("shy", 1, folder.path()).await;
    world
        .explained(
            "shy",
            Phase::Backoff,
            "must listen on 0.0.0.0 or on $MAAS_HOST",
        )
        .await;
}

#[tokio::test]
async fn a_model_that_puts_pipes_in_place_of_our_files_freezes_nobody() {
    let world = World::start(&["--stop_grace", "1"]).await;
    let good = ModelFolder::answering();
    for (name, script) in [
        (
            "launch",
            "rm ../launch.json; mkfifo ../launch.json; exec sleep 1000",
        ),
        (
            "log",
            "rm ../logs/stderr ../logs/runner.log; mkfifo ../logs/stderr ../logs/runner.log; exit 1",
        ),
        ("lock", "rm ../lock; mkfifo ../lock; exec sleep 1000"),
    ] {
        let folder = ModelFolder::with_script(script);
        world.add(name, 1, folder.path()).await;
        world.add("good", 1, good.path()).await;
        world.serving("good", 1).await;
        world.remove("good", 1).await;
        world.remove(name, 1).await;
        world.nothing_is_left().await;
    }
}

/// What happens to a copy that claims that a stranger's process is its runner.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Removed,
    RemovedByTheNextDaemon,
    KilledByTheNextDaemon,
}

async fn a_stranger_is_left_alone_and_the_copy_that_names_it_is(then: Then) {
    let mut stranger = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let identity = ProcessIdentity::of(stranger.id()).expect("it runs");
    let identity = serde_json::to_string(&identity).unwrap();
    let environment = format!("STRANGER={identity}");
    let options = ["--shell_env", &environment, "--stop_grace", "1"];
    let mut world = World::start(&[&options[..], &["--drain_limit", "1"]].concat()).await;
    let model = ModelFolder::with_script(
        r#"printf '%s' "$STRANGER" > ../runner.json; exec "$python" -S -E serve.py"#,
    );
    world.add("dga", 1, model.path()).await;
    world.serving("dga", 1).await;
    let said = world.daemon.folders()[0].join("runner.json");
    assert_eq!(fs::read_to_string(said).unwrap(), identity);
    if then != Then::Removed {
        world.daemon.kill();
        world.daemon.start_again();
        let adopted = async || world.daemon.log_tail().contains("copy adopted");
        eventually(LIMIT, "the copy to be adopted", adopted).await;
    }
    if then == Then::KilledByTheNextDaemon {
        let runners = world.daemon.pids_of("maas_runner");
        let runner = runners.into_iter().find(|&pid| !is_warden(pid));
        send_signal("STOP", &[runner.expect("it runs")]);
    }
    world.remove("dga", 1).await;
    world.nothing_is_left().await;
    let killed = world.daemon.log_tail().contains("was killed");
    assert_eq!(killed, then == Then::KilledByTheNextDaemon);
    drop(stranger.stdin.take());
    let ended = stranger.wait().unwrap();
    assert!(ended.success(), "it was signalled: {ended}");
}

#[tokio::test]
async fn a_stranger_whom_a_model_names_as_its_runner_is_left_alone_and_the_copy_removed() {
    a_stranger_is_left_alone_and_the_copy_that_names_it_is(Then::Removed).await;
}

#[tokio::test]
async fn a_stranger_whom_a_model_names_as_its_runner_is_not_adopted_by_the_next_daemon() {
    a_stranger_is_left_alone_and_the_copy_that_names_it_is(Then::RemovedByTheNextDaemon).await;
}

#[tokio::test]
async fn a_stranger_whom_a_model_names_as_its_runner_is_not_killed_when_the_runner_hangs() {
    a_stranger_is_left_alone_and_the_copy_that_names_it_is(Then::KilledByTheNextDaemon).await;
}
