//! Undoing what analysts do to indicators so that nobody clicks on them.
//!
//! `hxxp://evil[.]test`, `evil(dot)test`, `mallory[at]evil.test`, `hxxps[:]//evil\.test` all mean what they meant before. Square
//! brackets around an IPv6 address are left alone, because only brackets around one of the known tokens are taken away.
//!
//! `\.` is a dot to analysts, and to browsers the end of a host: `http://evil.test\.good.test/` leads to `evil.test`. Whoever is to
//! be found out chooses the text, so the host of a URL that is not disguised is read as browsers do; and where both readings
//! give a host that leads somewhere, neither is taken.

use super::IndicatorError;

/// What may stand between brackets, and what it stands for.
const TOKENS: [(&str, &str); 8] = [
    (".", "."),
    ("\\.", "."),
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
///
/// # Errors
/// When it is not to be told where its host ends.
pub(super) fn refang(text: &str) -> Result<String, IndicatorError> {
    let text = unwrapped(text);
    let Some((scheme, rest)) = split_scheme(&text) else {
        return with_plain_dots(&text);
    };
    let real = SCHEMES
        .iter()
        .find(|(disguise, _)| scheme.eq_ignore_ascii_case(disguise));
    match real {
        Some((_, real)) => Ok(format!("{real}://{}", with_plain_dots(rest)?)),
        None => {
            let (slashes, rest) = split_slashes(rest);
            let (host, behind) = rest.split_at(host_end(rest));
            let (plain, behind) = (plain_dots(host), plain_dots(behind));
            let host = if leads_elsewhere(host, &plain) {
                host
            } else {
                &plain
            };
            Ok(format!("{scheme}://{slashes}{host}{behind}"))
        }
    }
}

/// What stands before the `://` and behind it, unless that is part of a path or a query: `evil.test/to?u=http://a.test`.
pub(super) fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    (!scheme.contains(['/', '?', '#', '\\'])).then_some((scheme, rest))
}

/// The text, which begins with a host, with plain dots for `\.`.
fn with_plain_dots(text: &str) -> Result<String, IndicatorError> {
    let (slashes, rest) = split_slashes(text);
    let (host, behind) = rest.split_at(host_end(rest));
    let plain = plain_dots(host);
    if leads_elsewhere(host, &plain) {
        return Err(IndicatorError::AmbiguousHost);
    }
    Ok(format!("{slashes}{plain}{}", plain_dots(behind)))
}

/// The slashes of either kind that a text begins with, and the rest: a browser passes over any number of them before a host.
fn split_slashes(text: &str) -> (&str, &str) {
    let rest = text.trim_start_matches(['/', '\\']);
    text.split_at(text.len() - rest.len())
}

/// Where the host of a text that begins with one ends, if `\.` is a dot.
fn host_end(text: &str) -> usize {
    text.find(['/', '?', '#']).unwrap_or(text.len())
}

/// Whether a browser, which ends the host at a `\`, would go somewhere else than to the host with plain dots.
fn leads_elsewhere(host: &str, plain: &str) -> bool {
    let for_a_browser = host.split('\\').next().unwrap_or(host);
    // The first number of an address alone is one to a browser, too, but of nobody.
    let is_of_nobody = is_ipv4(plain) && !for_a_browser.contains('.');
    plain != host && leads_somewhere(for_a_browser) && !is_of_nobody
}

/// Whether a browser would find more than a bare word there.
fn leads_somewhere(host: &str) -> bool {
    match url::Url::parse(&format!("http://{host}/")) {
        Ok(url) => match url.host() {
            Some(url::Host::Domain(name)) => name.contains('.'),
            Some(url::Host::Ipv4(_) | url::Host::Ipv6(_)) => true,
            None => false,
        },
        Err(_) => false,
    }
}

/// Whether this is an address, perhaps with a port, and nothing else.
fn is_ipv4(host: &str) -> bool {
    let (address, port) = host.split_once(':').unwrap_or((host, ""));
    address.parse::<std::net::Ipv4Addr>().is_ok() && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// The text with plain dots for `\.`, and for `\\.`.
fn plain_dots(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for next in text.chars() {
        while next == '.' && out.ends_with('\\') {
            out.pop();
        }
        out.push(next);
    }
    out
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
                out.push(next);
                continue;
            }
        };
        match TOKENS
            .iter()
            .find(|(token, _)| ends_with(&out, open, token))
        {
            Some((token, real)) => {
                out.truncate(out.len() - token.len() - open.len_utf8());
                out.push_str(real);
            }
            None => out.push(next),
        }
    }
    out
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
            assert_eq!(refang(disguised).as_deref(), Ok(plain), "{disguised}");
        }
    }

    #[test]
    fn what_is_wrapped_a_million_times_is_unwrapped_in_one_go() {
        let (open, close) = ("(".repeat(1 << 20), ")".repeat(1 << 20));
        assert_eq!(refang(&format!("{open}.{close}")).as_deref(), Ok("."));
        assert_eq!(refang(&format!("{open}.")), Ok(format!("{open}.")));
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
            assert_eq!(refang(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn slashes_before_a_host_hide_it_no_more_than_from_a_browser() {
        for url in [
            "http:///evil.test\\.good.test/",
            "http:////evil.test\\.good.test/",
            "http://\\evil.test\\.good.test/",
            "http://\\/evil.test\\.good.test",
        ] {
            assert_eq!(refang(url).as_deref(), Ok(url));
        }
        for (disguised, plain) in [
            ("http:///evil\\.test/a\\.b", "http:///evil.test/a.b"),
            ("hxxp:///evil\\.test", "http:///evil.test"),
            ("//evil\\.test", "//evil.test"),
        ] {
            assert_eq!(refang(disguised).as_deref(), Ok(plain), "{disguised}");
        }
    }

    #[test]
    fn a_host_that_would_be_another_to_a_browser_is_not_taken() {
        for text in [
            "evil.test\\.good.test",
            "evil.test\\[.]good.test",
            "hxxp://evil.test\\.good.test/",
            "hxxp://evil.test:80\\.good.test/",
            "hxxp://evil%2etest\\.good.test/",
            "hxxp://3232235777\\.good\\.test/",
            "evil.test\\.x@good.test",
            "hxxp:///evil.test\\.good.test/",
            "hxxp://\\evil.test\\.good.test/",
            "//evil.test\\.good.test",
            "\\\\evil.test\\.good.test",
            "hxxp://198.51.100\\.7:x@good.test/",
            "198\\.51\\.100\\.7:80@good.test",
            "hxxp://198.51.100\\.7/",
            "192.0.2\\.1:80",
        ] {
            assert_eq!(refang(text), Err(IndicatorError::AmbiguousHost), "{text}");
        }
        for (disguised, plain) in [
            ("hxxp://evil\\.sub\\.test/a\\.b", "http://evil.sub.test/a.b"),
            ("192\\.0\\.2\\.1:80", "192.0.2.1:80"),
            ("mallory.x@evil\\.test", "mallory.x@evil.test"),
            ("evil[\\.]test", "evil.test"),
            (
                "http://evil.test\\.good.test/a\\.b",
                "http://evil.test\\.good.test/a.b",
            ),
        ] {
            assert_eq!(refang(disguised).as_deref(), Ok(plain), "{disguised}");
        }
    }
}
