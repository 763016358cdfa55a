//! Mail addresses in their normal form: lower case, the domain as [`DomainName`].

use std::fmt;

use super::{DomainName, IndicatorError};

/// A mail address without display name, quotes or comments.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EmailAddress {
    local: Box<str>,
    domain: DomainName,
}

impl EmailAddress {
    /// # Errors
    /// Names the rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, IndicatorError> {
        let (local, domain) = text
            .rsplit_once('@')
            .ok_or_else(|| invalid("it has no `@`"))?;
        if text.len() > 320 {
            return Err(invalid("it is longer than 320 bytes"));
        }
        if local.is_empty() {
            return Err(invalid("nothing stands before the `@`"));
        }
        if local.len() > 64 {
            return Err(invalid("more than 64 bytes stand before the `@`"));
        }
        let allowed = |c: char| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
        if !local.chars().all(allowed) {
            return Err(invalid("a character before the `@` is not allowed there"));
        }
        let domain = DomainName::parse(domain).map_err(|error| invalid(error.to_string()))?;
        // The standard lets a mail host tell `A@` from `a@`. None in use does, and senders write either.
        let local = local.to_lowercase().into();
        Ok(EmailAddress { local, domain })
    }

    /// What stands behind the `@`.
    pub fn domain(&self) -> &DomainName {
        &self.domain
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}

fn invalid(reason: impl Into<String>) -> IndicatorError {
    IndicatorError::InvalidEmail {
        reason: reason.into(),
    }
}
