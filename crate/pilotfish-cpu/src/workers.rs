//! Who does the work: a thread pool of the caller's, or the calling thread alone.

/// Threads that share the rows of a product.
#[derive(Debug, Clone, Default)]
pub struct Workers {
    #[cfg(not(target_arch = "wasm32"))]
    pool: Option<std::sync::Arc<rayon::ThreadPool>>,
}

impl Workers {
    /// The calling thread alone.
    pub fn alone() -> Self {
        Self::default()
    }

    /// So many threads, the calling one among them; one for each core where it is not said.
    pub fn start(threads: Option<u32>) -> std::io::Result<Self> {
        #[cfg(not(target_arch = "wasm32"))]
        {
            let threads = match threads {
                Some(asked) => asked.max(1) as usize,
                None => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            };
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(std::io::Error::other)?;
            Ok(Self::pool(std::sync::Arc::new(pool)))
        }
        #[cfg(target_arch = "wasm32")]
        {
            let _ = threads;
            Ok(Self::alone())
        }
    }

    /// The threads of a pool.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn pool(pool: std::sync::Arc<rayon::ThreadPool>) -> Self {
        Self { pool: (pool.current_num_threads() > 1).then_some(pool) }
    }

    /// How many they are.
    pub fn threads(&self) -> usize {
        #[cfg(not(target_arch = "wasm32"))]
        if let Some(pool) = &self.pool {
            return pool.current_num_threads();
        }
        1
    }

    /// Runs `work` on one of the threads. What it shares out from there costs no change of thread.
    pub fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        #[cfg(not(target_arch = "wasm32"))]
        if let Some(pool) = &self.pool {
            return pool.install(work);
        }
        work()
    }

    /// Calls `work` with pieces of `items`, `size` items each but the last, and where each begins.
    pub fn pieces<T: Send>(&self, items: &mut [T], size: usize, work: impl Fn(usize, &mut [T]) + Sync) {
        #[cfg(not(target_arch = "wasm32"))]
        if let Some(pool) = &self.pool
            && items.len() > size
        {
            use rayon::prelude::*;
            let each = |(at, piece): (usize, &mut [T])| work(at * size, piece);
            pool.install(|| items.par_chunks_mut(size).enumerate().for_each(each));
            return;
        }
        for (at, piece) in items.chunks_mut(size.max(1)).enumerate() {
            work(at * size, piece);
        }
    }
}
