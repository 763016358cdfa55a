//! ZooKeeper slow, lossy, cut off, short of servers, or gone, and sessions that end (F2, F10 to F13, F15, F16, F18 of the list in
//! `main.rs`).

use std::fs::File;
use std::io::Write;
use std::slice;
use std::time::{Duration, Instant, SystemTime};

use maas_client::layout::ZnodePath;
use maas_client::queue::Queue;
use maas_client::wire::state::{Desired, Outcome};
use maas_client::{MaasClient, SessionConfig};
use maas_service::crash::Point;
use test_support::{Daemon, Ensemble, ModelFolder, Proxy, ZooKeeper, eventually, send_signal};

use crate::life::{acts, kill, pid_of};
use crate::load::Load;
use crate::updates::{add, history};
use crate::world::{LIMIT, World};

/// Offers requests for copies of models that never serve: what counts is what is wanted of them.
async fn offer_many(world: &World, requests: u32) {
    for n in 0..requests {
        let item = format!(
            r#"{{"name":"m{}","version":"1.0","numInstances":1,"memory":1,"action":"ADD","path":"file:/nowhere"}}"#,
            n % 3
        );
        world.offer(&item).await;
    }
}

/// Waits until so many copies are wanted in all, and the queue is empty.
async fn wanted_in_all(world: &World, copies: u32) {
    let wanted = async || {
        let mut all = 0;
        for name in ["m0", "m1", "m2"] {
            let path = world
                .layout
                .desired(&name.parse().unwrap(), &"1.0".parse().unwrap());
            if let Some((data, _)) = world.session.get(&path).await.ok()? {
                all += Desired::parse(&data).unwrap().instances;
            }
        }
        let queue = world.session.children(&world.layout.queue).await.ok()?;
        (queue.is_empty() && all == copies).then_some(())
    };
    eventually(LIMIT, "every request to have taken effect once", wanted).await;
}

/// F10 and F11: one server of three is taken away, first a follower and then the leader, while requests come in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_one_server_of_three_gone_no_request_is_lost_or_doubled_and_no_call_fails() {
    let mut ensemble = Ensemble::start().await;
    let world = World::on(&ensemble.connect_string(), &["--session_timeout", "8000"]).await;
    let model = ModelFolder::answering();
    world.add("dga", 1, model.path()).await;
    world.serving("dga", 1).await;
    let load = Load::start(&world, "dga").await;
    let follower = ensemble.follower().await;
    ensemble.kill(follower);
    offer_many(&world, 20).await;
    ensemble.start_again(follower);
    wanted_in_all(&world, 20).await;
    let leader = ensemble.leader().await;
    ensemble.kill(leader);
    let mut offered = 20;
    // While there is no leader a sender is told that its request may or may not be there; it knows when it is.
    eventually(LIMIT, "ZooKeeper to take requests again", async || {
        world.session.stat(&world.layout.queue).await.is_ok()
    })
    .await;
    offer_many(&world, 20).await;
    offered += 20;
    wanted_in_all(&world, offered).await;
    load.none_failed().await;
}

/// F12: no quorum. Models and lookups go on, a model that dies is started again, and afterwards requests are taken again; the
/// logs of daemon and runners say since when, and when it is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_models_and_calls_go_on_and_afterwards_requests_are_taken_again() {
    let mut ensemble = Ensemble::start().await;
    let world = World::on(&ensemble.connect_string(), &["--session_timeout", "4000"]).await;
    let model = ModelFolder::answering();
    world.add("dga", 2, model.path()).await;
    world.serving("dga", 2).await;
    world.add("other", 1, model.path()).await;
    let other = world.serving("other", 1).await;
    let load = Load::start(&world, "dga").await;
    let victim = world.statuses("other").await[0].pid.unwrap();
    let (leader, follower) = (ensemble.leader().await, ensemble.follower().await);
    let gone = SystemTime::now();
    ensemble.kill(leader);
    ensemble.kill(follower);
    // Whoever looks into the daemon's log or a runner's finds since when that is so.
    let runner_log = world.daemon.folders()[0].join("logs/runner.log");
    let logs = || {
        let runner = std::fs::read_to_string(&runner_log).unwrap();
        [world.daemon.log_tail(), runner]
    };
    let degraded = async || {
        let [daemon, runner] = logs().map(|log| degraded_since(&log, "degraded since="));
        daemon.zip(runner)
    };
    let (daemon, runner) = eventually(LIMIT, "both logs to say since when", degraded).await;
    for since in [daemon, runner] {
        // Only whole seconds are told.
        let earliest = gone - Duration::from_secs(1);
        assert!((earliest..=SystemTime::now()).contains(&since), "{since:?}");
    }
    // Sessions outlive their timeout when nobody is there to end them.
    load.goes_on(2000).await;
    kill(victim);
    let folder = world.daemon.instances().join(other[0].instance.as_str());
    let started_again = async || {
        let said = std::fs::read_to_string(folder.join("work/endpoint.dat")).ok()?;
        let pids = world.daemon.pids_of("serve.py");
        (!pids.contains(&victim) && said.contains("http")).then_some(())
    };
    eventually(
        LIMIT,
        "the model to be started again without ZooKeeper",
        started_again,
    )
    .await;
    ensemble.start_again(leader);
    ensemble.start_again(follower);
    ensemble.leader().await;
    let back = Instant::now();
    eventually(LIMIT, "ZooKeeper to be asked again", async || {
        world.session.stat(&world.layout.queue).await.is_ok()
    })
    .await;
    let answer = world.add("dga", 1, model.path()).await;
    println!(
        "a request was taken {:?} after ZooKeeper had a leader again",
        back.elapsed()
    );
    assert_eq!(answer.outcome, Outcome::Accepted);
    world.serving("dga", 3).await;
    world.serving("other", 1).await;
    load.none_failed().await;
    let over = async || {
        let logs = logs();
        let is_over = |log: &String| {
            let over = degraded_since(log, "no longer degraded");
            over.is_some() && over == degraded_since(log, "degraded since=")
        };
        if logs.iter().all(is_over) {
            Ok(())
        } else {
            Err(logs)
        }
    };
    eventually(LIMIT, "both logs to say that it is over", over).await;
}

/// Since when there is no ZooKeeper, or was none, as the last line in a log with these words says.
fn degraded_since(log: &str, words: &str) -> Option<SystemTime> {
    let line = log.lines().rfind(|line| line.contains(words))?;
    let (_, since) = line.split_once("since=")?;
    let since = since.split_ascii_whitespace().next()?;
    Some(humantime::parse_rfc3339(since).expect("a time"))
}

/// F16: everything takes two seconds each way, and then a fifth of it is lost: slow, but nothing is lost or doubled, and no
/// session ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_slow_and_lossy_way_to_zookeeper_everything_takes_effect_once() {
    goes_slowly(Duration::from_secs(2), &["--session_timeout", "20000"]).await;
}

/// F16, as the daemon is by default.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_sessions_as_they_are_by_default_a_second_each_way_is_nothing_but_slow() {
    goes_slowly(Duration::from_secs(1), &[]).await;
}

async fn goes_slowly(latency: Duration, options: &[&str]) {
    let zookeeper = ZooKeeper::start().await;
    let proxy = Proxy::start(zookeeper.connect_string()).await;
    let daemon_way = proxy.address();
    let world = World::between(zookeeper.connect_string(), &daemon_way, options).await;
    let model = ModelFolder::answering();
    world.add("dga", 1, model.path()).await;
    world.serving("dga", 1).await;
    let before = world
        .session
        .stat(&world.layout.epoch())
        .await
        .unwrap()
        .unwrap()
        .version;
    proxy.set_loss(20);
    offer_many(&world, 10).await;
    wanted_in_all(&world, 10).await;
    let registered = world.registered("dga").await;
    proxy.set_latency(latency);
    offer_many(&world, 10).await;
    wanted_in_all(&world, 20).await;
    assert_eq!(world.registered("dga").await, registered);
    // Copies are healed, started and ended over that way, too.
    kill(pid_of(&world, "dga").await);
    let healed = async || {
        let status = world.statuses("dga").await.pop()?;
        (status.restarts == 1 && status.phase.is_serving()).then_some(())
    };
    eventually(LIMIT, "the model to serve again", healed).await;
    world.add("dga", 1, model.path()).await;
    let serve = async |copies: usize| {
        let serve = async || world.registered("dga").await.len() == copies;
        eventually(3 * LIMIT, &format!("{copies} copies to serve"), serve).await;
    };
    serve(2).await;
    world.remove("dga", 2).await;
    serve(0).await;
    let after = world
        .session
        .stat(&world.layout.epoch())
        .await
        .unwrap()
        .unwrap()
        .version;
    assert_eq!(before, after, "the daemon has led all the time");
}

/// F2 and F16: connections break again and again while requests are taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_take_effect_once_however_often_the_connection_breaks() {
    let zookeeper = ZooKeeper::start().await;
    let proxy = Proxy::start(zookeeper.connect_string()).await;
    let world = World::between(
        zookeeper.connect_string(),
        &proxy.address(),
        &["--session_timeout", "8000"],
    )
    .await;
    world.leads().await;
    for n in 1..=12 {
        offer_many(&world, 3).await;
        proxy.break_connections();
        if n % 4 == 0 {
            wanted_in_all(&world, n * 3).await;
        }
    }
    wanted_in_all(&world, 36).await;
}

/// What becomes of a transaction that is under way when its daemon is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UnderWay {
    /// It is carried out, and nobody hears of it.
    Unheard,
    /// It never arrives.
    Lost,
    /// It arrives when the next daemon has carried out the request.
    Late,
}

/// Asks for two copies of a model, and gives the identity of the request when the daemon is about to take it: it sleeps.
async fn is_about_to_take(world: &World, model: &ModelFolder) -> String {
    let point = Point::IntakeBeforeTransaction;
    world.daemon.sleep_at(point.name());
    let request = world.offer(&add("dga", "1.0", 2, model, "")).await;
    let asleep = async || has_fallen_asleep(&world.daemon);
    eventually(LIMIT, "the daemon to come to its transaction", asleep).await;
    request
}

/// Whether a daemon has come to where it was told to sleep, and sleeps: who is woken before is not woken.
fn has_fallen_asleep(daemon: &Daemon) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap();
    daemon.has_crashed() && stat.contains(") T ")
}

/// Wakes the daemon, and waits until its transaction is under way, and held back there.
async fn sends(world: &World, proxy: &Proxy, request: &str) {
    proxy.hold_requests();
    send_signal("CONT", &[world.daemon.pid()]);
    let result = format!("/maas/state/results/{request}");
    let sent = async || proxy.holds_request(&result);
    eventually(LIMIT, "the transaction to be under way", sent).await;
}

/// Waits until an ADD of two copies has taken effect, and sees that it did so once.
async fn took_effect_once(world: &World, request: &str) {
    let answer = world.answer(request).await;
    assert_eq!((answer.instances, answer.generation), (Some(2), Some(1)));
    let queue = &world.layout.queue;
    let empty = async || world.session.children(queue).await.unwrap().is_empty();
    eventually(LIMIT, "the queue to be empty", empty).await;
    world.serving("dga", 2).await;
    assert_eq!(world.daemon.folders().len(), 2);
    assert_eq!(history(world, "dga", "1.0").await.generations.len(), 1);
    // Written again it could look the same.
    let (name, version) = ("dga".parse().unwrap(), "1.0".parse().unwrap());
    let history = world.layout.history(&name, &version);
    let stat = world.session.stat(&history).await.unwrap().unwrap();
    assert_eq!(stat.version, 0);
}

/// F2: the daemon is killed while its transaction is under way.
async fn check_under_way(under_way: UnderWay) {
    let zookeeper = ZooKeeper::start().await;
    let proxy = Proxy::start(zookeeper.connect_string()).await;
    let mut world = World::between(
        zookeeper.connect_string(),
        &proxy.address(),
        &["--session_timeout", "20000"],
    )
    .await;
    world.leads().await;
    let model = ModelFolder::answering();
    let request = is_about_to_take(&world, &model).await;
    if under_way == UnderWay::Unheard {
        proxy.hold_answers();
        send_signal("CONT", &[world.daemon.pid()]);
        // Another way to ZooKeeper tells that it was carried out.
        world.answer(&request).await;
    } else {
        sends(&world, &proxy, &request).await;
    }
    world.daemon.kill();
    let heard = world.daemon.log_tail().contains("request accepted");
    assert!(!heard, "it was killed before it heard of it");
    let queue = world.session.children(&world.layout.queue).await.unwrap();
    let carried_out = queue.is_empty();
    assert_eq!(carried_out, under_way == UnderWay::Unheard, "{queue:?}");
    if under_way == UnderWay::Lost {
        proxy.break_connections();
    }
    let next = if under_way == UnderWay::Late {
        let instances = world.daemon.instances();
        let place = ["--instances_dir", instances.to_str().unwrap()];
        Some(Daemon::start(&world.quorum, &place))
    } else {
        proxy.let_through();
        world.daemon.start_again();
        None
    };
    took_effect_once(&world, &request).await;
    if let Some(_next) = next {
        let result = format!("/maas/state/results/{request}");
        assert!(proxy.holds_request(&result), "it is still under way");
        proxy.let_through();
        // A request that is carried out after it has arrived.
        world.add("other", 1, model.path()).await;
        world.serving("other", 1).await;
        world.remove("other", 1).await;
        world.serving("other", 0).await;
        took_effect_once(&world, &request).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_takes_effect_once_when_its_daemon_is_killed_before_it_hears_that_it_was_carried_out()
 {
    check_under_way(UnderWay::Unheard).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_takes_effect_once_when_its_daemon_is_killed_and_its_transaction_never_arrives() {
    check_under_way(UnderWay::Lost).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_takes_effect_once_when_the_transaction_of_a_killed_daemon_arrives_after_the_next_ones()
 {
    check_under_way(UnderWay::Late).await;
}

/// Waits until so many daemons stand in line.
async fn in_line(world: &World, daemons: usize) {
    let root = world.layout.leader_root();
    let line = async || world.session.children(&root).await.unwrap().len() == daemons;
    eventually(LIMIT, &format!("{daemons} daemons in line"), line).await;
}

/// F13: the daemon's session ends, and no runner's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_whose_session_ends_leads_again_and_no_copy_or_registration_is_touched() {
    let world = World::start(&[]).await;
    let model = ModelFolder::answering();
    world.add("dga", 2, model.path()).await;
    let before = world.serving("dga", 2).await;
    let znodes = async || {
        let mut znodes = Vec::new();
        for entry in &before {
            let path = world.layout.registration(&entry.name, &entry.instance);
            let stat = world.session.stat(&path).await.unwrap().unwrap();
            znodes.push((stat.czxid, stat.ephemeral_owner));
        }
        let statuses = world.statuses("dga").await;
        let ours = statuses
            .into_iter()
            .filter(|status| before.iter().any(|e| e.instance == status.instance));
        let pids: Vec<_> = ours.map(|s| (s.pid, s.restarts, s.since_ms)).collect();
        (znodes, pids)
    };
    let untouched = znodes().await;
    let epoch = world.layout.epoch();
    let led = world.session.stat(&epoch).await.unwrap().unwrap().version;
    // ZooKeeper gives up who sleeps.
    send_signal("STOP", &[world.daemon.pid()]);
    in_line(&world, 0).await;
    assert_eq!(znodes().await, untouched);
    send_signal("CONT", &[world.daemon.pid()]);
    in_line(&world, 1).await;
    let answer = world.add("dga", 1, model.path()).await;
    assert_eq!(answer.instances, Some(3));
    let after = world.serving("dga", 3).await;
    assert!(before.iter().all(|entry| after.contains(entry)));
    assert_eq!(znodes().await, untouched);
    let leads = world.session.stat(&epoch).await.unwrap().unwrap().version;
    assert_eq!(leads, led + 1, "it came to lead again, once");
    assert!(world.daemon.log_tail().contains("the lead is lost"));
    assert_eq!(world.daemon.pids_of("serve.py").len(), 3);
}

/// A daemon that has another way to ZooKeeper than its standby, who stands in line. The sessions of both last so many
/// milliseconds.
async fn with_standby(
    zookeeper: &ZooKeeper,
    proxy: &Proxy,
    session_timeout: &str,
) -> (World, Daemon) {
    let timeout = ["--session_timeout", session_timeout];
    let quorum = zookeeper.connect_string();
    let world = World::between(quorum, &proxy.address(), &timeout).await;
    in_line(&world, 1).await;
    let instances = world.daemon.instances();
    let place = [
        &timeout[..],
        &["--instances_dir", instances.to_str().unwrap()],
    ]
    .concat();
    let standby = Daemon::start(quorum, &place);
    in_line(&world, 2).await;
    (world, standby)
}

/// F15: the leader and its runners are cut off for longer than their sessions last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_cut_off_with_its_runners_gives_way_and_what_it_started_is_neither_stopped_nor_doubled()
 {
    let zookeeper = ZooKeeper::start().await;
    let proxy = Proxy::start(zookeeper.connect_string()).await;
    let (world, mut standby) = with_standby(&zookeeper, &proxy, "6000").await;
    let model = ModelFolder::answering();
    world.add("dga", 1, model.path()).await;
    let pid = pid_of(&world, "dga").await;
    let before = world.registered("dga").await;
    let program = MaasClient::connect(SessionConfig::new(&world.quorum));
    let program = program.await.unwrap();
    let endpoint = program.get_endpoint("dga", None).unwrap();

    proxy.cut();
    acts(&world, &standby).await;
    // Without ZooKeeper it learns so from the folder that they share.
    let gives_way = async || world.daemon.log_tail().contains("another daemon leads now");
    eventually(LIMIT, "the old leader to give way", gives_way).await;
    let ended = async || world.registered("dga").await.is_empty();
    eventually(LIMIT, "the runner's session to end", ended).await;
    // Asked for one more, the new leader starts one more, though nothing is heard of the first.
    assert_eq!(world.add("dga", 1, model.path()).await.instances, Some(2));
    let one_more = world.serving("dga", 1).await;
    assert_ne!(one_more[0].instance, before[0].instance);
    let servers = world.daemon.pids_of("serve.py");
    assert!(servers.len() == 2 && servers.contains(&pid), "{servers:?}");
    let answer = program.model_apply(&endpoint, None, &[]).await.unwrap();
    assert_eq!(answer["path"], "/apply", "the model answers all the time");
    program.close().await;

    proxy.mend();
    let both = world.serving("dga", 2).await;
    assert!(both.contains(&before[0]) && both.contains(&one_more[0]));
    assert_eq!(world.daemon.pids_of("serve.py"), servers);
    assert_eq!(world.daemon.folders().len(), 2);
    // The old leader is as good as any again.
    in_line(&world, 2).await;
    standby.kill();
    assert_eq!(world.remove("dga", 2).await.instances, Some(0));
    world.nothing_is_left().await;
}

/// F15: what the old leader sent last is held up until its session has ended and the next one leads, which carries the request out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_leader_was_about_to_do_when_it_was_cut_off_is_done_once_by_the_next_and_not_again_when_it_is_back()
 {
    let zookeeper = ZooKeeper::start().await;
    let proxy = Proxy::start(zookeeper.connect_string()).await;
    // On a busy machine it takes a while until what is about to be sent is under way, and until then the session must last.
    let (world, mut standby) = with_standby(&zookeeper, &proxy, "10000").await;
    let model = ModelFolder::answering();
    let request = is_about_to_take(&world, &model).await;
    sends(&world, &proxy, &request).await;
    acts(&world, &standby).await;
    took_effect_once(&world, &request).await;
    let result = format!("/maas/state/results/{request}");
    assert!(proxy.holds_request(&result), "it is still under way");
    proxy.let_through();
    in_line(&world, 2).await;
    took_effect_once(&world, &request).await;
    standby.kill();
    acts(&world, &world.daemon).await;
    took_effect_once(&world, &request).await;
}

/// The znodes of the daemons in line, and the sessions they are of; the leader's first.
async fn line(world: &World) -> Vec<(ZnodePath, i64)> {
    let root = world.layout.leader_root();
    let mut names = world.session.children(&root).await.unwrap();
    names.sort();
    let mut line = Vec::new();
    for place in names.iter().map(|name| root.join(name)) {
        let stat = world.session.stat(&place).await.unwrap().unwrap();
        line.push((place, stat.ephemeral_owner));
    }
    line
}

/// By which transactions these znodes were made and last written, where they are there.
async fn written(world: &World, znodes: &[ZnodePath]) -> Vec<Option<(i64, i64)>> {
    let mut written = Vec::new();
    for znode in znodes {
        let stat = world.session.stat(znode).await.unwrap();
        written.push(stat.map(|stat| (stat.czxid, stat.mzxid)));
    }
    written
}

/// F15: what the old leader sent last arrives when another one leads already. Its session goes on, and nothing of what it sent
/// has been done by anybody else; so only the epoch keeps it from taking effect.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_leader_sent_before_another_one_came_to_lead_changes_nothing_when_it_arrives_after_that()
 {
    let zookeeper = ZooKeeper::start().await;
    let proxy = Proxy::start(zookeeper.connect_string()).await;
    let (world, standby) = with_standby(&zookeeper, &proxy, "50000").await;
    acts(&world, &world.daemon).await;
    let (place, session) = line(&world).await.remove(0);
    let epoch = world.layout.epoch();
    let led = written(&world, slice::from_ref(&epoch)).await;
    let model = ModelFolder::answering();
    let request = is_about_to_take(&world, &model).await;
    sends(&world, &proxy, &request).await;
    // Asleep it is taken for dead, and does not notice it.
    send_signal("STOP", &[world.daemon.pid()]);
    standby.sleep_at(Point::LeadAfterEpoch.name());
    world.session.delete(&place, None).await.unwrap();
    let asleep = async || has_fallen_asleep(&standby);
    eventually(LIMIT, "the standby to write the epoch", asleep).await;
    let leads = written(&world, slice::from_ref(&epoch)).await;
    assert_ne!(leads, led);
    let (name, version) = ("dga".parse().unwrap(), "1.0".parse().unwrap());
    let layout = &world.layout;
    let item = world.session.children(&layout.queue).await.unwrap();
    let result = layout.results_root().join(&format!("{request}{}", item[0]));
    let all = [
        layout.queue.join(&item[0]),
        result.clone(),
        layout.desired(&name, &version),
        layout.history(&name, &version),
    ];
    let before = written(&world, &all).await;
    let there: Vec<bool> = before.iter().map(Option::is_some).collect();
    assert_eq!(there, [true, false, false, false]);

    assert!(
        proxy.holds_request(result.as_str()),
        "it is still under way"
    );
    proxy.let_through();
    send_signal("CONT", &[world.daemon.pid()]);
    // That ZooKeeper has answered it, the daemon says: the epoch is another one.
    let is_refused = || {
        let log = world.daemon.log_tail();
        let mut lines = log.lines();
        lines.any(|l| l.contains("another daemon leads now") && l.contains(epoch.as_str()))
    };
    let arrived = async || is_refused() || world.session.stat(&result).await.unwrap().is_some();
    eventually(LIMIT, "the late transaction to arrive", arrived).await;
    assert_eq!(written(&world, &all).await, before, "nothing has changed");
    assert!(is_refused());
    in_line(&world, 2).await;
    assert_eq!(written(&world, &all).await, before, "and nothing does");
    assert_eq!(line(&world).await[1].1, session, "its session goes on");

    // The new leader finds the request untouched, and carries it out.
    send_signal("CONT", &[standby.pid()]);
    took_effect_once(&world, &request).await;
    assert!(standby.log_tail().contains("request accepted"));
    assert!(!world.daemon.log_tail().contains("request accepted"));
    assert_eq!(written(&world, &[epoch]).await, leads, "it has led since");
}

/// F18: the disk with the state, which is ZooKeeper's, is full.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_zookeepers_disk_is_full_no_request_is_taken_models_and_calls_go_on_and_afterwards_all_is_well()
 {
    let mut zookeeper = ZooKeeper::start_on_disk(16).await;
    let world = World::on(zookeeper.connect_string(), &["--session_timeout", "4000"]).await;
    let model = ModelFolder::answering();
    world.add("dga", 1, model.path()).await;
    let pid = pid_of(&world, "dga").await;
    let load = Load::start(&world, "dga").await;
    let filler = zookeeper.disk().join("filler");
    let mut fill = File::create(&filler).unwrap();
    let full = loop {
        if let Err(error) = fill.write_all(&[b'x'; 4096]) {
            break error;
        }
    };
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    // There may be room for some more where the log lies already.
    let item = format!(
        r#"{{"name":"m0","version":"1.0","numInstances":1,"memory":1,"action":"ADD","path":"file:/{}"}}"#,
        "n".repeat(2000)
    );
    let queue = Queue::new(world.session.clone(), world.layout.clone());
    let mut offered = 0;
    let refused = loop {
        match queue.offer(item.as_bytes()).await {
            Ok(_) => offered += 1,
            Err(error) => break error,
        }
    };
    println!("{offered} requests were taken by a full disk, and then: {refused:?}");
    let gone = async || !zookeeper.is_running();
    eventually(LIMIT, "ZooKeeper to give up", gone).await;
    load.goes_on(2000).await;
    assert!(world.daemon.pids_of("serve.py").contains(&pid));

    drop(fill);
    std::fs::remove_file(&filler).unwrap();
    zookeeper.restart().await;
    // What the sender was told is so; of the last one it was told that nobody knows.
    let settled = async || {
        let path = world
            .layout
            .desired(&"m0".parse().unwrap(), &"1.0".parse().unwrap());
        let waiting = world.session.children(&world.layout.queue).await.ok()?;
        let desired = world.session.get(&path).await.ok()?;
        let wanted = desired.map_or(0, |(data, _)| Desired::parse(&data).unwrap().instances);
        let right = wanted == offered || wanted == offered + 1;
        (waiting.is_empty() && right).then_some(())
    };
    eventually(LIMIT, "the requests to have taken effect", settled).await;
    world.add("dga", 1, model.path()).await;
    world.serving("dga", 2).await;
    assert!(world.daemon.pids_of("serve.py").contains(&pid));
    load.none_failed().await;
}
