//! Copies that heal: what failed is started again at the right time, and says what happened.

use maas_client::wire::state::{Failure, Phase, now_ms};
use test_support::{ModelFolder, eventually, send_signal};

use crate::world::{LIMIT, World};

/// F33: the backoff's curve, the crash loop after it, and others that start undisturbed.
#[tokio::test]
async fn a_model_that_always_exits_at_once_ends_in_a_crash_loop_and_disturbs_nobody() {
    let world = World::start(&["--restart_delay", "10"]).await;
    let bad = ModelFolder::with_script("date +%s%N >> attempts; echo 'no weights' >&2; exit 3");
    world.add("bad", 1, bad.path()).await;
    let good = ModelFolder::answering();
    world.add("good", 1, good.path()).await;
    world.serving("good", 1).await;
    let status = world
        .explained("bad", Phase::CrashLoop, "exit code 3")
        .await;
    let wait_ms = status.retry_at_ms.unwrap() - now_ms();
    assert!(
        (230_000..=360_000).contains(&wait_ms),
        "tried again in {wait_ms} ms"
    );
    assert_eq!(status.restarts, 6);
    let failure = status.last_failure.unwrap();
    assert_eq!(failure.exit_code, Some(3));
    assert_eq!(failure.last_output, ["no weights"]);

    let folders = world.daemon.folders();
    let attempts = folders
        .iter()
        .find_map(|folder| std::fs::read_to_string(folder.join("work/attempts")).ok())
        .unwrap();
    let times: Vec<i64> = attempts.lines().map(|l| l.parse().unwrap()).collect();
    assert_eq!(times.len(), 7);
    for (n, pair) in times.windows(2).enumerate() {
        let waited_ms = (pair[1] - pair[0]) / 1_000_000;
        assert!(
            waited_ms >= (8 << n),
            "waited {waited_ms} ms before attempt {}",
            n + 2
        );
    }
    world.remove("bad", 1).await;
    world.serving("bad", 0).await;
}

#[tokio::test]
async fn what_an_earlier_attempt_printed_is_not_told_of_a_later_one() {
    let world = World::start(&["--restart_delay", "10"]).await;
    let folder = ModelFolder::with_script(
        "[ -e again ] && exit 2; touch again; echo 'only the first time' >&2; exit 1",
    );
    world.add("bad", 1, folder.path()).await;
    let second = async || {
        let failure = world.statuses("bad").await.pop()?.last_failure?;
        (failure.exit_code == Some(2)).then_some(failure)
    };
    let failure = eventually(LIMIT, "the second failure", second).await;
    assert!(failure.last_output.is_empty(), "{failure:?}");
}

/// F28: what the script left behind is the model, and its end is the one to tell of.
#[tokio::test]
async fn of_a_script_that_ends_well_and_leaves_a_server_it_is_told_how_the_server_ended() {
    let world = World::start(&["--health_interval", "3600000"]).await;
    let folder = ModelFolder::with_script(r#""$python" -S -E serve.py & echo $! > server; exit 0"#);
    world.add("dga", 1, folder.path()).await;
    world.serving("dga", 1).await;
    let server = std::fs::read_to_string(world.daemon.folders()[0].join("work/server")).unwrap();
    assert!(send_signal("SEGV", &[server.trim().parse().unwrap()]));
    let why = "exit code 0, and what it left running was ended by signal 11 (SIGSEGV)";
    let status = world.explained("dga", Phase::Backoff, why).await;
    let failure = status.last_failure.unwrap();
    assert_eq!((failure.exit_code, failure.signal), (None, Some(11)));
}

/// F28: a script that leaves nothing behind has ended, however well it did.
#[tokio::test]
async fn a_script_that_ends_well_and_leaves_no_server_has_failed() {
    let world = World::start(&[]).await;
    let folder = ModelFolder::with_script("exit 0");
    world.add("brief", 1, folder.path()).await;
    let status = world
        .explained("brief", Phase::Backoff, "ended with exit code 0")
        .await;
    assert_eq!(status.last_failure.unwrap().exit_code, Some(0));
}

/// A copy that fails after the model was asked for anew is given up for a new one, and how it failed is told all the same.
#[tokio::test]
async fn how_a_copy_of_an_earlier_generation_failed_is_told_when_another_is_in_its_place() {
    let world = World::start(&[]).await;
    // It starts once only, so that it can be seen to have failed however seldom somebody looks.
    let model = ModelFolder::with_script(
        r#"[ -e started ] && exit 3; touch started; exec "$python" -S -E serve.py"#,
    );
    world.add("dga", 1, model.path()).await;
    let first = world.serving("dga", 1).await.remove(0).instance;
    world.add("dga", 1, model.path()).await;
    world.serving("dga", 2).await;
    let statuses = world.statuses("dga").await;
    let status = statuses.iter().find(|status| status.instance == first);
    let pid = status.and_then(|status| status.pid).unwrap();
    assert!(send_signal("KILL", &[pid]));
    let lost = async || world.progress("dga").await?.lost;
    let lost = eventually(LIMIT, "its end to be told", lost).await;
    assert_eq!(lost.instance, first);
    let Failure {
        signal, exit_code, ..
    } = lost.failure;
    assert!((signal, exit_code) == (Some(9), None) || (signal, exit_code) == (None, Some(3)));
    world.serving("dga", 2).await;
}
