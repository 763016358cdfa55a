//! Indicators: the things whose danger is asked for.
//!
//! Text comes in as analysts write it: any letter case, defanged (`hxxp://evil[.]test`), with a trailing dot or in Unicode.
//! [`Indicator::from_str`] finds out which kind it is and makes one normal form of it, so that the rest of the crate compares
//! values and never spellings. [`Display`](fmt::Display) writes that normal form.

mod defang;
mod domain;
mod email;
mod hash;
mod kind;
mod web_url;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

pub use domain::DomainName;
pub use email::EmailAddress;
pub use hash::{FileHash, HashKind};
pub use kind::{Kind, UnknownKind};
pub use web_url::WebUrl;

/// The longest text taken for an indicator, in bytes. Browsers and list makers keep URLs under it.
pub const MAX_BYTES: usize = 2048;

/// The widest ranges accepted. Wider ones speak of half the Internet and of nobody in particular.
const WIDEST_V4: u8 = 8;
const WIDEST_V6: u8 = 32;

/// One thing to be scored, in its normal form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Indicator {
    /// A single address. An IPv4 address mapped into IPv6 is the IPv4 address.
    Ip(IpAddr),
    /// A range of at least two addresses, without host bits.
    Range(IpNet),
    /// A domain name.
    Domain(DomainName),
    /// A web or FTP address.
    Url(WebUrl),
    /// A mail address.
    Email(EmailAddress),
    /// The digest of a file.
    Hash(FileHash),
}

/// Where a URL or a mail address lives.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A literal address.
    Ip(IpAddr),
    /// A name.
    Name(DomainName),
}

impl Indicator {
    /// The kind, as answers name it.
    pub fn kind(&self) -> &'static str {
        match self {
            Indicator::Ip(_) => "ip",
            Indicator::Range(_) => "cidr",
            Indicator::Domain(_) => "domain",
            Indicator::Url(_) => "url",
            Indicator::Email(_) => "email",
            Indicator::Hash(hash) => hash.kind().name(),
        }
    }
}

impl fmt::Display for Indicator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Indicator::Ip(ip) => ip.fmt(f),
            Indicator::Range(range) => range.fmt(f),
            Indicator::Domain(domain) => domain.fmt(f),
            Indicator::Url(url) => url.fmt(f),
            Indicator::Email(email) => email.fmt(f),
            Indicator::Hash(hash) => hash.fmt(f),
        }
    }
}

impl FromStr for Indicator {
    type Err = IndicatorError;

    /// Detects the kind and parses.
    ///
    /// # Errors
    /// Says which rule the text breaks; [`IndicatorError::code`] is stable and made for programs.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        detect(&prepared(text)?)
    }
}

/// The text within its bounds and without its disguise.
fn prepared(text: &str) -> Result<String, IndicatorError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(IndicatorError::Empty);
    }
    if text.len() > MAX_BYTES {
        return Err(IndicatorError::TooLong { bytes: text.len() });
    }
    if text.chars().any(char::is_control) {
        return Err(IndicatorError::ControlCharacter);
    }
    defang::refang(text)
}

/// Tries the kinds from the most to the least recognisable.
fn detect(text: &str) -> Result<Indicator, IndicatorError> {
    if defang::split_scheme(text).is_some() {
        return WebUrl::parse(text).map(Indicator::Url);
    }
    if let Some(hash) = FileHash::parse(text) {
        return Ok(Indicator::Hash(hash));
    }
    if let Some(ip) = parse_ip(text) {
        return Ok(Indicator::Ip(ip));
    }
    if let Some((address, length)) = text.split_once('/')
        && let Some(ip) = parse_ip_as_written(address)
        && !length.is_empty()
        && length.bytes().all(|byte| byte.is_ascii_digit())
    {
        return parse_range(ip, length);
    }
    if let Some((before, _)) = text.rsplit_once('@') {
        // What may stand before the `@` of a mail address may as well be a host and a path: `evil.test/login?as=bob@good.test`.
        return match before.split_once(['/', '?', '#', '\\']) {
            Some((host, _)) => without_scheme(text).or_else(|error| {
                if is_bare_word(host) {
                    EmailAddress::parse(text).map(Indicator::Email)
                } else {
                    Err(error)
                }
            }),
            None => EmailAddress::parse(text).map(Indicator::Email),
        };
    }
    if has_path_or_port(text) {
        return without_scheme(text);
    }
    if looks_like_ipv4(text) {
        return Err(IndicatorError::InvalidIp);
    }
    if !text.contains(['.', '\u{3002}', '\u{ff0e}', '\u{ff61}']) {
        return Err(IndicatorError::NotRecognised);
    }
    DomainName::parse(text).map(Indicator::Domain)
}

/// A URL whose scheme was left out. A host without a dot is more likely no indicator at all.
fn without_scheme(text: &str) -> Result<Indicator, IndicatorError> {
    WebUrl::parse(&format!("http://{text}"))
        .map(Indicator::Url)
        .map_err(|_| IndicatorError::NotRecognised)
}

/// Whether nobody takes this for a host with a dot, however it is written.
fn is_bare_word(text: &str) -> bool {
    text.is_ascii() && !text.contains(['.', '%'])
}

fn parse_ip(text: &str) -> Option<IpAddr> {
    parse_ip_as_written(text).map(|ip| ip.to_canonical())
}

/// Like [`parse_ip`], but keeps an IPv4-mapped address in IPv6, where a prefix length counts from.
fn parse_ip_as_written(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    match bare {
        Some(inner) => inner.parse().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    }
}

fn parse_range(ip: IpAddr, length: &str) -> Result<Indicator, IndicatorError> {
    let length: u8 = length.parse().map_err(|_| IndicatorError::InvalidRange)?;
    let range = IpNet::new(ip, length).map_err(|_| IndicatorError::InvalidRange)?;
    let range = unmapped(range.trunc());
    if range.prefix_len() == range.max_prefix_len() {
        return Ok(Indicator::Ip(range.addr()));
    }
    let widest = if range.addr().is_ipv4() {
        WIDEST_V4
    } else {
        WIDEST_V6
    };
    if range.prefix_len() < widest {
        return Err(IndicatorError::RangeTooWide { widest });
    }
    Ok(Indicator::Range(range))
}

/// A range inside `::ffff:0:0/96` is an IPv4 range in disguise.
fn unmapped(range: IpNet) -> IpNet {
    if let IpNet::V6(v6) = range
        && let Some(v4) = v6.addr().to_ipv4_mapped()
        && let Some(length) = v6.prefix_len().checked_sub(96)
        && let Ok(v4) = Ipv4Net::new(v4, length)
    {
        return IpNet::V4(v4);
    }
    range
}

fn has_path_or_port(text: &str) -> bool {
    if text.contains(['/', '?']) {
        return true;
    }
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Four dotted numbers that are no address (`1.2.3.999`, `01.2.3.4`) deserve a better word than "not a domain".
fn looks_like_ipv4(text: &str) -> bool {
    text.contains('.')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// Why a text is no indicator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndicatorError {
    /// Nothing but white space.
    #[error("the indicator is empty")]
    Empty,
    /// Over [`MAX_BYTES`].
    #[error("the indicator has {bytes} bytes; at most {MAX_BYTES} are accepted")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Line breaks, NUL and the like.
    #[error("the indicator contains a control character")]
    ControlCharacter,
    /// Percent-decoding gave something that is not text.
    #[error("the indicator is not valid UTF-8")]
    InvalidUtf8,
    /// A number, an object, … in a JSON array of indicators.
    #[error("an indicator must be a JSON string")]
    NotAString,
    /// Something, but not what the caller said it is.
    #[error("expected an indicator of type {wanted}, but this is of type {found}")]
    OtherKind {
        /// What the caller said.
        wanted: Kind,
        /// What it looks like.
        found: &'static str,
    },
    /// `\.` may be a dot or the end of a host, and either gives a host.
    #[error(
        "`\\.` may be a dot or, as browsers read it, the end of the host; write its dots plainly, or all of them as `[.]`"
    )]
    AmbiguousHost,
    /// None of the kinds.
    #[error(
        "not recognised as an IP address, CIDR range, domain, URL, e-mail address or file hash"
    )]
    NotRecognised,
    /// Dotted numbers outside the rules.
    #[error("not a valid IPv4 address (four numbers from 0 to 255 without leading zeros)")]
    InvalidIp,
    /// A prefix length the address family does not have.
    #[error("not a valid CIDR range: the prefix length must be 0-32 for IPv4 and 0-128 for IPv6")]
    InvalidRange,
    /// Wider than we are willing to speak about.
    #[error("the range is too wide: the widest accepted is /{widest}")]
    RangeTooWide {
        /// The shortest prefix length accepted in this family.
        widest: u8,
    },
    /// A name DNS could not carry.
    #[error("not a valid domain name: {reason}")]
    InvalidDomain {
        /// The rule it breaks.
        reason: &'static str,
    },
    /// Not a URL.
    #[error("not a valid URL: {reason}")]
    InvalidUrl {
        /// The rule it breaks.
        reason: String,
    },
    /// A scheme with no host to judge, or none we know.
    #[error(
        "URLs of scheme `{scheme}` are not supported; supported are http, https, ftp, ws and wss"
    )]
    UnsupportedScheme {
        /// What stands before `://`.
        scheme: String,
    },
    /// Not a mail address.
    #[error("not a valid e-mail address: {reason}")]
    InvalidEmail {
        /// The rule it breaks.
        reason: String,
    },
}

impl IndicatorError {
    /// A word for programs; it stays the same between versions.
    pub fn code(&self) -> &'static str {
        match self {
            IndicatorError::Empty => "empty",
            IndicatorError::TooLong { .. } => "too_long",
            IndicatorError::ControlCharacter => "control_character",
            IndicatorError::InvalidUtf8 => "invalid_utf8",
            IndicatorError::NotAString => "not_a_string",
            IndicatorError::OtherKind { .. } => "other_type",
            IndicatorError::AmbiguousHost => "ambiguous_host",
            IndicatorError::NotRecognised => "not_recognised",
            IndicatorError::InvalidIp => "invalid_ip",
            IndicatorError::InvalidRange => "invalid_cidr",
            IndicatorError::RangeTooWide { .. } => "cidr_too_wide",
            IndicatorError::InvalidDomain { .. } => "invalid_domain",
            IndicatorError::InvalidUrl { .. } => "invalid_url",
            IndicatorError::UnsupportedScheme { .. } => "unsupported_scheme",
            IndicatorError::InvalidEmail { .. } => "invalid_email",
        }
    }
}
