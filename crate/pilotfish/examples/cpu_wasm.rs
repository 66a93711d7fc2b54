//! The CPU's forward pass for a host of WebAssembly, to be timed: `node cpu_wasm.mjs FILE.wasm MODEL.gguf`.

#![allow(unsafe_code, reason = "exports by name, over memory that the host fills")]

use std::cell::RefCell;

use pilotfish::cpu::{Cache, Forward, Isa, Precision, Token, Weights, Workers};
use pilotfish::engine::read_header;
use pilotfish::model::ByteSource;
use pilotfish::{Error, arch::ModelSpec};

/// Positions of a row.
const CONTEXT: u32 = 512;

/// A model and one row.
struct Loaded {
    weights: Weights,
    cache: Cache,
    forward: Forward,
    slots: Vec<u32>,
}

/// The host's file.
struct Host {
    size: u64,
}

#[link(wasm_import_module = "host")]
unsafe extern "C" {
    /// Copies `length` bytes at `offset` of the file to `into`.
    safe fn read(offset: f64, length: u32, into: *mut u8);
}

impl ByteSource for Host {
    fn size(&self) -> u64 {
        self.size
    }

    async fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), pilotfish::model::SourceError> {
        read(offset as f64, into.len() as u32, into.as_mut_ptr());
        Ok(())
    }
}

thread_local! {
    static LOADED: RefCell<Option<Loaded>> = const { RefCell::new(None) };
}

async fn open(size: u64) -> Result<Loaded, Error> {
    let mut source = Host { size };
    let spec = ModelSpec::from_header(&read_header(&mut source).await?)?;
    let weights = Weights::load(&spec, &mut source, |_| true).await?;
    let cache = Cache::new(&spec, CONTEXT);
    let forward = Forward::new(Workers::alone(), Precision::Fast);
    Ok(Loaded { weights, cache, forward, slots: (0..CONTEXT).collect() })
}

/// Loads the host's file of `size` bytes; 1 if it worked.
#[unsafe(no_mangle)]
pub extern "C" fn load(size: f64) -> u32 {
    let loaded = pollster::block_on(open(size as u64)).ok();
    let worked = u32::from(loaded.is_some());
    LOADED.with_borrow_mut(|held| *held = loaded);
    worked
}

/// Computes `n` tokens from `position` on, of ids that follow from `id`, and gives the likeliest next one; anything that is wrong
/// gives the largest number.
#[unsafe(no_mangle)]
pub extern "C" fn run(id: u32, position: u32, n: u32) -> u32 {
    LOADED.with_borrow_mut(|held| {
        let Some(Loaded { weights, cache, forward, slots }) = held else { return u32::MAX };
        let token = |t: u32| Token {
            id: (id + t * 7919) % weights.spec().n_vocab.min(30_000),
            position: position + t,
            slots,
            row: 0,
            logits: t + 1 == n,
        };
        let tokens: Vec<Token<'_>> = (0..n).map(token).collect();
        let Ok(logits) = forward.run(weights, cache, None, &tokens) else { return u32::MAX };
        let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        best.map_or(u32::MAX, |(at, _)| at as u32)
    })
}

/// 1 with relaxed SIMD, 0 without.
#[unsafe(no_mangle)]
pub extern "C" fn relaxed() -> u32 {
    u32::from(Isa::best().name() == "relaxed-simd")
}
