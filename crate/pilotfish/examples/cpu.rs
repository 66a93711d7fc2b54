//! What the CPU's forward pass costs and how far its fast path is from f32.
//!
//! ```text
//! cargo run --release -p pilotfish --example cpu -- MODEL.gguf [--threads 1,2] [--rounds 3] [--golden FILE.json [--adapter FILE.gguf]]
//! ```
//!
//! Speeds are the best of some rounds over a prompt of 128 tokens and 64 tokens after it. Beside them stands what a step reads
//! and computes, as a share of what the same threads read from memory and what the kernel does with weights in the nearest cache.
//! With a golden file: the KL of the fast path from the precise one over all its texts, and how often both prefer one token. With an
//! adapter: the same of the sum of base and adapted row, each multiplied by itself, and added up before the output matrix.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use pilotfish::adapter::{Adapter, Component, Module, Pair, RowOrder};
use pilotfish::cpu::{Adapters, Cache, Forward, Isa, Precision, Token, Weights, Workers};
use pilotfish::engine::{highest, logsumexp, open};
use pilotfish::model::RowAdapter;

type Failed = Box<dyn std::error::Error>;

const PROMPT: usize = 128;
const TOKENS: usize = 64;
/// Positions of a row.
const CONTEXT: usize = 1024;

fn main() -> Result<(), Failed> {
    let mut threads = vec![1, 2];
    let (mut path, mut golden, mut guide, mut rounds) = (None, None, None, 3);
    let mut isa = Isa::best();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--threads" => threads = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?,
            "--rounds" => rounds = value()?.parse()?,
            "--golden" => golden = Some(value()?),
            "--adapter" => guide = Some(value()?),
            "--isa" => {
                let name = value()?;
                let found = Isa::available().into_iter().find(|isa| isa.name() == name);
                isa = found.ok_or(format!("{name} is not among {:?}", Isa::available().map_names()))?;
            }
            _ => path = Some(argument),
        }
    }
    let path = path.ok_or("which model? usage: cpu MODEL.gguf [--threads 1,2] [--rounds 3] [--golden FILE.json]")?;
    let mut file = std::fs::File::open(&path)?;
    let started = Instant::now();
    let opened = pollster::block_on(open(&mut file))?;
    let header = started.elapsed();
    let started = Instant::now();
    let weights = pollster::block_on(Weights::load(&opened.spec, &mut file, |_| true))?;
    println!(
        "{}: {} instructions, header {:.2} s, weights {:.2} s; {:.1} MB of weights a step, {:.1} M products a token",
        opened.spec.name,
        isa.name(),
        header.as_secs_f64(),
        started.elapsed().as_secs_f64(),
        weights.bytes_per_step() as f64 / 1e6,
        weights.products_per_token() as f64 / 1e6
    );
    for n in threads {
        let workers = workers(n)?;
        let mut bench = Bench { isa, workers: workers.clone(), weights: &weights, rounds };
        bench.speeds(n)?;
        bench.rows()?;
    }
    if let Some(golden) = golden {
        let golden: Golden = serde_json::from_str(&std::fs::read_to_string(golden)?)?;
        drift(&weights, isa, &golden)?;
        if let Some(guide) = guide {
            mixed_drift(&weights, isa, &golden, Adapter::from_gguf(&std::fs::read(guide)?)?)?;
        }
    }
    Ok(())
}

trait Names {
    fn map_names(&self) -> Vec<&'static str>;
}

impl Names for Vec<Isa> {
    fn map_names(&self) -> Vec<&'static str> {
        self.iter().map(|isa| isa.name()).collect()
    }
}

fn workers(threads: usize) -> Result<Workers, Failed> {
    Ok(Workers::pool(Arc::new(rayon::ThreadPoolBuilder::new().num_threads(threads).build()?)))
}

struct Bench<'a> {
    isa: Isa,
    workers: Workers,
    weights: &'a Weights,
    rounds: usize,
}

impl Bench<'_> {
    /// Prompt and tokens of one row.
    fn speeds(&mut self, threads: usize) -> Result<(), Failed> {
        let spec = self.weights.spec();
        let ids: Vec<u32> = (0..PROMPT as u32).map(|at| (at * 7919 + 13) % spec.n_vocab.min(30_000)).collect();
        let slots: Vec<u32> = (0..CONTEXT as u32).collect();
        let mut forward = Forward::with(self.isa, self.workers.clone(), Precision::Fast);
        let (mut prefill, mut decode) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..self.rounds {
            let mut cache = Cache::new(spec, CONTEXT as u32);
            let token = |(t, id): (usize, &u32)| Token {
                id: *id,
                position: t as u32,
                slots: &slots,
                row: 0,
                logits: t + 1 == PROMPT,
            };
            let prompt: Vec<Token<'_>> = ids.iter().enumerate().map(token).collect();
            let started = Instant::now();
            let mut id = highest(forward.run(self.weights, &mut cache, None, &prompt)?, 1)[0].0;
            prefill = prefill.min(started.elapsed().as_secs_f64());
            let started = Instant::now();
            for at in 0..TOKENS {
                let token = Token { id, position: (PROMPT + at) as u32, slots: &slots, row: 0, logits: true };
                id = argmax(forward.run(self.weights, &mut cache, None, &[token])?);
            }
            decode = decode.min(started.elapsed().as_secs_f64() / TOKENS as f64);
        }
        let memory = bandwidth(&self.workers);
        let reads = self.weights.bytes_per_step() as f64 / decode / 1e9;
        let products = self.weights.products_per_token() as f64;
        // A prompt needs the logits of its last token alone.
        let last = f64::from(spec.n_vocab) * f64::from(spec.hidden);
        let done = ((products - last) * PROMPT as f64 + last) / prefill / 1e9;
        println!(
            "{threads} thread(s): decode {:.1} tok/s ({reads:.1} GB/s of weights, memory gives {memory:.1}), prefill {:.0} tok/s ({done:.0} GMAC/s)",
            1.0 / decode,
            PROMPT as f64 / prefill,
        );
        Ok(())
    }

    /// A step of 1, 2, 4 and 8 rows, all but the first under adapters of rank 8 on q, k and v; steps take turns.
    fn rows(&mut self) -> Result<(), Failed> {
        let spec = self.weights.spec();
        let adapter = adapter(self.weights);
        let used = RowAdapter { adapter: &adapter, share: 1.0, preference: &[] };
        let rows: Vec<Vec<RowAdapter<'_>>> = (0..8).map(|row| if row == 0 { vec![] } else { vec![used] }).collect();
        let adapters = Adapters::new(spec, &rows)?;
        let slots: Vec<u32> = (0..8 * CONTEXT as u32).collect();
        let mut cache = Cache::new(spec, 8 * CONTEXT as u32);
        let mut forward = Forward::with(self.isa, self.workers.clone(), Precision::Fast);
        let sizes = [1, 2, 3, 4, 8];
        let mut best = [f64::INFINITY; 5];
        for step in 0..12 * self.rounds as u32 {
            for (best, size) in best.iter_mut().zip(sizes) {
                let token = |row: usize| Token {
                    id: 100 + step,
                    position: step,
                    slots: &slots[row * CONTEXT..(row + 1) * CONTEXT],
                    row,
                    logits: true,
                };
                let tokens: Vec<Token<'_>> = (0..size).map(token).collect();
                let started = Instant::now();
                black_box(forward.run(self.weights, &mut cache, Some(&adapters), &tokens)?);
                *best = best.min(started.elapsed().as_secs_f64());
            }
        }
        let ratios: Vec<String> =
            sizes.iter().zip(best).map(|(size, time)| format!("{size}: {:.2}x", time / best[0])).collect();
        println!("    a step of rows with adapters, against one row: {}", ratios.join(", "));
        Ok(())
    }
}

fn argmax(logits: &[f32]) -> u32 {
    let better = |best: (usize, f32), (at, z): (usize, &f32)| if *z > best.1 { (at, *z) } else { best };
    logits.iter().enumerate().fold((0, f32::NEG_INFINITY), better).0 as u32
}

/// GB/s of reading much more than caches hold.
fn bandwidth(workers: &Workers) -> f64 {
    let mut much = vec![1u64; 48 << 20];
    let size = much.len() / workers.threads();
    let mut best = f64::INFINITY;
    for _ in 0..4 {
        let started = Instant::now();
        workers.enter(|| {
            workers.pieces(&mut much, size, |_, piece| {
                black_box(piece.iter().fold(0u64, |sum, word| sum.wrapping_add(*word)));
            });
        });
        best = best.min(started.elapsed().as_secs_f64());
    }
    (much.len() * 8) as f64 / best / 1e9
}

/// Rank 8 on every q, k and v.
fn adapter(weights: &Weights) -> Adapter {
    let spec = weights.spec();
    let mut fixed = Component::default();
    for (at, layer) in spec.layers.iter().enumerate() {
        for module in [Module::Q, Module::K, Module::V] {
            let shape = &spec.tensors[module.tensor(layer)].shape;
            let numbers = |n: u64| (0..n).map(|i| ((i * 2_654_435_761) % 1000) as f32 / 1e5 - 5e-3).collect();
            let pair = Pair { scale: 1.0, rank: 8, a: numbers(8 * shape[0]), b: numbers(8 * shape[1]) };
            fixed.pairs.insert((at as u32, module), pair);
        }
    }
    let row_order = RowOrder::Model;
    Adapter { name: String::new(), architecture: None, base: None, row_order, fixed, preferences: Vec::new() }
}

#[derive(serde::Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    name: String,
    ids: Vec<u32>,
    top: Vec<(u32, f64)>,
    logsumexp: f64,
}

/// The fast path against the precise one at every position, and the precise one against the file's reference at the last.
fn drift(weights: &Weights, isa: Isa, golden: &Golden) -> Result<(), Failed> {
    let vocab = weights.spec().n_vocab as usize;
    let mut apart = Apart::default();
    for case in &golden.cases {
        let slots: Vec<u32> = (0..case.ids.len() as u32).collect();
        let token = |(t, id): (usize, &u32)| Token { id: *id, position: t as u32, slots: &slots, row: 0, logits: true };
        let tokens: Vec<Token<'_>> = case.ids.iter().enumerate().map(token).collect();
        let mut both = [Precision::Precise, Precision::Fast].map(|precision| {
            (Forward::with(isa, Workers::default(), precision), Cache::new(weights.spec(), slots.len() as u32))
        });
        for batch in tokens.chunks(64) {
            let [(precise, precise_cache), (fast, fast_cache)] = &mut both;
            let precise = precise.run(weights, precise_cache, None, batch)?;
            let fast = fast.run(weights, fast_cache, None, batch)?;
            for (precise, fast) in precise.chunks_exact(vocab).zip(fast.chunks_exact(vocab)) {
                apart.add(precise, fast);
            }
            if batch.last().map(|token| token.position as usize + 1) == Some(case.ids.len()) {
                let logits = &precise[precise.len() - vocab..];
                let off =
                    case.top.iter().map(|(id, z)| (f64::from(logits[*id as usize]) - z).abs()).fold(0.0, f64::max);
                let normaliser = (logsumexp(logits) - case.logsumexp).abs();
                println!(
                    "    precise, {}: top logits within {off:.1e} of the reference, logsumexp within {normaliser:.1e}",
                    case.name
                );
            }
        }
    }
    println!("    fast against precise over {apart}");
    Ok(())
}

/// The mix of the base and of the base under an adapter, both with weight 1, at every position.
fn mixed_drift(weights: &Weights, isa: Isa, golden: &Golden, guide: Adapter) -> Result<(), Failed> {
    let (spec, vocab) = (weights.spec(), weights.spec().n_vocab as usize);
    let guide = guide.fitted(spec)?;
    let adapters = Adapters::new(spec, &[vec![], vec![RowAdapter { adapter: &guide, share: 1.0, preference: &[] }]])?;
    let (mut each, mut added) = (Apart::default(), Apart::default());
    let mixed = |rows: &[f32]| -> Vec<Vec<f32>> {
        let rows: Vec<&[f32]> = rows.chunks_exact(vocab).collect();
        let sum = |both: &[&[f32]]| both[0].iter().zip(both[1]).map(|(a, b)| a + b).collect();
        rows.chunks_exact(2).map(sum).collect()
    };
    for case in &golden.cases {
        let n = case.ids.len() as u32;
        let slots: [Vec<u32>; 2] = [(0..n).collect(), (n..2 * n).collect()];
        let token = |(at, id): (usize, &u32)| {
            [0, 1].map(|row| Token { id: *id, position: at as u32, slots: &slots[row], row, logits: true })
        };
        let tokens: Vec<Token<'_>> = case.ids.iter().enumerate().flat_map(token).collect();
        let ways = [Precision::Precise, Precision::Fast, Precision::Fast];
        let mut ways =
            ways.map(|precision| (Forward::with(isa, Workers::default(), precision), Cache::new(spec, 2 * n)));
        for batch in tokens.chunks(64) {
            let [(precise, precise_cache), (fast, fast_cache), (sums, sums_cache)] = &mut ways;
            let precise = mixed(precise.run(weights, precise_cache, Some(&adapters), batch)?);
            let fast = mixed(fast.run(weights, fast_cache, Some(&adapters), batch)?);
            let both: Vec<_> = (0..batch.len()).step_by(2).map(|at| vec![(at, 1.0), (at + 1, 1.0)]).collect();
            let sums = sums.run_added(weights, sums_cache, Some(&adapters), batch, &both)?;
            for ((precise, fast), sum) in precise.iter().zip(&fast).zip(sums.chunks_exact(vocab)) {
                each.add(precise, fast);
                added.add(precise, sum);
            }
        }
    }
    println!("    mixed with {}, fast against precise over {each}", guide.name);
    println!("    the same, added up before the output matrix, over {added}");
    Ok(())
}

/// How far distributions are from others.
#[derive(Default)]
struct Apart {
    sum: f64,
    largest: f64,
    same: usize,
    positions: usize,
}

impl Apart {
    fn add(&mut self, precise: &[f32], fast: &[f32]) {
        let (a, b) = (logsumexp(precise), logsumexp(fast));
        let term = |(p, f): (&f32, &f32)| (f64::from(*p) - a).exp() * (f64::from(*p) - a - f64::from(*f) + b);
        let kl: f64 = precise.iter().zip(fast).map(term).sum();
        self.sum += kl;
        self.largest = self.largest.max(kl);
        self.same += usize::from(argmax(precise) == argmax(fast));
        self.positions += 1;
    }
}

impl std::fmt::Display for Apart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let positions = self.positions as f64;
        let (mean, same) = (self.sum / positions, 100.0 * self.same as f64 / positions);
        let Self { largest, positions, .. } = self;
        write!(f, "{positions} positions: mean KL {mean:.2e}, largest {largest:.2e}, same top token {same:.1} %")
    }
}
