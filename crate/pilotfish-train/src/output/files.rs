//! Files that are there whole or not at all.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use crate::error::{Result, TrainError};

/// Writes beside `path`, then puts the file in its place: a full disk or a lost process leaves the one before.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    let beside = Path::new(&beside);
    let written = File::create(beside)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(beside, path));
    written.map_err(|source| {
        // What is there of it is of no use; that it cannot be removed changes nothing.
        let _ = fs::remove_file(beside);
        TrainError::Write { path: path.to_owned(), source }
    })
}
