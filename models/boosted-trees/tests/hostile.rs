//! Files from anywhere: whatever the bytes, the answer is a model or an error, soon and in little memory.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

use boosted_trees::{Explainer, Predictor, xgboost};
use proptest::prelude::*;

const JSON: &[u8] = include_bytes!("data/golden.model.json");
const UBJSON: &[u8] = include_bytes!("data/golden.model.ubj");

/// What loads must also work.
fn use_it(bytes: &[u8]) {
    if let Ok(model) = xgboost::from_bytes(bytes) {
        if model.features() > 1000 {
            return;
        }
        let rows = vec![f32::NAN; model.features() * 9];
        let mut margins = vec![0.0; 9];
        let predictor = Predictor::new(&model);
        predictor.margins(&rows, &mut margins);
        let row = &rows[..model.features()];
        assert_eq!(predictor.margin(row).to_bits(), margins[8].to_bits());
        Explainer::new(&model).explain(row);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        use_it(&bytes);
        use_it(&[b"{L".as_slice(), &bytes].concat());
    }

    #[test]
    fn a_damaged_file_never_panics(
        binary in any::<bool>(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = if binary { UBJSON.to_vec() } else { JSON.to_vec() };
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        use_it(&bytes);
    }

    #[test]
    fn ubjson_of_every_shape_is_passed_over(
        extra in proptest::collection::vec(prop::sample::select(b"ZNTFiUIlLdDCSH[]{}$#\0\x01\x7f".to_vec()), 0..40),
    ) {
        // As a field that nobody asks for, right behind the opening brace.
        let mut bytes = b"{i\x01x".to_vec();
        bytes.extend(extra);
        bytes.extend(&UBJSON[1..]);
        use_it(&bytes);
    }
}

#[test]
fn a_few_bytes_cannot_ask_for_much() {
    for bytes in [
        b"{L\x7f\xff\xff\xff\xff\xff\xff\xff".as_slice(),
        b"{i\x07learner[$Z#L\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"{i\x07learner[$d#L\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"{i\x07learner[#L\x80\xff\xff\xff\xff\xff\xff\xff",
        b"{i\x01xS",
        b"{",
        b"",
    ] {
        assert!(xgboost::from_ubjson(bytes).is_err());
    }
    let deep = [b"{i\x01x".as_slice(), &b"[".repeat(1_000_000)].concat();
    assert!(xgboost::from_ubjson(&deep).is_err());
    let deep = [b"{\"x\":".as_slice(), &b"[".repeat(1_000_000)].concat();
    assert!(xgboost::from_json(&deep).is_err());
}

#[test]
fn trailing_bytes_are_noticed() {
    let longer = [UBJSON, b"Z"].concat();
    let error = xgboost::from_ubjson(&longer).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        cause.contains(&format!("at byte {}", UBJSON.len())),
        "{cause}"
    );
}
