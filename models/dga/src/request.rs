//! What callers ask.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The most names in one request.
pub const MAX_ITEMS: usize = 10_000;

/// The most names in one request that are explained: an explanation takes as long as hundreds of verdicts.
pub const MAX_EXPLAINED: usize = 500;

/// `GET /apply?host=NAME&explain=true`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyQuery {
    /// The name, as it was written.
    pub host: String,
    /// Whether to tell what every feature contributed.
    pub explain: bool,
}

impl ApplyQuery {
    /// Reads a query string. What it has besides is passed over: callers hand whole maps of values to a model.
    ///
    /// # Errors
    /// When no host is given or `explain` is neither true nor false.
    pub fn parse(query: &str) -> Result<ApplyQuery, RequestError> {
        let mut host = None;
        let mut explain = false;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "host" => host = Some(value.into_owned()),
                "explain" => explain = truth(&value)?,
                _ => {}
            }
        }
        Ok(ApplyQuery {
            host: host.ok_or(RequestError::NoHost)?,
            explain,
        })
    }
}

/// Whether `explain` is asked for in the query of a batch.
///
/// # Errors
/// When `explain` is neither true nor false.
pub fn explain_of_batch(query: &str) -> Result<bool, RequestError> {
    let mut explain = false;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name == "explain" {
            explain = truth(&value)?;
        }
    }
    Ok(explain)
}

fn truth(text: &str) -> Result<bool, RequestError> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(RequestError::Explain),
    }
}

/// How names come and verdicts go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One JSON array.
    Array,
    /// A JSON value on each line.
    Lines,
}

/// One name of a batch, or what stood in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A name.
    Host(Cow<'a, str>),
    /// Something that is neither a string nor an object with a `host`.
    Other,
}

impl AsRef<str> for Item<'_> {
    fn as_ref(&self) -> &str {
        match self {
            Item::Host(host) => host,
            Item::Other => "",
        }
    }
}

/// Reads a batch: a JSON array, or a JSON value on each line, each a string or an object with a `host`.
///
/// # Errors
/// When the body is neither, or has too many names. An item that is no name is no error of the batch.
pub fn batch(body: &[u8]) -> Result<(Form, Vec<Item<'_>>), RequestError> {
    let (form, items) = if body.trim_ascii_start().first() == Some(&b'[') {
        (Form::Array, array(body)?)
    } else {
        (Form::Lines, lines(body)?)
    };
    match items.len() {
        0 => Err(RequestError::NoItems),
        count if count > MAX_ITEMS => Err(RequestError::TooMany { most: MAX_ITEMS }),
        _ => Ok((form, items)),
    }
}

/// The items of an array. One that JSON's grammar lets through and that can't be read, half a surrogate pair or brackets in
/// brackets in brackets, is its own trouble.
fn array(body: &[u8]) -> Result<Vec<Item<'_>>, RequestError> {
    let source = match serde_json::from_slice(body) {
        Ok(Items(items)) => return Ok(items),
        Err(source) => source,
    };
    let Ok(Items(pieces)) = serde_json::from_slice::<Items<&RawValue>>(body) else {
        return Err(RequestError::Json(source));
    };
    let items = pieces.into_iter();
    let items = items.map(|piece| serde_json::from_str(piece.get()).unwrap_or(Item::Other));
    Ok(items.collect())
}

fn lines(body: &[u8]) -> Result<Vec<Item<'_>>, RequestError> {
    let mut items = Vec::new();
    for line in body.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        if items.len() == MAX_ITEMS {
            return Err(RequestError::TooMany { most: MAX_ITEMS });
        }
        // A line that is broken is its own trouble: the others end where they end.
        items.push(serde_json::from_slice(line).unwrap_or(Item::Other));
    }
    Ok(items)
}

/// Items of an array, no more than one beyond what is allowed.
struct Items<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Items<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Array<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Array<T> {
            type Value = Items<T>;
            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("an array of names")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Items<T>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = array.next_element()? {
                    if items.len() <= MAX_ITEMS {
                        items.push(item);
                    }
                }
                Ok(Items(items))
            }
        }
        deserializer.deserialize_seq(Array(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Item<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ItemVisitor)
    }
}

struct ItemVisitor;

impl<'de> Visitor<'de> for ItemVisitor {
    type Value = Item<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a name, or an object with a `host`")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Item<'de>, E> {
        Ok(Item::Host(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Item<'de>, E> {
        Ok(Item::Host(Cow::Owned(text.to_owned())))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Item<'de>, A::Error> {
        let mut host = Item::Other;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if key == "host" {
                // What is no string in a string's place has no host either.
                host = map.next_value()?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(host)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Item<'de>, A::Error> {
        while array.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Item::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Item<'de>, E> {
        Ok(Item::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Item<'de>, E> {
        Ok(Item::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Item<'de>, E> {
        Ok(Item::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Item<'de>, E> {
        Ok(Item::Other)
    }

    fn visit_unit<E>(self) -> Result<Item<'de>, E> {
        Ok(Item::Other)
    }
}

/// Why a request cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// No host.
    #[error("the parameter `host` is missing")]
    NoHost,
    /// A value that is none.
    #[error("the parameter `explain` is neither true nor false")]
    Explain,
    /// An empty batch.
    #[error("the body holds no names")]
    NoItems,
    /// A batch that is too large.
    #[error("there are more than {most} names")]
    TooMany {
        /// How many there may be.
        most: usize,
    },
    /// No JSON.
    #[error("the body is no JSON array: {0}")]
    Json(serde_json::Error),
}

impl RequestError {
    /// The same in one word, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            RequestError::NoHost => "no_host",
            RequestError::Explain => "bad_parameter",
            RequestError::NoItems => "no_names",
            RequestError::TooMany { .. } => "too_many_names",
            RequestError::Json(_) => "bad_json",
        }
    }

    /// What would help.
    pub fn hint(&self) -> &'static str {
        match self {
            RequestError::NoHost => "ask for /apply?host=example.com",
            RequestError::Explain => "explain=true or explain=false",
            RequestError::NoItems | RequestError::Json(_) => {
                "send a JSON array of names, or a JSON string on each line"
            }
            RequestError::TooMany { .. } => "send several requests",
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "a test that meets what it does not expect has failed"
    )]

    use proptest::prelude::*;

    use super::*;

    fn hosts(body: &str) -> (Form, Vec<String>) {
        let (form, items) = batch(body.as_bytes()).unwrap();
        let name = |item: &Item| match item {
            Item::Host(host) => host.to_string(),
            Item::Other => "?".to_owned(),
        };
        (form, items.iter().map(name).collect())
    }

    #[test]
    fn names_come_as_an_array_or_as_lines() {
        let (form, names) = hosts(
            r#" ["a.com", {"x": [1, {}], "host": "b.com"}, "\u0063.com", 7, null, {}, ["d"], {"host": 1}]"#,
        );
        assert_eq!(
            (form, names.join(" ")),
            (Form::Array, "a.com b.com c.com ? ? ? ? ?".to_owned())
        );
        let (form, names) = hosts("\"a.com\"\r\n\n{\"host\":\"b.com\"}\nbroken\n\"c.com\"");
        assert_eq!(
            (form, names.join(" ")),
            (Form::Lines, "a.com b.com ? c.com".to_owned())
        );
    }

    #[test]
    fn an_item_that_no_text_can_be_does_not_lose_the_others() {
        let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
        for bad in [r#""\ud800""#, r#"{"host": "\ud800"}"#, &deep] {
            let (form, names) = hosts(&format!(r#"["a.com", {bad}, {{"host": "b.com"}}]"#));
            assert_eq!(
                (form, names.join(" ")),
                (Form::Array, "a.com ? b.com".to_owned())
            );
        }
        let many = format!(r#"["\ud800"{}]"#, ",1".repeat(MAX_ITEMS));
        assert!(matches!(
            batch(many.as_bytes()),
            Err(RequestError::TooMany { .. })
        ));
    }

    #[test]
    fn a_batch_has_bounds() {
        let array = |count: usize| format!("[{}]", vec!["\"a\""; count].join(","));
        let lines = |count: usize| "\"a\"\n".repeat(count);
        for good in [array(MAX_ITEMS), lines(MAX_ITEMS)] {
            assert_eq!(batch(good.as_bytes()).unwrap().1.len(), MAX_ITEMS);
        }
        for bad in [array(MAX_ITEMS + 1), lines(MAX_ITEMS + 1)] {
            assert!(matches!(
                batch(bad.as_bytes()),
                Err(RequestError::TooMany { .. })
            ));
        }
        for empty in ["", "[]", " \n "] {
            assert!(matches!(
                batch(empty.as_bytes()),
                Err(RequestError::NoItems)
            ));
        }
        assert!(matches!(batch(b"[\"a\""), Err(RequestError::Json(_))));
    }

    #[test]
    fn a_query_has_to_name_a_host() {
        let query = |text| ApplyQuery::parse(text);
        assert_eq!(
            query("host=a%2Eb&other=1").unwrap(),
            ApplyQuery {
                host: "a.b".to_owned(),
                explain: false
            }
        );
        assert!(query("host=&explain=true").unwrap().explain);
        assert!(matches!(query("name=a"), Err(RequestError::NoHost)));
        assert!(matches!(
            query("host=a&explain=perhaps"),
            Err(RequestError::Explain)
        ));
    }

    proptest! {
        #[test]
        fn any_body_is_a_batch_or_an_error(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = batch(&body);
        }

        #[test]
        fn any_query_is_one_or_an_error(query in any::<String>()) {
            let _ = ApplyQuery::parse(&query);
        }
    }
}
