//! What is taken for which kind of indicator, in which normal form, and that nothing makes the parser panic.

use indicators::Indicator;
use macula::feature_set::Sources;
use macula::request::{self, ApplyForm, BodyForm};
use proptest::prelude::*;
use threat_lists::{List, ListKind};

fn check(text: &str, kind: &str, normal: &str) {
    match text.parse::<Indicator>() {
        Ok(indicator) => assert_eq!(
            (indicator.kind(), indicator.to_string().as_str()),
            (kind, normal),
            "{text}"
        ),
        Err(error) => panic!("{text}: {error}"),
    }
}

fn refused(text: &str, code: &str) {
    match text.parse::<Indicator>() {
        Ok(indicator) => panic!("{text:?} was taken for {indicator:?}"),
        Err(error) => assert_eq!(error.code(), code, "{text:?}: {error}"),
    }
}

#[test]
fn addresses_and_ranges_are_recognised() {
    check(" 192.0.2.1 ", "ip", "192.0.2.1");
    check("192[.]0[.]2[.]1", "ip", "192.0.2.1");
    check("2001:DB8:0:0::1", "ip", "2001:db8::1");
    check("[2001:db8::1]", "ip", "2001:db8::1");
    check("::ffff:192.0.2.1", "ip", "192.0.2.1");
    check("192.0.2.77/24", "cidr", "192.0.2.0/24");
    check("192.0.2.1/32", "ip", "192.0.2.1");
    check("2001:db8::/32", "cidr", "2001:db8::/32");
    check("::ffff:192.0.2.0/120", "cidr", "192.0.2.0/24");
    refused("192.0.2.256", "invalid_ip");
    refused("192.0.02.1", "invalid_ip");
    refused("1.2.3", "invalid_ip");
    refused("192.0.2.0/33", "invalid_cidr");
    refused("192.0.2.0/999", "invalid_cidr");
    refused("10.0.0.0/7", "cidr_too_wide");
    refused("2001::/31", "cidr_too_wide");
    refused("fe80::1%eth0", "not_recognised");
}

#[test]
fn names_urls_and_mail_addresses_are_recognised() {
    check("EVIL[.]Test.", "domain", "evil.test");
    check("bücher.example", "domain", "xn--bcher-kva.example");
    check(
        "hxxps://Evil[.]test:443/a/./b?q=%7e#top",
        "url",
        "https://evil.test/a/b?q=~",
    );
    check("http://user:secret@evil.test", "url", "http://evil.test/");
    check(
        "http://[2001:db8::1]:8080/",
        "url",
        "http://[2001:db8::1]:8080/",
    );
    check("http://0x7f.1/", "url", "http://127.0.0.1/");
    check("http://evil.test./", "url", "http://evil.test/");
    check("evil.test/path", "url", "http://evil.test/path");
    check("192.0.2.1:8080", "url", "http://192.0.2.1:8080/");
    check("http://evil.test/a,b", "url", "http://evil.test/a,b");
    check(
        "http://evil.test/100%?%%361",
        "url",
        "http://evil.test/100%25?%2561",
    );
    // What is a disguise only in the normal form is one all the same.
    check(
        r"http://evil.test/a(\)(%2e)b",
        "url",
        "http://evil.test/a/.b",
    );
    check("Mallory[at]Evil[.]test", "email", "mallory@evil.test");
    check("a+b@evil.test", "email", "a+b@evil.test");
    refused("localhost", "not_recognised");
    refused("evil..test", "invalid_domain");
    refused("http://localhost/", "invalid_url");
    refused("http://", "invalid_url");
    refused("http://evil.test:99999/", "invalid_url");
    refused("gopher://evil.test/", "unsupported_scheme");
    refused("a b@evil.test", "invalid_email");
    refused("@evil.test", "invalid_email");
    refused("a@evil", "invalid_email");
}

#[test]
fn a_url_without_a_scheme_is_no_mail_address_of_whom_it_names() {
    for (text, normal) in [
        (
            "evil.test/login?email=bob@victim.test",
            "http://evil.test/login?email=bob@victim.test",
        ),
        (
            "evil.test/login(at)victim.test",
            "http://evil.test/login@victim.test",
        ),
        (
            "evil.test?bob@victim.test",
            "http://evil.test/?bob@victim.test",
        ),
        ("evil.test#bob@victim.test", "http://evil.test/"),
        (
            "//evil.test/bob@victim.test",
            "http://evil.test/bob@victim.test",
        ),
        (
            r"evil.test\bob@victim.test",
            "http://evil.test/bob@victim.test",
        ),
        (
            "192.0.2.1/bob@victim.test",
            "http://192.0.2.1/bob@victim.test",
        ),
        (
            "3221225985/bob@victim.test",
            "http://192.0.2.1/bob@victim.test",
        ),
        (
            "evil%2etest/bob@victim.test",
            "http://evil.test/bob@victim.test",
        ),
        // Another URL in a query makes no scheme of what stands before it.
        (
            "evil.test/r?u=http://a.test",
            "http://evil.test/r?u=http://a.test",
        ),
    ] {
        check(text, "url", normal);
    }
    refused("-evil.test/bob@victim.test", "not_recognised");
    refused("http:/evil.test/bob@victim.test", "invalid_email");
    // Where no host with a dot could stand, it is what mail systems put there.
    check("srs0=a/b=c@relay.test", "email", "srs0=a/b=c@relay.test");
    check("sales/emea@corp.test", "email", "sales/emea@corp.test");

    let list = List::parse(
        ListKind::Feed,
        "any",
        b"evil.test/login?email=bob@victim.test",
    );
    let named = |text: &str| {
        let indicator: Indicator = text.parse().expect("an indicator");
        list.find(&indicator).is_some()
    };
    assert!(named("http://evil.test/login?email=bob@victim.test"));
    assert!(!named("bob@victim.test"));
}

#[test]
fn apply_tells_a_url_and_a_mail_address_apart_by_what_the_caller_calls_them() {
    let kind = |query: &str| {
        let request = request::apply_query(query, &Sources::default()).expect("a good query");
        let indicator = request.item.indicator.expect("an indicator");
        indicator.kind().to_owned()
    };
    assert_eq!(kind("url=bob@evil.test"), "url");
    assert_eq!(kind("email=first.last/sales@corp.test"), "email");
    assert_eq!(kind("indicator=first.last/sales@corp.test"), "url");
    assert_eq!(kind("url=evil.test"), "domain");
    assert_eq!(kind("email=evil.test"), "domain");
    let body = br#"{"email":"first.last/sales@corp.test"}"#;
    let request = request::apply_body("", body, ApplyForm::Json, &Sources::default());
    let indicator = request.expect("a good body").item.indicator;
    assert_eq!(indicator.map(|found| found.kind()), Ok("email"));
}

#[test]
fn a_host_does_not_move_below_a_name_that_stands_behind_it() {
    check(
        r"http://evil.test\.good.test/",
        "url",
        "http://evil.test/.good.test/",
    );
    check(
        r"HTTPS://evil.test\[.]good.test/x",
        "url",
        "https://evil.test/.good.test/x",
    );
    for slashes in ["/", r"\", r"//\"] {
        check(
            &format!(r"http://{slashes}evil.test\.good.test/"),
            "url",
            "http://evil.test/.good.test/",
        );
        refused(
            &format!(r"hxxp://{slashes}evil.test\.good.test/"),
            "ambiguous_host",
        );
    }
    refused(r"//evil.test\.good.test", "ambiguous_host");
    refused(r"hxxp://evil.test\.good.test/", "ambiguous_host");
    refused(r"evil.test\.good.test", "ambiguous_host");
    // Three numbers are an address to browsers, and so is one.
    check(r"http://198.51.100\.7/", "url", "http://198.51.0.100/.7/");
    check(
        r"http://198.51.100\.7:x@good.test/",
        "url",
        "http://198.51.0.100/.7:x@good.test/",
    );
    refused(r"hxxp://198.51.100\.7/", "ambiguous_host");
    check(r"hxxps[:]//evil\.test/a", "url", "https://evil.test/a");
    check(r"http://evil\.test/a", "url", "http://evil.test/a");
    check(r"http://192\.0\.2\.1/a", "url", "http://192.0.2.1/a");
    check(r"evil\.sub\.test", "domain", "evil.sub.test");
    let as_url = Indicator::parse_as(r"evil.test\.good.test", indicators::Kind::Url);
    assert!(as_url.is_err());
}

#[test]
fn hashes_are_told_apart_by_their_length() {
    for (length, kind) in [(32, "md5"), (40, "sha1"), (64, "sha256"), (128, "sha512")] {
        check(&"A".repeat(length), kind, &"a".repeat(length));
        refused(&"g".repeat(length), "not_recognised");
    }
    refused(&"a".repeat(33), "not_recognised");
}

#[test]
fn what_is_nothing_is_refused() {
    refused("", "empty");
    refused(" \t ", "empty");
    refused("evil.test\0", "control_character");
    refused(&"a".repeat(2049), "too_long");
    refused("two words", "not_recognised");
}

/// Pieces that make parsers stumble, put together at random.
fn awkward() -> impl Strategy<Value = String> {
    let pieces = [
        "hxxp",
        "http",
        "://",
        "[.]",
        "(dot)",
        "[",
        "]",
        ".",
        "..",
        "@",
        "[at]",
        "/",
        "//",
        "/24",
        "/128",
        ":",
        "::",
        "::ffff:",
        "192.0.2.1",
        "999",
        "%",
        "%2e",
        "%zz",
        "é",
        "。",
        "xn--",
        "-",
        "_",
        "a",
        "evil.test",
        ",",
        "#",
        "?",
        "\u{202e}",
        "\u{0}",
        " ",
        "\"",
        "*.",
        "#!",
        "version:",
        "\n",
        "&",
        "=",
        "indicators=",
        "+",
        "0x7f",
        "\\.",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..12)
        .prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_makes_the_parsers_panic(text in prop_oneof![any::<String>(), awkward()]) {
        let parsed = text.parse::<Indicator>();
        let _ = request::score_query(&text, &Sources::default());
        let _ = request::apply_query(&text, &Sources::default());
        for form in [BodyForm::Json, BodyForm::Lines] {
            let _ = request::score_body("", text.as_bytes(), form, &Sources::default());
        }
        for form in [ApplyForm::Json, ApplyForm::Form] {
            let _ = request::apply_body("", text.as_bytes(), form, &Sources::default());
        }
        for kind in [ListKind::Whitelist, ListKind::Blacklist, ListKind::Darklist, ListKind::Feed] {
            let list = List::parse(kind, "any", text.as_bytes());
            if let Ok(indicator) = &parsed {
                let _ = list.find(indicator);
            }
        }
    }

    #[test]
    fn bytes_that_are_no_text_do_not_make_lists_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = List::parse(ListKind::Feed, "any", &bytes);
        for form in [BodyForm::Json, BodyForm::Lines] {
            let _ = request::score_body("", &bytes, form, &Sources::default());
        }
    }

    #[test]
    fn a_domain_parses_to_itself_and_is_found_in_any_spelling(
        labels in prop::collection::vec("[a-z][a-z0-9]{0,8}", 1..4),
        shout in any::<bool>(),
        defanged in any::<bool>(),
    ) {
        let name = format!("{}.test", labels.join("."));
        let mut spelling = if shout { name.to_uppercase() } else { format!("{name}.") };
        if defanged {
            spelling = spelling.replace('.', "[.]");
        }
        let indicator: Indicator = spelling.parse().expect("a domain");
        prop_assert_eq!(indicator.to_string(), name.clone());
        prop_assert_eq!(name.parse::<Indicator>().expect("a domain"), indicator.clone());
        let list = List::parse(ListKind::Feed, "any", name.as_bytes());
        prop_assert!(list.find(&indicator).is_some());
    }

    #[test]
    fn an_address_is_found_in_every_range_that_holds_it(bits in any::<u32>(), length in 8u8..=32) {
        let address = std::net::Ipv4Addr::from(bits);
        let range = format!("{address}/{length}");
        let list = List::parse(ListKind::Blacklist, "any", range.as_bytes());
        let indicator: Indicator = address.to_string().parse().expect("an address");
        prop_assert!(list.find(&indicator).is_some(), "{} in {}", address, range);
    }
}
