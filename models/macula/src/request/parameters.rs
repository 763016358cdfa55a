//! Options as they come in, one by one, whoever sends them.

use std::borrow::Cow;
use std::collections::HashSet;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::{MAX_WARNINGS, RequestError};
use crate::feature_set::Sources;
use crate::options::{self, OptionError, Options};

/// Options being read. Whether a name nobody knows is refused can be told only at the end, for `strict` may come last.
pub(super) struct Parameters<'s> {
    sources: &'s Sources,
    options: Options,
    seen: HashSet<String>,
    unknown: Vec<RequestError>,
    /// The first that may have been meant to keep the indicator from somebody.
    confidential: Option<RequestError>,
    own: &'static [&'static str],
}

impl<'s> Parameters<'s> {
    /// Begins with these options; `own` are the parameters that stand beside them.
    pub(super) fn new(
        options: Options,
        own: &'static [&'static str],
        sources: &'s Sources,
    ) -> Parameters<'s> {
        Parameters {
            sources,
            options,
            seen: HashSet::new(),
            unknown: Vec::new(),
            confidential: None,
            own,
        }
    }

    /// Notes what came of setting an option, which may be done once.
    fn note(&mut self, name: &str, set: Result<(), OptionError>) -> Result<(), RequestError> {
        match set {
            Err(OptionError::Unknown { .. }) => {
                let known = [self.own, &options::NAMES].concat();
                if self.unknown.len() < MAX_WARNINGS {
                    self.unknown.push(RequestError::unknown(name, &known));
                }
                Ok(())
            }
            Err(source @ OptionError::Value { .. }) => Err(RequestError::Option { source }),
            Ok(()) if self.seen.insert(name.to_owned()) => Ok(()),
            Ok(()) => Err(RequestError::Twice {
                name: name.to_owned(),
            }),
        }
    }

    /// Notes a name nobody knows that may be meant for an option that keeps indicators confidential: but for capitals it is one,
    /// or nearly, and its value is one that the option takes. That must not be dropped, strict or not: the indicator would go out.
    fn heed(
        &mut self,
        name: &str,
        set: &Result<(), OptionError>,
        take: impl Fn(&mut Options, &str) -> Result<(), OptionError>,
    ) {
        if !matches!(set, Err(OptionError::Unknown { .. })) || self.confidential.is_some() {
            return;
        }
        let meant = options::CONFIDENTIAL.into_iter().find(|option| {
            let takes = || take(&mut Options::default(), option).is_ok();
            name.eq_ignore_ascii_case(option) || (gatherers::is_slip_of(name, option) && takes())
        });
        self.confidential = meant.map(|meant| RequestError::Unknown {
            name: name.chars().take(80).collect(),
            hint: format!("did you mean `{meant}`?"),
        });
    }

    /// Goes through a query string: hands the names and values in `own` to `take`, the values still encoded, and sets options by the others.
    pub(super) fn query<'q>(
        &mut self,
        query: &'q str,
        mut take: impl FnMut(&str, &'q str),
    ) -> Result<(), RequestError> {
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decoded(name);
            if self.own.contains(&&*name) {
                take(&name, value);
            } else {
                let value = decoded(value);
                let set = self.options.set(&name, &value, self.sources);
                self.heed(&name, &set, |options, name| {
                    options.set(name, &value, self.sources)
                });
                self.note(&name, set)?;
            }
        }
        Ok(())
    }

    /// The options of a JSON object. They take the place of the same in the query string; null stands for nothing chosen.
    pub(super) fn object(&mut self, chosen: &Map<String, Value>) -> Result<(), RequestError> {
        self.seen.clear();
        for (name, value) in chosen.iter().filter(|(_, value)| !value.is_null()) {
            let set = self.options.set_json(name, value, self.sources);
            self.heed(name, &set, |options, name| {
                let set = options.set_json(name, value, self.sources);
                set.or_else(|error| match value.as_str() {
                    Some(text) => options.set(name, text, self.sources),
                    None => Err(error),
                })
            });
            self.note(name, set)?;
        }
        Ok(())
    }

    /// The options, and warnings about what is no option; in strict mode that is an error.
    pub(super) fn finish(self) -> Result<(Options, Vec<String>), RequestError> {
        let mut unknown = self.unknown.into_iter();
        if self.options.strict
            && let Some(first) = unknown.next()
        {
            return Err(first);
        }
        if let Some(meant) = self.confidential {
            return Err(meant);
        }
        let warning = |error: RequestError| match error.hint() {
            Some(hint) => format!("{error}; {hint}"),
            None => error.to_string(),
        };
        Ok((self.options, unknown.map(warning).collect()))
    }
}

fn decoded(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}
