//! A reader over the part of the file that is there, which tells "not here yet" from "not in the file".

use super::{GgufError, MAX_HEADER_BYTES};

/// The least a next try should have; smaller steps would parse the same bytes again for nothing.
const FIRST_STEP: u64 = 64 * 1024;

pub(super) struct Cursor<'a> {
    prefix: &'a [u8],
    file_len: u64,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(prefix: &'a [u8], file_len: u64) -> Self {
        Self { prefix, file_len, at: 0 }
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> u64 {
        self.at as u64
    }

    /// The next `len` bytes; `what` names them in messages and is only asked on failure.
    pub(super) fn bytes(&mut self, len: u64, what: impl FnOnce() -> String) -> Result<&'a [u8], GgufError> {
        self.ensure(len, what)?;
        let start = self.at;
        self.at += len as usize;
        Ok(&self.prefix[start..self.at])
    }

    /// Checks that `len` more bytes are there, without reading them.
    pub(super) fn ensure(&self, len: u64, what: impl FnOnce() -> String) -> Result<(), GgufError> {
        let end = self.position().saturating_add(len);
        if end <= self.prefix.len() as u64 {
            return Ok(());
        }
        if end > self.file_len {
            return Err(GgufError::Truncated { what: what(), needed: end, file_len: self.file_len });
        }
        if end > MAX_HEADER_BYTES {
            return Err(GgufError::HeaderTooLarge { what: what(), needed: end });
        }
        let have = self.prefix.len() as u64;
        let at_least = end.max(have + have / 2).max(FIRST_STEP).min(self.file_len);
        Err(GgufError::NeedMore { at_least })
    }

    pub(super) fn u32(&mut self, what: impl FnOnce() -> String) -> Result<u32, GgufError> {
        let b = self.bytes(4, what)?;
        Ok(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }

    pub(super) fn u64(&mut self, what: impl FnOnce() -> String) -> Result<u64, GgufError> {
        let b = self.bytes(8, what)?;
        Ok(u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]))
    }

    /// A text: its length in 8 bytes, then UTF-8.
    pub(super) fn text(&mut self, what: impl Fn() -> String) -> Result<&'a str, GgufError> {
        let len = self.u64(&what)?;
        let bytes = self.bytes(len, &what)?;
        std::str::from_utf8(bytes).map_err(|_| GgufError::Utf8 { what: what() })
    }
}
