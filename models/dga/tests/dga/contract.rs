//! The contract: schemathesis makes requests of `openapi.json`, good ones and bad ones, and holds the answers against it.
//!
//! What is a good batch no schema can say: any text is one of lines, broken ones being answered each for itself, and how many
//! names may be explained depends on the query string. So of batches it checks the answers, not which ones are refused.
//!
//! Needs what `scripts/setup test` installs. A failure shows the request as a curl command.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::running::Server;

const SETTINGS: &str = r#"
[[operations]]
include-name = "POST /apply"
checks = { negative_data_rejection = { enabled = false }, positive_data_acceptance = { enabled = false } }
"#;

#[test]
fn the_server_keeps_what_its_openapi_document_promises() {
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"),
        PathBuf::from,
    );
    let program = cache.join("maas/python/bin/schemathesis");
    assert!(
        program.exists(),
        "there is no {}; run scripts/setup test",
        program.display()
    );
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    fs::write(folder.path().join("settings.toml"), SETTINGS).unwrap();
    let checked = Command::new(program)
        .current_dir(folder.path())
        .args(["--config-file", "settings.toml"])
        .args(["run", concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json")])
        .args(["--url", &server.url()])
        .args(["--max-examples", "60", "--seed", "20261121"])
        .args([
            "--request-timeout",
            "20",
            "--no-color",
            "--suppress-health-check",
            "too_slow",
        ])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&checked.stdout);
    assert!(
        checked.status.success(),
        "{told}\n{}",
        String::from_utf8_lossy(&checked.stderr)
    );
    // That it tested something, and not nothing at all.
    let tested = told
        .lines()
        .find(|line| line.trim_start().starts_with("Tested:"));
    assert_eq!(tested.map(str::trim), Some("Tested: 6"), "{told}");
}
