//! A Linux of the test's own: the kernel as a program (`user-mode-linux`), with this machine's files to read.
//!
//! Whatever a test may not do to the machine it runs on, it may do there: divide cgroups, set the clock. It has one slow
//! processor, its own processes and its own network; what is written to it is written to memory and gone with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::leash::{Leash, Program};
use crate::{eventually, make_executable};

/// How much memory it has, in MB. What is not used takes nothing.
const MEMORY_MB: u32 = 2000;

/// The first process. Of this machine's files only those stay hidden that would be written to.
const INIT: &str = r#"
mount -t proc none /proc; mount -t sysfs none /sys
mkdir -p /dev/shm; mount -t tmpfs none /dev/shm; mount -t tmpfs none /run
mount -t cgroup2 none /sys/fs/cgroup
echo '+memory +pids' > /sys/fs/cgroup/cgroup.subtree_control
ip link set lo up
export HOME=/run TMPDIR=/run
"#;

/// Runs a program as root in a Linux of its own, with `environment` besides this program's `PATH`, and returns all that it
/// printed, when it has ended.
///
/// # Errors
///
/// With all that was printed until then, when it does not end within `limit`.
///
/// # Panics
///
/// When the package `user-mode-linux` is not installed.
pub async fn run_in_own_kernel(
    program: &[&str],
    environment: &[(&str, &str)],
    limit: Duration,
) -> Result<String, String> {
    let kernel = find("linux.uml").unwrap_or_else(|| {
        panic!("linux.uml is missing; install what tests need by: scripts/setup test")
    });
    let folder = TempDir::new().expect("a temporary folder can be made");
    let init = folder.path().join("init.sh");
    fs::write(&init, script(program, environment)).expect("our own folder can be written");
    make_executable(&init);
    let console = folder.path().join("log");
    let linux = Program::new(kernel)
        .arg(format!("mem={MEMORY_MB}M"))
        .args(["root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro"])
        .arg(format!("init={}", init.display()))
        // Of the kernel's own messages none may come between what the program prints.
        .args(["con=null", "con0=fd:0,fd:1", "loglevel=1"]);
    let leash = Leash::start("the test's own kernel", folder, &linux);
    let ended = async || !leash.is_running();
    let ended =
        tokio::time::timeout(limit, eventually(limit * 2, "the kernel to end", ended)).await;
    let printed = fs::read(&console).unwrap_or_default();
    let printed = String::from_utf8_lossy(&printed).replace('\r', "");
    ended.map(|()| printed.clone()).map_err(|_| printed)
}

fn script(program: &[&str], environment: &[(&str, &str)]) -> String {
    let mut script = format!("#!/bin/bash\n{INIT}");
    let path = std::env::var("PATH").unwrap_or_default();
    for (name, value) in environment.iter().chain(&[("PATH", path.as_str())]) {
        script.push_str(&format!("export {name}={}\n", quoted(value)));
    }
    let words: Vec<String> = program.iter().map(|word| quoted(word)).collect();
    script.push_str(&words.join(" "));
    // The end takes a moment, in which the first process may not end.
    script.push_str("\necho o > /proc/sysrq-trigger\nsleep 1000\n");
    script
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Where a program lies, by `PATH` or where system programs are.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([Path::new("/usr/bin").to_owned()])
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}
