//! Ctrl-C: asks whatever runs to stop and hand over what it has; a second one ends the process at once.

use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);

/// 128 + SIGINT, as shells count.
const KILLED: i32 = 130;

/// Begins to listen. Without a handler (it cannot be installed twice) Ctrl-C just ends the process.
pub(crate) fn listen() {
    let _ = ctrlc::set_handler(|| {
        if ASKED.swap(true, Ordering::Relaxed) {
            std::process::exit(KILLED);
        }
    });
}

/// Whether Ctrl-C was pressed.
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}
