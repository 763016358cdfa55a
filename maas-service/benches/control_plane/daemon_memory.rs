//! How much memory the daemon takes with a thousand copies to look after, beside one that has nothing to do. Goal: at most
//! 30 MB resident.
//!
//! What it sees of the copies are their znodes: what should run, and a status of each, which is written as a runner writes
//! it, through all its phases. The runners themselves are left out, for they would take the machine's memory and not the
//! daemon's; so to it the copies run elsewhere. `many_instances` shows its memory with real ones.

use std::time::{Duration, Instant};

use maas_client::layout::ZnodePath;
use maas_client::session::{CreateMode, Step};
use maas_client::wire::state::{InstanceStatus, Phase, now_ms};
use maas_client::{InstanceId, instances};
use test_support::{ModelFolder, eventually, verdict};

use crate::figures::memory_mb;
use crate::stand::{LIMIT, Stand, add};

const VERSIONS: usize = 50;
const PHASES: [Phase; 5] = [
    Phase::Pending,
    Phase::Fetching,
    Phase::Starting,
    Phase::Probing,
    Phase::Serving,
];

/// Memory has settled when it has not changed for so long: longer than the daemon's own rounds are apart.
const QUIET: Duration = Duration::from_secs(8);

pub(crate) async fn run(copies: usize) {
    let stand = Stand::start(&["--memory", "1000000"]).await;
    let pid = stand.daemon.pid();
    let empty = settled(pid).await;
    let each = copies / VERSIONS;
    let copies = each * VERSIONS;
    assert!(copies > 0, "at least {VERSIONS} copies");
    let mut statuses: Vec<InstanceStatus> = (0..copies).map(|n| status(n / each)).collect();
    tell(&stand, &mut statuses, PHASES[0], true).await;
    // Only now, so that it finds them there and starts none.
    let model = ModelFolder::answering();
    for version in 0..VERSIONS {
        let name = format!("model{version}");
        stand
            .ask_and_get(&add(&name, "1.0", each, &model, ""))
            .await;
    }
    for phase in &PHASES[1..] {
        tell(&stand, &mut statuses, *phase, false).await;
    }
    // What it publishes shows that it has taken in all of it.
    eventually(
        LIMIT,
        "the daemon to have seen all copies serve",
        async || {
            let mut serving = 0;
            for version in 0..VERSIONS {
                let name = format!("model{version}").parse().unwrap();
                let path = stand.layout.progress(&name, &"1.0".parse().unwrap());
                let (data, _) = stand.session.get(&path).await.unwrap()?;
                let progress = maas_client::wire::progress::Progress::parse(&data).unwrap();
                serving += usize::try_from(progress.serving).unwrap();
            }
            (serving == copies).then_some(())
        },
    )
    .await;
    let full = settled(pid).await;
    let all = instances::statuses(&stand.session, &stand.layout).await;
    assert_eq!(all.unwrap().len(), copies, "it has started none itself");
    let peak = memory_mb(pid, "VmHWM");
    println!("memory of the daemon, resident, after it has settled, MB");
    println!("  with nothing to do                      {empty:6.1}");
    println!(
        "  with {copies:5} copies of {VERSIONS} models            {full:6.1} (at most {peak:.1})"
    );
    println!("  goal: <= 30 MB, {}", verdict(full <= 30.0));
    stand.session.close().await;
}

fn status(version: usize) -> InstanceStatus {
    InstanceStatus {
        instance: InstanceId::generate(),
        name: format!("model{version}").parse().unwrap(),
        version: "1.0".parse().unwrap(),
        host: "node1.example.org".to_owned(),
        phase: Phase::Pending,
        since_ms: now_ms(),
        restarts: 0,
        pid: None,
        url: None,
        reason: None,
        retry_at_ms: None,
        generation: 1,
        last_failure: None,
    }
}

/// Writes what the runners of all copies would say on entering a phase.
async fn tell(stand: &Stand, statuses: &mut [InstanceStatus], phase: Phase, first: bool) {
    let root = stand.layout.instances_root();
    let mut steps = Vec::new();
    for (n, status) in statuses.iter_mut().enumerate() {
        status.phase = phase;
        status.since_ms = now_ms();
        if phase == Phase::Starting {
            status.pid = Some(100_000 + u32::try_from(n).unwrap());
        }
        if phase == Phase::Serving {
            status.url = Some(format!("http://node1.example.org:{}", 20_000 + n % 40_000));
        }
        steps.push(write(root.join(status.instance.as_str()), status, first));
    }
    for steps in steps.chunks(100) {
        stand.session.commit(steps).await.unwrap();
    }
}

fn write(path: ZnodePath, status: &InstanceStatus, first: bool) -> Step {
    let data = status.to_bytes();
    if first {
        let mode = CreateMode::Ephemeral;
        Step::Create { path, data, mode }
    } else {
        let version = None;
        Step::Set {
            path,
            data,
            version,
        }
    }
}

/// The daemon's resident memory, once it has not grown for a while.
async fn settled(pid: u32) -> f64 {
    let mut most = memory_mb(pid, "VmRSS");
    let mut since = Instant::now();
    eventually(LIMIT, "the daemon's memory to settle", async || {
        let now = memory_mb(pid, "VmRSS");
        if now > most {
            (most, since) = (now, Instant::now());
        }
        since.elapsed() >= QUIET
    })
    .await;
    memory_mb(pid, "VmRSS")
}
