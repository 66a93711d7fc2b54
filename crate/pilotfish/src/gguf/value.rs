//! Metadata values: scalars as they are, arrays compactly: a vocabulary is one text and one list of ends.

use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};

/// The type of a scalar, or of an array's elements, as GGUF numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the types")]
pub enum ValueType {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    String = 8,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl ValueType {
    /// GGUF's number of an array, which is not an element type.
    pub(super) const ARRAY: u32 = 9;

    const ALL: [Self; 12] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::String,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    /// The type with that number; arrays (9) are not among them.
    pub(super) fn from_id(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|ty| *ty as u32 == id)
    }

    /// Bytes of one value; 8, its length's, for a string.
    pub(super) const fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::String | Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// As in Rust: `u32`, `f32`, `string`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::F32 => "f32",
            Self::Bool => "bool",
            Self::String => "string",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::F64 => "f64",
        }
    }
}

/// One number or boolean.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
#[expect(missing_docs, reason = "the names are the types")]
pub enum Scalar {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    U64(u64),
    I64(i64),
    F64(f64),
}

impl Scalar {
    /// The scalar of type `ty` in `raw`, whose length is `ty.bytes()`; `None` for strings and other lengths.
    pub(super) fn from_raw(ty: ValueType, raw: &[u8]) -> Option<Self> {
        macro_rules! number {
            ($variant:ident, $ty:ty) => {
                Self::$variant(<$ty>::from_le_bytes(raw.try_into().ok()?))
            };
        }
        Some(match ty {
            ValueType::U8 => number!(U8, u8),
            ValueType::I8 => number!(I8, i8),
            ValueType::U16 => number!(U16, u16),
            ValueType::I16 => number!(I16, i16),
            ValueType::U32 => number!(U32, u32),
            ValueType::I32 => number!(I32, i32),
            ValueType::F32 => number!(F32, f32),
            ValueType::U64 => number!(U64, u64),
            ValueType::I64 => number!(I64, i64),
            ValueType::F64 => number!(F64, f64),
            ValueType::Bool => Self::Bool(*raw.first()? != 0),
            ValueType::String => return None,
        })
    }

    /// Its type and little-endian bytes.
    pub(super) fn to_raw(self) -> (ValueType, Vec<u8>) {
        match self {
            Self::U8(v) => (ValueType::U8, v.to_le_bytes().into()),
            Self::I8(v) => (ValueType::I8, v.to_le_bytes().into()),
            Self::U16(v) => (ValueType::U16, v.to_le_bytes().into()),
            Self::I16(v) => (ValueType::I16, v.to_le_bytes().into()),
            Self::U32(v) => (ValueType::U32, v.to_le_bytes().into()),
            Self::I32(v) => (ValueType::I32, v.to_le_bytes().into()),
            Self::F32(v) => (ValueType::F32, v.to_le_bytes().into()),
            Self::Bool(v) => (ValueType::Bool, vec![u8::from(v)]),
            Self::U64(v) => (ValueType::U64, v.to_le_bytes().into()),
            Self::I64(v) => (ValueType::I64, v.to_le_bytes().into()),
            Self::F64(v) => (ValueType::F64, v.to_le_bytes().into()),
        }
    }

    /// Its type.
    pub fn ty(self) -> ValueType {
        self.to_raw().0
    }

    /// As an integer, whatever its width; `None` for floats and booleans.
    pub fn as_int(self) -> Option<i128> {
        Some(match self {
            Self::U8(v) => v.into(),
            Self::I8(v) => v.into(),
            Self::U16(v) => v.into(),
            Self::I16(v) => v.into(),
            Self::U32(v) => v.into(),
            Self::I32(v) => v.into(),
            Self::U64(v) => v.into(),
            Self::I64(v) => v.into(),
            Self::F32(_) | Self::F64(_) | Self::Bool(_) => return None,
        })
    }

    /// As a single-precision float; `None` for integers and booleans.
    pub fn as_f32(self) -> Option<f32> {
        match self {
            Self::F32(v) => Some(v),
            Self::F64(v) => Some(v as f32),
            _ => None,
        }
    }
}

/// A metadata value.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// A number or boolean.
    Scalar(Scalar),
    /// A text.
    String(String),
    /// Numbers or booleans of one type.
    Array(Array),
    /// Texts.
    Strings(StringArray),
}

impl Value {
    /// For messages: the type, and the value where it is short.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Scalar(scalar) => {
                let value = serde_json::to_string(scalar).unwrap_or_default();
                format!("the {} {value}", scalar.ty().name())
            }
            Self::String(text) if text.chars().count() <= 40 => format!("the string {text:?}"),
            Self::String(text) => format!("a string of {} bytes", text.len()),
            Self::Array(array) => format!("an array of {} {}", array.len(), array.ty().name()),
            Self::Strings(strings) => format!("an array of {} strings", strings.len()),
        }
    }
}

/// Numbers or booleans of one type, kept as the file's bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    ty: ValueType,
    raw: Box<[u8]>,
}

impl Array {
    /// `raw` holds whole values of `ty`, which is not `String`.
    pub(super) fn from_raw(ty: ValueType, raw: &[u8]) -> Self {
        debug_assert!(ty != ValueType::String && raw.len().is_multiple_of(ty.bytes()));
        Self { ty, raw: raw.into() }
    }

    pub(super) fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The elements' type.
    pub fn ty(&self) -> ValueType {
        self.ty
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.raw.len() / self.ty.bytes()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// The elements in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Scalar> + '_ {
        let ty = self.ty;
        self.raw
            .chunks_exact(ty.bytes())
            // The type is never a string and the length is right, so the fallback is never taken.
            .map(move |raw| Scalar::from_raw(ty, raw).unwrap_or(Scalar::U8(0)))
    }
}

impl From<&[u32]> for Array {
    fn from(values: &[u32]) -> Self {
        let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self::from_raw(ValueType::U32, &raw)
    }
}

impl From<&[i32]> for Array {
    fn from(values: &[i32]) -> Self {
        let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self::from_raw(ValueType::I32, &raw)
    }
}

impl From<&[f32]> for Array {
    fn from(values: &[f32]) -> Self {
        let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self::from_raw(ValueType::F32, &raw)
    }
}

impl Serialize for Array {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

/// Texts one after another in one string, with the end of each: 262 thousand tokens are two allocations.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StringArray {
    text: Box<str>,
    /// Byte offsets into `text`, non-decreasing, on character boundaries.
    ends: Box<[u32]>,
}

impl StringArray {
    /// `ends` are non-decreasing, on character boundaries, the last of them `text.len()`.
    pub(super) fn from_parts(text: String, ends: Vec<u32>) -> Self {
        Self { text: text.into_boxed_str(), ends: ends.into_boxed_slice() }
    }

    /// How many texts there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The text at `index`.
    pub fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)? as usize;
        let start = match index {
            0 => 0,
            _ => *self.ends.get(index - 1)? as usize,
        };
        self.text.get(start..end)
    }

    /// The texts in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len()).map(|index| self.get(index).unwrap_or_default())
    }
}

impl<T: AsRef<str>> FromIterator<T> for StringArray {
    /// Collects texts of at most 4 GiB in all; what goes beyond is left out.
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Self {
        let (mut text, mut ends) = (String::new(), Vec::new());
        for item in texts {
            let Ok(end) = u32::try_from(text.len() + item.as_ref().len()) else {
                break;
            };
            text.push_str(item.as_ref());
            ends.push(end);
        }
        Self::from_parts(text, ends)
    }
}

impl Serialize for StringArray {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.len()))?;
        for text in self.iter() {
            seq.serialize_element(text)?;
        }
        seq.end()
    }
}
