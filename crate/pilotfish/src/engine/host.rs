//! What the engine asks of whoever runs it: the time, and a pause now and then.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

/// Over when whoever runs the engine has seen to other things.
pub type Pause = Pin<Box<dyn Future<Output = ()>>>;

/// A clock, and a way to let others have a turn.
#[derive(Clone)]
pub struct Host {
    now: Rc<dyn Fn() -> f64>,
    pause: Option<Rc<dyn Fn() -> Pause>>,
}

impl Host {
    /// `now` gives milliseconds from any origin; they decide between kernels and processors, and nothing else.
    pub fn new(now: impl Fn() -> f64 + 'static) -> Self {
        Self { now: Rc::new(now), pause: None }
    }

    /// With pauses. Steps on the CPU keep their thread busy from one to the next: in a web page nothing would hear a stop, or any other
    /// message, without a pause between two of them that lets the event loop turn.
    #[must_use]
    pub fn with_pause(self, pause: impl Fn() -> Pause + 'static) -> Self {
        Self { pause: Some(Rc::new(pause)), ..self }
    }

    /// Milliseconds from any origin.
    pub(crate) fn now(&self) -> f64 {
        (self.now)()
    }

    /// Lets others have a turn.
    #[cfg(feature = "cpu")]
    pub(super) async fn pause(&self) {
        if let Some(pause) = &self.pause {
            pause().await;
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("pauses", &self.pause.is_some()).finish_non_exhaustive()
    }
}
