//! The watchdog: a copy that takes more than it may is ended before the machine suffers.
//!
//! Every quarter of a second it looks at all processes below the copy's warden, whatever they call themselves. Their
//! resident memory is added up, which is cheap and counts what forked workers share once for each of them; only when that
//! sum is above the limit, the kernel is asked for every process's fair share of it (PSS), and that decides. Processes are
//! counted too, for a fork bomb takes nothing but numbers.
//!
//! A watchdog sees only what lasts for a moment. Where cgroups are ours to make ([`crate::cgroup`]), the copy has one, and the
//! kernel holds it to its memory without a gap; the watchdog then counts processes, and tells what the kernel did. Few
//! machines delegate a memory controller to us by themselves. Without, what grows faster than we look, the kernel ends
//! when the machine is full, and models come before us then (`oom_score_adj`, see [`super::warden`]). That is told too, from
//! the kernel's count of such killings.

use std::time::{Duration, Instant};

use maas_client::wire::state::OutOfMemory;
use rustix::process::Signal;
use tokio::time::MissedTickBehavior;

use super::fault::Fault;
use super::model::Ending;
use crate::cgroup::CopyCgroup;
use crate::process::below;

/// How often it looks.
const INTERVAL: Duration = Duration::from_millis(250);

/// How many processes a copy may have. Threads don't count; a server with a worker per core is far from it.
const MAX_PROCESSES: usize = 1024;

/// The kernel walks all pages of a process to tell its fair share; no more than one part in so many of the time goes there.
const EXACT_PART: u32 = 20;

/// Every how many looks the kernel's count of killings is read.
const LOOKS_PER_COUNT: u32 = 8;

/// What a shell makes of a child that was ended by SIGKILL.
const KILLED_CHILD: i32 = 128 + 9;

const MB: u64 = 1024 * 1024;

/// Watches over one started copy.
pub(super) struct Watchdog {
    warden: u32,
    limit_mb: u64,
    /// Where the kernel holds the copy to its memory, if it does.
    cgroup: Option<CopyCgroup>,
    /// The most memory it was seen to use, in bytes.
    peak: u64,
    kills_before: KernelKills,
    kills_lately: KernelKills,
}

/// How many processes the kernel has ended since the machine started because there was no memory left, if it tells.
type KernelKills = Option<u64>;

/// What the processes of a copy take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Usage {
    processes: usize,
    /// Their resident memory in bytes; what several share counts several times.
    resident: u64,
    /// Their fair shares, if they had to be asked for.
    exact: Option<u64>,
}

impl Watchdog {
    /// Watches over the processes below `warden`, which may use `limit_mb` of memory. If they are in a `cgroup`, the kernel
    /// sees to that.
    pub(super) fn new(warden: u32, limit_mb: u32, cgroup: Option<CopyCgroup>) -> Self {
        let kills = kernel_kills();
        Self {
            warden,
            limit_mb: u64::from(limit_mb),
            cgroup,
            peak: 0,
            kills_before: kills,
            kills_lately: kills,
        }
    }

    /// Waits until the copy takes more than it may, and tells what that was.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(super) async fn exceeded(&mut self) -> Fault {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut exact_again = Instant::now();
        let mut looks = 0_u32;
        loop {
            interval.tick().await;
            let (warden, limit) = (self.warden, self.limit_mb * MB);
            let began = Instant::now();
            let exactly = self.cgroup.is_none() && began >= exact_again;
            // There may be much to look at, and ZooKeeper must hear from us meanwhile.
            let look = move || look(warden, limit, exactly);
            let usage = tokio::task::spawn_blocking(look).await.unwrap_or_default();
            if usage.exact.is_some() {
                exact_again = Instant::now() + began.elapsed() * EXACT_PART;
            }
            looks = looks.wrapping_add(1);
            if looks.is_multiple_of(LOOKS_PER_COUNT) {
                self.kills_before = self.kills_lately;
                self.kills_lately = kernel_kills();
            }
            if let Some(fault) = self.judge(usage).or_else(|| self.limited_by_kernel()) {
                return fault;
            }
        }
    }

    fn judge(&mut self, usage: Usage) -> Option<Fault> {
        if usage.processes > MAX_PROCESSES {
            return Some(Fault::from(format!(
                "it has started more than the {MAX_PROCESSES} processes it may have"
            )));
        }
        let used = usage.exact.unwrap_or(usage.resident);
        let limit = self.limit_mb * MB;
        if usage.exact.is_some() || used <= limit {
            self.peak = self.peak.max(used);
        }
        if usage.exact.is_none_or(|exact| exact <= limit) {
            return None;
        }
        Some(self.too_much_memory(used))
    }

    fn too_much_memory(&self, used: u64) -> Fault {
        let (limit_mb, used_mb) = (self.limit_mb, used.div_ceil(MB));
        let why = format!("it used {used_mb} MB of the {limit_mb} MB of memory it may use");
        Fault {
            out_of_memory: Some(OutOfMemory { limit_mb, used_mb }),
            ..Fault::from(why)
        }
    }

    /// What is wrong, if the kernel has killed in the copy's cgroup because that was at its limit.
    fn limited_by_kernel(&self) -> Option<Fault> {
        let cgroup = self.cgroup.as_ref()?;
        let kills = cgroup.kills()?;
        // Killed without having been at the limit: then the machine was full, or a cgroup above.
        (kills.killed > 0 && kills.at_limit > 0).then(|| {
            let limit = self.limit_mb * MB;
            self.too_much_memory(cgroup.peak().unwrap_or(limit))
        })
    }

    /// Says so, if the kernel ended the model for lack of memory.
    pub(super) fn explain(&self, fault: Fault) -> Fault {
        if let Some(fault) = self.limited_by_kernel() {
            return fault;
        }
        match self.cgroup.as_ref().and_then(CopyCgroup::kills) {
            // This count is the copy's own, and began with it.
            Some(kills) => self.explain_with(fault, Some(0), Some(kills.killed)),
            None => self.explain_with(fault, self.kills_before, kernel_kills()),
        }
    }

    fn explain_with(&self, fault: Fault, before: KernelKills, now: KernelKills) -> Fault {
        let killed = match fault.ending {
            Some(Ending::Signal(signal) | Ending::LeftSignal(signal)) => {
                signal == Signal::KILL.as_raw()
            }
            Some(Ending::Code(code) | Ending::LeftCode(code)) => code == KILLED_CHILD,
            Some(Ending::WithWarden) | None => false,
        };
        let (Some(before), Some(now)) = (before, now) else {
            return fault;
        };
        if !killed || now <= before {
            return fault;
        }
        Fault {
            why: format!(
                "{}: the kernel killed it, out of memory on the host (it was seen to use {} MB of the {} MB it may use)",
                fault.why,
                self.peak.div_ceil(MB),
                self.limit_mb
            ),
            ..fault
        }
    }
}

/// Looks once at the processes below `warden`.
fn look(warden: u32, limit: u64, exactly: bool) -> Usage {
    let processes = below(warden, MAX_PROCESSES + 1);
    let resident = processes.iter().filter_map(|&pid| resident(pid)).sum();
    let exact = (exactly && resident > limit && processes.len() <= MAX_PROCESSES).then(|| {
        processes
            .iter()
            .filter_map(|&pid| fair_share(pid).or_else(|| self::resident(pid)))
            .sum()
    });
    Usage {
        processes: processes.len(),
        resident,
        exact,
    }
}

/// The resident memory of a process in bytes; `None` when it is gone.
fn resident(pid: u32) -> Option<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Its part of the memory it shares, and all that it does not; `None` when it is gone or the kernel won't tell.
fn fair_share(pid: u32) -> Option<u64> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kb: u64 = pss.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kb * 1024)
}

fn kernel_kills() -> KernelKills {
    let counts = std::fs::read_to_string("/proc/vmstat").ok()?;
    let count = counts
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill "))?;
    count.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watchdog() -> Watchdog {
        Watchdog {
            warden: 1,
            limit_mb: 512,
            cgroup: None,
            peak: 0,
            kills_before: Some(4),
            kills_lately: Some(4),
        }
    }

    fn usage(resident_mb: u64, exact_mb: Option<u64>) -> Usage {
        Usage {
            processes: 3,
            resident: resident_mb * MB,
            exact: exact_mb.map(|mb| mb * MB),
        }
    }

    #[test]
    fn only_the_fair_share_condemns_and_the_reason_names_it() {
        let mut watchdog = watchdog();
        assert!(watchdog.judge(usage(500, None)).is_none());
        assert!(watchdog.judge(usage(5000, None)).is_none());
        assert!(watchdog.judge(usage(5000, Some(512))).is_none());
        assert_eq!(watchdog.peak, 512 * MB);
        let fault = watchdog.judge(usage(700, Some(612))).expect("too much");
        assert_eq!(
            fault.why,
            "it used 612 MB of the 512 MB of memory it may use"
        );
        assert_eq!(
            fault.out_of_memory,
            Some(OutOfMemory {
                limit_mb: 512,
                used_mb: 612
            })
        );
    }

    #[test]
    fn too_many_processes_condemn_too() {
        let bomb = Usage {
            processes: MAX_PROCESSES + 1,
            ..Usage::default()
        };
        let fault = watchdog().judge(bomb).expect("too many");
        assert!(fault.why.contains("1024 processes"), "{}", fault.why);
    }

    #[test]
    fn a_killing_by_the_kernel_is_told_from_others_by_the_kernels_count() {
        let told = |ending: Ending, kills| {
            let fault = Fault::ended(ending, "ended".to_owned());
            let fault = watchdog().explain_with(fault, Some(4), kills);
            fault.why.contains("out of memory on the host")
        };
        assert!(told(Ending::Signal(9), Some(5)));
        assert!(told(Ending::Code(137), Some(5)), "the script's child");
        assert!(told(Ending::LeftSignal(9), Some(5)), "its server");
        assert!(!told(Ending::Signal(9), Some(4)), "somebody else");
        assert!(!told(Ending::Signal(9), None), "nobody knows");
        assert!(!told(Ending::Signal(15), Some(5)));
        assert!(!told(Ending::Code(1), Some(5)));
    }

    #[test]
    fn in_a_cgroup_a_killing_at_its_own_limit_is_told_from_one_on_a_full_machine() {
        let base = test_support::TempDir::new().expect("a folder");
        let cgroup = CopyCgroup::of(base.path(), &maas_client::InstanceId::generate());
        std::fs::create_dir(cgroup.path()).expect("made");
        let mut watchdog = watchdog();
        watchdog.cgroup = Some(cgroup.clone());
        let explained = |events: &str| {
            std::fs::write(cgroup.path().join("memory.events"), events).expect("written");
            let fault = Fault::ended(Ending::Signal(9), "ended".to_owned());
            watchdog.explain(fault)
        };
        let by_limit = explained("max 9\noom 1\noom_kill 3\n");
        let whole = OutOfMemory {
            limit_mb: 512,
            used_mb: 512,
        };
        assert_eq!(by_limit.out_of_memory, Some(whole));
        let why = "it used 512 MB of the 512 MB of memory it may use";
        assert_eq!(by_limit.why, why);
        let by_host = explained("max 9\noom 0\noom_kill 3\n");
        assert!(
            by_host.why.contains("out of memory on the host"),
            "{}",
            by_host.why
        );
        assert_eq!(explained("oom 0\noom_kill 0\n").why, "ended");
    }

    #[test]
    fn what_a_process_uses_is_read_from_the_kernel() {
        let own = std::process::id();
        let (resident, share) = (resident(own).expect("own"), fair_share(own).expect("own"));
        assert!(share > 0 && resident > MB && share <= resident + MB);
        assert!(kernel_kills().is_some());
        assert_eq!(super::resident(u32::MAX), None);
        assert_eq!(fair_share(u32::MAX), None);
    }
}
