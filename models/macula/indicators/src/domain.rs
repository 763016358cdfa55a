//! Domain names in their normal form: ASCII (IDNA), lower case, no trailing dot, at least two labels.

use std::fmt;

use idna::AsciiDenyList;

use super::IndicatorError;

/// A domain name below a top-level domain, in lower-case ASCII and without the final dot.
///
/// Underscores are accepted beside the letters, digits and hyphens of host names, because names in DNS traffic have them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DomainName(Box<str>);

impl DomainName {
    /// # Errors
    /// Names the rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, IndicatorError> {
        let domain = Self::parse_suffix(text)?;
        if !domain.0.contains('.') {
            return Err(invalid("it has only one label"));
        }
        Ok(domain)
    }

    /// Like [`parse`](Self::parse), but a single label is fine: list entries like `*.zip` speak of one.
    ///
    /// # Errors
    /// Names the rule the text breaks.
    pub fn parse_suffix(text: &str) -> Result<Self, IndicatorError> {
        let ascii = idna::domain_to_ascii_cow(text.as_bytes(), AsciiDenyList::URL)
            .map_err(|_| invalid("it does not convert to ASCII by the IDNA rules"))?;
        let name = ascii.strip_suffix('.').unwrap_or(&ascii);
        if name.len() > 253 {
            return Err(invalid("it is longer than 253 characters"));
        }
        for label in name.split('.') {
            check_label(label)?;
        }
        let top = name.rsplit('.').next().unwrap_or(name);
        if top.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(invalid("its last label is a number"));
        }
        Ok(DomainName(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is a name somebody can register, like `example.co.uk`: one label below a public suffix.
    pub fn is_registrable(&self) -> bool {
        psl::domain_str(&self.0) == Some(&self.0)
    }

    /// Whether unrelated parties register names right below this one (`com`, `co.uk`, `github.io`).
    pub fn is_public_suffix(&self) -> bool {
        psl::suffix_str(&self.0) == Some(&self.0)
    }

    /// The names above this one, nearest first: `b.c.test`, `c.test`, `test` for `a.b.c.test`.
    pub fn ancestors(&self) -> impl Iterator<Item = &str> {
        std::iter::successors(Some(&*self.0), |name| {
            name.split_once('.').map(|(_, parent)| parent)
        })
        .skip(1)
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check_label(label: &str) -> Result<(), IndicatorError> {
    if label.is_empty() {
        return Err(invalid("it has an empty label"));
    }
    if label.len() > 63 {
        return Err(invalid("it has a label longer than 63 characters"));
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err(invalid("it has a label that starts or ends with a hyphen"));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !label.bytes().all(allowed) {
        return Err(invalid(
            "only letters, digits, hyphens and underscores are allowed between its dots",
        ));
    }
    Ok(())
}

fn invalid(reason: &'static str) -> IndicatorError {
    IndicatorError::InvalidDomain { reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(text: &str) -> DomainName {
        DomainName::parse(text).expect("a valid name")
    }

    #[test]
    fn names_are_brought_into_one_form() {
        for (text, normal) in [
            ("Evil.TEST", "evil.test"),
            ("evil.test.", "evil.test"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
            ("evil。test", "evil.test"),
            ("_dmarc.evil.test", "_dmarc.evil.test"),
            ("a--b.test", "a--b.test"),
        ] {
            assert_eq!(domain(text).as_str(), normal, "{text}");
        }
    }

    #[test]
    fn names_dns_could_not_carry_are_refused() {
        let long_label = format!("{}.test", "a".repeat(64));
        let long_name = format!("{}test", "abcdefg.".repeat(32));
        for text in [
            "",
            ".",
            "..",
            "test",
            "a..test",
            ".evil.test",
            "-a.test",
            "a-.test",
            "evil.123",
            "a b.test",
            "a%b.test",
            "xn--zz--.test",
            &long_label,
            &long_name,
        ] {
            assert!(DomainName::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_public_suffix_list_decides_what_is_registrable() {
        assert!(domain("example.co.uk").is_registrable());
        assert!(domain("someone.github.io").is_registrable());
        assert!(domain("evil.test").is_registrable());
        assert!(!domain("www.evil.test").is_registrable());
        assert!(domain("co.uk").is_public_suffix());
        assert!(!domain("evil.test").is_public_suffix());
    }

    #[test]
    fn ancestors_come_nearest_first() {
        let name = domain("a.b.c.test");
        let above: Vec<_> = name.ancestors().collect();
        assert_eq!(above, ["b.c.test", "c.test", "test"]);
    }
}
