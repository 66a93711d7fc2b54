//! How much a session may be.

use crate::ops::mixing::MOST_ROWS;

/// The most rows of a session, over all models and samples: what a mix tells apart. A step reads a model's weights once for 8 of
/// its rows; for more it takes the kernels of prefills.
pub const MAX_ROWS: usize = MOST_ROWS as usize;

/// The most steps in flight.
pub(super) const MAX_IN_FLIGHT: u32 = 8;
