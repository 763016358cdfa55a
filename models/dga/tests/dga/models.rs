//! Making, measuring and loading models.

use std::fs;
use std::io::Write;
use std::path::Path;

use dga::detector::Detector;
use dga::families::{FAMILIES, Seed, sample_words};
use dga::model_files::ModelFiles;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::civil::Date;
use serde_json::Value;

use crate::running::{dga, stderr, stdout};

/// Small lists: names of two words, gzipped, and names of random letters.
fn lists(folder: &Path) -> [String; 2] {
    let seed = Seed {
        date: Date::constant(2014, 5, 6),
        number: 3,
        words: sample_words(),
    };
    let made = |family: &str, count| {
        let family = FAMILIES.iter().find(|known| known.name == family).unwrap();
        family.names(&seed, count).join("\n")
    };
    let [real, generated] = ["legit.txt.gz", "dga.txt"].map(|name| folder.join(name));
    let mut packed = GzEncoder::new(fs::File::create(&real).unwrap(), Compression::fast());
    packed.write_all(made("suppobox", 900).as_bytes()).unwrap();
    packed.finish().unwrap();
    fs::write(&generated, made("necurs", 150)).unwrap();
    [real, generated].map(|path| path.to_str().unwrap().to_owned())
}

const SMALL: [&str; 6] = ["--trees", "6", "--depth", "3", "--each-family", "10"];

#[test]
fn the_same_lists_and_seed_make_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let [real, generated] = lists(folder.path());
    let train = |name: &str, seed: &str| {
        let out = folder.path().join(name);
        let html = folder.path().join("report.html");
        let mut arguments = vec!["train", &real, &generated, "--seed", seed];
        arguments.extend(SMALL);
        arguments.extend([
            "--out",
            out.to_str().unwrap(),
            "--html",
            html.to_str().unwrap(),
        ]);
        let output = dga(&arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(stdout(&output).contains("mean without wordlist families"));
        out
    };
    let contents = |folder: &Path| {
        ["manifest.json", "ngrams.bin", "trees.ubj"]
            .map(|name| fs::read(folder.join(name)).unwrap())
    };
    let (one, same, other) = (train("one", "5"), train("same", "5"), train("other", "6"));
    assert_eq!(contents(&one), contents(&same));
    assert_ne!(contents(&one)[2], contents(&other)[2]);
    assert_eq!(fs::read_dir(&one).unwrap().count(), 3);

    // The page needs nothing but itself.
    let html = fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert!(html.matches("<svg").count() >= 6);
    assert!(!html.contains("<script") && !html.contains("src=") && !html.contains("href="));

    // The new model judges; that of the words it learned from is none of its business.
    let judged = dga(&[
        "score",
        "--model",
        one.to_str().unwrap(),
        "forestmarket.net",
    ]);
    assert_eq!(judged.status.code(), Some(0), "{}", stdout(&judged));
    let measured = dga(&[
        "evaluate",
        "--model",
        one.to_str().unwrap(),
        "--json",
        &real,
        &generated,
    ]);
    let figures: Value = serde_json::from_str(stdout(&measured)).unwrap();
    assert!(figures["auc"]["value"].as_f64().unwrap() > 0.9, "{figures}");
}

#[test]
fn what_training_adds_can_be_had_without_training() {
    let folder = tempfile::tempdir().unwrap();
    let [real, _] = lists(folder.path());
    let added = || {
        let output = dga(&["added", &real, "--each-family", "10"]);
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output).to_owned()
    };
    let text = added();
    let lines = text.lines().map(|line| line.split_once(' ').unwrap());
    let (labels, families): (Vec<_>, Vec<_>) = lines.unzip();
    let of = |family: &str| families.iter().filter(|own| **own == family).count();
    assert_eq!([of("necurs"), of("made-up"), of("suppobox")], [10, 10, 0]);
    assert!(labels.iter().all(|label| label.len() > 6), "{text}");
    assert_eq!(text, added());
}

#[test]
fn an_evaluation_tells_folds_and_families() {
    let folder = tempfile::tempdir().unwrap();
    let [real, generated] = lists(folder.path());
    let mut arguments = vec!["evaluate", "--json", &real, &generated];
    arguments.extend(SMALL);
    let output = dga(&arguments);
    let quality: Value = serde_json::from_str(stdout(&output)).unwrap();
    assert_eq!(quality["each_fold"].as_array().unwrap().len(), 5);
    assert_eq!(quality["unseen"].as_array().unwrap().len(), FAMILIES.len());
    let auc = &quality["folds"]["auc"];
    let [low, value, high] = ["low", "value", "high"].map(|name| auc[name].as_f64().unwrap());
    assert!(low <= value && value <= high && value > 0.9, "{auc}");
}

#[test]
fn the_model_that_comes_along_is_whole_and_as_good_as_it_says() {
    let detector = Detector::shipped().unwrap();
    let manifest = detector.manifest();
    let folds = &manifest.quality.folds;
    assert!(
        folds.auc.value >= 0.997 && folds.recall_at_1_percent.value >= 0.96,
        "{folds:?}"
    );
    assert!(manifest.quality.unseen_mean.value >= 0.85);
    // Seeds and dates it has not learned from.
    let seed = Seed {
        date: Date::constant(2025, 6, 7),
        number: 99,
        words: sample_words(),
    };
    for (family, least) in [
        ("ramnit", 0.9),
        ("necurs", 0.9),
        ("newgoz", 0.97),
        ("pykspa", 0.75),
    ] {
        let names = FAMILIES
            .iter()
            .find(|known| known.name == family)
            .unwrap()
            .names(&seed, 300);
        let verdicts = detector.judge_all(&names);
        let found = verdicts.iter().filter(|verdict| verdict.generated).count() as f64 / 300.0;
        assert!(found > least, "{family}: {found}");
        for (name, verdict) in names.iter().zip(&verdicts) {
            assert_eq!(&detector.judge(name), verdict);
        }
    }
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let told = |change: &dyn Fn(&Path)| {
        ModelFiles::shipped().write(folder.path()).unwrap();
        change(folder.path());
        let error = ModelFiles::read(folder.path())
            .and_then(|files| Detector::new(&files))
            .unwrap_err();
        error.to_string()
    };
    let manifest = |edit: fn(&mut Value)| {
        move |folder: &Path| {
            let path = folder.join("manifest.json");
            let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            edit(&mut manifest);
            fs::write(path, manifest.to_string()).unwrap();
        }
    };
    ModelFiles::shipped().write(folder.path()).unwrap();
    Detector::new(&ModelFiles::read(folder.path()).unwrap()).unwrap();
    for file in ["trees.ubj", "ngrams.bin"] {
        let damaged = told(&|folder| {
            let mut bytes = fs::read(folder.join(file)).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(folder.join(file), bytes).unwrap();
        });
        assert!(damaged.contains(file), "{damaged}");
    }
    assert!(
        told(&|folder| fs::remove_file(folder.join("ngrams.bin")).unwrap()).contains("ngrams.bin")
    );
    assert!(
        told(&|folder| fs::write(folder.join("manifest.json"), "{}").unwrap())
            .contains("manifest.json")
    );
    assert!(told(&manifest(|manifest| manifest["form"] = 9.into())).contains("the form 9"));
    assert!(
        told(&manifest(|manifest| manifest["golden"][0][1] = 7.5.into())).contains("wikipedia")
    );
    assert!(
        told(&manifest(
            |manifest| manifest["calibration"] = serde_json::json!([[1.0, 2.0]])
        ))
        .contains("manifest")
    );
}
