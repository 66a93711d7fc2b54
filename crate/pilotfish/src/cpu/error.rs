//! What can be wrong with a batch, or with a model on this machine.

/// Why a batch could not be computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CpuError {
    /// A token that the model does not have.
    #[error("token id {found} of a batch is outside the embedding's {rows} rows; ids run from 0 to {}", rows - 1)]
    Id {
        /// The id.
        found: u32,
        /// Rows of the embedding.
        rows: u32,
    },
    /// A position without a slot.
    #[error("a token at position {position} has slots for {slots} positions; it needs one for each up to its own")]
    Slots {
        /// The token's position.
        position: u32,
        /// Slots given.
        slots: usize,
    },
    /// A slot that the cache does not have.
    #[error("slot {found} is outside the cache's {slots}; make a larger cache")]
    Slot {
        /// The slot.
        found: u32,
        /// Slots of the cache.
        slots: u32,
    },
    /// A row that has no entry among the adapters.
    #[error("row {found} of a batch is outside the {rows} rows that the adapters were made for")]
    Row {
        /// The row.
        found: usize,
        /// Rows of the adapters.
        rows: usize,
    },
    /// A sum of tokens that are not there.
    #[error("a sum of logits has token {found} in it, and the batch has {tokens}; tokens are counted from 0")]
    Token {
        /// The token.
        found: usize,
        /// Tokens of the batch.
        tokens: usize,
    },
    /// Logits that cannot be added up before the output matrix.
    #[error(
        "the model's logits have a bias or a soft cap, so they cannot be added up before they are computed; compute each"
    )]
    NotLinear,
    /// A model, cache or batch of another model.
    #[error("{what} was made for another model: found {found}, expected {expected}")]
    Model {
        /// What does not fit.
        what: &'static str,
        /// Its size.
        found: usize,
        /// The size that fits.
        expected: usize,
    },
    /// Threads that could not be started.
    #[error("{found} threads could not be started ({reason}): ask for fewer")]
    Threads {
        /// How many were asked for.
        found: u32,
        /// What the system says.
        reason: String,
    },
    /// The model does not fit the address space.
    #[error(
        "the model takes {needed} bytes and {limit} can be addressed here; take a smaller one, or one with fewer bits"
    )]
    TooLarge {
        /// Bytes of weights and one page of keys and values.
        needed: u64,
        /// Bytes that can be addressed.
        limit: u64,
    },
}

impl CpuError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Id { .. } => "cpu.id",
            Self::Slots { .. } => "cpu.slots",
            Self::Slot { .. } => "cpu.slot",
            Self::Row { .. } => "cpu.row",
            Self::Token { .. } => "cpu.token",
            Self::NotLinear => "cpu.not_linear",
            Self::Model { .. } => "cpu.model",
            Self::Threads { .. } => "cpu.threads",
            Self::TooLarge { .. } => "cpu.too_large",
        }
    }
}
