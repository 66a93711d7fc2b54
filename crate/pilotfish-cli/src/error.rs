//! What can go wrong here, and how it ends the process: `error[code]: message` on stderr, an exit code, and with
//! `--json` the same on stdout.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::output;

/// The exit code of a check that failed or a request the engine refused.
pub(crate) const FAILED: u8 = 1;

/// The exit code of a wrong command line.
pub(crate) const USAGE: u8 = 2;

/// Why a subcommand did not finish.
#[derive(Debug)]
pub(crate) enum CliError {
    /// The engine's own account.
    Engine(pilotfish::Error),
    /// The trainer's own account.
    Train(pilotfish_train::TrainError),
    /// A file that cannot be opened or read.
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that cannot be written.
    Write {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file whose content is not what it should be.
    Content {
        /// Which.
        path: PathBuf,
        /// What was expected.
        expected: &'static str,
        /// What is wrong.
        found: String,
    },
    /// Arguments that contradict each other.
    Usage(String),
    /// Nobody reads stdout any more.
    Closed,
    /// Writing to stdout failed.
    Stdout(std::io::Error),
}

/// What a subcommand gives.
pub(crate) type Result<T, E = CliError> = std::result::Result<T, E>;

impl CliError {
    /// The stable code.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Engine(error) => error.code(),
            Self::Train(error) => error.code(),
            Self::File { .. } => "file.read",
            Self::Write { .. } => "file.write",
            Self::Content { .. } => "file.content",
            Self::Usage(_) => "usage",
            Self::Closed | Self::Stdout(_) => "stdout",
        }
    }

    /// For people.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Engine(error) => error.to_string(),
            Self::Train(error) => error.to_string(),
            Self::File { path, source } => format!("cannot read {}: {source}", path.display()),
            Self::Write { path, source } => format!("cannot write {}: {source}", path.display()),
            Self::Content { path, expected, found } => format!("{}: {found}; expected {expected}", path.display()),
            Self::Usage(message) => message.clone(),
            Self::Closed => "stdout was closed".into(),
            Self::Stdout(source) => format!("cannot write to stdout: {source}"),
        }
    }

    /// Tells stderr, and stdout where JSON was asked for; the exit code.
    pub(crate) fn report(&self, json: bool) -> ExitCode {
        output::diagnostic(&format!("error[{}]: {}", self.code(), self.message()));
        if json {
            // If stdout is gone too, stderr and the exit code have said it.
            let _ = output::json(&serde_json::json!({ "error": self.to_json() }));
        }
        ExitCode::from(if matches!(self, Self::Usage(_)) { USAGE } else { FAILED })
    }

    /// `{"code", "message"}`.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "code": self.code(), "message": self.message() })
    }
}

/// Every error of the engine or of one of its modules.
impl<E: Into<pilotfish::Error>> From<E> for CliError {
    fn from(error: E) -> Self {
        Self::Engine(error.into())
    }
}
