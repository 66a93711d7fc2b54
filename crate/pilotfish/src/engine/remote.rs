//! What may be asked of a session while one of its steps is awaited, and the session itself is not at hand.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

/// What a session has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Steps submitted.
    pub steps: u64,
    /// Positions computed in steps, over all rows.
    pub decoded: u64,
    /// Positions computed in prefills, over all rows.
    pub prefilled: u64,
    /// Positions that did not need to be computed: they were in the caches.
    pub reused: u64,
    /// Texts that a scorer was asked about.
    pub scored: u64,
    /// Bytes of the most keys and values that were held at once, over all models.
    pub kv_peak: u64,
}

/// A session's remote control; every copy of it acts on the same session.
#[derive(Debug, Clone, Default)]
pub struct Remote(Rc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    stop: Arc<AtomicBool>,
    cost: Cell<Cost>,
}

impl Remote {
    /// As [`super::Session::stop`]. A search above the step ends at its next step, not only when it has decided.
    pub fn stop(&self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }

    /// What [`Remote::stop`] sets, for another thread.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0.stop)
    }

    /// What the session has done so far, up to the last step that was submitted.
    pub fn cost(&self) -> Cost {
        self.0.cost.get()
    }

    pub(super) fn stopping(&self) -> bool {
        self.0.stop.load(Ordering::Relaxed)
    }

    /// Forgets that a stop was asked for.
    pub(super) fn reopen(&self) {
        self.0.stop.store(false, Ordering::Relaxed);
    }

    pub(super) fn count(&self, add: impl FnOnce(&mut Cost)) {
        let mut cost = self.0.cost.get();
        add(&mut cost);
        self.0.cost.set(cost);
    }
}
