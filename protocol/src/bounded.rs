//! Text, bytes and lists on the heap that refuse to grow past a bound while they are decoded.
//! Never used for small fixed things: those are `heapless`, inline.

use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};
use serde::{Serialize, Serializer};
use std::{fmt, marker::PhantomData, ops::Deref};

/// A value was longer than its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{len} is over the bound of {max}")]
pub struct TooLong {
    /// Length found: bytes of a [`Text`] or [`Bytes`], items of a [`List`].
    pub len: usize,
    /// Length allowed.
    pub max: usize,
}

fn fits(len: usize, max: usize) -> Result<(), TooLong> {
    if len > max {
        Err(TooLong { len, max })
    } else {
        Ok(())
    }
}

/// UTF-8 text of at most `MAX` bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Text<const MAX: usize>(Box<str>);

impl<const MAX: usize> Text<MAX> {
    /// Takes the text when it fits.
    ///
    /// # Errors
    /// [`TooLong`], with length and bound in bytes.
    pub fn new(text: impl Into<Box<str>>) -> Result<Self, TooLong> {
        let text = text.into();
        fits(text.len(), MAX).map(|()| Self(text))
    }

    /// Takes what fits of the text, cut at a character's boundary.
    #[must_use]
    pub fn cut(text: &str) -> Self {
        let mut end = text.len().min(MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Self(text.get(..end).unwrap_or_default().into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> Deref for Text<MAX> {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> fmt::Debug for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<const MAX: usize> Serialize for Text<MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Text<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor<const MAX: usize>;
        impl<const MAX: usize> Visitor<'_> for TextVisitor<MAX> {
            type Value = Text<MAX>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "text of at most {MAX} bytes")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Text<MAX>, E> {
                Text::new(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// At most `MAX` bytes.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Bytes<const MAX: usize>(Box<[u8]>);

impl<const MAX: usize> Bytes<MAX> {
    /// Takes the bytes when they fit.
    ///
    /// # Errors
    /// [`TooLong`], with length and bound.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Result<Self, TooLong> {
        let bytes = bytes.into();
        fits(bytes.len(), MAX).map(|()| Self(bytes))
    }
}

impl<const MAX: usize> Deref for Bytes<MAX> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<const MAX: usize> fmt::Debug for Bytes<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl<const MAX: usize> Serialize for Bytes<MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Bytes<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BytesVisitor<const MAX: usize>;
        impl<const MAX: usize> Visitor<'_> for BytesVisitor<MAX> {
            type Value = Bytes<MAX>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MAX} bytes")
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Bytes<MAX>, E> {
                Bytes::new(bytes).map_err(E::custom)
            }
        }
        deserializer.deserialize_bytes(BytesVisitor)
    }
}

/// At most `MAX` items, refused before they are allocated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MAX: usize> List<T, MAX> {
    /// Takes the items when they fit.
    ///
    /// # Errors
    /// [`TooLong`], with count and bound.
    pub fn new(items: Vec<T>) -> Result<Self, TooLong> {
        fits(items.len(), MAX).map(|()| Self(items))
    }

    /// Adds one item.
    ///
    /// # Errors
    /// [`TooLong`] when the list is full; the list is then unchanged.
    pub fn push(&mut self, item: T) -> Result<(), TooLong> {
        fits(self.0.len() + 1, MAX)?;
        self.0.push(item);
        Ok(())
    }

    /// The items, for a caller that has no bound to keep.
    #[must_use]
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T, const MAX: usize> Deref for List<T, MAX> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Serialize, const MAX: usize> Serialize for List<T, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor<T, const MAX: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for ListVisitor<T, MAX> {
            type Value = List<T, MAX>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MAX} items")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                // The length that was claimed is checked, never trusted: items are pushed as they come.
                fits(seq.size_hint().unwrap_or(0), MAX).map_err(A::Error::custom)?;
                let mut list = List::default();
                while let Some(item) = seq.next_element()? {
                    list.push(item).map_err(A::Error::custom)?;
                }
                Ok(list)
            }
        }
        deserializer.deserialize_seq(ListVisitor(PhantomData))
    }
}
