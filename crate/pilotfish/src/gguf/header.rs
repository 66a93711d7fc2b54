//! The header: everything before the tensor data.

use super::cursor::Cursor;
use super::value::{Array, Scalar, StringArray, Value, ValueType};
use super::{GgufError, Metadata, TensorInfo, tensor};

/// The most a header may take. Gemma's 262 thousand tokens take 11 MB; this bounds what a damaged length can cost.
pub const MAX_HEADER_BYTES: u64 = 64 << 20;

/// The alignment of tensors where the file names none.
const DEFAULT_ALIGNMENT: u32 = 32;

/// The least a metadata entry takes: a key's length, a type, one byte.
const MIN_ENTRY_BYTES: u64 = 8 + 4 + 1;

/// A GGUF file's header, checked: every tensor lies inside the file, aligned, overlapping no other.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// Format version, 2 or 3.
    pub version: u32,
    /// Keys and values.
    pub metadata: Metadata,
    /// The tensors in the file's order.
    pub tensors: Vec<TensorInfo>,
    /// Where tensor data begins, from the start of the file.
    pub data_offset: u64,
}

impl Header {
    /// Reads a header from the first bytes of a file of `file_len` bytes (`u64::MAX` where that is not known; then
    /// nothing can be said about tensors beyond the end).
    ///
    /// A prefix that ends too early gives [`GgufError::NeedMore`]; any other error is the file's and final.
    ///
    /// ```
    /// use pilotfish::gguf::{GgufError, Header, Writer};
    ///
    /// let file = Writer::new().string("general.architecture", "llama").finish();
    /// let mut have = 4;
    /// let header = loop {
    ///     match Header::parse(&file[..have], file.len() as u64) {
    ///         Err(GgufError::NeedMore { at_least }) => have = at_least as usize,
    ///         done => break done?,
    ///     }
    /// };
    /// assert_eq!(header.metadata.string("general.architecture")?, "llama");
    /// # Ok::<(), GgufError>(())
    /// ```
    pub fn parse(prefix: &[u8], file_len: u64) -> Result<Self, GgufError> {
        let mut cursor = Cursor::new(prefix, file_len);
        let version = read_version(&mut cursor)?;
        let tensor_count = cursor.u64(|| "the number of tensors".into())?;
        let entry_count = cursor.u64(|| "the number of metadata entries".into())?;
        let metadata = read_metadata(&mut cursor, entry_count)?;
        let alignment = alignment(&metadata)?;
        let mut tensors = tensor::read(&mut cursor, tensor_count, alignment)?;
        let data_offset = cursor.position().next_multiple_of(u64::from(alignment));
        tensor::place(&mut tensors, data_offset, file_len)?;
        Ok(Self { version, metadata, tensors, data_offset })
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }
}

fn read_version(cursor: &mut Cursor<'_>) -> Result<u32, GgufError> {
    let magic = cursor.bytes(4, || "the magic number".into())?;
    if magic != b"GGUF" {
        let found = [magic[0], magic[1], magic[2], magic[3]];
        return Err(GgufError::NotGguf { found });
    }
    match cursor.u32(|| "the version".into())? {
        found @ (2 | 3) => Ok(found),
        // A small number read with its bytes the wrong way round.
        found if found != 0 && found.trailing_zeros() >= 16 => Err(GgufError::BigEndian),
        found => Err(GgufError::Version { found }),
    }
}

fn read_metadata(cursor: &mut Cursor<'_>, count: u64) -> Result<Metadata, GgufError> {
    let all = || format!("{count} metadata entries");
    cursor.ensure(count.saturating_mul(MIN_ENTRY_BYTES), all)?;
    let mut metadata = Metadata::default();
    for index in 0..count {
        let key = cursor.text(|| format!("metadata key {index}"))?;
        let id = cursor.u32(|| format!("the type of {key:?}"))?;
        let value = read_value(cursor, key, id)?;
        if !metadata.insert(key, value) {
            return Err(GgufError::DuplicateKey { key: key.into() });
        }
    }
    Ok(metadata)
}

fn read_value(cursor: &mut Cursor<'_>, key: &str, id: u32) -> Result<Value, GgufError> {
    let what = || format!("the value of {key:?}");
    let unknown = |found| GgufError::ValueType { key: key.to_owned(), found };
    if id == ValueType::ARRAY {
        let id = cursor.u32(what)?;
        let ty = ValueType::from_id(id).ok_or_else(|| unknown(id))?;
        let len = cursor.u64(what)?;
        return read_array(cursor, key, ty, len);
    }
    match ValueType::from_id(id).ok_or_else(|| unknown(id))? {
        ValueType::String => Ok(Value::String(cursor.text(what)?.to_owned())),
        ty => {
            let raw = cursor.bytes(ty.bytes() as u64, what)?;
            check_bools(key, ty, raw)?;
            let scalar = Scalar::from_raw(ty, raw).ok_or_else(|| unknown(id))?;
            Ok(Value::Scalar(scalar))
        }
    }
}

fn read_array(cursor: &mut Cursor<'_>, key: &str, ty: ValueType, len: u64) -> Result<Value, GgufError> {
    let what = || format!("the {len} elements of {key:?}");
    let bytes = len.saturating_mul(ty.bytes() as u64);
    if ty == ValueType::String {
        // Each string has at least its length's 8 bytes, so what follows allocates no more than the prefix holds.
        cursor.ensure(bytes, what)?;
        return read_strings(cursor, key, len).map(Value::Strings);
    }
    let raw = cursor.bytes(bytes, what)?;
    check_bools(key, ty, raw)?;
    Ok(Value::Array(Array::from_raw(ty, raw)))
}

fn read_strings(cursor: &mut Cursor<'_>, key: &str, len: u64) -> Result<StringArray, GgufError> {
    let mut bytes = Vec::new();
    let mut ends = Vec::with_capacity(len as usize);
    for index in 0..len {
        let what = || format!("string {index} of {key:?}");
        let length = cursor.u64(what)?;
        bytes.extend_from_slice(cursor.bytes(length, what)?);
        // The header is smaller than 2^32 bytes: the cursor sees to that.
        ends.push(bytes.len() as u32);
    }
    // One check of the whole is much faster than one of each, and the same if no string ends inside a character.
    let invalid = |index: usize| GgufError::Utf8 { what: format!("string {index} of metadata key {key:?}") };
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to() as u32;
        invalid(ends.partition_point(|&end| end <= at))
    })?;
    match ends.iter().position(|&end| !text.is_char_boundary(end as usize)) {
        Some(index) => Err(invalid(index)),
        None => Ok(StringArray::from_parts(text, ends)),
    }
}

fn check_bools(key: &str, ty: ValueType, raw: &[u8]) -> Result<(), GgufError> {
    let bad = raw.iter().find(|&&byte| byte > 1);
    match bad {
        Some(&found) if ty == ValueType::Bool => Err(GgufError::Bool { key: key.to_owned(), found }),
        _ => Ok(()),
    }
}

fn alignment(metadata: &Metadata) -> Result<u32, GgufError> {
    let found = metadata.opt_u32("general.alignment")?.unwrap_or(DEFAULT_ALIGNMENT);
    if found.is_power_of_two() && found <= 1 << 16 { Ok(found) } else { Err(GgufError::Alignment { found }) }
}
