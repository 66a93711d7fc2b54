//! Keys and values, with getters that say what they found and what they expected.
//!
//! `u32("k")` wants the key to be there; `opt_u32("k")` allows it to be absent, but not to be of another type.
//! Integers of any width are taken where they fit, and `f64` for `f32`: converters differ.

use std::collections::HashMap;

use super::GgufError;
use super::value::{Array, Scalar, StringArray, Value};

/// The metadata of a file, in its order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata {
    entries: Vec<(String, Value)>,
    index: HashMap<String, usize>,
}

macro_rules! getters {
    ($($(#[$doc:meta])* $name:ident, $opt:ident -> $ty:ty, $expected:literal, $convert:expr;)*) => {
        $(
            $(#[$doc])*
            pub fn $name(&self, key: &str) -> Result<$ty, GgufError> {
                self.$opt(key)?.ok_or_else(|| GgufError::MissingKey {
                    key: key.to_owned(),
                    expected: $expected,
                })
            }

            /// The same, or `None` where the key is absent.
            pub fn $opt(&self, key: &str) -> Result<Option<$ty>, GgufError> {
                self.typed(key, $expected, $convert)
            }
        )*
    };
}

impl Metadata {
    getters! {
        /// An integer of at most 32 bits.
        u32, opt_u32 -> u32, "an integer from 0 to 4294967295", |value| match value {
            Value::Scalar(scalar) => scalar.as_int()?.try_into().ok(),
            _ => None,
        };
        /// An integer of at most 64 bits.
        u64, opt_u64 -> u64, "an integer of at least 0", |value| match value {
            Value::Scalar(scalar) => scalar.as_int()?.try_into().ok(),
            _ => None,
        };
        /// A finite float.
        f32, opt_f32 -> f32, "a finite float", |value| match value {
            Value::Scalar(scalar) => scalar.as_f32().filter(|v| v.is_finite()),
            _ => None,
        };
        /// A boolean.
        bool, opt_bool -> bool, "a boolean", |value| match value {
            Value::Scalar(Scalar::Bool(v)) => Some(*v),
            _ => None,
        };
        /// A text.
        string, opt_string -> &str, "a string", |value| match value {
            Value::String(text) => Some(text.as_str()),
            _ => None,
        };
        /// Texts.
        strings, opt_strings -> &StringArray, "an array of strings", |value| match value {
            Value::Strings(strings) => Some(strings),
            _ => None,
        };
        /// Floats, copied.
        f32s, opt_f32s -> Vec<f32>, "an array of floats", |value| {
            numbers(value)?.iter().map(Scalar::as_f32).collect()
        };
        /// Integers from -2^31 to 2^31 - 1, copied.
        i32s, opt_i32s -> Vec<i32>, "an array of 32-bit integers", |value| {
            numbers(value)?.iter().map(|v| v.as_int()?.try_into().ok()).collect()
        };
        /// Integers from 0 to 2^32 - 1, copied.
        u32s, opt_u32s -> Vec<u32>, "an array of integers from 0 to 4294967295", |value| {
            numbers(value)?.iter().map(|v| v.as_int()?.try_into().ok()).collect()
        };
        /// Booleans, copied.
        bools, opt_bools -> Vec<bool>, "an array of booleans", |value| {
            let as_bool = |v| match v {
                Scalar::Bool(v) => Some(v),
                _ => None,
            };
            numbers(value)?.iter().map(as_bool).collect()
        };
    }

    /// The value of a key, whatever its type.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.index.get(key).map(|&at| &self.entries[at].1)
    }

    /// Keys and values in the file's order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds an entry; false, and nothing done, where the key exists.
    pub(super) fn insert(&mut self, key: &str, value: Value) -> bool {
        if self.index.contains_key(key) {
            return false;
        }
        self.index.insert(key.to_owned(), self.entries.len());
        self.entries.push((key.to_owned(), value));
        true
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        convert: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, GgufError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match convert(value) {
            Some(converted) => Ok(Some(converted)),
            None => Err(GgufError::WrongType { key: key.to_owned(), found: value.describe(), expected }),
        }
    }
}

fn numbers(value: &Value) -> Option<&Array> {
    match value {
        Value::Array(array) => Some(array),
        _ => None,
    }
}
