//! The folder for copies: what in it is not ours is never touched, whichever folder a daemon is given.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use maas_client::wire::state::Outcome;
use test_support::{ModelFolder, TempDir, eventually, send_signal};

use crate::life::pid_of;
use crate::world::{LIMIT, World};

/// Fills a folder as somebody's home is filled.
fn furnish(home: &Path) {
    for (path, content) in [
        (".bashrc", "export EDITOR=ed"),
        (".ssh/id_ed25519", "a key"),
        ("notes.txt", "buy milk"),
        ("Documents/thesis/chapter-1.tex", "It was a dark night."),
        ("project/launch.json", r#"{"configurations":[]}"#),
        ("project/lock", ""),
    ] {
        let path = home.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// Every file and folder below a path: since when it is as it is, and what is in it.
fn all_below(path: &Path) -> BTreeMap<PathBuf, (std::time::SystemTime, Vec<u8>)> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(all_below(&path));
        }
        let modified = fs::symlink_metadata(&path).unwrap().modified().unwrap();
        all.insert(
            path.clone(),
            (modified, fs::read(&path).unwrap_or_default()),
        );
    }
    all
}

#[tokio::test]
async fn a_daemon_that_is_given_somebodys_home_for_copies_refuses_and_leaves_it_as_it_is() {
    let home = TempDir::new().unwrap();
    furnish(home.path());
    let before = all_below(home.path());
    let path = home.path().to_str().unwrap();
    let world = World::start(&["--instances_dir", path]).await;
    let ended = async || !world.daemon.is_running();
    eventually(LIMIT, "the daemon to end", ended).await;
    let log = world.daemon.log_tail();
    for told in [path, "`.bashrc`", "name an empty folder", "--instances_dir"] {
        assert!(log.contains(told), "{told}: {log}");
    }
    assert_eq!(all_below(home.path()), before);
}

#[tokio::test]
async fn a_folder_without_a_mark_in_which_copies_run_is_taken_over_with_them() {
    let mut world = World::start(&[]).await;
    let model = ModelFolder::answering();
    // One of the two has lost its launch file, and is known by its runner alone.
    let spoilt = ModelFolder::with_script(r#"rm ../launch.json; exec "$python" -S -E serve.py"#);
    world.add("dga", 1, model.path()).await;
    world.add("spoilt", 1, spoilt.path()).await;
    let before = world.serving("dga", 1).await;
    world.serving("spoilt", 1).await;
    world.daemon.kill();
    // As the release before this one has left it.
    let mark = world.daemon.instances().join(".maas-instances");
    fs::remove_file(&mark).unwrap();
    world.daemon.start_again();
    let answer = world.add("dga", 1, model.path()).await;
    assert_eq!(
        (answer.outcome, answer.instances),
        (Outcome::Accepted, Some(2))
    );
    assert!(world.serving("dga", 2).await.contains(&before[0]));
    assert!(mark.exists());
    world.remove("dga", 2).await;
    world.remove("spoilt", 1).await;
    world.nothing_is_left().await;
}

#[tokio::test]
async fn a_copy_without_a_launch_file_is_left_to_the_daemons_of_its_own_tree_where_several_share_a_folder()
 {
    let world = World::start(&[]).await;
    let spoilt = ModelFolder::with_script(r#"rm ../launch.json; exec "$python" -S -E serve.py"#);
    world.add("spoilt", 1, spoilt.path()).await;
    let pid = pid_of(&world, "spoilt").await;
    let instances = world.daemon.instances();
    let other = World::start(&["--instances_dir", instances.to_str().unwrap()]).await;
    let model = ModelFolder::answering();
    // When these are answered and done, the folder has been looked at.
    for copies in 1..3 {
        other.add("dga", 1, model.path()).await;
        other.serving("dga", copies).await;
    }
    assert_eq!(pid_of(&world, "spoilt").await, pid);
    other.remove("dga", 2).await;
    other.serving("dga", 0).await;
    assert_eq!(pid_of(&world, "spoilt").await, pid);
    world.remove("spoilt", 1).await;
    world.nothing_is_left().await;
}

#[tokio::test]
async fn what_somebody_puts_into_the_folder_for_copies_stays_there_and_the_log_tells_of_it() {
    let mut world = World::start(&[]).await;
    let model = ModelFolder::answering();
    world.add("dga", 1, model.path()).await;
    world.serving("dga", 1).await;
    let instances = world.daemon.instances();
    furnish(&instances);
    let furniture = || {
        let mut all = all_below(&instances);
        all.retain(|path, _| {
            let below = path.strip_prefix(&instances).unwrap();
            let ours = ["0", ".lead-", ".gone-", ".maas-instances"];
            !ours
                .iter()
                .any(|ours| below.to_string_lossy().starts_with(ours))
        });
        all
    };
    let before = furniture();
    assert_eq!(before.len(), 10);
    for again in [false, true] {
        if again {
            world.daemon.kill();
            world.daemon.start_again();
        }
        // When this is answered and done, the folder has been looked at.
        world.remove("dga", 1).await;
        world.serving("dga", 0).await;
        world.add("dga", 1, model.path()).await;
        world.serving("dga", 1).await;
        assert_eq!(furniture(), before);
    }
    let log = world.daemon.log_tail();
    for entry in [".bashrc", ".ssh", "notes.txt", "Documents", "project"] {
        let told = format!(
            "left alone; it does not belong in the folder for copies path={}",
            instances.join(entry).display()
        );
        assert_eq!(
            log.matches(&told).count(),
            2,
            "once by each daemon: {told}: {log}"
        );
    }
}

/// A part of F9: what was written last may not have reached the disk.
#[tokio::test]
async fn a_copy_whose_launch_file_was_lost_as_the_machine_went_down_is_cleaned_away_and_replaced() {
    let mut world = World::start(&[]).await;
    let model = ModelFolder::answering();
    world.add("dga", 1, model.path()).await;
    world.serving("dga", 1).await;
    let lost = world.daemon.folders().remove(0);
    world.daemon.kill();
    send_signal("KILL", &world.daemon.pids_of("maas_runner"));
    fs::write(lost.join("launch.json"), "").unwrap();
    world.daemon.start_again();
    let replaced = async || {
        let folders = world.daemon.folders();
        folders.len() == 1 && folders[0] != lost
    };
    eventually(LIMIT, "another copy in its place", replaced).await;
    world.serving("dga", 1).await;
}
