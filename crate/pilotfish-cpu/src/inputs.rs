//! Activations as the kernels read them.

use bytemuck::{Pod, Zeroable};

use crate::float;
use crate::panels::BLOCK;

/// How products are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Activations in 8 bits, integer products: each activation is off by at most 1/254 of the largest of its 32.
    #[default]
    Fast,
    /// Everything in f32.
    Precise,
}

/// 32 activations: `x = scale * q`. One cache line, so that a kernel finds all that goes with a block of weights together.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct Block {
    /// The levels, -127 to 127, four in a word, the first in the low byte.
    pub(crate) words: [i32; 8],
    /// The largest magnitude over 127.
    pub(crate) scale: f32,
    /// Sums of the levels of each half.
    pub(crate) sums: [i32; 2],
    /// The same times `scale`.
    pub(crate) scaled_sums: [f32; 2],
    pad: [u32; 3],
}

impl Block {
    /// The level of activation `at`.
    pub fn level(&self, at: usize) -> i8 {
        (self.words[at / 4] >> (8 * (at % 4))) as i8
    }

    /// What a level is multiplied with.
    pub fn scale(&self) -> f32 {
        self.scale
    }
}

/// Which blocks get a second digit: 8 more bits for what the first 8 leave.
///
/// A few channels of a model are much larger than the others, and what shares a block with one is rounded to its scale: in
/// `SmolLM2` and Gemma 3 the coarsest quarter of a row's blocks makes 71 to 86 % of the squared error (54 % after attention).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Second {
    /// None.
    #[default]
    None,
    /// The quarter with the largest scales, for a quarter more arithmetic.
    Quarter,
    /// All, for about 16 bits in all.
    All,
}

impl Second {
    /// Blocks that get one, of a row's `blocks`.
    fn of(self, blocks: usize) -> usize {
        match self {
            Self::None => 0,
            Self::Quarter => blocks.div_ceil(4),
            Self::All => blocks,
        }
    }
}

/// The inputs of a product, `[tokens, k]`: as floats, and as blocks once they were [quantised](Inputs::quantise).
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    k: usize,
    second: Second,
    /// `[tokens, k]`
    pub floats: Vec<f32>,
    /// `[tokens, k / 32]`
    blocks: Vec<Block>,
    /// `[tokens, blocks with a second digit]`
    seconds: Vec<Block>,
    /// Which blocks they belong to, in rising order.
    picks: Vec<u32>,
}

impl Inputs {
    /// Room for `tokens` rows of `k`, whatever they hold.
    pub fn resize(&mut self, tokens: usize, k: usize, second: Second) {
        self.k = k;
        self.second = second;
        self.floats.resize(tokens * k, 0.0);
        let per_row = k / BLOCK;
        self.blocks.resize(tokens * per_row, Block::zeroed());
        self.seconds.resize(tokens * second.of(per_row), Block::zeroed());
        self.picks.resize(tokens * second.of(per_row), 0);
    }

    /// Inputs of a token.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Tokens.
    pub fn tokens(&self) -> usize {
        self.floats.len() / self.k.max(1)
    }

    /// Rows by `tokens` at a time, to be filled and quantised on different threads.
    pub fn pieces(&mut self, tokens: usize) -> impl Iterator<Item = Piece<'_>> {
        let k = self.k;
        let (per_row, picked) = (k / BLOCK, self.second.of(k / BLOCK));
        let mut blocks = &mut self.blocks[..];
        let mut seconds = &mut self.seconds[..];
        let mut picks = &mut self.picks[..];
        self.floats.chunks_mut(tokens * k.max(1)).map(move |floats| {
            let n = floats.len() / k;
            Piece {
                floats,
                blocks: blocks.split_off_mut(..n * per_row).unwrap_or_default(),
                seconds: seconds.split_off_mut(..n * picked).unwrap_or_default(),
                picks: picks.split_off_mut(..n * picked).unwrap_or_default(),
                k,
            }
        })
    }

    /// Makes the blocks of all rows.
    pub fn quantise(&mut self, isa: crate::Isa) {
        let tokens = self.tokens().max(1);
        self.pieces(tokens).for_each(|mut piece| piece.quantise(isa));
    }

    /// The floats of a token.
    pub(crate) fn row(&self, token: usize) -> &[f32] {
        &self.floats[token * self.k..][..self.k]
    }

    /// The blocks of a token.
    pub fn blocks(&self, token: usize) -> &[Block] {
        self.blocks_of(token, 1)
    }

    /// The blocks of `tokens` tokens, one after the other.
    pub(crate) fn blocks_of(&self, first: usize, tokens: usize) -> &[Block] {
        let per_row = self.k / BLOCK;
        &self.blocks[first * per_row..][..tokens * per_row]
    }

    /// The second digits of the first `tokens` tokens.
    pub(crate) fn gathered(&self, tokens: usize) -> Gathered<'_> {
        let blocks = self.k / BLOCK;
        let picks = &self.picks[..tokens * self.second.of(blocks)];
        let Some(any) = self.seconds.first() else { return Gathered::default() };
        let mut starts = vec![0; blocks + 1];
        for pick in picks {
            starts[*pick as usize + 1] += 1;
        }
        for at in 0..blocks {
            starts[at + 1] += starts[at];
        }
        let mut next = starts.clone();
        let mut entries = vec![(0, any); picks.len()];
        for token in 0..tokens {
            let Seconds { blocks, picks } = self.seconds(token);
            for (block, pick) in blocks.iter().zip(picks) {
                entries[next[*pick as usize]] = (token as u32, block);
                next[*pick as usize] += 1;
            }
        }
        Gathered { starts, entries }
    }

    /// The second digits of a token.
    pub fn seconds(&self, token: usize) -> Seconds<'_> {
        let picked = self.second.of(self.k / BLOCK);
        Seconds { blocks: &self.seconds[token * picked..][..picked], picks: &self.picks[token * picked..][..picked] }
    }
}

/// Second digits of a token, and which of its blocks they belong to, in rising order.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seconds<'a> {
    /// What is to be added.
    pub blocks: &'a [Block],
    /// To the block of that number, each.
    pub picks: &'a [u32],
}

impl<'a> Seconds<'a> {
    /// What belongs to block `at`, if this is asked of all blocks in turn.
    #[inline(always)]
    pub(crate) fn at(&mut self, at: usize) -> Option<&'a Block> {
        let (pick, picks) = self.picks.split_first()?;
        if *pick as usize != at {
            return None;
        }
        let (block, blocks) = self.blocks.split_first()?;
        (self.picks, self.blocks) = (picks, blocks);
        Some(block)
    }
}

/// Second digits of some tokens by the block they belong to.
#[derive(Debug, Default)]
pub(crate) struct Gathered<'a> {
    /// Where the entries of each block begin, and where those of the last end.
    starts: Vec<usize>,
    /// Tokens, rising within a block, and what is to be added.
    entries: Vec<(u32, &'a Block)>,
}

impl<'a> Gathered<'a> {
    /// Those of block `at`.
    #[inline(always)]
    pub(crate) fn of(&self, at: usize) -> &[(u32, &'a Block)] {
        let end = self.starts.get(at + 1).copied().unwrap_or_default();
        self.entries.get(self.starts[at]..end).unwrap_or_default()
    }

    /// Whether no token has any.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Some rows of [`Inputs`].
#[derive(Debug)]
pub struct Piece<'a> {
    /// `[tokens, k]`
    pub floats: &'a mut [f32],
    blocks: &'a mut [Block],
    seconds: &'a mut [Block],
    picks: &'a mut [u32],
    k: usize,
}

impl Piece<'_> {
    /// Makes the blocks of all whole 32 floats. A value that is not finite makes all of its block NaN.
    pub fn quantise(&mut self, isa: crate::Isa) {
        let per_row = self.k / BLOCK;
        if per_row == 0 {
            return;
        }
        let tokens = self.floats.len() / self.k;
        let picked = self.picks.len() / tokens.max(1);
        for (t, (blocks, row)) in
            self.blocks.chunks_exact_mut(per_row).zip(self.floats.chunks_exact(self.k)).enumerate()
        {
            crate::dispatch::quantise(isa, row, blocks);
            let picks = &mut self.picks[t * picked..][..picked];
            pick(blocks, picks);
            crate::dispatch::refine(isa, row, blocks, picks, &mut self.seconds[t * picked..][..picked]);
        }
    }
}

/// Finds the blocks with the largest scales, as many as there is room for; of equal ones the first.
fn pick(blocks: &[Block], picks: &mut [u32]) {
    let wanted = picks.len();
    if wanted < blocks.len() && wanted > 0 {
        // Scales are positive, or NaN, so their bits order as they do.
        let mut order: Vec<(u32, u32)> = (0..).zip(blocks).map(|(at, block)| (!block.scale.to_bits(), at)).collect();
        order.select_nth_unstable(wanted - 1);
        picks.iter_mut().zip(order).for_each(|(pick, (_, at))| *pick = at);
        picks.sort_unstable();
    } else {
        (0..).zip(picks).for_each(|(at, pick)| *pick = at);
    }
}

/// The body of [`Piece::quantise`] for one row.
#[inline(always)]
pub(crate) fn quantise<const FMA: bool>(row: &[f32], blocks: &mut [Block]) {
    for (x, block) in row.as_chunks::<BLOCK>().0.iter().zip(blocks) {
        *block = quantised(x);
    }
}

/// The same for second digits.
#[inline(always)]
pub(crate) fn refine<const FMA: bool>(row: &[f32], blocks: &[Block], picks: &[u32], seconds: &mut [Block]) {
    let row = row.as_chunks::<BLOCK>().0;
    for (pick, second) in picks.iter().zip(seconds) {
        let (x, block) = (&row[*pick as usize], &blocks[*pick as usize]);
        let mut left = [0.0; BLOCK];
        for (at, left) in left.iter_mut().enumerate() {
            let level = (block.words[at / 4] >> (8 * (at % 4))) as i8;
            *left = float::fma::<FMA>(-block.scale, f32::from(level), x[at]);
        }
        *second = quantised(&left);
    }
}

#[inline(always)]
fn quantised(x: &[f32; BLOCK]) -> Block {
    // One step at a time, each a loop without an order, of which compilers make vectors. Magnitudes order as their bits do, those that
    // are not finite last.
    let mut sizes = [0; BLOCK];
    for i in 0..BLOCK {
        sizes[i] = (x[i].to_bits() & 0x7fff_ffff) as i32;
    }
    let largest = f32::from_bits(float::largest_integer(sizes) as u32);
    let scale = if largest < f32::INFINITY { largest / 127.0 } else { f32::NAN };
    // Below this the quotient overflows, and the block is as good as zero.
    let inverse = if largest > 1e-35 { 127.0 / largest } else { 0.0 };
    let mut levels = [[0; BLOCK / 2]; 2];
    for (half, levels) in levels.iter_mut().enumerate() {
        for (i, level) in levels.iter_mut().enumerate() {
            *level = float::round_small(x[BLOCK / 2 * half + i] * inverse);
        }
    }
    let sums = levels.map(float::total_integers);
    let mut words = [0; 8];
    for (word, four) in words.iter_mut().zip(levels.as_flattened().as_chunks::<4>().0) {
        *word = i32::from_le_bytes(four.map(|level| level as u8));
    }
    Block { words, scale, sums, scaled_sums: sums.map(|sum| scale * sum as f32), pad: [0; 3] }
}
