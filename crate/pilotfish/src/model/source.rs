//! Where a model's bytes come from: a file, a network stream, a blob. Read in pieces, never whole.

use std::future::Future;

/// A byte source failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// Reading failed.
    #[error("reading {length} bytes at {offset} failed: {message}")]
    Read {
        /// First byte asked for.
        offset: u64,
        /// How many bytes were asked for.
        length: usize,
        /// What the file system, network or browser said.
        message: String,
    },
    /// The source gave fewer bytes than it has.
    #[error("reading at {offset} gave {found} bytes, {expected} were expected: the file changed or was cut")]
    Short {
        /// First byte asked for.
        offset: u64,
        /// Bytes given.
        found: usize,
        /// Bytes asked for.
        expected: usize,
    },
}

impl SourceError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "source.read",
            Self::Short { .. } => "source.short",
        }
    }
}

/// Something to read a model from. Reads come with growing offsets, except that the header is read first.
pub trait ByteSource {
    /// Size in bytes.
    fn size(&self) -> u64;

    /// Fills `into` with the bytes at `offset`; `offset + into.len() <= size()`.
    fn read(&mut self, offset: u64, into: &mut [u8]) -> impl Future<Output = Result<(), SourceError>>;
}

/// A file on disk.
#[cfg(not(target_arch = "wasm32"))]
impl ByteSource for std::fs::File {
    fn size(&self) -> u64 {
        self.metadata().map_or(0, |metadata| metadata.len())
    }

    async fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), SourceError> {
        use std::io::{Read, Seek, SeekFrom};
        let length = into.len();
        self.seek(SeekFrom::Start(offset)).and_then(|_| self.read_exact(into)).map_err(|error| SourceError::Read {
            offset,
            length,
            message: error.to_string(),
        })
    }
}

/// Bytes in memory.
impl ByteSource for &[u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    async fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), SourceError> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        let rest = &self[from..];
        if rest.len() < into.len() {
            return Err(SourceError::Short { offset, found: rest.len(), expected: into.len() });
        }
        into.copy_from_slice(&rest[..into.len()]);
        Ok(())
    }
}
