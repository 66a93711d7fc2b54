//! A writer: metadata and tensors in, the bytes of a version 3 file out. For tests and converted adapters.

use super::value::{Array, Scalar, StringArray, Value, ValueType};
use crate::quant::{QuantError, TensorType, row_bytes};

const ALIGNMENT: usize = 32;

/// Collects metadata and tensors, then makes a file of them, in the order given.
#[derive(Debug, Default)]
pub struct Writer {
    metadata: Vec<(String, Value)>,
    tensors: Vec<Tensor>,
}

#[derive(Debug)]
struct Tensor {
    name: String,
    shape: Vec<u64>,
    ty: TensorType,
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a metadata entry.
    #[must_use]
    pub fn value(mut self, key: &str, value: Value) -> Self {
        self.metadata.push((key.to_owned(), value));
        self
    }

    /// Adds a text.
    #[must_use]
    pub fn string(self, key: &str, text: &str) -> Self {
        self.value(key, Value::String(text.to_owned()))
    }

    /// Adds an unsigned integer.
    #[must_use]
    pub fn u32(self, key: &str, value: u32) -> Self {
        self.value(key, Value::Scalar(Scalar::U32(value)))
    }

    /// Adds a float.
    #[must_use]
    pub fn f32(self, key: &str, value: f32) -> Self {
        self.value(key, Value::Scalar(Scalar::F32(value)))
    }

    /// Adds a boolean.
    #[must_use]
    pub fn bool(self, key: &str, value: bool) -> Self {
        self.value(key, Value::Scalar(Scalar::Bool(value)))
    }

    /// Adds texts.
    #[must_use]
    pub fn strings<T: AsRef<str>>(self, key: &str, texts: impl IntoIterator<Item = T>) -> Self {
        self.value(key, Value::Strings(StringArray::from_iter(texts)))
    }

    /// Adds numbers.
    #[must_use]
    pub fn array(self, key: &str, numbers: Array) -> Self {
        self.value(key, Value::Array(numbers))
    }

    /// Adds a tensor: `shape` fastest first, `bytes` as the format stores its elements.
    pub fn tensor(mut self, name: &str, shape: &[u64], ty: TensorType, bytes: Vec<u8>) -> Result<Self, QuantError> {
        let row_len = shape.first().map_or(0, |&len| len as usize);
        if row_len == 0 || !row_len.is_multiple_of(ty.block_len()) {
            return Err(QuantError::RowLength { ty, row_len });
        }
        let rows: usize = shape.iter().skip(1).map(|&dim| dim as usize).product();
        let expected = rows * row_bytes(ty, row_len);
        if bytes.len() != expected {
            return Err(QuantError::Length { ty, what: "bytes of the tensor", found: bytes.len(), expected });
        }
        self.tensors.push(Tensor { name: name.to_owned(), shape: shape.to_vec(), ty, bytes });
        Ok(self)
    }

    /// The file.
    pub fn finish(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(b"GGUF");
        out.extend_from_slice(&3u32.to_le_bytes());
        out.extend_from_slice(&(self.tensors.len() as u64).to_le_bytes());
        out.extend_from_slice(&(self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            put_text(&mut out, key);
            put_value(&mut out, value);
        }
        let mut offset = 0;
        for tensor in &self.tensors {
            put_text(&mut out, &tensor.name);
            out.extend_from_slice(&(tensor.shape.len() as u32).to_le_bytes());
            for dim in &tensor.shape {
                out.extend_from_slice(&dim.to_le_bytes());
            }
            out.extend_from_slice(&tensor.ty.ggml_id().to_le_bytes());
            out.extend_from_slice(&(offset as u64).to_le_bytes());
            offset += tensor.bytes.len().next_multiple_of(ALIGNMENT);
        }
        for tensor in &self.tensors {
            out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
            out.extend_from_slice(&tensor.bytes);
        }
        out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
        out
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    let put_type = |out: &mut Vec<u8>, ids: &[u32]| {
        for id in ids {
            out.extend_from_slice(&id.to_le_bytes());
        }
    };
    match value {
        Value::Scalar(scalar) => {
            let (ty, raw) = scalar.to_raw();
            put_type(out, &[ty as u32]);
            out.extend_from_slice(&raw);
        }
        Value::String(text) => {
            put_type(out, &[ValueType::String as u32]);
            put_text(out, text);
        }
        Value::Array(array) => {
            put_type(out, &[ValueType::ARRAY, array.ty() as u32]);
            out.extend_from_slice(&(array.len() as u64).to_le_bytes());
            out.extend_from_slice(array.raw());
        }
        Value::Strings(texts) => {
            put_type(out, &[ValueType::ARRAY, ValueType::String as u32]);
            out.extend_from_slice(&(texts.len() as u64).to_le_bytes());
            for text in texts.iter() {
                put_text(out, text);
            }
        }
    }
}
