//! The file of a model's answers: a line that says how they were made, then a line a prompt, written as soon as it is answered. What
//! a lost process leaves is gone on with, and other rules choose from the same answers.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use pilotfish_train::SampleOptions;
use serde::{Deserialize, Serialize};

use crate::error::{CliError, Result};

/// How answers were made. Those of two runs are the same where these are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Made {
    /// The model's file, by name and size: its weights are not read for this.
    pub(super) model: String,
    /// Bytes of that file.
    pub(super) bytes: u64,
    /// SHA-256 of the prompts.
    pub(super) prompts: String,
    /// How they were sampled.
    #[serde(flatten)]
    pub(super) options: SampleOptions,
}

/// The file and what is in it.
#[derive(Debug)]
pub(super) struct Answers {
    path: PathBuf,
    file: File,
    /// The answers to each prompt so far, in the prompts' order.
    pub(super) known: Vec<Vec<String>>,
}

impl Answers {
    /// Opens it, or begins it.
    ///
    /// # Errors
    /// [`CliError::Content`] where it holds something else, or answers that were made otherwise.
    pub(super) fn open(path: &Path, made: &Made) -> Result<Self> {
        let failed = |source| CliError::Write { path: path.to_owned(), source };
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(CliError::File { path: path.to_owned(), source }),
        };
        // A line without its end was being written when the process was lost, and may end inside a character.
        let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let whole = String::from_utf8_lossy(&bytes[..end]);
        let mut lines = whole.lines();
        let mut known = Vec::new();
        if let Some(first) = lines.next() {
            let refuse = |found: String| {
                let expected = "answers made the same way; name another file with --answers, or remove this one";
                Err(CliError::Content { path: path.to_owned(), expected, found })
            };
            match serde_json::from_str::<Made>(first) {
                Ok(then) if then == *made => {}
                Ok(then) => return refuse(format!("its answers were made otherwise: {then:?}, now {made:?}")),
                Err(error) => return refuse(format!("line 1 does not say how answers were made: {error}")),
            }
            for (index, line) in lines.enumerate() {
                match serde_json::from_str(line) {
                    Ok(answers) => known.push(answers),
                    Err(error) => return refuse(format!("line {}: {error}", index + 2)),
                }
            }
        }
        let begun = end > 0;
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
        file.set_len(end as u64).map_err(failed)?;
        let mut this = Self { path: path.to_owned(), file, known };
        if !begun {
            this.write(made)?;
        }
        Ok(this)
    }

    /// Adds the answers to the next prompt, at once.
    pub(super) fn push(&mut self, answers: Vec<String>) -> Result<()> {
        self.write(&answers)?;
        self.known.push(answers);
        Ok(())
    }

    fn write(&mut self, line: &impl Serialize) -> Result<()> {
        let failed = |source| CliError::Write { path: self.path.clone(), source };
        let mut text = serde_json::to_vec(line).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        self.file.write_all(&text).map_err(failed)
    }
}
