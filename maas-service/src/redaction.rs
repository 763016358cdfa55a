//! Leaving out what may be secret, of texts that more people read than their writers thought of: what stands in ZooKeeper is open
//! to everyone.

/// What stands where something was left out.
pub(crate) const LEFT_OUT: &str = "…";

/// How the names of secrets end.
const SECRETS: [&str; 14] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "apikey",
    "api_key",
    "api-key",
    "access_key",
    "secret_key",
    "private_key",
    "credentials",
    AUTHORIZATION,
];

/// The one that consists of several words.
const AUTHORIZATION: &str = "authorization";

/// A line that somebody else has printed or caused, without passwords in URLs and without what is called a secret in it.
pub(crate) fn harmless(line: &str) -> String {
    without_named_secrets(&without_passwords(line))
}

/// A text without the values of what is named as secrets are, as in `DB_PASSWORD=…`, `"token": "…"` and `--api-key …`.
fn without_named_secrets(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut seen = 0;
    while let Some(at) = text[seen..].find([':', '=', ' ']) {
        let (told, rest) = text.split_at(seen + at + 1);
        shown.push_str(&told[seen..]);
        seen = told.len();
        let (name, separator) = told.split_at(told.len() - 1);
        let name = match separator {
            " " => name.rsplit(' ').next().filter(|word| takes_secret(word)),
            _ => Some(name).filter(|name| secret_name(name).is_some()),
        };
        let Some(name) = name else { continue };
        let value = rest.trim_start();
        let is_all = secret_name(name).is_some_and(|name| name.ends_with(AUTHORIZATION));
        let length = secret_length(value, is_all);
        if length > 0 {
            shown.push_str(LEFT_OUT);
            seen = text.len() - value.len() + length;
        }
    }
    shown.push_str(&text[seen..]);
    shown
}

/// Whether what follows a word after a blank is a secret: an option's value, or a token after its scheme.
fn takes_secret(word: &str) -> bool {
    let is_option = word.starts_with('-') && !word.contains([':', '=']);
    let scheme = word.trim_start_matches(['"', '\'']);
    is_option && secret_name(word).is_some() || scheme.eq_ignore_ascii_case("bearer")
}

/// How much of a text belongs to the secret with which it begins: what is in quotes, or up to a blank or the like. Where that is
/// not a plain word, as in `Some("…")`, `=> …` and `b'…'`, it is all that follows.
fn secret_length(value: &str, is_all: bool) -> usize {
    match value.chars().next() {
        None => 0,
        Some(quote @ ('"' | '\'')) => quoted_length(value, quote),
        Some(_) if is_all => value.find(['"', '\'']).unwrap_or(value.len()),
        Some(_) => {
            let end = value.find(ends_value).unwrap_or(value.len());
            let (word, rest) = value.split_at(end);
            let is_plain = word.contains(|c: char| c.is_alphanumeric());
            if is_plain && !rest.starts_with(['"', '\'', '`']) {
                end
            } else {
                value.len()
            }
        }
    }
}

/// The name, in small letters, with which a text ends, if it is one of a secret.
fn secret_name(text: &str) -> Option<String> {
    let text = text.trim_end().trim_end_matches(['"', '\'']);
    let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let name = &text[text.trim_end_matches(in_name).len()..];
    let name = name.to_ascii_lowercase();
    SECRETS
        .iter()
        .any(|end| name.ends_with(end))
        .then_some(name)
}

/// How long the quoted text is with which a text begins; all of the text when it has no end.
fn quoted_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn ends_value(c: char) -> bool {
    c.is_whitespace() || matches!(c, ',' | ';' | '&' | ')' | '}' | ']' | '"' | '\'' | '`')
}

/// A text without what stands in it for passwords in URLs: what is between `:` and `@` in front of a host.
pub(crate) fn without_passwords(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(':') {
        let (before, from) = rest.split_at(start + 1);
        shown.push_str(before);
        rest = from;
        // In JSON a slash may be written with a backslash before it.
        let slashes = from.len() - from.trim_start_matches(['/', '\\']).len();
        if !from[..slashes].contains('/') || from[..slashes].matches('/').count() < 2 {
            continue;
        }
        let (slashes, url) = from.split_at(slashes);
        let end = url.find(|c: char| c.is_whitespace() || matches!(c, '"' | '`' | '\''));
        let (url, behind) = url.split_at(end.unwrap_or(url.len()));
        shown.push_str(slashes);
        let authority = url.find('/').unwrap_or(url.len());
        // One that is cut off in front of its host, or in which a slash was not escaped, counts too.
        let at = url.rfind('@');
        let is_cut_off = at.is_none() && behind.is_empty() && authority == url.len();
        let password = match (url.find(':'), at.or(is_cut_off.then_some(url.len()))) {
            (Some(colon), Some(at)) if colon < at => colon + 1..at,
            _ => 0..0,
        };
        let may_be_port = is_cut_off || authority < password.end;
        if password.is_empty() || may_be_port && is_port(&url[password.clone()]) {
            shown.push_str(url);
        } else {
            shown.push_str(&url[..password.start]);
            shown.push_str(LEFT_OUT);
            shown.push_str(&url[password.end..]);
        }
        rest = behind;
    }
    shown.push_str(rest);
    shown
}

/// Whether what stands behind a colon begins with a port: only digits, up to a slash or the end.
fn is_port(text: &str) -> bool {
    let port = text.split('/').next().unwrap_or_default();
    port.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_as_a_secret_is_left_out_of_a_line_and_the_rest_is_shown() {
        for (line, expected) in [
            ("ready at port 80: ok", "ready at port 80: ok"),
            ("+ export DB_PASSWORD=hunter2", "+ export DB_PASSWORD=…"),
            ("PGPASSWORD='hunter 2' psql", "PGPASSWORD=… psql"),
            (
                "server --api-key=hunter2 --port=1",
                "server --api-key=… --port=1",
            ),
            (
                r#"{"user":"joe","token": "hun\"ter2","n":1}"#,
                r#"{"user":"joe","token":…,"n":1}"#,
            ),
            (r#"{'secret': hunter2}"#, r#"{'secret':…}"#),
            (
                "POST /x?access_token=hunter2&n=1",
                "POST /x?access_token=…&n=1",
            ),
            ("Authorization: Bearer hunter2", "Authorization:…"),
            (
                r#"curl -H "Authorization: Basic hunter2" /x"#,
                r#"curl -H "Authorization:…" /x"#,
            ),
            (
                "no answer from http://joe:hunter2@db/x: 500",
                "no answer from http://joe:…@db/x: 500",
            ),
            ("password: hunter2", "password:…"),
            ("password : hunter2 x", "password :… x"),
            (
                r#"Config { password: Some("hunter2") }"#,
                "Config { password:…",
            ),
            (r#"password := "hunter2""#, "password :…"),
            ("password => hunter2", "password =…"),
            ("connect(password=b'hunter2')", "connect(password=…"),
            (
                "server --password hunter2 --port 1",
                "server --password … --port 1",
            ),
            ("sent Bearer hunter2 to db", "sent Bearer … to db"),
            ("-H 'bearer hunter2'", "-H 'bearer …"),
            ("the token was refused", "the token was refused"),
            ("wrong password:", "wrong password:"),
            // Of those that count there is no harm.
            ("max_tokens=512, monkey=1", "max_tokens=512, monkey=1"),
            ("Grüße: Schlüssel=ü", "Grüße: Schlüssel=ü"),
            ("secret=ü", "secret=…"),
        ] {
            assert_eq!(harmless(line), expected);
        }
    }
}
