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
    let text = unwrapped(text);
    if let Some((scheme, rest)) = text.split_once("://")
        && let Some((_, real)) = SCHEMES
            .iter()
            .find(|(disguise, _)| scheme.eq_ignore_ascii_case(disguise))
    {
        return format!("{real}://{rest}");
    }
    text
}

/// The text without what is wrapped around its tokens. A disguise may be wrapped in another one, `([.])`: what is taken off
/// is looked at where it ends, when all within it is plain already, so that once through the text is enough.
fn unwrapped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for next in text.chars() {
        let open = match next {
            ']' => '[',
            ')' => '(',
            '}' => '{',
            _ => {
                push(next, &mut out);
                continue;
            }
        };
        match TOKENS
            .iter()
            .find(|(token, _)| ends_with(&out, open, token))
        {
            Some((token, real)) => {
                out.truncate(out.len() - token.len() - open.len_utf8());
                real.chars().for_each(|plain| push(plain, &mut out));
            }
            None => out.push(next),
        }
    }
    out
}

/// A dot may be disguised as `\.`.
fn push(plain: char, out: &mut String) {
    while plain == '.' && out.ends_with('\\') {
        out.pop();
    }
    out.push(plain);
}

/// Whether a text ends with a bracket and a token in it, in any case.
fn ends_with(text: &str, open: char, token: &str) -> bool {
    let Some(start) = text.len().checked_sub(token.len()) else {
        return false;
    };
    text.is_char_boundary(start)
        && text[start..].eq_ignore_ascii_case(token)
        && text[..start].ends_with(open)
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
            ("evil({[dot]})test", "evil.test"),
            ("hxxp(:[/](/))evil\\[.]test", "http://evil.test"),
            ("evil\\\\.test", "evil.test"),
            ("evil(at(at)test", "evil(at@test"),
            ("fxp://evil.test", "ftp://evil.test"),
        ] {
            assert_eq!(refang(disguised), plain, "{disguised}");
        }
    }

    #[test]
    fn what_is_wrapped_a_million_times_is_unwrapped_in_one_go() {
        let (open, close) = ("(".repeat(1 << 20), ")".repeat(1 << 20));
        assert_eq!(refang(&format!("{open}.{close}")), ".");
        assert_eq!(refang(&format!("{open}.")), format!("{open}."));
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
