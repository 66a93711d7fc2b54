//! The safetensors container: eight bytes of length, a JSON header `{name: {dtype, shape, data_offsets}}`, then the data.
//! <https://github.com/huggingface/safetensors>
//!
//! Its own crate reads it too: with it, and a typed `adapter_config.json`, a page's download was 11 kB larger. Values that
//! `serde_json` has anyway do for a few hundred small tensors.

use serde_json::Value;

use super::AdapterError;

/// Bytes that hold the header's length.
const LENGTH: usize = 8;

/// One tensor.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tensor<'a> {
    /// `F32`, `F16`, `BF16`, or what is not read here.
    dtype: String,
    /// Slowest first.
    pub(super) shape: Vec<u64>,
    bytes: &'a [u8],
}

/// The tensors of a file with their names.
pub(super) fn read(file: &[u8]) -> Result<Vec<(String, Tensor<'_>)>, AdapterError> {
    let header_len = file.first_chunk::<LENGTH>().map(|length| u64::from_le_bytes(*length));
    let header_len = header_len.and_then(|length| usize::try_from(length).ok());
    let Some((header, data)) = header_len.and_then(|length| file[LENGTH..].split_at_checked(length)) else {
        return Err(damaged(format!("{} bytes do not hold the header they announce", file.len())));
    };
    let header: Value = serde_json::from_slice(header).map_err(|error| damaged(format!("its header: {error}")))?;
    let Value::Object(entries) = header else { return Err(damaged("its header is no JSON object".into())) };
    let tensor = |(name, entry): (String, Value)| {
        let tensor = one(&entry, data).ok_or_else(|| damaged(format!("{name} is no tensor inside the file")))?;
        Ok((name, tensor))
    };
    entries.into_iter().filter(|(name, _)| name != "__metadata__").map(tensor).collect()
}

/// A tensor, if its entry is whole, lies inside the data, and is as long as its shape says.
fn one<'a>(entry: &Value, data: &'a [u8]) -> Option<Tensor<'a>> {
    let numbers = |key: &str| -> Option<Vec<u64>> { entry.get(key)?.as_array()?.iter().map(Value::as_u64).collect() };
    let dtype = entry.get("dtype")?.as_str()?.to_owned();
    let shape = numbers("shape")?;
    let [from, to] = numbers("data_offsets")?[..] else { return None };
    let bytes = data.get(usize::try_from(from).ok()?..usize::try_from(to).ok()?)?;
    let count = shape.iter().try_fold(1u64, |count, dim| count.checked_mul(*dim))?;
    let known = width(&dtype).is_none_or(|width| count.checked_mul(width) == Some(bytes.len() as u64));
    known.then_some(Tensor { dtype, shape, bytes })
}

/// Bytes of an element, of the types that are read here.
fn width(dtype: &str) -> Option<u64> {
    match dtype {
        "F32" => Some(4),
        "F16" | "BF16" => Some(2),
        _ => None,
    }
}

impl Tensor<'_> {
    /// Its elements, row by row; `name` is for the refusal of other types.
    pub(super) fn floats(&self, name: &str) -> Result<Vec<f32>, AdapterError> {
        let pairs = || self.bytes.chunks_exact(2).map(|two| [two[0], two[1]]);
        Ok(match self.dtype.as_str() {
            "F32" => self.bytes.chunks_exact(4).map(bytemuck::pod_read_unaligned).collect(),
            "F16" => pairs().map(|two| half::f16::from_le_bytes(two).to_f32()).collect(),
            "BF16" => pairs().map(|two| half::bf16::from_le_bytes(two).to_f32()).collect(),
            other => return Err(AdapterError::Unsupported { what: format!("{name} in {other}") }),
        })
    }
}

fn damaged(message: String) -> AdapterError {
    AdapterError::Safetensors { message }
}
