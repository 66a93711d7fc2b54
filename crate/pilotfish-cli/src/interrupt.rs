//! Ctrl-C: asks whatever runs to stop and hand over what it has; a second one ends the process at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

static ASKED: AtomicBool = AtomicBool::new(false);

/// What else is to hear of it: the session that runs, in the middle of a step.
static ALSO: Mutex<Option<Arc<AtomicBool>>> = Mutex::new(None);

/// 128 + SIGINT, as shells count.
const KILLED: i32 = 130;

/// Begins to listen. Without a handler (it cannot be installed twice) Ctrl-C just ends the process.
pub(crate) fn listen() {
    let _ = ctrlc::set_handler(|| {
        if ASKED.swap(true, Ordering::Relaxed) {
            std::process::exit(KILLED);
        }
        if let Ok(also) = ALSO.lock() {
            also.iter().for_each(|flag| flag.store(true, Ordering::Relaxed));
        }
    });
}

/// Sets `flag`, too, from now on and instead of the one before.
pub(crate) fn also(flag: Arc<AtomicBool>) {
    if let Ok(mut also) = ALSO.lock() {
        *also = Some(flag);
    }
}

/// Whether Ctrl-C was pressed.
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}
