//! Nothing a test starts outlives the test.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test fails by panicking, like the test"
)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use test_support::{Leash, Program, TempDir, eventually};

const SOON: Duration = Duration::from_secs(30);
const VICTIM: &str = "TEST_SUPPORT_VICTIM";

fn forever() -> Leash {
    let folder = TempDir::with_prefix("maas-test-leash-").unwrap();
    Leash::start("sleep", folder, &Program::new("sleep").arg("1000"))
}

fn runs(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}/exe")).read_link().is_ok()
}

#[test]
fn a_dropped_leash_leaves_neither_process_nor_folder() {
    let leash = forever();
    let (pid, folder) = (leash.pid().unwrap(), leash.folder().to_owned());
    assert!(leash.is_running() && runs(pid) && folder.is_dir());
    drop(leash);
    assert!(!runs(pid) && !folder.exists());
}

#[test]
fn a_paused_program_is_ended_too() {
    let mut leash = forever();
    let pid = leash.pid().unwrap();
    leash.signal("STOP");
    drop(leash);
    assert!(!runs(pid));
}

#[tokio::test]
async fn the_children_of_a_program_are_ended_with_it() {
    let folder = TempDir::with_prefix("maas-test-leash-").unwrap();
    let program = Program::new("sh").args(["-c", "sleep 1000 & echo $!; wait"]);
    let mut leash = Leash::start("sh", folder, &program);
    let child = async || leash.log_tail().trim().parse().ok();
    let child = eventually(SOON, "the child's number in the log", child).await;
    assert!(runs(child));
    leash.kill();
    eventually(SOON, "the child to be gone", async || !runs(child)).await;
}

#[test]
fn a_killed_program_starts_again_in_the_same_folder() {
    let mut leash = forever();
    let (pid, folder) = (leash.pid().unwrap(), leash.folder().to_owned());
    leash.kill();
    assert!(!leash.is_running() && !runs(pid) && folder.is_dir());
    leash.start_again();
    assert!(leash.is_running() && leash.pid() != Some(pid) && leash.folder() == folder);
}

#[tokio::test]
async fn a_program_that_ends_by_itself_is_seen_and_its_output_kept() {
    let folder = TempDir::with_prefix("maas-test-leash-").unwrap();
    let program = Program::new("sh")
        .args(["-c", "echo out of $FUEL; exit 3"])
        .env("FUEL", "coal");
    let leash = Leash::start("sh", folder, &program);
    eventually(SOON, "the end of the program", async || !leash.is_running()).await;
    assert_eq!(leash.log_tail(), "out of coal\n");
}

/// Not a test by itself: the program that the next test kills. `cargo test` alone runs it as an empty one.
#[test]
fn victim() {
    if std::env::var_os(VICTIM).is_some() {
        let leash = forever();
        println!(
            "\nVICTIM {} {}",
            leash.pid().unwrap(),
            leash.folder().display()
        );
        std::thread::park();
    }
}

#[tokio::test]
async fn killing_the_test_program_ends_what_it_started() {
    let mut program = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim", "--nocapture"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (pid, folder) = BufReader::new(program.stdout.take().unwrap())
        .lines()
        .find_map(|line| {
            let line = line.unwrap();
            let (pid, folder) = line.strip_prefix("VICTIM ")?.split_once(' ')?;
            Some((pid.parse().unwrap(), PathBuf::from(folder)))
        })
        .expect("the program says what it started");
    assert!(runs(pid) && folder.is_dir());

    program.kill().unwrap();
    program.wait().unwrap();

    eventually(SOON, "the process to be gone", async || !runs(pid)).await;
    eventually(SOON, "the folder to be gone", async || !folder.exists()).await;
}

#[tokio::test]
#[should_panic(
    expected = "in vain for the impossible (at maas-client/test-support/tests/leash.rs:"
)]
async fn waiting_in_vain_says_for_what_and_where() {
    eventually(Duration::from_millis(30), "the impossible", async || false).await;
}
