//! Lists that change while they are used.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hdfs_native_object_store::HdfsObjectStoreBuilder;
use object_store::ObjectStoreExt;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use test_support::{Hdfs, eventually};
use threat_lists::{Library, Lists, Outcome, Schedule, Selection, Settings};

const LIMIT: Duration = Duration::from_secs(30);

async fn open(folder: &Path) -> Library {
    let place = folder.to_str().unwrap();
    Library::open(place, Settings::default()).await.unwrap()
}

fn with(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("feeds")).unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn knows(lists: &Lists, indicator: &str) -> bool {
    !lists.find(&indicator.parse().unwrap(), |_| true).is_empty()
}

fn names(count: usize) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        writeln!(text, "name{number}.test").unwrap();
        text
    })
}

async fn outcomes(library: &Library, force: bool) -> Vec<Outcome> {
    let reloads = library.reload(&Selection::All, force).await.unwrap();
    reloads.into_iter().map(|reload| reload.outcome).collect()
}

#[tokio::test]
async fn a_folder_of_lists_is_loaded_by_file_names() {
    let folder = with(&[
        ("whitelist.txt", "good.test"),
        ("whitelist-office.txt", "office.test"),
        ("blacklist.txt", "# nothing yet\n"),
        ("feeds/phish.txt", "bad.test"),
        ("README.md", "not a list"),
        ("notes.netset", "not a list"),
        ("feeds/README", "not a list"),
        ("feeds/.hidden", "not a list"),
        ("feeds/phish.txt~", "not a list"),
        ("whitelist.txt.swp", "not a list"),
        ("whitelist.txt.new", "not yet a list"),
        ("whitelist.txt._COPYING_", "not yet a list"),
        ("whitelist.txt.filepart", "not yet a list"),
        ("whitelist.txt.crdownload", "not yet a list"),
        ("whitelist.partial", "not yet a list"),
        ("whitelist.download", "not yet a list"),
        ("blacklist.txt.aB3xQ9", "not yet a list"),
        ("blacklist.csv.gz.aB3xQ9", "not yet a list"),
        ("blacklist.lock", "not a list"),
        ("blacklist.sha512", "not a list"),
        ("blacklist.md5", "not a list"),
        ("blacklist.etag", "not a list"),
        ("feeds/index.html", "not a list"),
        ("feeds/COPYING", "not a list"),
    ]);
    let lists = open(folder.path()).await.current();
    let names: Vec<_> = lists
        .iter()
        .map(|list| (list.kind().name(), list.name()))
        .collect();
    let expected = [
        ("blacklist", "blacklist"),
        ("whitelist", "whitelist-office"),
        ("whitelist", "whitelist"),
        ("feed", "phish"),
    ];
    assert_eq!(names, expected);
    assert_eq!(lists.entries(), 3);
}

#[tokio::test]
async fn what_is_wrong_with_a_folder_stops_the_start_and_is_named() {
    let failure = async |files: &[(&str, &str)]| {
        let folder = with(files);
        let place = folder.path().to_str().unwrap();
        let error = Library::open(place, Settings::default()).await.unwrap_err();
        error.to_string()
    };
    let message = failure(&[("blacklist.txt", "# header\n\n<html>\n")]).await;
    assert!(
        message.contains("blacklist.txt") && message.contains("line 3"),
        "{message}"
    );
    let message = failure(&[("blaklist.txt", "bad.test")]).await;
    assert!(message.contains("blaklist.txt"), "{message}");
    for file in [
        "blacklist.netset",
        "blacklist.TXT",
        "whitelist.csv.gz",
        "blacklist.json.zst",
        "darklist",
        "feeds/phish.list",
        "feeds/phish",
    ] {
        let message = failure(&[("blacklist.txt", "bad.test"), (file, "bad.test")]).await;
        assert!(
            message.contains(file) && message.contains(".txt, .csv or .json"),
            "{message}"
        );
    }
    assert!(failure(&[]).await.contains("holds no list"));
    let nowhere = Library::open("/nowhere/at/all", Settings::default()).await;
    assert!(nowhere.unwrap_err().to_string().contains("/nowhere/at/all"));
}

#[tokio::test]
async fn changes_of_a_folder_are_followed_without_being_told() {
    let folder = with(&[
        ("blacklist.txt", "old.test"),
        ("whitelist.txt", "good.test"),
    ]);
    let library = Arc::new(open(folder.path()).await);
    let before = library.current();
    let schedule = Schedule::new(|_| None).unwrap();
    let told = Arc::new(std::sync::Mutex::new(None));
    let sink = Arc::clone(&told);
    library.tell(move |lists| *sink.lock().unwrap() = Some(lists));
    let follower = library.follow(&schedule);
    let changes = async {
        fs::write(folder.path().join("blacklist.txt"), "new.test").unwrap();
        fs::write(folder.path().join("feeds/phish.txt"), "phish.test").unwrap();
        let followed = async || {
            let lists = told.lock().unwrap();
            let lists = lists.as_ref();
            lists.is_some_and(|lists| knows(lists, "new.test") && knows(lists, "phish.test"))
        };
        eventually(LIMIT, "the change to be seen", followed).await;
    };
    tokio::select! {
        () = follower => {}
        () = changes => {}
    }
    let after = library.current();
    assert!(!knows(&after, "old.test") && knows(&after, "good.test"));
    assert!(knows(&before, "old.test"), "a snapshot does not change");
    assert_ne!(before.version(), after.version());
}

#[tokio::test]
async fn a_truncated_or_swollen_list_does_not_take_the_place_of_a_good_one() {
    let folder = with(&[("whitelist.txt", &names(1000))]);
    let file = folder.path().join("whitelist.txt");
    let library = open(folder.path()).await;
    for (content, reason) in [
        (String::new(), "it is empty, and had 1000 entries"),
        (names(499), "it has 499 entries, and had 1000"),
        (names(10_001), "it has 10001 entries, and had 1000"),
        ("<html>\n".to_owned(), "no usable line"),
    ] {
        fs::write(&file, content).unwrap();
        let [Outcome::Kept { reason: seen }] = &outcomes(&library, false).await[..] else {
            panic!("{reason}: it was taken");
        };
        assert!(seen.contains(reason), "{seen}");
        assert!(knows(&library.current(), "name999.test"));
        let status = &library.status()[0];
        assert!(status.problem.as_ref().unwrap().contains(reason));
        // Not read again until it changes, and still not what is used.
        let again = outcomes(&library, false).await;
        assert!(
            matches!(&again[..], [Outcome::Kept { reason: again }] if again == seen),
            "{again:?}"
        );
    }
    fs::write(&file, names(400)).unwrap();
    let reloaded = Outcome::Reloaded {
        before: 1000,
        entries: 400,
    };
    assert_eq!(outcomes(&library, true).await, [reloaded]);
    assert!(!knows(&library.current(), "name999.test"));
    assert_eq!(library.status()[0].problem, None);
}

#[tokio::test]
async fn a_list_that_is_not_what_somebody_vouches_for_does_not_take_the_place_of_a_good_one() {
    let folder = with(&[
        ("whitelist.txt", "good.test"),
        ("feeds/a.txt", "a.test"),
        ("feeds/b.txt", "b.test"),
    ]);
    let elsewhere = TempDir::new().unwrap();
    let sums = elsewhere.path().join("SHA256SUMS");
    let vouch = |files: &[&str]| {
        let line = |file: &&str| {
            let digest = Sha256::digest(fs::read(folder.path().join(file)).unwrap());
            let digits = digest.iter().map(|byte| format!("{byte:02x}"));
            format!("{}  {file}\n", digits.collect::<String>())
        };
        fs::write(&sums, files.iter().map(line).collect::<String>()).unwrap();
    };
    let settings = || Settings {
        checksums: Some(sums.clone()),
        ..Settings::default()
    };
    let place = folder.path().to_str().unwrap();
    let refused = async || {
        let opened = Library::open(place, settings()).await;
        opened.unwrap_err().to_string()
    };
    assert!(
        refused().await.contains("SHA256SUMS"),
        "there is no such file"
    );
    vouch(&["feeds/a.txt"]);
    assert!(
        refused().await.contains("do not name"),
        "of a whitelist they must"
    );
    vouch(&["whitelist.txt", "feeds/a.txt"]);
    let library = Library::open(place, settings()).await.unwrap();
    assert!(
        knows(&library.current(), "b.test"),
        "of a feed they need not"
    );
    // Whoever can write the list cannot write the checksum. Force does not help.
    fs::write(folder.path().join("whitelist.txt"), "evil.test").unwrap();
    fs::write(folder.path().join("feeds/a.txt"), "other.test").unwrap();
    fs::write(folder.path().join("feeds/b.txt"), "another.test").unwrap();
    for force in [false, true, false] {
        let outcomes = outcomes(&library, force).await;
        for at in [0, 1] {
            let Outcome::Kept { reason } = &outcomes[at] else {
                panic!("{at} was taken: {outcomes:?}");
            };
            assert!(reason.contains("SHA-256"), "{reason}");
            assert_eq!(library.status()[at].problem.as_ref(), Some(reason));
        }
        let lists = library.current();
        assert!(knows(&lists, "good.test") && knows(&lists, "another.test"));
        assert!(!knows(&lists, "evil.test"));
    }
    // The word for it comes later than the list.
    vouch(&["whitelist.txt", "feeds/a.txt"]);
    let taken = outcomes(&library, false).await;
    let reloaded = Outcome::Reloaded {
        before: 1,
        entries: 1,
    };
    assert_eq!(taken, [reloaded.clone(), reloaded, Outcome::Unchanged]);
    let lists = library.current();
    assert!(knows(&lists, "evil.test") && !knows(&lists, "good.test"));
    // Checksums that cannot be read take nothing away.
    fs::write(&sums, "nonsense\n").unwrap();
    let error = library.reload(&Selection::All, true).await.unwrap_err();
    assert!(error.to_string().contains("SHA256SUMS"), "{error}");
    assert!(library.problem().unwrap().contains("line 1"));
    assert!(knows(&library.current(), "evil.test"));
}

#[tokio::test]
async fn a_list_whose_file_is_gone_stays_until_it_is_told_to_go() {
    let folder = with(&[("blacklist.txt", "evil.test"), ("feeds/a.txt", "a.test")]);
    let library = open(folder.path()).await;
    fs::remove_file(folder.path().join("feeds/a.txt")).unwrap();
    let kept = outcomes(&library, false).await;
    assert!(
        matches!(&kept[..], [Outcome::Unchanged, Outcome::Kept { .. }]),
        "{kept:?}"
    );
    assert!(knows(&library.current(), "a.test"));
    let selection = Selection::Named("a".to_owned());
    let reloads = library.reload(&selection, true).await.unwrap();
    assert_eq!(reloads[0].outcome, Outcome::Removed);
    assert!(!knows(&library.current(), "a.test"));
    assert_eq!(library.status().len(), 1);
}

#[tokio::test]
async fn a_place_that_is_suddenly_empty_takes_nothing_away_even_by_force() {
    let folder = with(&[("blacklist.txt", "evil.test")]);
    let library = open(folder.path()).await;
    fs::rename(
        folder.path().join("blacklist.txt"),
        folder.path().join("away"),
    )
    .unwrap();
    for force in [false, true] {
        let error = library.reload(&Selection::All, force).await.unwrap_err();
        assert!(error.to_string().contains("holds no list"), "{error}");
        assert!(knows(&library.current(), "evil.test"));
    }
    fs::rename(
        folder.path().join("away"),
        folder.path().join("blacklist.txt"),
    )
    .unwrap();
    assert_eq!(outcomes(&library, false).await, [Outcome::Unchanged]);
    assert_eq!(
        (library.problem(), &library.status()[0].problem),
        (None, &None)
    );
}

#[tokio::test]
async fn a_misspelt_file_that_comes_later_is_reported_and_does_no_harm() {
    let folder = with(&[("blacklist.txt", "evil.test")]);
    let library = open(folder.path()).await;
    fs::write(folder.path().join("whitlist.txt"), "good.test").unwrap();
    assert_eq!(outcomes(&library, false).await, [Outcome::Unchanged]);
    assert!(library.problem().unwrap().contains("whitlist.txt"));
    fs::remove_file(folder.path().join("whitlist.txt")).unwrap();
    outcomes(&library, false).await;
    assert_eq!(library.problem(), None);
    // Nor does a new list that is none.
    fs::write(folder.path().join("whitelist.txt"), "<html>\n").unwrap();
    outcomes(&library, false).await;
    assert!(library.problem().unwrap().contains("whitelist.txt"));
    fs::remove_file(folder.path().join("whitelist.txt")).unwrap();
    outcomes(&library, false).await;
    assert_eq!(library.problem(), None);
}

/// Long enough for its entries to lie in a file.
#[tokio::test]
async fn every_entry_of_a_long_list_is_found_and_nothing_else() {
    const COUNT: usize = 200_000;
    let text = names(COUNT) + "name7.test,0.5\n*.below.name8.test\n";
    let folder = with(&[("blacklist.txt", &text)]);
    let lists = open(folder.path()).await.current();
    let list = lists.iter().next().unwrap();
    assert_eq!(list.len(), COUNT + 2);
    assert!(
        list.index_bytes() <= 16 * COUNT,
        "{} bytes",
        list.index_bytes()
    );
    for number in 0..COUNT {
        let hits = lists.find(&format!("name{number}.test").parse().unwrap(), |_| true);
        let line = if number == 7 { COUNT + 1 } else { number + 1 };
        assert_eq!(hits[0].entry.line as usize, line);
        let other = format!("eman{number}.test");
        assert!(!knows(&lists, &other), "{other}");
    }
    assert!(knows(&lists, "a.below.name8.test"));
}

#[tokio::test]
async fn lists_are_read_from_hdfs() {
    let hdfs = Hdfs::shared().await;
    let store = HdfsObjectStoreBuilder::new().with_url(hdfs.uri());
    let store = store.build().unwrap();
    let write = async |file: &str, content: &'static str| {
        let path = format!("{}/{file}", hdfs.folder());
        store.put(&path.into(), content.into()).await.unwrap();
    };
    write("blacklist.txt", "evil.test\n").await;
    write("feeds/phish.csv", "domain\nphish.test\n").await;
    let place = format!("{}{}", hdfs.uri(), hdfs.folder());
    let library = Library::open(&place, Settings::default()).await.unwrap();
    let lists = library.current();
    assert!(knows(&lists, "evil.test") && knows(&lists, "phish.test"));
    assert_eq!(
        outcomes(&library, false).await,
        [Outcome::Unchanged, Outcome::Unchanged]
    );
    write("blacklist.txt", "other.test\n").await;
    let reloaded = Outcome::Reloaded {
        before: 1,
        entries: 1,
    };
    assert_eq!(
        outcomes(&library, false).await,
        [reloaded, Outcome::Unchanged]
    );
    assert!(knows(&library.current(), "other.test"));
}
