//! Which folders are bundles, and what is said about the others.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test fails by panicking, like the test"
)]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use model_store::{Bundle, BundleError};
use test_support::TempDir;

/// What becomes of a folder with a start script after `change`.
fn scan(change: impl FnOnce(&Path)) -> Result<Vec<String>, BundleError> {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("start.sh"), "#!/bin/sh\n").unwrap();
    change(folder.path());
    let bundle = Bundle::scan(folder.path())?;
    Ok(bundle
        .files()
        .map(|file| format!("{} {}", file.path, file.size))
        .collect())
}

#[test]
fn sub_folders_scripts_in_them_and_links_to_files_are_welcome() {
    let files = scan(|folder| {
        fs::create_dir_all(folder.join("lib/deep")).unwrap();
        fs::create_dir(folder.join("not-a-script.sh")).unwrap();
        fs::write(folder.join("lib/other.sh"), "").unwrap();
        fs::write(folder.join("lib/deep/model"), "12345").unwrap();
        symlink("lib/deep/model", folder.join("link")).unwrap();
    });
    assert_eq!(
        files.unwrap(),
        [
            "lib/deep/model 5",
            "lib/other.sh 0",
            "link 5",
            "start.sh 10"
        ]
    );
}

#[test]
fn only_the_endpoint_dat_on_top_is_left_out() {
    let files = scan(|folder| {
        fs::create_dir(folder.join("sub")).unwrap();
        fs::write(folder.join("endpoint.dat"), "{}").unwrap();
        fs::write(folder.join("sub/endpoint.dat"), "{}").unwrap();
    });
    assert_eq!(files.unwrap(), ["start.sh 10", "sub/endpoint.dat 2"]);
}

#[track_caller]
fn check_refused(change: impl FnOnce(&Path), expected: &str) {
    let error = scan(change).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn what_cannot_be_deployed_is_refused_with_path_and_reason() {
    check_refused(
        |folder| fs::remove_file(folder.join("start.sh")).unwrap(),
        "has no start script",
    );
    check_refused(
        |folder| fs::write(folder.join("b.sh"), "").unwrap(),
        "b.sh, start.sh; keep exactly one",
    );
    check_refused(
        |folder| symlink("nowhere", folder.join("x")).unwrap(),
        "x` is a link to `nowhere`, and nothing is there",
    );
    check_refused(
        |folder| symlink("x", folder.join("x")).unwrap(),
        "x` is a link that leads back to itself",
    );
    check_refused(
        |folder| symlink("/tmp", folder.join("x")).unwrap(),
        "x` is a link to a folder",
    );
    check_refused(
        |folder| symlink("/dev/zero", folder.join("x")).unwrap(),
        "x` is a device",
    );
    check_refused(
        |folder| drop(UnixListener::bind(folder.join("x")).unwrap()),
        "x` is a socket",
    );
    check_refused(
        |folder| {
            let done = std::process::Command::new("mkfifo")
                .arg(folder.join("x"))
                .status()
                .unwrap();
            assert!(done.success());
        },
        "x` is a named pipe",
    );
    check_refused(
        |folder| fs::write(folder.join(OsStr::from_bytes(b"\xff")), "").unwrap(),
        "is not UTF-8",
    );
    check_refused(
        |folder| fs::write(folder.join(".maas-manifest.json"), "").unwrap(),
        "model store needs for itself",
    );
}

#[test]
fn a_missing_folder_and_a_file_are_told_apart() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("model.sh");
    assert!(matches!(
        Bundle::scan(&file),
        Err(BundleError::NoFolder { .. })
    ));
    fs::write(&file, "").unwrap();
    assert!(matches!(
        Bundle::scan(&file),
        Err(BundleError::NotAFolder { .. })
    ));
    assert!(matches!(
        Bundle::scan(&file.join("x")),
        Err(BundleError::NotAFolder { .. })
    ));
}
