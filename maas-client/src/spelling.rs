//! Option spellings of the original command lines.
//!
//! Metron's tools have short options of several letters behind one dash (`-zq`, `-hmp`), which no parser of today takes for
//! one option. [`long_options`] turns them into their long forms before parsing. Long options may be written with `_` or `-`.

use std::ffi::{OsStr, OsString};

/// The long forms, by the short ones.
pub type ShortForms = &'static [(&'static str, &'static str)];

/// Rewrites `-zq value` and `-zq=value` to `--zk_quorum value` and `--zk_quorum=value` for every option in `forms`, and
/// `--zk-quorum` to `--zk_quorum` for whatever is a long option. Everything behind a bare `--` stays as it is.
pub fn long_options(args: impl IntoIterator<Item = OsString>, forms: ShortForms) -> Vec<OsString> {
    let mut literal = false;
    let rewrite = |arg: OsString| {
        literal |= arg == "--";
        if literal {
            arg
        } else {
            long_option(&arg, forms).unwrap_or_else(|| unquoted(arg))
        }
    };
    args.into_iter().map(rewrite).collect()
}

fn long_option(arg: &OsStr, forms: ShortForms) -> Option<OsString> {
    let arg = arg.to_str()?;
    let (option, value) = match arg.split_once('=') {
        Some((option, value)) => (option, Some(value)),
        None => (arg, None),
    };
    let long = match option.strip_prefix("--") {
        Some(name) => name.replace('-', "_"),
        None => {
            let short = option.strip_prefix('-')?;
            let (_, long) = forms.iter().find(|(form, _)| *form == short)?;
            (*long).to_owned()
        }
    };
    Some(match value {
        Some(value) => format!("--{long}={value}").into(),
        None => format!("--{long}").into(),
    })
}

/// The original takes one pair of double quotes off a value: they come from scripts that quote twice.
fn unquoted(arg: OsString) -> OsString {
    let inner = arg
        .to_str()
        .and_then(|text| text.strip_prefix('"')?.strip_suffix('"'));
    inner.map(OsString::from).unwrap_or(arg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_the_original_become_one() {
        let forms: ShortForms = &[
            ("zq", "zk_quorum"),
            ("zk", "zk_quorum"),
            ("m", "memory"),
            ("mo", "mode"),
        ];
        let check = |given: &str, made: &str| {
            let rewritten = long_options(given.split(' ').map(OsString::from), forms);
            assert_eq!(rewritten.join(OsStr::new(" ")), OsString::from(made));
        };
        check(
            "-zq node1:2181 -mo ADD -m 512",
            "--zk_quorum node1:2181 --mode ADD --memory 512",
        );
        check(
            "-zk=node1 --zk-quorum=a --zk_quorum b",
            "--zk_quorum=node1 --zk_quorum=a --zk_quorum b",
        );
        check(
            "-h --other-option -x \"quoted\"",
            "-h --other_option -x quoted",
        );
        check("-- -zq", "-- -zq");
    }
}
