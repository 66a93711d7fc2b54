//! One line on stderr that says how far something long has come. Only terminals see it, and it leaves nothing behind.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Between two paintings: more often is flicker.
const INTERVAL: Duration = Duration::from_millis(100);

/// A progress line; gone when dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    what: String,
    shows: bool,
    painted: Option<Instant>,
}

impl Progress {
    /// About `what`, shown unless `quiet` or where stderr is no terminal.
    pub(crate) fn new(what: impl Into<String>, quiet: bool) -> Self {
        Self { what: what.into(), shows: !quiet && std::io::stderr().is_terminal(), painted: None }
    }

    /// Shows `text`, unless something was shown a moment ago. `false` where nobody looks.
    pub(crate) fn say(&mut self, text: &str) -> bool {
        if self.shows && self.painted.is_none_or(|at| at.elapsed() >= INTERVAL) {
            self.painted = Some(Instant::now());
            paint(text);
        }
        self.shows
    }

    /// Takes the line away, for something that stays.
    pub(crate) fn clear(&mut self) {
        if self.painted.take().is_some() {
            paint("");
        }
    }

    /// `done` of `total` are done.
    pub(crate) fn update(&mut self, done: u64, total: u64) {
        let text = format!("{} {} %", self.what, done * 100 / total.max(1));
        self.say(&text);
    }
}

fn paint(text: &str) {
    let mut stderr = std::io::stderr();
    // A line that cannot be painted is no reason to stop.
    let _ = write!(stderr, "\r\x1b[K{text}").and_then(|()| stderr.flush());
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.painted.is_some() {
            paint("");
        }
    }
}
