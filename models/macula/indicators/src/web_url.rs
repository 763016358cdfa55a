//! URLs in their normal form, made so that two spellings of one address compare equal.
//!
//! Scheme and host are lower case, the host is ASCII (IDNA) or a literal address, the default port and the fragment are gone, dot
//! segments are resolved, escapes that were never needed (`%61` for `a`) are undone, and a bare `%` is written `%25`. User information is
//! dropped: what stands before the `@` is where phishers write the name of a bank, and it does not change where the URL leads.

use std::fmt;

use super::defang::refang;
use super::{DomainName, Host, IndicatorError};

/// So often a URL may turn out to have been disguised.
const MOST_DISGUISES: usize = 8;

/// A URL with a host we can judge.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WebUrl {
    normal: Box<str>,
    host: Host,
}

impl WebUrl {
    /// # Errors
    /// Names the rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, IndicatorError> {
        let mut url = Self::parse_once(text)?;
        // What was no disguise may have become one: `(\)` is `(/)` now. The normal form must be understood as itself.
        for _ in 0..MOST_DISGUISES {
            let plain = refang(&url.normal)?;
            if *plain == *url.normal {
                return Ok(url);
            }
            url = Self::parse_once(&plain)?;
        }
        Err(invalid("it is disguised too often"))
    }

    fn parse_once(text: &str) -> Result<Self, IndicatorError> {
        let scheme = text.split("://").next().unwrap_or_default();
        let known = ["http", "https", "ftp", "ws", "wss"];
        if !known.iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return Err(unsupported(scheme));
        }
        let url = url::Url::parse(text).map_err(|error| invalid(error.to_string()))?;
        let host = match url.host() {
            Some(url::Host::Domain(name)) => Host::Name(
                DomainName::parse(name).map_err(|error| invalid(format!("its host is {error}")))?,
            ),
            Some(url::Host::Ipv4(ip)) => Host::Ip(ip.into()),
            Some(url::Host::Ipv6(ip)) => Host::Ip(std::net::IpAddr::V6(ip).to_canonical()),
            None => return Err(invalid("it has no host")),
        };
        let mut normal = format!("{}://{host}", url.scheme());
        if let Some(port) = url.port() {
            normal.push_str(&format!(":{port}"));
        }
        push_with_plain_escapes(&mut normal, url.path());
        if let Some(query) = url.query() {
            normal.push('?');
            push_with_plain_escapes(&mut normal, query);
        }
        let normal = normal.into();
        Ok(WebUrl { normal, host })
    }

    /// The normal form.
    pub fn as_str(&self) -> &str {
        &self.normal
    }

    /// Where it leads.
    pub fn host(&self) -> &Host {
        &self.host
    }
}

impl fmt::Display for WebUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.normal)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Ip(std::net::IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Host::Ip(ip) => ip.fmt(f),
            Host::Name(name) => name.fmt(f),
        }
    }
}

/// Appends `text`, undoing the escapes of characters that mean themselves everywhere and writing the others in capitals.
fn push_with_plain_escapes(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 3);
        let byte = code
            .filter(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|code| u8::from_str_radix(code, 16).ok());
        let Some(byte) = byte else {
            // A bare percent sign, which must not make an escape of what comes behind it.
            out.push_str("%25");
            rest = &rest[at + 1..];
            continue;
        };
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        rest = &rest[at + 3..];
    }
    out.push_str(rest);
}

fn invalid(reason: impl Into<String>) -> IndicatorError {
    IndicatorError::InvalidUrl {
        reason: reason.into(),
    }
}

fn unsupported(scheme: &str) -> IndicatorError {
    let shape = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    if scheme.is_empty() || !scheme.chars().all(shape) {
        return invalid("what stands before `://` is no scheme");
    }
    IndicatorError::UnsupportedScheme {
        scheme: scheme.to_ascii_lowercase(),
    }
}
