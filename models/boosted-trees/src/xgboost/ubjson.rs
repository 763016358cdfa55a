//! UBJSON, draft 12, for serde: read from a slice, trusting nothing.
//!
//! Every length is checked against what is left of the input before anything is done with it, and nesting is bounded.

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

/// The deepest nesting that is followed; XGBoost's own files have 7.
const MAX_DEPTH: usize = 64;

/// Reads a value that takes up all of `bytes`.
pub(super) fn from_slice<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, UbjsonError> {
    let mut reader = Reader {
        bytes,
        at: 0,
        depth: 0,
    };
    let value = T::deserialize(&mut reader).map_err(|error| reader.locate(error))?;
    if reader.at < bytes.len() {
        return Err(reader.error("there is something after the end"));
    }
    Ok(value)
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}, at byte {at}")]
pub struct UbjsonError {
    what: String,
    at: usize,
}

impl de::Error for UbjsonError {
    fn custom<T: std::fmt::Display>(what: T) -> Self {
        // The reader knows where, and says so when the error passes by.
        UbjsonError {
            what: what.to_string(),
            at: usize::MAX,
        }
    }
}

type Result<T, E = UbjsonError> = std::result::Result<T, E>;

struct Reader<'de> {
    bytes: &'de [u8],
    at: usize,
    depth: usize,
}

impl<'de> Reader<'de> {
    fn error(&self, what: impl Into<String>) -> UbjsonError {
        UbjsonError {
            what: what.into(),
            at: self.at,
        }
    }

    fn locate(&self, error: UbjsonError) -> UbjsonError {
        let at = error.at.min(self.at);
        UbjsonError { at, ..error }
    }

    fn take(&mut self, count: usize) -> Result<&'de [u8]> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..count).ok_or_else(|| {
            self.error(format!(
                "{count} bytes are promised and {} left",
                rest.len()
            ))
        })?;
        self.at += count;
        Ok(taken)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    fn peek(&self) -> Result<u8> {
        let byte = self.bytes.get(self.at).copied();
        byte.ok_or_else(|| self.error("the input ends too early"))
    }

    /// The type of the next value; `N` stands for nothing and is passed over.
    fn marker(&mut self) -> Result<u8> {
        loop {
            let marker = self.peek()?;
            self.at += 1;
            if marker != b'N' {
                return Ok(marker);
            }
        }
    }

    fn integer(&mut self, marker: u8) -> Result<i64> {
        Ok(match marker {
            b'i' => i64::from(i8::from_be_bytes(self.number()?)),
            b'U' => i64::from(u8::from_be_bytes(self.number()?)),
            b'I' => i64::from(i16::from_be_bytes(self.number()?)),
            b'l' => i64::from(i32::from_be_bytes(self.number()?)),
            b'L' => i64::from_be_bytes(self.number()?),
            _ => return Err(self.unknown(marker)),
        })
    }

    fn length(&mut self) -> Result<usize> {
        let marker = self.marker()?;
        let length = self.integer(marker)?;
        usize::try_from(length).map_err(|_| self.error(format!("the length {length} is negative")))
    }

    fn text(&mut self) -> Result<&'de str> {
        let length = self.length()?;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map_err(|_| self.error("this text is no UTF-8"))
    }

    fn unknown(&self, marker: u8) -> UbjsonError {
        self.error(format!("`{}` marks no type", marker.escape_ascii()))
    }

    fn value<V: Visitor<'de>>(&mut self, marker: u8, visitor: V) -> Result<V::Value> {
        match marker {
            b'Z' => visitor.visit_unit(),
            b'T' => visitor.visit_bool(true),
            b'F' => visitor.visit_bool(false),
            b'd' => visitor.visit_f32(f32::from_be_bytes(self.number()?)),
            b'D' => visitor.visit_f64(f64::from_be_bytes(self.number()?)),
            b'C' => visitor.visit_char(char::from(u8::from_be_bytes(self.number()?))),
            b'S' | b'H' => visitor.visit_borrowed_str(self.text()?),
            b'[' | b'{' => {
                if self.depth == MAX_DEPTH {
                    return Err(self.error("this is nested too deeply"));
                }
                self.depth += 1;
                let mut container = self.container(marker)?;
                let value = if marker == b'[' {
                    visitor.visit_seq(&mut container)
                } else {
                    visitor.visit_map(&mut container)
                };
                let value = value.map_err(|error| container.reader.locate(error))?;
                container.finish()?;
                self.depth -= 1;
                Ok(value)
            }
            _ => visitor.visit_i64(self.integer(marker)?),
        }
    }

    fn container<'r>(&'r mut self, marker: u8) -> Result<Container<'r, 'de>> {
        let mut element = None;
        let mut left = None;
        if self.peek()? == b'$' {
            self.at += 1;
            let marker = self.marker()?;
            // A type without content would let a few bytes stand for any number of values.
            if !b"iUIlLdDCSH[{".contains(&marker) {
                return Err(self.error("a typed container of values that take no room"));
            }
            element = Some(marker);
            if self.peek()? != b'#' {
                return Err(self.error("a type without a count"));
            }
        }
        if self.peek()? == b'#' {
            self.at += 1;
            let count = self.length()?;
            if count > self.bytes.len() - self.at {
                return Err(self.error(format!("a count of {count} is more than the input holds")));
            }
            left = Some(count);
        }
        let end = if marker == b'[' { b']' } else { b'}' };
        Ok(Container {
            reader: self,
            element,
            left,
            end,
            ended: false,
        })
    }
}

impl<'de> de::Deserializer<'de> for &mut Reader<'de> {
    type Error = UbjsonError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let marker = self.marker()?;
        self.value(marker, visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if self.peek()? == b'Z' {
            self.at += 1;
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// The inside of an array or an object.
struct Container<'r, 'de> {
    reader: &'r mut Reader<'de>,
    /// The type of all elements, where it is said once for all.
    element: Option<u8>,
    /// How many elements are left, where it is said; otherwise they end with a mark.
    left: Option<usize>,
    end: u8,
    ended: bool,
}

impl<'de> Container<'_, 'de> {
    fn more(&mut self) -> Result<bool> {
        if self.ended {
            return Ok(false);
        }
        match &mut self.left {
            Some(0) => self.ended = true,
            Some(left) => *left -= 1,
            None => {
                while self.reader.peek()? == b'N' {
                    self.reader.at += 1;
                }
                if self.reader.peek()? == self.end {
                    self.reader.at += 1;
                    self.ended = true;
                }
            }
        }
        Ok(!self.ended)
    }

    fn next<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value> {
        match self.element {
            Some(marker) => seed.deserialize(Element {
                reader: self.reader,
                marker,
            }),
            None => seed.deserialize(&mut *self.reader),
        }
    }

    /// A visitor that took fewer elements than there are has taken the wrong thing.
    fn finish(mut self) -> Result<()> {
        if self.more()? {
            return Err(self.reader.error("this has more elements than expected"));
        }
        Ok(())
    }
}

impl<'de> SeqAccess<'de> for &mut Container<'_, 'de> {
    type Error = UbjsonError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        if self.more()? {
            self.next(seed).map(Some)
        } else {
            Ok(None)
        }
    }

    fn size_hint(&self) -> Option<usize> {
        self.left
    }
}

impl<'de> MapAccess<'de> for &mut Container<'_, 'de> {
    type Error = UbjsonError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        if !self.more()? {
            return Ok(None);
        }
        let key = self.reader.text()?;
        let key: StrDeserializer<'_, UbjsonError> = key.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        self.next(seed)
    }
}

/// An element whose type was said once for all.
struct Element<'r, 'de> {
    reader: &'r mut Reader<'de>,
    marker: u8,
}

impl<'de> de::Deserializer<'de> for Element<'_, 'de> {
    type Error = UbjsonError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.reader.value(self.marker, visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_some(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}
