//! What copies may take of the machine: memory, processes, files, the disk. Who takes more is ended and named; the others
//! don't notice.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use maas_client::wire::state::{InstanceStatus, Phase, now_ms};
use test_support::{Daemon, ModelFolder, eventually};

use crate::world::{LIMIT, World};

/// The file `name` in the folder in which the only copy's script runs.
fn work_file(world: &World, name: &str) -> PathBuf {
    world.daemon.folders()[0].join("work").join(name)
}

async fn status(world: &World, name: &str) -> InstanceStatus {
    world.statuses(name).await.pop().unwrap()
}

/// F31: the limit is that of all processes together, whichever of them takes the memory.
#[tokio::test]
async fn a_copy_that_uses_more_memory_than_it_may_is_killed_and_says_so() {
    let world = World::start(&[]).await;
    world.leads().await;
    let log = world.daemon.log_tail();
    assert!(log.contains("holds each copy to its memory"), "{log}");
    let greedy = ModelFolder::with_script(
        r#""$python" -S -E serve.py & while [ ! -e eat ]; do sleep 0.05; done; rm eat
        setsid "$python" -S -E -c 'import time; food = b"x" * (200 << 20); time.sleep(1000)' & wait"#,
    );
    world.add("greedy", 1, greedy.path()).await;
    world.serving("greedy", 1).await;
    fs::write(work_file(&world, "eat"), "").unwrap();
    let failed = async || {
        let status = status(&world, "greedy").await;
        (status.restarts == 1).then_some(status)?.last_failure
    };
    let failure = eventually(LIMIT, "the copy to be ended", failed).await;
    let memory = failure.out_of_memory.unwrap();
    assert_eq!(memory.limit_mb, 64);
    // A watchdog sees what it took, the kernel lets it take no more than the limit.
    assert!((60..=300).contains(&memory.used_mb), "{memory:?}");
    let why = format!("it used {} MB of the 64 MB of memory", memory.used_mb);
    assert!(failure.why.contains(&why), "{}", failure.why);
    // It heals, and what happened is still told.
    world.serving("greedy", 1).await;
    let kept = status(&world, "greedy").await.last_failure;
    assert_eq!(kept.unwrap().out_of_memory, Some(memory));
    assert_eq!(world.daemon.pids_of("food").len(), 0, "nothing is left");
}

#[tokio::test]
async fn what_forked_workers_share_is_counted_once() {
    let world = World::start(&[]).await;
    // Six workers that all see 40 MB: 240 MB and more of resident memory, and 40 MB of the machine's.
    let sharing = ModelFolder::with_script(
        r#"cat > workers.py <<'END'
import gc, os, time
weights = b"x" * (40 << 20)
gc.freeze()
for worker in range(5):
    if os.fork() == 0:
        time.sleep(1000)
exec(open("serve.py").read())
END
        exec "$python" -S -E workers.py"#,
    );
    world.add("sharing", 1, sharing.path()).await;
    world.serving("sharing", 1).await;
    // Long enough for the watchdog to have looked several times.
    let watched = async || {
        let status = status(&world, "sharing").await;
        (status.phase == Phase::Serving && now_ms() - status.since_ms > 2000).then_some(status)
    };
    let status = eventually(LIMIT, "it to be watched for a while", watched).await;
    let resident: u64 = world
        .daemon
        .pids_of("workers.py")
        .iter()
        .map(|pid| resident_mb(*pid))
        .sum();
    assert!(resident > 200, "{resident} MB");
    assert_eq!((status.restarts, status.last_failure), (0, None));
}

fn resident_mb(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    let kb: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kb / 1024
}

/// F32: processes.
#[tokio::test]
async fn a_copy_that_starts_processes_without_end_is_killed_with_all_of_them() {
    let world = World::start(&[]).await;
    // It ends by itself, should nobody stop it.
    let bomb = ModelFolder::with_script(
        "n=0; while [ $n -lt 3000 ]; do sleep 1000 & n=$((n + 1)); done; wait",
    );
    world.add_with_memory("bomb", 1, bomb.path(), 2000).await;
    let good = ModelFolder::answering();
    world.add("good", 1, good.path()).await;
    world.serving("good", 1).await;
    let status = world
        .explained("bomb", Phase::Backoff, "more than the 1024 processes")
        .await;
    assert_eq!(status.last_failure.unwrap().out_of_memory, None);
    world.remove("bomb", 1).await;
    world.remove("good", 1).await;
    let gone = async || world.daemon.processes_of_copies().is_empty();
    eventually(LIMIT, "all processes to end", gone).await;
}

/// F31, F32: what the script and all its children inherit.
#[tokio::test]
async fn a_script_starts_without_core_files_with_bounded_files_and_as_first_to_go_when_memory_ends()
{
    let world = World::start(&[]).await;
    let curious = ModelFolder::with_script(
        r#"{ ulimit -c; ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj; cat /proc/$PPID/oom_score_adj; } > limits
        exec "$python" -S -E serve.py"#,
    );
    world.add("curious", 1, curious.path()).await;
    world.serving("curious", 1).await;
    let limits = fs::read_to_string(work_file(&world, "limits")).unwrap();
    let limits: Vec<i64> = limits.lines().map(|l| l.parse().unwrap()).collect();
    let [cores, files, most_files, own_score, warden_score] = limits[..] else {
        panic!("{limits:?}");
    };
    assert_eq!(cores, 0);
    assert!((256..=16384).contains(&files) && most_files == files);
    assert_eq!(own_score, (warden_score + 500).min(1000));
}

/// Of what the daemon itself may have open, a part goes to each copy.
#[tokio::test]
async fn the_daemon_takes_all_open_files_it_may_have_and_starts_nothing_that_would_take_the_last_ones()
 {
    let start =
        |quorum: &str, options: &[&str]| Daemon::start_with_files(quorum, options, "24:2048");
    let mut world = World::start_with(&[], start).await;
    let model = ModelFolder::answering();
    world.add("dga", 2, model.path()).await;
    let before = world.serving("dga", 2).await;
    let pid = world.daemon.pid();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let limits = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let limits: Vec<&str> = limits.unwrap().split_whitespace().collect();
    assert_eq!(limits[3..5], ["2048", "2048"]);

    let may_have = |pid: u32, files: usize| {
        let set = std::process::Command::new("prlimit")
            .args(["--pid", &pid.to_string(), &format!("--nofile={files}:")])
            .status();
        assert!(set.unwrap().success());
    };
    let open = |pid: u32| fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    may_have(pid, open(pid) + 40);
    world.add("dga", 1, model.path()).await;
    let told = async || {
        let doing = world.progress("dga").await?.doing;
        let told = |doing: &String| doing.contains("64 of the open files left");
        doing.iter().any(told).then_some(())
    };
    eventually(LIMIT, "STATUS to tell why none is started", told).await;
    assert_eq!(world.serving("dga", 2).await, before, "they run on");
    // What can't even be looked at is left as it is.
    may_have(pid, 3);
    let halted = async || world.daemon.log_tail().contains("can't be reconciled now");
    eventually(LIMIT, "the daemon to look in vain", halted).await;
    may_have(pid, 2048);
    let after = world.serving("dga", 3).await;
    assert!(before.iter().all(|copy| after.contains(copy)));

    // One that is started anew with too few adopts what it can, and stops nothing.
    world.daemon.kill();
    world.daemon.start_again();
    world.leads().await;
    let pid = world.daemon.pid();
    may_have(pid, open(pid) + 40);
    world.remove("dga", 1).await;
    let after = world.serving("dga", 2).await;
    assert_eq!(after, before);
    world.remove("dga", 2).await;
    world.nothing_is_left().await;
}

/// How many bytes a process has written.
fn written(pid: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    let line = io.lines().find(|l| l.starts_with("wchar:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// F32: output. 200 MB as fast as the model can, while it serves.
#[tokio::test]
async fn a_flood_of_output_neither_blocks_the_model_nor_loads_the_disk_nor_hides_the_last_lines() {
    let world = World::start(&[]).await;
    let flood = ModelFolder::with_script(
        r#""$python" -S -E serve.py & while [ ! -e flood ]; do sleep 0.05; done
        head -c 100000000 /dev/zero | tr '\0' 'x'; head -c 100000000 /dev/zero | tr '\0' 'y' >&2
        printf '\nthe last line\n' >&2; touch flooded; while [ ! -e end ]; do sleep 0.05; done; kill $!; exit 9"#,
    );
    world.add("flood", 1, flood.path()).await;
    world.serving("flood", 1).await;
    let start = Instant::now();
    fs::write(work_file(&world, "flood"), "").unwrap();
    let flooded = async || work_file(&world, "flooded").exists();
    eventually(LIMIT, "all of it to be printed", flooded).await;
    assert_eq!(world.apply("flood", &[]).await["path"], "/apply");
    let logs = world.daemon.folders()[0].join("logs");
    let bytes: u64 = fs::read_dir(logs)
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!((4_000_000..20_000_000).contains(&bytes), "{bytes} bytes");
    // 8 MiB of each stream, and 1 MiB more for each second that the flood took.
    let warden = world.daemon.pids_of("--warden");
    let written = written(*warden.first().unwrap());
    let most = 16 + 2 * (1 + start.elapsed().as_secs());
    assert!(
        written < most << 20,
        "{written} bytes in {:?}",
        start.elapsed()
    );
    let log = world.daemon.folders()[0].join("logs/stderr");
    let told = async || {
        let log = fs::read(&log).unwrap();
        let text = String::from_utf8_lossy(&log);
        text.contains("bytes are missing here: the model printed more than")
    };
    eventually(LIMIT, "the log to tell what is missing", told).await;
    fs::write(work_file(&world, "end"), "").unwrap();
    let status = world
        .explained("flood", Phase::Backoff, "exit code 9")
        .await;
    let last = status.last_failure.unwrap().last_output;
    assert_eq!(last.last().unwrap(), "the last line");
    assert!(last.iter().all(|line| line.len() < 1000), "cut to be read");
}

/// F32: the runner's own log, too, whoever fills it; and standard error goes along.
#[tokio::test]
async fn a_runners_own_log_is_rotated() {
    let world = World::start(&[]).await;
    let model = ModelFolder::answering();
    world.add("dga", 1, model.path()).await;
    world.serving("dga", 1).await;
    let log = world.daemon.folders()[0].join("logs/runner.log");
    fs::OpenOptions::new()
        .append(true)
        .open(&log)
        .unwrap()
        .write_all(&vec![b'x'; 3 << 20])
        .unwrap();
    // Whatever it has to tell next begins another file.
    fs::write(work_file(&world, "endpoint.dat"), "no JSON").unwrap();
    let told = async || {
        let log = fs::read_to_string(&log).unwrap();
        log.contains("endpoint.dat is not usable yet")
    };
    eventually(LIMIT, "the runner to tell of it", told).await;
    assert!(fs::metadata(&log).unwrap().len() < 1 << 20);
    let older = fs::metadata(log.with_file_name("runner.log.1")).unwrap();
    assert!(older.len() > 3 << 20);
    let runner = world.daemon.pids_of("maas_runner");
    let is_log = |pid: &u32| fs::read_link(format!("/proc/{pid}/fd/2")).unwrap() == log;
    assert!(runner.iter().any(is_log), "{runner:?}");
}
