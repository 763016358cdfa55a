//! Daemon, runner and warden killed with `kill -9` at every point there is (F1, F3 to F9 of the list in `main.rs`): whatever
//! dies wherever, afterwards as many copies serve as are wanted, there were never more, and of what died nothing is left.

use std::collections::BTreeSet;
use std::fs;

use maas_service::crash::Point;
use test_support::{ModelFolder, TempDir, eventually, send_signal};

use crate::crashes::dies_and_is_started_again;
use crate::life::{is_warden, kill, pid_of};
use crate::updates::add;
use crate::world::{LIMIT, World};

/// A server that does not end when told to, and notes it when it is not the only one of its copy, or one too many of all.
const JEALOUS: &str = r#"exec 9>>"$LIVES/$MAAS_INSTANCE"
    flock -n 9 || echo "$MAAS_INSTANCE runs twice" >> "$LIVES/doubled"
    n=1; while exec 8>>"$LIVES/.$n"; ! flock -n 8; do n=$((n + 1)); done
    [ $n -le "$MOST" ] || echo "$MAAS_INSTANCE is number $n" >> "$LIVES/doubled"
    trap '' TERM; exec "$python" -S -E serve.py"#;

/// What is going on when it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum During {
    /// A daemon comes to lead.
    Lead,
    /// Two copies are started.
    Add,
    /// A new version takes the place of an old one.
    Update,
    /// One of two copies is stopped.
    Remove,
    /// A copy is stopped whose runner does not react.
    Hang,
    /// What a dead runner left is cleaned away.
    Clean,
    /// A model has died.
    Failure,
}

use During::{Add, Clean, Failure, Hang, Lead, Remove, Update};

impl During {
    /// How many copies may live at once.
    fn most(self) -> usize {
        match self {
            Self::Add | Self::Update | Self::Remove => 2,
            Self::Lead | Self::Hang | Self::Clean | Self::Failure => 1,
        }
    }

    /// How many serve afterwards.
    fn left(self) -> usize {
        match self {
            Self::Add => 2,
            Self::Hang => 0,
            Self::Lead | Self::Update | Self::Remove | Self::Clean | Self::Failure => 1,
        }
    }

    /// Lets it begin, with somebody about to die at `point`.
    async fn begin(self, world: &mut World, model: &ModelFolder, point: Point) {
        let copies = match self {
            Self::Add => 0,
            Self::Remove => 2,
            Self::Lead | Self::Update | Self::Hang | Self::Clean | Self::Failure => 1,
        };
        if copies > 0 {
            world.add("dga", copies, model.path()).await;
            world.serving("dga", copies as usize).await;
        }
        let runners = || world.daemon.pids_of("maas_runner");
        let prepare = || world.daemon.crash_at(point.name());
        match self {
            Self::Lead => {
                world.daemon.kill();
                world.daemon.crash_at(point.name());
                world.daemon.start_again();
            }
            Self::Add => {
                prepare();
                world.offer(&add("dga", "1.0", 2, model, "")).await;
            }
            Self::Update => {
                prepare();
                let more = r#","replace":"1.0""#;
                world.offer(&add("dga", "2.0", 1, model, more)).await;
            }
            Self::Remove | Self::Hang => {
                if self == Self::Hang {
                    let runner = runners().into_iter().find(|&pid| !is_warden(pid));
                    send_signal("STOP", &[runner.expect("it runs")]);
                }
                prepare();
                let item = add("dga", "1.0", 1, model, "").replace("ADD", "REMOVE");
                world.offer(&item).await;
            }
            Self::Clean => {
                prepare();
                send_signal("KILL", &runners());
            }
            Self::Failure => {
                let pid = pid_of(world, "dga").await;
                prepare();
                kill(pid);
            }
        }
    }
}

/// Who dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Daemon,
    /// A runner or a warden.
    Child,
}

use Who::{Child, Daemon};

async fn check(point: Point, who: Who, during: During) {
    let lives = TempDir::new().unwrap();
    let [lives_in, most] = [
        format!("LIVES={}", lives.path().display()),
        format!("MOST={}", during.most()),
    ];
    let mut world = World::start(&[
        "--shell_env",
        &lives_in,
        "--shell_env",
        &most,
        "--stop_grace",
        "1",
        "--drain_limit",
        "1",
        "--restart_delay",
        "50",
    ])
    .await;
    world.leads().await;
    let model = ModelFolder::with_script(JEALOUS);
    during.begin(&mut world, &model, point).await;
    match who {
        Who::Daemon => dies_and_is_started_again(&mut world).await,
        Who::Child => {
            let died = async || world.daemon.has_crashed();
            eventually(LIMIT, "somebody to die there", died).await;
            assert!(world.daemon.is_running(), "not the daemon");
        }
    }
    let copies = during.left();
    let what = format!("{copies} whole copies, and nothing of what died");
    eventually(LIMIT, &what, async || whole(&world, copies).await).await;
    if copies > 0 {
        assert_eq!(world.apply("dga", &[]).await["path"], "/apply");
        let version = if during == Update { "2.0" } else { "1.0" };
        let copies = u32::try_from(copies).unwrap();
        let item = add("dga", version, copies, &model, "").replace("ADD", "REMOVE");
        world.offer(&item).await;
    }
    world.nothing_is_left().await;
    eventually(LIMIT, "nothing at all", async || whole(&world, 0).await).await;
    let doubled = fs::read_to_string(lives.path().join("doubled"));
    assert!(doubled.is_err(), "{doubled:?}");
}

/// Whether exactly so many copies serve, each with a registration, a status, a folder and a model, and there is nothing
/// beside them: no process, no folder, no znode.
async fn whole(world: &World, copies: usize) -> Result<(), String> {
    let statuses = world.statuses("dga").await;
    let serving: BTreeSet<String> = statuses
        .iter()
        .filter(|status| status.phase.is_serving())
        .map(|status| status.instance.to_string())
        .collect();
    let registered = world.registered("dga").await;
    let registered: BTreeSet<String> = registered.iter().map(|e| e.instance.to_string()).collect();
    let (mut folders, mut others) = (BTreeSet::new(), Vec::new());
    for entry in fs::read_dir(world.daemon.instances()).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        match name.strip_prefix('.') {
            None => assert!(folders.insert(name)),
            Some("maas-instances") => {}
            // The mark of the one that leads, in which nothing is being made.
            Some(mark) if mark.starts_with("lead-") => {
                let within = fs::read_dir(entry.path()).into_iter().flatten();
                others.extend(within.map(|entry| entry.unwrap().path()));
            }
            Some(_) => others.push(entry.path()),
        }
    }
    let strangers = world.daemon.processes_of_copies();
    let of_copy = |line: &String| serving.iter().any(|instance| line.contains(instance));
    let strangers: Vec<&String> = strangers.iter().filter(|line| !of_copy(line)).collect();
    let models = world.daemon.pids_of("serve.py").len();
    let layout = &world.layout;
    let queue = world.session.children(&layout.queue).await.unwrap();
    let progress = layout.progress_root();
    let progress = world.session.children(&progress).await.unwrap();
    let as_it_should_be = statuses.len() == copies
        && serving.len() == copies
        && registered == serving
        && folders == serving
        && models == copies
        && progress.len() == copies.min(1)
        && others.is_empty()
        && strangers.is_empty()
        && queue.is_empty();
    if as_it_should_be {
        return Ok(());
    }
    Err(format!(
        "statuses {statuses:?}, registered {registered:?}, folders {folders:?} and {others:?}, {models} models, processes \
         {strangers:?}, progress {progress:?}, queue {queue:?}"
    ))
}

/// One test for each point, and the list of the points that have one.
macro_rules! tests {
    ($($test:ident: $point:ident, $who:ident, $during:ident;)*) => {
        $(
            #[tokio::test]
            async fn $test() {
                check(Point::$point, $who, $during).await;
            }
        )*

        const TESTED: &[Point] = &[$(Point::$point,)*];
    };
}

tests! {
    a_daemon_dies_after_the_epoch_was_written: LeadAfterEpoch, Daemon, Lead;
    a_daemon_dies_after_its_mark_was_made: LeadAfterMark, Daemon, Lead;
    a_daemon_dies_before_its_transaction: IntakeBeforeTransaction, Daemon, Add;
    a_daemon_dies_after_its_transaction: IntakeAfterTransaction, Daemon, Add;
    a_daemon_dies_before_the_end_of_an_update_is_written: UpdateBeforeEnd, Daemon, Update;
    a_daemon_dies_after_the_end_of_an_update_was_written: UpdateAfterEnd, Daemon, Update;
    a_daemon_dies_before_a_copys_folder_is_made: LaunchBeforeFolder, Daemon, Add;
    a_daemon_dies_before_a_copys_folder_is_moved_into_place: LaunchBeforeMove, Daemon, Add;
    a_daemon_dies_after_a_copys_folder_was_moved_into_place: LaunchAfterMove, Daemon, Add;
    a_daemon_dies_after_a_runner_started: LaunchAfterStart, Daemon, Add;
    a_daemon_dies_before_a_runner_is_told_to_end: StopBeforeSignal, Daemon, Remove;
    a_daemon_dies_after_a_runner_was_told_to_end: StopAfterSignal, Daemon, Remove;
    a_daemon_dies_before_a_runner_that_hangs_is_killed: KillBeforeSignal, Daemon, Hang;
    a_daemon_dies_after_a_runner_that_hung_was_killed: KillAfterSignal, Daemon, Hang;
    a_daemon_dies_before_a_dead_copys_folder_is_removed: CleanBeforeRemoval, Daemon, Clean;
    a_daemon_dies_when_half_of_a_dead_copys_folder_is_gone: RemovalHalfDone, Daemon, Clean;
    a_runner_dies_before_it_says_which_process_it_is: RunnerBeforeIdentity, Child, Add;
    a_runner_dies_before_the_bundle_is_moved_into_place: FetchBeforeMove, Child, Add;
    a_runner_dies_after_the_bundle_was_fetched: RunnerAfterFetch, Child, Add;
    a_runner_dies_after_the_script_was_started: RunnerAfterStart, Child, Add;
    a_runner_dies_after_endpoint_dat_was_read: RunnerAfterEndpoint, Child, Add;
    a_runner_dies_before_the_copy_is_registered: RunnerBeforeRegistration, Child, Add;
    a_runner_dies_after_the_copy_was_registered: RunnerAfterRegistration, Child, Add;
    a_runner_dies_after_its_model_has_failed: RunnerAfterFailure, Child, Failure;
    a_runner_dies_before_its_withdrawal_is_heard_of: WithdrawalBegun, Child, Remove;
    a_runner_dies_after_its_withdrawal_was_heard_of: WithdrawalDone, Child, Remove;
    a_runner_dies_before_its_failed_models_withdrawal_is_heard_of: WithdrawalBegun, Child, Failure;
    a_runner_dies_while_it_drains: DrainBegun, Child, Remove;
    a_runner_dies_after_sigterm: StopAfterTerm, Child, Remove;
    a_runner_dies_between_sigterm_and_sigkill: StopBeforeKill, Child, Remove;
    a_runner_dies_before_its_status_is_taken_away: RunnerBeforeStatusEnds, Child, Remove;
    a_runner_dies_before_its_folder_is_removed: RunnerBeforeRemoval, Child, Remove;
    a_runner_dies_when_half_of_its_folder_is_gone: RemovalHalfDone, Child, Remove;
    a_runner_dies_after_its_folder_was_removed: RunnerAfterRemoval, Child, Remove;
    a_warden_dies_before_the_script_is_started: WardenBeforeStart, Child, Add;
    a_warden_dies_after_the_script_was_started: WardenAfterStart, Child, Add;
}

#[test]
fn a_test_dies_at_every_point_there_is() {
    let untested: Vec<&Point> = Point::ALL.iter().filter(|p| !TESTED.contains(p)).collect();
    assert!(untested.is_empty(), "{untested:?}");
}
