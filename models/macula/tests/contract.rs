//! The contract: schemathesis makes requests of `openapi.json`, good ones and bad ones, sends them to the real server and holds
//! the answers against what the document promises.
//!
//! Needs what `scripts/setup test` installs. A failure shows the request as a curl command.

#[path = "running/process.rs"]
mod running;

use std::path::PathBuf;
use std::process::Command;

use running::{Running, endpoint};

/// A Python with schemathesis, as `scripts/setup test` makes it.
fn schemathesis() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("there is a home")).join(".cache"),
        PathBuf::from,
    );
    let program = cache.join("maas/python/bin/schemathesis");
    assert!(
        program.exists(),
        "there is no {}; run scripts/setup test",
        program.display()
    );
    program
}

#[test]
fn the_server_keeps_what_its_openapi_document_promises() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Running::start(folder.path(), &[]);
    let endpoint = endpoint(folder.path());
    let checked = Command::new(schemathesis())
        .current_dir(folder.path())
        .args(["run", concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json")])
        .args(["--url", endpoint["url"].as_str().expect("a URL")])
        .args([
            "--checks",
            "all",
            "--max-examples",
            "60",
            "--seed",
            "20261121",
        ])
        // The examples of the phases before count on top; with them it is a few thousand requests in half a minute.
        .args([
            "--request-timeout",
            "20",
            "--no-color",
            "--suppress-health-check",
            "too_slow",
        ])
        .env(
            "HYPOTHESIS_STORAGE_DIRECTORY",
            folder.path().join("examples"),
        )
        .output()
        .expect("it is installed");
    let told = String::from_utf8_lossy(&checked.stdout);
    assert!(
        checked.status.success(),
        "{told}\n{}",
        String::from_utf8_lossy(&checked.stderr)
    );
    // That it tested something, and not nothing at all.
    let selected = told
        .lines()
        .find(|line| line.trim_start().starts_with("Tested:"));
    assert_eq!(selected.map(str::trim), Some("Tested: 11"), "{told}");
    server.stop();
}
