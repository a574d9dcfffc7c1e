//! For tests: what structures, members and types serde's derived code really reads.
//! Never part of a build that ships.

use std::collections::BTreeMap;

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer as _, Visitor,
};

type Failure = de::value::Error;

/// A structure's members with their types, in declared order.
pub(crate) type Members = Vec<(&'static str, String)>;

/// The name of `T`; what it and the structures within it read is added to `seen`.
///
/// Types are written as the test of the table writes them: `string`, `integer`, `[of]`, `{of}`, a structure's name,
/// and a question mark before what may be absent.
pub(crate) fn trace<T: DeserializeOwned>(seen: &mut BTreeMap<&'static str, Members>) -> String {
    let mut name = String::new();
    T::deserialize(Trace {
        seen,
        out: &mut name,
    })
    .unwrap();
    name
}

struct Trace<'a> {
    seen: &'a mut BTreeMap<&'static str, Members>,
    out: &'a mut String,
}

macro_rules! scalars {
    ($($method:ident $name:literal $visit:ident $value:expr;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
            self.out.push_str($name);
            visitor.$visit($value)
        }
    )*};
}

impl<'de> Deserializer<'de> for Trace<'_> {
    type Error = Failure;

    scalars! {
        deserialize_bool "boolean" visit_bool false;
        deserialize_i32 "integer" visit_i32 0;
        deserialize_i64 "long" visit_i64 0;
        deserialize_f64 "timestamp" visit_f64 0.0;
        deserialize_str "string" visit_str "";
        deserialize_string "string" visit_str "";
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.out.push('?');
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.out.push('[');
        let value = visitor.visit_seq(Once {
            seen: self.seen,
            out: self.out,
            done: false,
        })?;
        self.out.push(']');
        Ok(value)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.out.push('{');
        let value = visitor.visit_map(Once {
            seen: self.seen,
            out: self.out,
            done: false,
        })?;
        self.out.push('}');
        Ok(value)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.out.push_str(name);
        let known = self.seen.contains_key(name);
        if !known {
            self.seen.insert(name, Vec::new());
        }
        visitor.visit_map(Fields {
            seen: self.seen,
            name,
            known,
            fields: fields.iter(),
            field: "",
        })
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Failure> {
        Err(de::Error::custom("a shape reads a value of no fixed type"))
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i128 u8 u16 u32 u64 u128 f32 char bytes byte_buf unit unit_struct newtype_struct tuple tuple_struct
        enum identifier ignored_any
    }
}

/// One item of a list, or one entry of a map.
struct Once<'a> {
    seen: &'a mut BTreeMap<&'static str, Members>,
    out: &'a mut String,
    done: bool,
}

impl<'de> de::SeqAccess<'de> for Once<'_> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Failure> {
        if std::mem::replace(&mut self.done, true) {
            return Ok(None);
        }
        seed.deserialize(Trace {
            seen: self.seen,
            out: self.out,
        })
        .map(Some)
    }
}

impl<'de> de::MapAccess<'de> for Once<'_> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Failure> {
        if std::mem::replace(&mut self.done, true) {
            return Ok(None);
        }
        seed.deserialize("key".into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Failure> {
        seed.deserialize(Trace {
            seen: self.seen,
            out: self.out,
        })
    }
}

/// Each member of a structure in turn; the optional ones of a known structure are left out, so that recursion ends.
struct Fields<'a> {
    seen: &'a mut BTreeMap<&'static str, Members>,
    name: &'static str,
    known: bool,
    fields: std::slice::Iter<'static, &'static str>,
    field: &'static str,
}

impl<'de> de::MapAccess<'de> for Fields<'_> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Failure> {
        let required = |members: &Members, field| {
            members
                .iter()
                .any(|(name, ty)| *name == field && !ty.starts_with('?'))
        };
        for field in self.fields.by_ref() {
            if !self.known
                || self
                    .seen
                    .get(self.name)
                    .is_some_and(|members| required(members, *field))
            {
                self.field = field;
                return seed.deserialize(self.field.into_deserializer()).map(Some);
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Failure> {
        let mut ty = String::new();
        let value = seed.deserialize(Trace {
            seen: self.seen,
            out: &mut ty,
        })?;
        if !self.known
            && let Some(members) = self.seen.get_mut(self.name)
        {
            members.push((self.field, ty));
        }
        Ok(value)
    }
}
