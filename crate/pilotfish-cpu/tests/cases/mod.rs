//! Every kernel under every instruction set of the machine against plain arithmetic: integers where these are exact, f64 with
//! bounds on the roundings otherwise. Each function panics with what is wrong; they run as tests and, in wasm, from a host.

use pilotfish_cpu::{
    Attention, BLOCK, Gate, Inputs, Isa, Layout, Levels, PANEL, Panels, Precision, Scale, Second, Seconds, Seen,
    Workers, add_low_rank, add_normed, attend, axpy, dot, gated, halves, multiply, panel_row, rms_norm,
};

/// Half of the distance from 1 to the next f32.
const ROUNDING: f64 = 1.0 / (1u64 << 24) as f64;

const fn quants(bits: usize, centre: i32, offsets: bool, scale: Scale) -> Layout {
    Layout::Quants { bits, centre, offsets, scale }
}

/// Every layout that a format has.
const LAYOUTS: [Layout; 11] = [
    Layout::Floats,
    quants(4, 8, false, Scale::Block),
    quants(4, 0, true, Scale::Block),
    quants(5, 16, false, Scale::Block),
    quants(5, 0, true, Scale::Block),
    quants(8, 128, false, Scale::Block),
    quants(4, 0, true, Scale::Nested { columns: 32 }),
    quants(5, 0, true, Scale::Nested { columns: 32 }),
    quants(4, 4, false, Scale::Nested { columns: 16 }),
    quants(4, 0, true, Scale::Nested { columns: 16 }),
    quants(6, 32, false, Scale::Nested { columns: 16 }),
];

/// Numbers that look random, the same each run (xorshift).
struct Numbers(u64);

impl Numbers {
    fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    fn below(&mut self, n: u64) -> u64 {
        self.bits() % n
    }

    /// From -1 to 1.
    fn float(&mut self) -> f32 {
        (self.bits() % (1 << 20)) as f32 / (1 << 19) as f32 - 1.0
    }

    fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.float()).collect()
    }
}

fn f16(x: f32) -> u16 {
    half::f16::from_f32(x).to_bits()
}

/// How levels and activations are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Choice {
    Random,
    Largest,
    Smallest,
}

/// A row of `k` levels. `plain`: all scales 1 and offsets small integers, so that every product is an integer.
fn levels(layout: Layout, k: usize, choice: Choice, plain: bool, numbers: &mut Numbers) -> Levels {
    let Layout::Quants { bits, offsets, scale, .. } = layout else {
        let floats = (0..k).map(|_| if plain { numbers.below(31) as f32 - 15.0 } else { numbers.float() }).collect();
        return Levels { floats, ..Levels::default() };
    };
    let mut row = Levels::default();
    row.q.extend((0..k).map(|_| match choice {
        Choice::Random => numbers.below(1 << bits) as u8,
        Choice::Largest => ((1u32 << bits) - 1) as u8,
        Choice::Smallest => 0,
    }));
    let (scales, parts) = match scale {
        Scale::Block => (k / BLOCK, 0),
        Scale::Nested { columns } => (k / 256, k / columns),
    };
    for _ in 0..scales {
        row.scales.push(f16(if plain { 1.0 } else { 0.02 * numbers.float() }));
        if offsets {
            row.offsets.push(f16(if plain { numbers.below(9) as f32 - 4.0 } else { 0.1 * numbers.float() }));
        }
    }
    for _ in 0..parts {
        row.sub_scales.push(if plain { 1 } else { numbers.below(127) as i8 - 63 });
        if offsets {
            row.sub_offsets.push(numbers.below(8) as i8);
        }
    }
    row
}

fn matrix(layout: Layout, rows: &[Levels], k: usize) -> Panels {
    let mut panels = Panels::zeros(layout, rows.len(), k);
    rows.chunks(PANEL).enumerate().for_each(|(panel, rows)| panels.fill(panel, rows));
    panels
}

fn inputs(isa: Isa, tokens: usize, k: usize, second: Second, floats: &[f32]) -> Inputs {
    let mut inputs = Inputs::default();
    inputs.resize(tokens, k, second);
    inputs.floats.copy_from_slice(floats);
    inputs.quantise(isa);
    inputs
}

/// `[rows]` of each token.
fn product(isa: Isa, precision: Precision, matrix: &Panels, x: &Inputs) -> Vec<Vec<f32>> {
    let mut out = Vec::new();
    multiply(isa, &Workers::alone(), precision, &[matrix], x, &mut out);
    let row = |token| {
        let mut row = vec![0.0; matrix.rows()];
        panel_row(&out, x.tokens(), 0, token, &mut row);
        row
    };
    (0..x.tokens()).map(row).collect()
}

/// With scales of 1 every sum is an integer that f32 holds, and must be that integer: also of the largest levels and
/// activations there are, where sums of 16 bits are closest to overflowing.
pub(crate) fn integer_products_are_exact() -> usize {
    let mut numbers = Numbers(7);
    let mut checked = 0;
    // Enough panels for several to be read at once, and one more.
    let (k, rows) = (256, 5 * PANEL + 5);
    for layout in LAYOUTS {
        for choice in [Choice::Random, Choice::Largest, Choice::Smallest] {
            let weights: Vec<Levels> = (0..rows).map(|_| levels(layout, k, choice, true, &mut numbers)).collect();
            let panels = matrix(layout, &weights, k);
            let mut decoded = vec![0.0; k];
            for tokens in [1, 2, 3, 4, 7, 8, 9] {
                let activation = |at: usize, numbers: &mut Numbers| match choice {
                    // One of each block is the largest, so that its scale is 1.
                    _ if at % BLOCK == 5 => 127.0,
                    Choice::Random => numbers.below(255) as f32 - 127.0,
                    Choice::Largest => 127.0,
                    Choice::Smallest => -127.0,
                };
                let floats: Vec<f32> = (0..tokens * k).map(|at| activation(at, &mut numbers)).collect();
                for isa in Isa::available() {
                    let x = inputs(isa, tokens, k, Second::None, &floats);
                    let found = product(isa, Precision::Fast, &panels, &x);
                    for (found, x) in found.iter().zip(floats.chunks_exact(k)) {
                        for (row, found) in found.iter().enumerate() {
                            panels.row(row, &mut decoded);
                            let want: i64 = decoded.iter().zip(x).map(|(w, x)| *w as i64 * *x as i64).sum();
                            assert!(want.abs() < 1 << 24, "the test's own numbers are too large");
                            assert_eq!(*found as i64, want, "{layout:?}, {choice:?}, {}, {tokens} tokens", isa.name());
                            checked += 1;
                        }
                    }
                }
            }
        }
    }
    checked
}

/// Any scales: the product of what the blocks stand for, to within the roundings of a sum of that many terms.
pub(crate) fn products_are_those_of_the_blocks() -> usize {
    let mut numbers = Numbers(99);
    let mut checked = 0;
    for layout in LAYOUTS {
        for (k, rows, tokens, second) in [
            (256, 16, 1, Second::Quarter),
            // Enough panels for several of them to be read at once, for as many tokens as are read so.
            (256, 9 * PANEL + 3, 1, Second::Quarter),
            (256, 9 * PANEL + 3, 2, Second::Quarter),
            (256, 10 * PANEL + 3, 3, Second::Quarter),
            (256, 9 * PANEL + 3, 4, Second::Quarter),
            (1024, 21, 5, Second::None),
            (768, 40, 11, Second::Quarter),
            (512, 3, 2, Second::All),
        ] {
            let weights: Vec<Levels> =
                (0..rows).map(|_| levels(layout, k, Choice::Random, false, &mut numbers)).collect();
            let panels = matrix(layout, &weights, k);
            let floats: Vec<f32> = numbers.floats(tokens * k).iter().map(|x| x * x * x * 9.0).collect();
            for isa in Isa::available() {
                for precision in [Precision::Fast, Precision::Precise] {
                    let x = inputs(isa, tokens, k, second, &floats);
                    let found = product(isa, precision, &panels, &x);
                    for (token, found) in found.iter().enumerate() {
                        let exact = layout == Layout::Floats || precision == Precision::Precise;
                        let meant = if exact { wide(&floats[token * k..][..k]) } else { stands_for(&x, token, k) };
                        for (row, found) in found.iter().enumerate() {
                            let (want, size) = reference(&panels, row, &meant);
                            let off = (f64::from(*found) - want).abs();
                            // Every column adds one rounding at most, every block a few of its own.
                            let bound = (k + 16) as f64 * ROUNDING * size;
                            assert!(off <= bound, "{layout:?}, {precision:?}, {}: {found}, not {want}", isa.name());
                            checked += 1;
                        }
                    }
                }
            }
        }
    }
    checked
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}

/// What the blocks of a token stand for.
fn stands_for(x: &Inputs, token: usize, k: usize) -> Vec<f64> {
    let value = |block: &pilotfish_cpu::Block, at: usize| f64::from(block.scale()) * f64::from(block.level(at));
    let mut meant: Vec<f64> = (0..k).map(|at| value(&x.blocks(token)[at / BLOCK], at % BLOCK)).collect();
    let Seconds { blocks: seconds, picks } = x.seconds(token);
    for (second, pick) in seconds.iter().zip(picks) {
        (0..BLOCK).for_each(|at| meant[*pick as usize * BLOCK + at] += value(second, at));
    }
    meant
}

/// The product in f64, and the sum of the magnitudes of all that is added: with offsets, scale and offset are summed apart.
fn reference(panels: &Panels, row: usize, x: &[f64]) -> (f64, f64) {
    let mut decoded = vec![0.0; x.len()];
    panels.row(row, &mut decoded);
    let sum = decoded.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum();
    let largest = decoded.iter().fold(0.0f32, |most, w| most.max(w.abs()));
    // An offset is at most as large as the largest level times its scale and the weight together.
    let size: f64 = x.iter().map(|x| x.abs() * f64::from(largest)).sum();
    (sum, 4.0 * size)
}

/// A level is the nearest one, and a second digit leaves 1/254 of what the first does.
pub(crate) fn activations_are_off_by_half_a_level() -> usize {
    let mut numbers = Numbers(3);
    let (tokens, k) = (3, 40 * BLOCK);
    let mut floats = numbers.floats(tokens * k);
    floats.iter_mut().enumerate().for_each(|(at, x)| *x *= 1.5f32.powi((at / BLOCK % 40) as i32 - 20));
    floats[..BLOCK].fill(0.0);
    for isa in Isa::available() {
        for second in [Second::None, Second::Quarter, Second::All] {
            let x = inputs(isa, tokens, k, second, &floats);
            for token in 0..tokens {
                let meant = stands_for(&x, token, k);
                let Seconds { blocks: seconds, picks } = x.seconds(token);
                assert_eq!(
                    picks.len(),
                    match second {
                        Second::None => 0,
                        Second::Quarter => 10,
                        Second::All => 40,
                    }
                );
                for (at, (x, meant)) in x.blocks(token).iter().zip(meant.chunks_exact(BLOCK)).enumerate() {
                    let picked = picks.iter().position(|pick| *pick as usize == at);
                    if second == Second::Quarter && token > 0 {
                        assert_eq!(picked.is_some(), at >= 30, "scales grow with the block");
                    }
                    let scale = picked.map_or(x.scale(), |picked| seconds[picked].scale());
                    let want = &floats[token * k + at * BLOCK..][..BLOCK];
                    for (meant, want) in meant.iter().zip(want) {
                        let off = (meant - f64::from(*want)).abs();
                        let bound = 0.5001 * f64::from(scale) + 8.0 * ROUNDING * f64::from(*want).abs();
                        assert!(off <= bound, "{}, {second:?}: {want} became {meant}", isa.name());
                    }
                }
            }
        }
        for bad in [f32::NAN, f32::INFINITY] {
            let mut floats = vec![1.0; 2 * BLOCK];
            floats[BLOCK + 3] = bad;
            let x = inputs(isa, 1, 2 * BLOCK, Second::None, &floats);
            assert!(x.blocks(0)[1].scale().is_nan(), "{bad} must not become a number");
            assert_eq!(x.blocks(0)[0].level(9), 127);
        }
    }
    tokens * k
}

/// Attention in f64, for one token.
fn attention(heads: &Attention, seen: &Seen<'_>, q: &[f32], keys: &[u16], values: &[u16]) -> Vec<f64> {
    let number = |bits: u16| f64::from(half::f16::from_bits(bits).to_f32());
    let dim = heads.head_dim;
    let first = heads.window.map_or(0, |window| (seen.position + 1).saturating_sub(window)) as usize;
    let mut out = Vec::new();
    for (head, q) in q.chunks_exact(dim).enumerate() {
        let kv_head = head / (heads.n_heads / heads.n_kv_heads);
        let at = |position: usize| (seen.slots[position] as usize * heads.n_kv_heads + kv_head) * dim;
        let positions = first..=seen.position as usize;
        let score = |position: usize| {
            let key = &keys[at(position)..][..dim];
            let score =
                q.iter().zip(key).map(|(q, k)| f64::from(*q) * number(*k)).sum::<f64>() * f64::from(heads.scale);
            heads.soft_cap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh())
        };
        let scores: Vec<f64> = positions.clone().map(score).collect();
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = scores.iter().map(|score| (score - largest).exp()).sum();
        let mut sum = vec![0.0; dim];
        for (position, score) in positions.zip(&scores) {
            let weight = (score - largest).exp() / total;
            sum.iter_mut().zip(&values[at(position)..]).for_each(|(sum, v)| *sum += weight * number(*v));
        }
        out.extend(sum);
    }
    out
}

/// Two rows that share their first slots, tokens of both in one batch, at many positions; and each alone, to the same bits, whoever
/// shares the work.
pub(crate) fn attention_is_the_softmax_of_what_a_token_sees() -> usize {
    let mut numbers = Numbers(21);
    let mut checked = 0;
    for (n_heads, n_kv_heads, head_dim, window, soft_cap) in [
        (9, 3, 64, None, None),
        (4, 1, 256, Some(5), None),
        (2, 2, 10, None, Some(3.0)),
        (6, 2, 20, Some(40), Some(1.5)),
        (7, 1, 32, Some(150), None),
        (1, 1, 2, Some(1), None),
    ] {
        let heads = Attention { n_heads, n_kv_heads, head_dim, scale: 0.4, soft_cap, window };
        let slots = 623;
        let width = n_kv_heads * head_dim;
        let mut cache = [vec![0; slots * width], vec![0; slots * width]];
        for side in &mut cache {
            halves(&numbers.floats(slots * width), side);
        }
        let one: Vec<u32> = (0..300).map(|position| position * 37 % 611).collect();
        let other: Vec<u32> =
            (0..300).map(|position| if position < 50 { one[position] } else { 611 + position as u32 % 12 }).collect();
        let tokens: Vec<Seen<'_>> = [0, 1, 2, 31, 32, 33, 64, 65, 99, 127, 128, 129, 255, 256, 299]
            .into_iter()
            .flat_map(|position| [(&one, position), (&one, position), (&other, position)])
            .map(|(slots, position)| Seen { slots, position })
            .collect();
        let q = numbers.floats(tokens.len() * n_heads * head_dim);
        for isa in Isa::available() {
            let (mut scratch, mut out) = (Vec::new(), vec![f32::NAN; q.len()]);
            let [keys, values] = &cache;
            attend(isa, &Workers::alone(), &heads, &tokens, &q, keys, values, &mut scratch, &mut out);
            let each = q.chunks_exact(n_heads * head_dim).zip(out.chunks_exact(n_heads * head_dim));
            for (token, (q, out)) in tokens.iter().zip(each) {
                let want = attention(&heads, token, q, keys, values);
                for (found, want) in out.iter().zip(want) {
                    // Values are at most 1 and weights sum to 1; scores of up to 10 carry a few roundings into each weight.
                    let off = (f64::from(*found) - want).abs();
                    assert!(off < 4e-6, "{heads:?}, {}, position {}: off by {off:e}", isa.name(), token.position);
                    checked += 1;
                }
            }
            let threads = Workers::start(Some(3)).expect("threads start");
            for (at, token) in tokens.iter().enumerate() {
                let width = n_heads * head_dim;
                let q = &q[at * width..][..width];
                let mut alone = vec![f32::NAN; width];
                attend(isa, &threads, &heads, &[*token], q, keys, values, &mut scratch, &mut alone);
                assert_eq!(alone, out[at * width..][..width], "{heads:?}, {}: {}", isa.name(), token.position);
            }
        }
    }
    checked
}

/// Norms, gates and sums of all lengths beside a register's.
pub(crate) fn elements_are_those_of_the_formulas() -> usize {
    let mut numbers = Numbers(77);
    let mut checked = 0;
    let mut close = |what: &str, isa: Isa, found: f32, want: f64, size: f64| {
        let off = (f64::from(found) - want).abs();
        assert!(off <= 1e-6 * size, "{what}, {}: {found}, not {want}", isa.name());
        checked += 1;
    };
    for n in [1, 2, 15, 16, 17, 64, 577] {
        let (x, y, gain) = (numbers.floats(n), numbers.floats(n), numbers.floats(n));
        let large: Vec<f32> = x.iter().map(|x| x * 30.0).collect();
        for isa in Isa::available() {
            let squares: f64 = wide(&x).iter().map(|x| x * x).sum();
            let rms = (squares / n as f64 + 1e-5).sqrt();
            let mut out = vec![0.0; n];
            rms_norm(isa, &x, &gain, 1e-5, &mut out);
            for i in 0..n {
                close("rms_norm", isa, out[i], f64::from(x[i]) / rms * f64::from(gain[i]), 4.0);
            }
            for gain in [None, Some(&gain[..])] {
                let mut sum = y.clone();
                add_normed(isa, &mut sum, &x, gain, 1e-5);
                for i in 0..n {
                    let added = gain.map_or(f64::from(x[i]), |gain| f64::from(x[i]) / rms * f64::from(gain[i]));
                    close("add_normed", isa, sum[i], f64::from(y[i]) + added, 4.0);
                }
            }
            for kind in [Gate::Silu, Gate::GeluTanh] {
                gated(isa, &large, &y, kind, &mut out);
                for i in 0..n {
                    let g = f64::from(large[i]);
                    let act = match kind {
                        Gate::Silu => g / (1.0 + (-g).exp()),
                        Gate::GeluTanh => {
                            0.5 * g * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (g + 0.044_715 * g * g * g)).tanh())
                        }
                    };
                    close("gated", isa, out[i], act * f64::from(y[i]), 1.0 + act.abs());
                }
            }
            let want: f64 = wide(&x).iter().zip(wide(&y)).map(|(x, y)| x * y).sum();
            close("dot", isa, dot(isa, &x, &y), want, 1.0 + n as f64 / 8.0);
            for rank in [1, 5, 33] {
                let (mut a, mut b) = (vec![0; rank * n], vec![0; rank * (n + 3)]);
                halves(&numbers.floats(rank * n), &mut a);
                halves(&numbers.floats(rank * (n + 3)), &mut b);
                let number = |bits: u16| f64::from(half::f16::from_bits(bits).to_f32());
                let of_a = |a: &[u16]| a.iter().zip(&x).map(|(a, x)| number(*a) * f64::from(*x)).sum::<f64>();
                let inner: Vec<f64> = a.chunks_exact(n).map(of_a).collect();
                let mut sum = vec![1.0; n + 3];
                add_low_rank(isa, 0.5, &x, &a, &b, &mut sum);
                for i in 0..n + 3 {
                    let added: f64 = (0..rank).map(|r| inner[r] * number(b[r * (n + 3) + i])).sum();
                    close("add_low_rank", isa, sum[i], 1.0 + 0.5 * added, 1.0 + (rank * n) as f64 / 8.0);
                }
            }
            let mut sum = y.clone();
            axpy(isa, 0.5, &x, &mut sum);
            for i in 0..n {
                close("axpy", isa, sum[i], f64::from(y[i]) + 0.5 * f64::from(x[i]), 2.0);
            }
        }
    }
    let mut bits = [0; 3];
    halves(&[1e9, -1e9, 0.333_251_95], &mut bits);
    assert_eq!(bits, [0x7bff, 0xfbff, 0x3555], "what is too large for f16 becomes its largest");
    checked
}
