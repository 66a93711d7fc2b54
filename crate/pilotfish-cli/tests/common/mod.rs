//! Runs the built `pilotfish` on the repository's fixtures: on the GPU and, with `PILOTFISH_TEST_BACKEND=cpu`, on the CPU in f32.
#![allow(dead_code, reason = "every test file uses a part of this")]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// A finished run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the program. The kernels' shape is fixed, so that no run measures.
pub(crate) fn pilotfish<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Run {
    let Output { status, stdout, stderr } =
        command().args(args).output().unwrap_or_else(|error| panic!("pilotfish does not start: {error}"));
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    Run { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

/// What the tests run on.
pub(crate) fn backend() -> String {
    std::env::var("PILOTFISH_TEST_BACKEND").unwrap_or_else(|_| "gpu".into())
}

/// The program, to be given arguments.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pilotfish"));
    command.args(["--matvec", "rows", "--precise", "--backend", &backend()]);
    // Mesa's drivers complain on stderr where this is not set.
    command.env("XDG_RUNTIME_DIR", env!("CARGO_TARGET_TMPDIR"));
    command
}

impl Run {
    /// The JSON of a run that went well.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self.json_whatever_the_code()
    }

    #[track_caller]
    pub(crate) fn json_whatever_the_code(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {} {}", self.stdout, self.stderr))
    }

    /// Checks that the run was refused with this exit code and error code, on stderr and, if it is there, in the JSON.
    #[track_caller]
    pub(crate) fn refused(&self, exit: i32, code: &str) -> &Self {
        assert_eq!(self.code, Some(exit), "{} {}", self.stdout, self.stderr);
        assert!(self.stderr.contains(&format!("error[{code}]: ")), "{}", self.stderr);
        if !self.stdout.is_empty() {
            let error = &self.json_whatever_the_code()["error"];
            assert_eq!(error["code"], code, "{}", self.stdout);
            assert!(error["message"].as_str().is_some_and(|message| self.stderr.contains(message)), "{}", self.stdout);
        }
        self
    }

    /// Checks a part of stderr.
    #[track_caller]
    pub(crate) fn says(&self, part: &str) -> &Self {
        assert!(self.stderr.contains(part), "`{part}` is not in: {}", self.stderr);
        self
    }
}

/// A file of the repository's `tests` folder.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests").join(path)
}

/// A tiny model, `FAMILY-FORMAT`.
pub(crate) fn tiny(name: &str) -> String {
    let path = repository("fixtures/tiny").join(format!("tiny-{name}.gguf"));
    path.to_str().expect("the path is UTF-8").to_owned()
}

/// A file with this content, by a name of its own.
pub(crate) fn file(name: &str, content: impl AsRef<[u8]>) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, content).expect("the target folder can be written");
    path.to_str().expect("the path is UTF-8").to_owned()
}

/// Words of a line, for commands whose arguments hold no spaces.
pub(crate) fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split_whitespace()
}

/// The ids in a JSON array.
#[track_caller]
pub(crate) fn ids(value: &Value) -> Vec<u64> {
    value.as_array().expect("an array").iter().map(|id| id.as_u64().expect("an id")).collect()
}
