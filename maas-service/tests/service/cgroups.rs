//! Where a cgroup with a memory controller is delegated, the kernel holds each copy to its memory.

use std::fs;
use std::path::{Path, PathBuf};

use maas_client::wire::state::{Failure, OutOfMemory};
use test_support::{Daemon, ModelFolder, eventually, send_signal};

use crate::own_kernel::in_own_kernel;
use crate::world::{LIMIT, World};

/// A server that takes 200 MB in one gulp when told to, and would be done with it before anybody could look.
const GULP: &str = r#""$python" -S -E serve.py & while [ ! -e gulp ]; do sleep 0.05; done; rm gulp
    "$python" -S -E -c 'b"x" * (200 << 20)'; touch swallowed; wait"#;

/// A world whose daemon is started in the leaf of a cgroup of its own, as by systemd's `DelegateSubgroup=daemon`.
async fn world(cgroup: &Path) -> World {
    let start = |quorum: &str, options: &[&str]| {
        Daemon::start_in_cgroup(quorum, options, &cgroup.join("daemon"))
    };
    let world = World::start_with(&["--restart_delay", "200"], start).await;
    world.leads().await;
    let log = world.daemon.log_tail();
    assert!(
        log.contains("the kernel holds each copy to its memory"),
        "{log}"
    );
    world
}

/// What is left of copies below a cgroup: the names of their own.
fn copies_below(cgroup: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(cgroup)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("copy-"))
        .collect();
    names.sort();
    names
}

/// The folder in which the only copy of a model runs.
async fn work(world: &World, name: &str) -> PathBuf {
    let status = world.statuses(name).await.pop().unwrap();
    let instance = status.instance.to_string();
    world.daemon.instances().join(instance).join("work")
}

/// Waits until the only copy of a model has failed so many times, and gives the last failure.
async fn failed(world: &World, name: &str, times: u32) -> Failure {
    let failed = async || {
        let status = world.statuses(name).await.pop().unwrap();
        if status.restarts == times && status.last_failure.is_some() {
            Ok(status.last_failure.clone().unwrap())
        } else {
            Err(status)
        }
    };
    eventually(LIMIT, "the copy to fail", failed).await
}

fn assert_was_at_its_limit(failure: &Failure) {
    let OutOfMemory { limit_mb, used_mb } = failure.out_of_memory.unwrap();
    assert!(
        limit_mb == 64 && (60..=64).contains(&used_mb),
        "{failure:?}"
    );
    let why = format!("it used {used_mb} MB of the 64 MB of memory it may use");
    assert_eq!(failure.why, why);
}

/// F31: in one gulp, too fast for anybody who looks from time to time.
#[tokio::test]
async fn a_copy_over_its_memory_is_killed_by_the_kernel_and_says_so_and_its_neighbour_is_left_alone()
 {
    in_own_kernel(async || {
        let cgroup = Path::new("/sys/fs/cgroup/limits");
        let world = world(cgroup).await;
        let (greedy, good) = (ModelFolder::with_script(GULP), ModelFolder::answering());
        world.add("greedy", 1, greedy.path()).await;
        world.add("good", 1, good.path()).await;
        world.serving("greedy", 1).await;
        world.serving("good", 1).await;
        let neighbour = world.statuses("good").await;
        let work = work(&world, "greedy").await;
        fs::write(work.join("gulp"), "").unwrap();
        let failure = failed(&world, "greedy", 1).await;
        assert_was_at_its_limit(&failure);
        assert!(!work.join("swallowed").exists(), "not for a moment");
        world.serving("greedy", 1).await;
        assert_eq!(world.statuses("good").await, neighbour);
        assert_eq!(copies_below(cgroup).len(), 2);
        world.remove("greedy", 1).await;
        world.remove("good", 1).await;
        world.nothing_is_left().await;
        assert_eq!(copies_below(cgroup), [""; 0]);
    })
    .await;
}

#[tokio::test]
async fn nothing_is_left_of_a_copy_nor_of_its_cgroup_when_it_is_removed_or_its_runner_dies() {
    in_own_kernel(async || {
        // The daemon starts in the root of all cgroups, as where nobody divides them.
        let world = World::start(&["--restart_delay", "200"]).await;
        let cgroup = Path::new("/sys/fs/cgroup");
        let detached = ModelFolder::with_script(
            r#"(setsid sh -c '"$0" -S -E -c "import time; time.sleep(5000)" & ' "$python" &)
            exec "$python" -S -E serve.py"#,
        );
        world.add("detached", 1, detached.path()).await;
        world.serving("detached", 1).await;
        let [first] = &copies_below(cgroup)[..] else {
            panic!("one copy, one cgroup");
        };
        let sleeper = |cgroup: &Path| {
            let inside = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap();
            let line = |pid| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            inside.lines().any(|pid| line(pid).contains("sleep(5000)"))
        };
        assert!(sleeper(&cgroup.join(first)), "it can't leave");
        // With runner and warden dead, nobody is left to end the model but the daemon.
        send_signal("KILL", &world.daemon.pids_of("maas_runner"));
        let replaced = async || {
            let there = copies_below(cgroup);
            if there.len() == 1 && there[0] != *first {
                Ok(())
            } else {
                Err(there)
            }
        };
        eventually(LIMIT, "the copy to be replaced", replaced).await;
        world.serving("detached", 1).await;
        world.remove("detached", 1).await;
        world.nothing_is_left().await;
        assert_eq!(copies_below(cgroup), [""; 0]);
    })
    .await;
}

#[tokio::test]
async fn a_copy_that_another_daemon_adopts_is_still_held_to_its_memory_each_time_it_starts() {
    in_own_kernel(async || {
        let cgroup = Path::new("/sys/fs/cgroup/adopted");
        let mut world = world(cgroup).await;
        let greedy = ModelFolder::with_script(GULP);
        world.add("greedy", 1, greedy.path()).await;
        let before = world.serving("greedy", 1).await;
        world.daemon.kill();
        world.daemon.start_again();
        let adopted = async || world.daemon.log_tail().contains("copy adopted");
        eventually(LIMIT, "the copy to be adopted", adopted).await;
        assert_eq!(world.registered("greedy").await, before);
        let work = work(&world, "greedy").await;
        for times in 1..=2 {
            fs::write(work.join("gulp"), "").unwrap();
            assert_was_at_its_limit(&failed(&world, "greedy", times).await);
            world.serving("greedy", 1).await;
        }
    })
    .await;
}

/// The service was moved to another unit while its copies were dead.
#[tokio::test]
async fn a_daemon_in_another_cgroup_cleans_away_the_ones_that_copies_had_under_the_last_one() {
    in_own_kernel(async || {
        let [before, after] = ["/sys/fs/cgroup/before", "/sys/fs/cgroup/after"].map(Path::new);
        let mut world = world(before).await;
        let model =
            ModelFolder::with_script(r#"(setsid "$python" -S -E serve.py &) ; exec sleep 1000"#);
        world.add("dga", 1, model.path()).await;
        world.serving("dga", 1).await;
        assert_eq!(copies_below(before).len(), 1);
        world.daemon.kill();
        send_signal("KILL", &world.daemon.pids_of("maas_runner"));
        fs::create_dir(after).unwrap();
        let instances = world.daemon.instances();
        let options = [
            "--session_timeout",
            "3000",
            "--instances_dir",
            instances.to_str().unwrap(),
        ];
        let _other = Daemon::start_in_cgroup(&world.quorum, &options, &after.join("daemon"));
        let moved = async || {
            let there = [copies_below(before).len(), copies_below(after).len()];
            if there == [0, 1] { Ok(()) } else { Err(there) }
        };
        eventually(LIMIT, "the copy to live in the other cgroup alone", moved).await;
        world.serving("dga", 1).await;
        world.remove("dga", 1).await;
        world.nothing_is_left().await;
        assert_eq!(copies_below(after), [""; 0]);
    })
    .await;
}

#[tokio::test]
async fn in_a_container_whoever_was_there_first_makes_room_for_the_copies() {
    in_own_kernel(async || {
        let cgroup = Path::new("/sys/fs/cgroup/container");
        let start =
            |quorum: &str, options: &[&str]| Daemon::start_in_container(quorum, options, cgroup);
        let world = World::start_with(&[], start).await;
        let good = ModelFolder::answering();
        world.add("good", 1, good.path()).await;
        world.serving("good", 1).await;
        let [copy] = &copies_below(cgroup)[..] else {
            panic!("one copy, one cgroup");
        };
        let copy = cgroup.join(copy);
        let read = |file: &str| fs::read_to_string(copy.join(file)).unwrap();
        assert_eq!(read("memory.max").trim(), (64 << 20).to_string());
        assert_eq!(read("memory.oom.group").trim(), "1");
        assert_eq!(read("cgroup.procs").lines().count(), 1, "the model alone");
        world.remove("good", 1).await;
        world.nothing_is_left().await;
        assert!(!copy.exists());
    })
    .await;
}
