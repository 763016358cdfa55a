//! The kinds of indicators, for callers who know what they have.

use std::fmt;
use std::str::FromStr;

use super::defang::split_scheme;
use super::{DomainName, EmailAddress, Indicator, IndicatorError, WebUrl, prepared};

/// What a caller says an indicator is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A single address.
    Ip,
    /// A range.
    Cidr,
    /// A name.
    Domain,
    /// A web or FTP address.
    Url,
    /// A mail address.
    Email,
    /// A digest of any length.
    Hash,
    /// 128 bits.
    Md5,
    /// 160 bits.
    Sha1,
    /// 256 bits.
    Sha256,
    /// 512 bits.
    Sha512,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 10] = [
        Kind::Ip,
        Kind::Cidr,
        Kind::Domain,
        Kind::Url,
        Kind::Email,
        Kind::Hash,
        Kind::Md5,
        Kind::Sha1,
        Kind::Sha256,
        Kind::Sha512,
    ];

    /// The name answers use.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ip => "ip",
            Kind::Cidr => "cidr",
            Kind::Domain => "domain",
            Kind::Url => "url",
            Kind::Email => "email",
            Kind::Hash => "hash",
            Kind::Md5 => "md5",
            Kind::Sha1 => "sha1",
            Kind::Sha256 => "sha256",
            Kind::Sha512 => "sha512",
        }
    }

    fn fits(self, indicator: &Indicator) -> bool {
        self.name() == indicator.kind()
            || (self == Kind::Hash && matches!(indicator, Indicator::Hash(_)))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Kind, UnknownKind> {
        let known = Kind::ALL.into_iter().find(|kind| kind.name() == text);
        known.ok_or(UnknownKind)
    }
}

/// No kind of indicator is called so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no kind of indicator is called so")]
pub struct UnknownKind;

impl Indicator {
    /// Parses what is known to be of this kind: `evil.test` is a URL if the caller says so, and `192.0.2.256` no domain.
    ///
    /// # Errors
    /// When it is not of that kind, or breaks its rules.
    pub fn parse_as(text: &str, kind: Kind) -> Result<Indicator, IndicatorError> {
        let parsed = match kind {
            Kind::Url => {
                let text = prepared(text)?;
                let with_scheme = if split_scheme(&text).is_some() {
                    text
                } else {
                    format!("http://{text}")
                };
                WebUrl::parse(&with_scheme).map(Indicator::Url)
            }
            Kind::Domain => DomainName::parse(&prepared(text)?).map(Indicator::Domain),
            Kind::Email => EmailAddress::parse(&prepared(text)?).map(Indicator::Email),
            Kind::Ip
            | Kind::Cidr
            | Kind::Hash
            | Kind::Md5
            | Kind::Sha1
            | Kind::Sha256
            | Kind::Sha512 => text.parse(),
        }?;
        if kind.fits(&parsed) {
            Ok(parsed)
        } else {
            Err(IndicatorError::OtherKind {
                wanted: kind,
                found: parsed.kind(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_that_is_given_is_not_guessed() {
        for (text, kind, normal) in [
            ("evil.test", Kind::Url, "http://evil.test/"),
            ("hxxp://evil[.]test/x", Kind::Url, "http://evil.test/x"),
            ("Evil[.]test.", Kind::Domain, "evil.test"),
            ("::1", Kind::Ip, "::1"),
            ("192.0.2.0/24", Kind::Cidr, "192.0.2.0/24"),
            ("eve[at]evil.test", Kind::Email, "eve@evil.test"),
        ] {
            let parsed = Indicator::parse_as(text, kind).map(|parsed| parsed.to_string());
            assert_eq!(parsed.as_deref(), Ok(normal), "{text} as {kind}");
        }
        let md5 = "44d88612fea8a8f36de82e1278abb02f";
        assert!(Indicator::parse_as(md5, Kind::Hash).is_ok());
        assert!(Indicator::parse_as(md5, Kind::Md5).is_ok());
        for (text, kind, code) in [
            (md5, Kind::Sha1, "other_type"),
            ("evil.test", Kind::Ip, "other_type"),
            ("192.0.2.1", Kind::Cidr, "other_type"),
            ("192.0.2.1", Kind::Domain, "invalid_domain"),
            ("evil.test", Kind::Email, "invalid_email"),
            ("", Kind::Url, "empty"),
            (r"//evil.test\.good.test", Kind::Url, "ambiguous_host"),
            (r"\\evil.test\.good.test", Kind::Url, "ambiguous_host"),
        ] {
            let refused = Indicator::parse_as(text, kind).map_err(|error| error.code());
            assert_eq!(refused, Err(code), "{text} as {kind}");
        }
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
    }
}
