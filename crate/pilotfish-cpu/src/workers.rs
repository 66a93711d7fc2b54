//! Who does the work: a thread pool of the caller's, a crew of threads that the host started, or the calling thread alone.

use crate::Crew;

/// Threads that share the rows of a product.
#[derive(Debug, Clone, Default)]
pub struct Workers(Kind);

#[derive(Debug, Clone, Default)]
enum Kind {
    #[default]
    Alone,
    #[cfg(not(target_arch = "wasm32"))]
    Pool(std::sync::Arc<rayon::ThreadPool>),
    Crew(&'static Crew),
}

impl Workers {
    /// The calling thread alone.
    pub fn alone() -> Self {
        Self::default()
    }

    /// So many threads, the calling one among them; one for each core where it is not said. In WebAssembly, those that the host has
    /// started and that have joined the program's crew, however many they are.
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
            Ok(Self::crew(Crew::of_program()))
        }
    }

    /// The threads of a pool.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn pool(pool: std::sync::Arc<rayon::ThreadPool>) -> Self {
        if pool.current_num_threads() > 1 { Self(Kind::Pool(pool)) } else { Self::alone() }
    }

    /// The calling thread and those that have joined a crew, or join it later.
    pub fn crew(crew: &'static Crew) -> Self {
        Self(Kind::Crew(crew))
    }

    /// How many they are.
    pub fn threads(&self) -> usize {
        match &self.0 {
            Kind::Alone => 1,
            #[cfg(not(target_arch = "wasm32"))]
            Kind::Pool(pool) => pool.current_num_threads(),
            Kind::Crew(crew) => crew.threads(),
        }
    }

    /// Runs `work` on one of the threads. What it shares out from there costs no change of thread.
    pub fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.0 {
            #[cfg(not(target_arch = "wasm32"))]
            Kind::Pool(pool) => pool.install(work),
            _ => work(),
        }
    }

    /// Calls `work` with pieces of `items`, `size` items each but the last, and where each begins.
    pub fn pieces<T: Send>(&self, items: &mut [T], size: usize, work: impl Fn(usize, &mut [T]) + Sync) {
        let size = size.max(1);
        match &self.0 {
            #[cfg(not(target_arch = "wasm32"))]
            Kind::Pool(pool) if items.len() > size => {
                use rayon::prelude::*;
                let each = |(at, piece): (usize, &mut [T])| work(at * size, piece);
                pool.install(|| items.par_chunks_mut(size).enumerate().for_each(each));
            }
            Kind::Crew(crew) => crew.pieces(items, size, work),
            _ => {
                for (at, piece) in items.chunks_mut(size).enumerate() {
                    work(at * size, piece);
                }
            }
        }
    }
}
