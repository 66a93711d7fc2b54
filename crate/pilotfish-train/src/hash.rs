//! Fingerprints: whether a file, a base or some pairs are those that were meant.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::{Result, TrainError};

/// SHA-256 of some parts, each with its length, in hexadecimal digits.
pub fn sha256<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.as_ref().len() as u64).to_le_bytes());
        hash.update(part);
    }
    hex(hash)
}

/// SHA-256 of a file's bytes, as `sha256sum` prints it.
pub(crate) fn file_sha256(path: &Path) -> Result<String> {
    let failed = |source| TrainError::File { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let mut hash = Sha256::new();
    let mut bytes = vec![0; 1 << 20];
    loop {
        match file.read(&mut bytes).map_err(failed)? {
            0 => return Ok(hex(hash)),
            count => hash.update(&bytes[..count]),
        }
    }
}

/// A finished hash in hexadecimal digits.
pub(crate) fn hex(hash: Sha256) -> String {
    hash.finalize().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}
