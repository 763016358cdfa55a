//! Undoing what analysts do to indicators so that nobody clicks on them.
//!
//! `hxxp://evil[.]test`, `evil(dot)test`, `mallory[at]evil.test`, `hxxps[:]//evil\.test` all mean what they meant before. Square
//! brackets around an IPv6 address are left alone, because only brackets around one of the known tokens are taken away.

/// What may stand between brackets, and what it stands for.
const TOKENS: [(&str, &str); 7] = [
    (".", "."),
    ("dot", "."),
    ("@", "@"),
    ("at", "@"),
    (":", ":"),
    ("://", "://"),
    ("/", "/"),
];

/// Schemes made unclickable, and the real ones.
const SCHEMES: [(&str, &str); 4] = [
    ("hxxp", "http"),
    ("hxxps", "https"),
    ("fxp", "ftp"),
    ("hxtp", "http"),
];

/// The text with every known disguise taken off; text without any comes back as it was.
pub(super) fn refang(text: &str) -> String {
    let mut text = text.to_owned();
    // A disguise may be wrapped in another one, `([.])`. Every round makes the text shorter, so this ends.
    while let Some(shorter) = unwrapped_once(&text) {
        text = shorter;
    }
    if let Some((scheme, rest)) = text.split_once("://")
        && let Some((_, real)) = SCHEMES
            .iter()
            .find(|(disguise, _)| scheme.eq_ignore_ascii_case(disguise))
    {
        return format!("{real}://{rest}");
    }
    text
}

/// One pass over the text, or nothing if there was nothing to do.
fn unwrapped_once(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some((real, length)) = token_at_start(rest) {
            out.push_str(real);
            rest = &rest[length..];
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    (out.len() < text.len()).then_some(out)
}

/// The meaning of the disguise `text` starts with, and how many bytes it takes.
fn token_at_start(text: &str) -> Option<(&'static str, usize)> {
    if text.starts_with("\\.") {
        return Some((".", 2));
    }
    let close = match text.as_bytes().first()? {
        b'[' => ']',
        b'(' => ')',
        b'{' => '}',
        _ => return None,
    };
    let inner = &text[1..1 + text[1..].find(close)?];
    let (_, real) = TOKENS
        .iter()
        .find(|(token, _)| inner.eq_ignore_ascii_case(token))?;
    Some((real, inner.len() + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disguises_are_taken_off() {
        for (disguised, plain) in [
            ("hxxp://evil[.]test/a", "http://evil.test/a"),
            ("hXXps[:]//evil(.)test", "https://evil.test"),
            ("hxxps[://]evil{.}test", "https://evil.test"),
            ("evil[dot]sub(DOT)test", "evil.sub.test"),
            ("mallory[at]evil[.]test", "mallory@evil.test"),
            ("mallory[@]evil.test", "mallory@evil.test"),
            ("192[.]0[.]2[.]7", "192.0.2.7"),
            ("evil\\.test", "evil.test"),
            ("evil([.])test", "evil.test"),
            ("fxp://evil.test", "ftp://evil.test"),
        ] {
            assert_eq!(refang(disguised), plain, "{disguised}");
        }
    }

    #[test]
    fn what_is_no_disguise_stays() {
        for text in [
            "http://[2001:db8::1]/",
            "http://evil.test/a(b)c[d]",
            "hxxp.test",
            "[",
            "a[.",
            "",
            "[é]",
        ] {
            assert_eq!(refang(text), text);
        }
    }
}
