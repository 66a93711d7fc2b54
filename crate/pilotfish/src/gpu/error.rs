//! What a GPU can fail with.

/// A GPU fault. Every one leaves the process usable; after [`GpuError::Lost`] a new [`super::Gpu`] must be opened.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// No adapter answered.
    #[error("no GPU found ({found}): a WebGPU browser, or a Vulkan, Metal or DirectX 12 driver, is needed")]
    Unavailable {
        /// What the API said.
        found: String,
    },
    /// The adapter offers less than WebGPU's default limits.
    #[error("the GPU offers {limit} = {found}, but {expected} is needed: update its driver, or choose another adapter")]
    Limit {
        /// The limit's name.
        limit: &'static str,
        /// What the adapter offers.
        found: u64,
        /// What is needed.
        expected: u64,
    },
    /// An allocation larger than the device allows.
    #[error(
        "`{what}` takes {found} bytes, but this GPU allows {expected} in one buffer: choose a shorter context or a smaller model"
    )]
    TooLarge {
        /// The buffer.
        what: String,
        /// Its size in bytes.
        found: u64,
        /// The largest size in bytes.
        expected: u64,
    },
    /// The device ran out of memory.
    #[error("the GPU ran out of memory ({message}): choose a shorter context or a smaller model, or close other pages")]
    OutOfMemory {
        /// What the API said.
        message: String,
    },
    /// The device went away: driver reset, unplugged, or the system reclaimed it.
    #[error("the GPU was lost ({message}): open it again and reload the model")]
    Lost {
        /// What the API said.
        message: String,
    },
    /// The API refused a call: a mistake in this program.
    #[error("the GPU refused a call, which is a mistake in Pilotfish; please report it: {message}")]
    Invalid {
        /// What the API said.
        message: String,
    },
}

impl GpuError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "gpu.unavailable",
            Self::Limit { .. } => "gpu.limit",
            Self::TooLarge { .. } => "gpu.too_large",
            Self::OutOfMemory { .. } => "gpu.out_of_memory",
            Self::Lost { .. } => "gpu.lost",
            Self::Invalid { .. } => "gpu.invalid",
        }
    }
}
