//! A model of names, made by the commands.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

const WORDS: [&str; 16] = [
    "apple", "river", "stone", "green", "market", "house", "light", "paper", "music", "garden",
    "summer", "winter", "silver", "happy", "forest", "bridge",
];

/// A labelled set: pairs of words are benign, letters without sense malicious.
fn labelled() -> String {
    let mut text = String::new();
    let mut state = 7u64;
    let mut draw = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize % below
    };
    for _ in 0..300 {
        let (first, second) = (WORDS[draw(16)], WORDS[draw(16)]);
        writeln!(text, "{first}{second}{}.com,benign", draw(50)).unwrap();
        let letters: String = (0..12 + draw(6))
            .map(|_| char::from(b"abcdefghijklmnopqrstuvwxyz0123456789"[draw(36)]))
            .collect();
        writeln!(text, "{letters}.com,malicious").unwrap();
    }
    text
}

fn macula(folder: &Path, arguments: &[&str]) {
    let program = Command::new(env!("CARGO_BIN_EXE_macula"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&program.stderr);
    assert!(program.status.success(), "{arguments:?}: {said}");
}

/// Makes a model of names in `folder/names`.
pub(crate) fn train(folder: &Path, version: &str, rounds: &str) {
    fs::write(folder.join("set.csv"), labelled()).unwrap();
    macula(
        folder,
        &["ml_eval", "-t", "set.csv", "-f", "raw", "-r", "rows"],
    );
    let train = [
        "train", "-r", "rows", "-o", "names", "--kind", "domain", "--name", "names",
    ];
    let more = [
        "--model-version",
        version,
        "--rounds",
        rounds,
        "--report",
        "report.html",
    ];
    macula(folder, &[&train[..], &more[..]].concat());
}
