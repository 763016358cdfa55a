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
                let set = self.options.set(&name, &decoded(value), self.sources);
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
