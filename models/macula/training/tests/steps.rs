//! The steps as people take them: files in, files out.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use clap::{Parser, Subcommand};
use indicator_model::{Bundle, IndicatorModel, ModelKind};
use indicator_training::command::{CommandError, MlEvalArgs, Step, run, run_ml_eval};
use indicator_training::labelled::Label;
use indicator_training::rows;
use tempfile::TempDir;

#[derive(Parser)]
struct Macula {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Step(Step),
    #[command(name = "ml_eval")]
    MlEval(MlEvalArgs),
}

/// Types a command with its paths below a folder (`@`), and gives what it printed.
async fn macula(folder: &Path, words: &str) -> Result<String, CommandError> {
    let words = words.replace('@', &format!("{}/", folder.display()));
    let words = ["macula"].into_iter().chain(words.split_whitespace());
    let mut out = Vec::new();
    match Macula::try_parse_from(words).unwrap().command {
        Command::Step(step) => run(step, &mut out).await?,
        Command::MlEval(args) => run_ml_eval(args).await?,
    }
    Ok(String::from_utf8(out).unwrap())
}

/// Names made of words, and names made of noise; a tenth of each is like the other.
fn write_labelled(path: &Path, from: u64, count: u64) {
    let words = [
        "green", "river", "stone", "market", "cloud", "paper", "garden", "bridge",
    ];
    let mut text = String::from("indicator,label\n");
    for at in from..from + count {
        let mut draw = at.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = |below: u64| {
            draw ^= draw << 13;
            draw ^= draw >> 7;
            draw ^= draw << 17;
            draw % below
        };
        let malicious = next(2) == 1;
        let looks_malicious = malicious != (next(10) == 0);
        let name: String = if looks_malicious {
            (0..12)
                .map(|_| char::from(b"bcdfghjklmnpqrstvwxz0123456789"[next(30) as usize]))
                .collect()
        } else {
            (0..2)
                .map(|_| words[next(8) as usize])
                .collect::<Vec<_>>()
                .join("")
                + &at.to_string()
        };
        text += &format!(
            "www.{name}.com,{}\n",
            if malicious { "malicious" } else { "benign" }
        );
    }
    std::fs::write(path, text).unwrap();
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

async fn prepared() -> TempDir {
    let folder = TempDir::new().unwrap();
    write_labelled(&folder.path().join("train.csv"), 0, 1500);
    write_labelled(&folder.path().join("test.csv"), 10_000, 600);
    for set in ["train", "test"] {
        let words = format!("ml_eval -t @{set}.csv -f @{set}.raw -r @{set}.rows");
        macula(folder.path(), &words).await.unwrap();
    }
    folder
}

#[tokio::test]
async fn from_a_labelled_set_to_a_model_that_is_as_good_as_it_says() {
    let folder = prepared().await;
    let train = "train -r @train.rows --kind domain --rounds 40 --report @report.html -o";
    let told = json(
        &macula(folder.path(), &format!("{train} @model"))
            .await
            .unwrap(),
    );
    let auc = |told: &serde_json::Value| told["auc"]["value"].as_f64().unwrap();
    assert!(
        (0.8..0.97).contains(&auc(&told)),
        "a tenth is mislabelled: {told}"
    );
    assert_eq!(
        told["benign"].as_u64().unwrap() + told["malicious"].as_u64().unwrap(),
        1500
    );

    let model = IndicatorModel::load(Bundle::read(&folder.path().join("model")).unwrap()).unwrap();
    assert_eq!(model.manifest().kind, ModelKind::Domain);
    assert_eq!(model.manifest().metrics["folds"], told);
    assert_eq!(model.manifest().training_data.rows, 1500);
    // Of some 750 benign rows nobody can count one in a thousand.
    let supposed = serde_json::json!([75.0, 90.0, 99.0]);
    assert_eq!(model.manifest().metrics["supposed_scores"], supposed);
    for row in rows::read(&folder.path().join("test.rows"))
        .unwrap()
        .iter()
        .take(50)
    {
        let score = model.score(&model.readings(&row.gathered));
        let looks_malicious = row
            .gathered
            .indicator
            .bytes()
            .filter(u8::is_ascii_digit)
            .count()
            > 5;
        assert!(
            !looks_malicious || score.rescaled > 10.0,
            "{} {score:?}",
            row.gathered.indicator
        );
        assert!(score.covered);
    }

    let measured = json(
        &macula(folder.path(), "evaluate -m @model -r @test.rows")
            .await
            .unwrap(),
    );
    assert!(
        (auc(&measured) - auc(&told)).abs() < 0.06,
        "{measured} {told}"
    );
    let report = std::fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert!(report.matches("<svg").count() >= 5 && report.contains("lexical_"));
    assert!(report.contains("too few to measure who reaches the scores 75, 90, 99"));

    // The same rows make the same bytes.
    macula(folder.path(), &format!("{train} @again"))
        .await
        .unwrap();
    for file in ["manifest.json", "trees.ubj"] {
        let read = |model: &str| std::fs::read(folder.path().join(model).join(file)).unwrap();
        assert_eq!(read("model"), read("again"), "{file}");
    }

    macula(folder.path(), "export -m @model -o @trees.json")
        .await
        .unwrap();
    let exported = std::fs::read(folder.path().join("trees.json")).unwrap();
    let trees = boosted_trees::xgboost::from_json(&exported).unwrap();
    assert_eq!(
        trees.feature_names(),
        model.manifest().features.column_names()
    );
}

#[tokio::test]
async fn selection_keeps_what_tells_and_drops_what_does_not() {
    let folder = prepared().await;
    let path = folder.path().join("train.rows");
    let mut all = rows::read(&path).unwrap();
    for (at, row) in all.iter_mut().enumerate() {
        let mut noise = row.gathered.features[0].clone();
        noise.name = "lexical_zz_constant".into();
        noise.reading = gatherers::Reading::number(7.0);
        row.gathered.features.push(noise.clone());
        noise.name = "lexical_zz_truth".into();
        let truth = f64::from(u8::from(row.label == Label::Malicious));
        noise.reading = gatherers::Reading::number(truth + (at % 10) as f64 / 100.0);
        row.gathered.features.push(noise);
    }
    rows::write(&path, &all).unwrap();
    let words = "select -r @train.rows --rounds 20 --keep-gain 0.9";
    let told = macula(folder.path(), words).await.unwrap();
    let first = told.lines().next().unwrap();
    assert!(first.contains("lexical_zz_truth"), "{told}");
    assert!(told.contains(" dropped  lexical_entropy"), "{told}");
    assert!(
        !told.contains("constant"),
        "what never varies is no feature at all"
    );

    // What tells everything may tell it only of these rows; then it is not to be looked at.
    let honest = format!("{words} --without lexical_zz_truth");
    let told = macula(folder.path(), &honest).await.unwrap();
    assert!(told.contains("left out  lexical_zz_truth"), "{told}");
    let first = told.lines().next().unwrap();
    assert!(
        first.contains("lexical_") && !first.contains("truth"),
        "{told}"
    );
    let misspelt = format!("{words} --without lexical_zz_thruth");
    let refused = macula(folder.path(), &misspelt).await.unwrap_err();
    assert!(
        refused.to_string().contains("`lexical_zz_thruth`"),
        "{refused}"
    );
}

#[tokio::test]
async fn rows_are_in_the_order_of_the_set_and_enriching_twice_changes_nothing() {
    let folder = prepared().await;
    let labelled = std::fs::read_to_string(folder.path().join("test.csv")).unwrap();
    let set = indicator_training::labelled::parse(&labelled, "family").unwrap();
    let raw = rows::read(&folder.path().join("test.raw")).unwrap();
    assert_eq!(raw.len(), set.len());
    for (row, one) in raw.iter().zip(&set) {
        assert_eq!(
            (row.gathered.indicator.clone(), row.label),
            (one.indicator.to_string(), one.label)
        );
    }
    macula(folder.path(), "enrich -f @test.rows -r @twice.rows")
        .await
        .unwrap();
    let read = |file: &str| std::fs::read(folder.path().join(file)).unwrap();
    assert_eq!(read("test.rows"), read("twice.rows"));
}

/// Names of words, benign; and of three families: two of noise, and one that reads like the benign ones.
fn write_families(path: &Path) {
    let words = [
        "green", "river", "stone", "market", "cloud", "paper", "garden", "bridge",
    ];
    let mut text = String::from("indicator,label,malware\n");
    let mut draw = 7_u64;
    let mut next = |below: usize| {
        draw = draw
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (draw >> 33) as usize % below
    };
    for at in 0..900 {
        let mut noise = |letters: &[u8]| {
            let noise = (0..14).map(|_| char::from(letters[next(letters.len())]));
            noise.collect::<String>()
        };
        let (name, rest) = match at % 9 {
            0 => (noise(b"0123456789abcdef"), "malicious,hexes"),
            1 => (noise(b"bcdfghjklmnpqrstvwxz"), "malicious,letters"),
            2 if at < 400 => {
                let pair = words[next(8)].to_owned() + words[next(8)];
                (format!("{pair}{}", next(1000)), "malicious,copies")
            }
            2 if at < 420 => (noise(b"xyz"), "malicious,few"),
            _ => {
                let pair = words[next(8)].to_owned() + words[next(8)];
                (format!("{pair}{}", next(1000)), "benign,")
            }
        };
        text += &format!("{at}.{name}{at}.com,{rest}\n");
    }
    std::fs::write(path, text).unwrap();
}

#[tokio::test]
async fn a_recipe_is_measured_on_folds_and_on_families_left_out() {
    let folder = TempDir::new().unwrap();
    write_families(&folder.path().join("set.csv"));
    let prepare = "ml_eval -t @set.csv --group malware -f @raw -r @rows";
    macula(folder.path(), prepare).await.unwrap();
    let rows = rows::read(&folder.path().join("rows")).unwrap();
    let family = |name: &str| {
        let of = rows
            .iter()
            .filter(|row| row.family.as_deref() == Some(name));
        of.count()
    };
    assert_eq!((family("hexes"), family("few")), (100, 2));
    let words = "evaluate -r @rows --rounds 20 --depth 3 --report @report.html";
    let told = macula(folder.path(), words).await.unwrap();
    assert_eq!(told, macula(folder.path(), words).await.unwrap());
    let told = json(&told);
    assert_eq!(told["each_fold"].as_array().unwrap().len(), 5);
    assert_eq!(
        told["folds"]["malicious"],
        family("hexes") + family("letters") + family("copies") + family("few")
    );
    assert_eq!(told["not_measured"], serde_json::json!(["few"]));
    let unseen = told["unseen"].as_array().unwrap();
    let names: Vec<_> = unseen.iter().map(|family| &family["family"]).collect();
    assert_eq!(names, ["copies", "hexes", "letters"]);
    let found = |at: usize| {
        let found = &unseen[at]["found_at_1_percent"];
        let [low, value, high] = ["low", "value", "high"].map(|of| found[of].as_f64().unwrap());
        assert!(low <= value && value <= high, "{found}");
        value
    };
    // Noise is like other noise. What reads like the benign is not found by a model that has never seen it.
    assert!(found(0) < 0.3 && found(1) > 0.7 && found(2) > 0.7, "{told}");
    let mean = told["unseen_mean"]["value"].as_f64().unwrap();
    assert!((mean - (found(0) + found(1) + found(2)) / 3.0).abs() < 1e-9);
    let report = std::fs::read_to_string(folder.path().join("report.html")).unwrap();
    for part in ["On families left out of training", "hexes", "few"] {
        assert!(report.contains(part), "{part}");
    }
    // A family that is large enough for one is not for another.
    let words = "evaluate -r @rows --rounds 5 --depth 3 --smallest-family 60";
    let told = json(&macula(folder.path(), words).await.unwrap());
    assert_eq!(told["not_measured"], serde_json::json!(["copies", "few"]));
}

/// The set of [`write_families`], of which those of one family count so much and are only learned from.
fn write_marked(path: &Path, family: &str, weight: &str) {
    write_families(path);
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines();
    let mut marked = format!("{},training_only,weight\n", lines.next().unwrap());
    for line in lines {
        let is_marked = line.ends_with(&format!(",{family}"));
        let rest = if is_marked {
            format!("true,{weight}")
        } else {
            ",".to_owned()
        };
        marked += &format!("{line},{rest}\n");
    }
    std::fs::write(path, marked).unwrap();
}

#[tokio::test]
async fn what_is_for_training_only_is_in_no_fold_but_helps_and_leaves_with_its_family() {
    let folder = TempDir::new().unwrap();
    let evaluated = async |family: &str, weight: &str| {
        write_marked(&folder.path().join("set.csv"), family, weight);
        let prepare = "ml_eval -t @set.csv --group malware -f @raw -r @rows";
        macula(folder.path(), prepare).await.unwrap();
        let words = "evaluate -r @rows --rounds 20 --depth 3";
        json(&macula(folder.path(), words).await.unwrap())
    };
    let plain = evaluated("nobody", "1").await;
    let marked = evaluated("hexes", "0.5").await;
    let count = |told: &serde_json::Value| told["folds"]["malicious"].as_u64().unwrap();
    assert_eq!(count(&plain) - count(&marked), 100);
    assert_eq!(plain["folds"]["benign"], marked["folds"]["benign"]);
    // Left out of training are the rows of the family that are for training only, too, and it is they that are judged.
    let hexes = |told: &serde_json::Value| told["unseen"][1].clone();
    assert_eq!(
        (&hexes(&marked)["family"], &hexes(&marked)["rows"]),
        (&"hexes".into(), &100.into())
    );
    assert_eq!(
        hexes(&marked),
        hexes(&plain),
        "what a family weighs is of no matter without it"
    );

    // A model has them among what it was made of, and is not measured on them either.
    let train = "train -r @rows --kind domain --rounds 20 --depth 3 -o @model";
    let told = json(&macula(folder.path(), train).await.unwrap());
    assert_eq!(told["malicious"], marked["folds"]["malicious"]);
    let model = IndicatorModel::load(Bundle::read(&folder.path().join("model")).unwrap()).unwrap();
    let data = model.manifest().training_data.clone();
    assert_eq!((data.rows, data.malicious as u64), (900, count(&plain)));
    let measured = "evaluate -m @model -r @rows";
    let told = json(&macula(folder.path(), measured).await.unwrap());
    assert_eq!(told["malicious"], marked["folds"]["malicious"]);
    write_marked(&folder.path().join("set.csv"), "hexes", "20");
    let prepare = "ml_eval -t @set.csv --group malware -f @raw -r @rows";
    macula(folder.path(), prepare).await.unwrap();
    macula(folder.path(), &train.replace("@model", "@heavy"))
        .await
        .unwrap();
    let heavy = IndicatorModel::load(Bundle::read(&folder.path().join("heavy")).unwrap()).unwrap();
    assert_ne!(heavy.manifest().training_data.digest, data.digest);
    assert_ne!(heavy.manifest().trees, model.manifest().trees);
}

#[tokio::test]
async fn figures_are_told_of_some_rows_alone_if_one_asks_for_them() {
    let folder = TempDir::new().unwrap();
    write_families(&folder.path().join("set.csv"));
    let prepare = "ml_eval -t @set.csv --group malware -f @raw -r @rows";
    macula(folder.path(), prepare).await.unwrap();
    let told = async |words: &str, number: &str| {
        let words = format!("{words} --above lexical_registered_length={number} --report @page");
        macula(folder.path(), &words).await
    };
    let recipe = "-r @rows --rounds 10 --depth 3";
    let train = format!("train {recipe} --kind domain -o @model");
    let trained = json(&told(&train, "15").await.unwrap());
    let model = IndicatorModel::load(Bundle::read(&folder.path().join("model")).unwrap()).unwrap();
    assert_eq!(model.manifest().metrics["folds_above"], trained["above"]);
    let evaluated = json(&told(&format!("evaluate {recipe}"), "15").await.unwrap());
    assert_eq!(evaluated["folds_above"], trained["above"]);
    assert_eq!(
        trained["above"]["only"],
        "lexical_registered_length above 15"
    );
    let benign = |told: &serde_json::Value| told["benign"].as_u64().unwrap();
    assert!((1..benign(&trained)).contains(&benign(&trained["above"])));
    let measured = json(&told("evaluate -m @model -r @rows", "0").await.unwrap());
    assert_eq!(measured["above"]["auc"], measured["auc"], "all are above 0");
    let page = std::fs::read_to_string(folder.path().join("page")).unwrap();
    assert!(page.contains("alone with lexical_registered_length above 0"));
    let none = told(&train, "1000").await.unwrap_err();
    assert!(none.to_string().contains("above 1000"), "{none}");
}

#[tokio::test]
async fn a_bad_weight_in_a_row_is_refused_with_its_line() {
    let folder = prepared().await;
    let path = folder.path().join("test.rows");
    let text = std::fs::read_to_string(&path).unwrap();
    let bad: String = text
        .lines()
        .enumerate()
        .map(|(at, line)| match at {
            2 => line.replacen('{', "{\"weight\":-1,", 1) + "\n",
            _ => format!("{line}\n"),
        })
        .collect();
    std::fs::write(&path, bad).unwrap();
    let refused = macula(folder.path(), "enrich -f @test.rows -r @twice.rows")
        .await
        .unwrap_err();
    let why = std::error::Error::source(&refused).unwrap().to_string();
    assert!(refused.to_string().contains("line 3"), "{refused}");
    assert!(why.contains("above 0, up to 1000"), "{why}");
}

#[tokio::test]
async fn names_of_one_registration_share_a_fold() {
    let folder = TempDir::new().unwrap();
    let text: String = (0..50)
        .map(|at| format!("n{at}.example.co.uk,{}\n", at % 2))
        .collect();
    std::fs::write(folder.path().join("a.csv"), text).unwrap();
    macula(folder.path(), "gather -t @a.csv -f @a.raw")
        .await
        .unwrap();
    let rows = rows::read(&folder.path().join("a.raw")).unwrap();
    let folds: std::collections::HashSet<usize> = rows.iter().map(|row| row.fold(7)).collect();
    assert_eq!(folds.len(), 1);
}

#[tokio::test]
async fn what_cannot_be_done_is_said() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("few.csv"), "a.test,1\nb.test,0\n").unwrap();
    std::fs::write(folder.path().join("bad.csv"), "a.test,1\nb.test,perhaps\n").unwrap();
    macula(
        folder.path(),
        "ml_eval -t @few.csv -f @few.raw -r @few.rows",
    )
    .await
    .unwrap();
    let failed = async |words: &str| macula(folder.path(), words).await.unwrap_err();
    let few = failed("train -r @few.rows --kind domain -o @model").await;
    assert!(few.to_string().contains("at least 50"), "{few}");
    assert!(matches!(
        failed("gather -t @bad.csv -f @bad.raw").await,
        CommandError::Labelled { source, .. } if source.line == 2
    ));
    assert!(!folder.path().join("bad.raw").exists());
    assert!(matches!(
        failed("evaluate -m @nothing -r @few.rows").await,
        CommandError::Bundle(_)
    ));
}

#[tokio::test]
async fn a_model_is_not_measured_on_rows_that_say_nothing_of_it() {
    let folder = prepared().await;
    let train = "train -r @train.rows --kind domain --rounds 5 -o @model";
    macula(folder.path(), train).await.unwrap();
    let rows = std::fs::read_to_string(folder.path().join("test.rows")).unwrap();
    let write = |text: String| std::fs::write(folder.path().join("other.rows"), text).unwrap();
    let failed = async |words: &str| {
        let error = macula(folder.path(), words).await.unwrap_err();
        error.to_string()
    };
    let evaluate = "evaluate -m @model -r @other.rows";
    let malicious = rows.lines().filter(|row| row.contains("malicious"));
    write(malicious.map(|row| format!("{row}\n")).collect());
    let told = failed(evaluate).await;
    assert!(told.contains("no Benign row"), "{told}");

    write(rows.replace("lexical_", "other_"));
    let told = failed(evaluate).await;
    assert!(told.contains("any feature"), "{told}");

    let row = |at: usize, label: &str| {
        let of_address = r#""type":"ip","features":[]}"#;
        format!(r#"{{"label":"{label}","indicator":"192.0.2.{at}",{of_address}"#)
    };
    let addresses = (1..=120).map(|at| row(at, ["benign", "malicious"][at % 2]) + "\n");
    write(addresses.collect());
    let told = failed(evaluate).await;
    assert!(told.contains("kind `domain`"), "{told}");
    let told = failed("train -r @train.rows --kind ip -o @other").await;
    assert!(told.contains("kind `ip`"), "{told}");
}

/// A web service that wants to be left alone for a second a few times, and then answers.
fn start_upstream(refusals: usize) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for (at, stream) in listener.incoming().flatten().enumerate() {
            let mut lines = BufReader::new(&stream).lines();
            while lines
                .next()
                .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
            {}
            let (status, body) = if at < refusals {
                ("429 Too Many Requests\r\nRetry-After: 1", "")
            } else {
                ("200 OK", r#"{"country": {"iso_code": "NL"}}"#)
            };
            let length = body.len();
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close");
            let _the_test_may_be_over = write!(&stream, "{head}\r\n\r\n{body}");
        }
    });
    url
}

#[tokio::test]
async fn who_wants_to_be_left_alone_is_asked_again_and_rows_that_nobody_told_of_are_a_failure() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let addresses = ["8.8.4.4", "9.9.9.9", "1.1.1.1"].map(|ip| format!("{ip},benign\n"));
    write(
        "set.csv",
        &format!("indicator,label\n{}", addresses.concat()),
    );
    let settings = |url: &str| {
        // Cargo sets this variable for every test; any text will do for a key.
        let geo = "[gatherers.geo]\nkey_env = \"CARGO_PKG_NAME\"";
        write("gatherers.toml", &format!("{geo}\nbase_url = \"{url}\"\n"));
    };
    let gather = "gather -t @set.csv -f @raw.ndjson --settings @gatherers.toml --concurrency 1";
    let known = || {
        let rows = rows::read(&folder.path().join("raw.ndjson")).unwrap();
        let known = rows
            .iter()
            .filter(|row| row.gathered.value("geo_country").is_some());
        (known.count(), rows.len())
    };
    write("raw.ndjson.part", "of a run that was interrupted");
    settings(&start_upstream(2));
    macula(folder.path(), gather).await.unwrap();
    assert_eq!(known(), (3, 3));
    let old = std::fs::read_to_string(folder.path().join("raw.ndjson.part.old"));
    assert_eq!(old.unwrap(), "of a run that was interrupted");

    settings(&start_upstream(usize::MAX));
    let impatient = format!("{gather} --patience 0s");
    let error = macula(folder.path(), &impatient).await.unwrap_err();
    let told = error.to_string();
    assert!(
        told.contains("geo of") && told.contains("of 3 rows (rate_limited)"),
        "{told}"
    );
    assert!(told.contains("--allow-missing"), "{told}");
    assert_eq!(known(), (0, 3), "what there is is kept");
    let all_the_same = format!("{impatient} --allow-missing");
    macula(folder.path(), &all_the_same).await.unwrap();
}
