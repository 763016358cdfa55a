//! The fuzz targets' entries, as every run of the tests calls them: over the corpus, over changes to it, and over random bytes.
//! `cargo +nightly fuzz run TARGET` (see `fuzz/Cargo.toml`) looks further.

#[path = "../fuzz/entries.rs"]
mod entries;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use entries::ENTRIES;
use proptest::prelude::*;

const FUZZ: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz");

/// What every entry begins with.
static CORPUS: LazyLock<BTreeMap<&str, Vec<Vec<u8>>>> = LazyLock::new(|| {
    let named = ENTRIES.iter().map(|(name, _)| (*name, corpus(name)));
    named.collect()
});

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let mut seeds = files(&Path::new(FUZZ).join("corpus").join(name));
    // What is there in any case need not be in the corpus, too.
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let golden = models.join("boosted-trees/tests/data");
    let one = |file: &str| vec![fs::read(golden.join(file)).expect("a model")];
    seeds.extend(match name {
        "trees_json" => one("golden.model.json"),
        "trees_ubjson" => one("golden.model.ubj"),
        "answer" => files(&models.join("macula/gatherers/tests/fixtures")),
        "dga_model" => vec![fs::read(models.join("dga/model/manifest.json")).expect("a manifest")],
        "mapping" => files(&models.join("macula/gatherers/mappings")),
        _ => Vec::new(),
    });
    seeds
}

/// What the files of a folder hold, in the order of their names.
fn files(folder: &Path) -> Vec<Vec<u8>> {
    let files = fs::read_dir(folder).expect("there is such a folder");
    let paths: BTreeSet<_> = files.map(|file| file.expect("readable").path()).collect();
    let read = |path| fs::read(path).expect("readable");
    paths.into_iter().map(read).collect()
}

#[test]
fn every_entry_has_a_target_a_corpus_and_passes_it() {
    let manifest = fs::read_to_string(Path::new(FUZZ).join("Cargo.toml")).expect("a manifest");
    for (name, entry) in ENTRIES {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        let target = Path::new(FUZZ).join(format!("fuzz_targets/{name}.rs"));
        let target = fs::read_to_string(target).expect("a target");
        assert!(target.contains(&format!("entries::{name}(")), "{name}");
        let seeds = &CORPUS[name];
        assert!(!seeds.is_empty(), "{name}");
        for seed in seeds {
            entry(seed);
        }
    }
    let targets = fs::read_dir(Path::new(FUZZ).join("fuzz_targets")).expect("there are targets");
    assert_eq!(targets.count(), ENTRIES.len());
}

/// What a fuzzer does to a seed: overwrite, insert, cut out, repeat.
#[derive(Clone, Debug)]
enum Change {
    Overwrite(u8),
    Insert(Vec<u8>),
    Cut(usize),
    Repeat(usize),
}

fn change() -> impl Strategy<Value = (prop::sample::Index, Change)> {
    let kind = prop_oneof![
        any::<u8>().prop_map(Change::Overwrite),
        prop::collection::vec(any::<u8>(), 1..6).prop_map(Change::Insert),
        (1usize..20).prop_map(Change::Cut),
        (1usize..20).prop_map(Change::Repeat),
    ];
    (any::<prop::sample::Index>(), kind)
}

fn changed(mut bytes: Vec<u8>, changes: &[(prop::sample::Index, Change)]) -> Vec<u8> {
    for (place, change) in changes {
        let at = place.index(bytes.len() + 1);
        let until = |count: usize| (at + count).min(bytes.len());
        match change {
            Change::Overwrite(byte) => {
                if let Some(place) = bytes.get_mut(at) {
                    *place = *byte;
                }
            }
            Change::Insert(more) => {
                bytes.splice(at..at, more.iter().copied());
            }
            Change::Cut(count) => {
                bytes.drain(at..until(*count));
            }
            Change::Repeat(count) => {
                let again = bytes[at..until(*count)].to_vec();
                bytes.splice(at..at, again);
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_change_to_the_corpus_breaks_an_entry(
        seed in any::<prop::sample::Index>(), changes in prop::collection::vec(change(), 1..8),
    ) {
        for (name, entry) in ENTRIES {
            let seed = seed.get(&CORPUS[name]).clone();
            entry(&changed(seed, &changes));
        }
    }

    #[test]
    fn no_bytes_break_an_entry(bytes in prop::collection::vec(any::<u8>(), 0..120), text in any::<String>()) {
        for (_, entry) in ENTRIES {
            entry(&bytes);
            entry(text.as_bytes());
        }
    }
}
