//! The commands.

use std::fs;

use serde_json::Value;

use crate::running::{dga, dga_with_input, stderr, stdout};

#[test]
fn names_are_judged_from_arguments_and_from_standard_input() {
    let table = dga(&[
        "score",
        "wikipedia.org",
        "intgmxdeadnxuyla.com",
        "zaze",
        "two words",
    ]);
    assert_eq!(table.status.code(), Some(1), "one of them was generated");
    let lines: Vec<&str> = stdout(&table).lines().collect();
    assert_eq!(lines.len(), 4);
    for (line, start, end) in [
        (0, "legit", ")"),
        (1, "dga", ")"),
        (2, "legit", "(too short)"),
        (3, "legit", "(not a name)"),
    ] {
        assert!(
            lines[line].starts_with(start) && lines[line].ends_with(end),
            "{}",
            lines[line]
        );
    }
    let json = dga_with_input(
        &["score", "--format", "json"],
        b"wikipedia.org\n\nwith\xff\xfebytes\r\ngoogle.com",
    );
    assert_eq!(json.status.code(), Some(0));
    let answers: Vec<Value> = stdout(&json)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers.len(), 3);
    assert_eq!(answers[1]["reason"], "not_a_name");
}

#[test]
fn an_explanation_is_a_bar_chart() {
    let explained = dga(&["score", "--explain", "intgmxdeadnxuyla.com"]);
    let text = stdout(&explained);
    assert!(text.lines().count() > 5, "{text}");
    assert!(
        text.lines()
            .skip(1)
            .all(|line| line.contains('│') && line.contains('█')),
        "{text}"
    );
}

#[test]
fn the_threshold_decides() {
    let with = |threshold| {
        dga(&["score", "--threshold", threshold, "intgmxdeadnxuyla.com"])
            .status
            .code()
    };
    assert_eq!((with("50"), with("100")), (Some(1), Some(0)));
    let wrong = dga(&["score", "--threshold", "200", "a"]);
    assert!(stderr(&wrong).contains("from 0 to 100"));
}

#[test]
fn the_names_of_a_known_strain_are_listed_and_found() {
    let folder = tempfile::tempdir().unwrap();
    let (words, list) = (
        folder.path().join("strain 1.txt"),
        folder.path().join("list"),
    );
    // Words whose pairs are pronounceable, as no two consonants meet.
    let syllables = ["ba", "do", "fi", "gu", "ha", "ko", "li", "mu"];
    let word = |number: usize| {
        [number / 64, number / 8 % 8, number % 8]
            .map(|digit| syllables[digit])
            .concat()
    };
    let all: Vec<String> = (0..384).map(word).collect();
    fs::write(&words, all.join("\n")).unwrap();
    let predicted = dga(&[
        "predict",
        "suppobox",
        "--words",
        words.to_str().unwrap(),
        "--from",
        "2026-03-01",
        "--days",
        "2",
    ]);
    assert_eq!(predicted.status.code(), Some(0), "{}", stderr(&predicted));
    let text = stdout(&predicted);
    // Two days of slots of 512 seconds, and the 84 that are tried ahead.
    assert!((421..=423).contains(&text.lines().count()), "{text}");
    let line: Vec<&str> = text.lines().nth(10).unwrap().split(' ').collect();
    assert_eq!(line[1..], ["suppobox", "2026-03-01", "strain_1"]);
    fs::write(&list, text).unwrap();
    let without = dga(&["score", "--threshold", "100", line[0]]);
    let with = dga(&[
        "score",
        "--threshold",
        "100",
        "--predictions",
        list.to_str().unwrap(),
        line[0],
    ]);
    assert_eq!(
        (without.status.code(), with.status.code()),
        (Some(0), Some(1))
    );
    assert!(stdout(&with).contains("predicted: suppobox"));

    let days = |days: &str| {
        let (words, from) = (words.to_str().unwrap(), "2026-03-01");
        let arguments = ["--words", words, "--from", from, "--days", days];
        dga(&[&["predict", "suppobox"][..], &arguments[..]].concat())
    };
    // As many as there are before names come again.
    let most = days("193");
    let text = stdout(&most);
    assert!(
        (32_652..=32_654).contains(&text.lines().count()),
        "{}",
        text.lines().count()
    );
    let last = text.lines().next_back().unwrap();
    assert!(last.contains(" 2026-09-10 "), "{last}");
    let more = days("194");
    assert_eq!(more.status.code(), Some(2));
    assert!(stderr(&more).contains("1..=193"), "{}", stderr(&more));

    fs::write(&words, all[1..].join("\n")).unwrap();
    let short = dga(&["predict", "suppobox", "--words", words.to_str().unwrap()]);
    assert_eq!(short.status.code(), Some(2));
    assert!(
        stderr(&short).contains("384 words, this one has 383"),
        "{}",
        stderr(&short)
    );
    assert_eq!(stdout(&short), "");
}

#[test]
fn names_in_a_familys_shape_are_of_the_form_of_a_list() {
    let generated = dga(&[
        "generate",
        "suppobox",
        "--from",
        "2026-03-01",
        "--days",
        "2",
        "--count",
        "20",
        "--seed",
        "5",
    ]);
    assert_eq!(generated.status.code(), Some(0), "{}", stderr(&generated));
    let text = stdout(&generated);
    assert_eq!(text.lines().count(), 40);
    let first: Vec<&str> = text.lines().next().unwrap().split(' ').collect();
    assert_eq!(first[1..], ["suppobox", "2026-03-01", "5"]);
}

#[test]
fn what_cannot_work_is_told_with_the_thing_it_failed_on() {
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad");
    fs::write(&bad, "one.example\n").unwrap();
    let bad = bad.to_str().unwrap();
    for (arguments, expected) in [
        (
            &["score", "--model", "/nowhere/at/all", "a"][..],
            "/nowhere/at/all",
        ),
        (&["score", "--predictions", bad, "a"], "names no family"),
        (&["serve", "--listen", "host.invalid:0"], "host.invalid:0"),
        (
            &["train", "/no/legit", "/no/dga", "--out", bad],
            "/no/legit",
        ),
        (
            &["generate", "suppobox", "--words", "/no/words"],
            "/no/words",
        ),
        (&["generate", "nobody"], "nobody"),
    ] {
        let failed = dga(arguments);
        assert_eq!(failed.status.code(), Some(2), "{arguments:?}");
        assert!(
            stderr(&failed).contains(expected),
            "{arguments:?}: {}",
            stderr(&failed)
        );
    }
}
