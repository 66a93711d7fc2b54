//! What the kernels between the logits and the next token agree on: sizes, live controls, scratch.
//!
//! `prepare` brings up what changes from step to step by itself, `row_max` and `select` prepare a filter by a row, `mix` makes
//! one distribution of many rows, `select` and `pick` filter and draw, `finish` feeds the token back and reports. The numbers
//! here are those of `shaders/shared/mix_state.wgsl` and `mix_past.wgsl`.

use bytemuck::{Pod, Zeroable};

use crate::gpu::{Binding, Dispatch, Extent, Gpu, GpuError, Usage};

/// Invocations in a workgroup of every mixing kernel but `finish`.
pub const LANES: u32 = 64;
/// Terms, reported rows, decode batches: each at most so many (their lists are in a uniform).
pub const MOST: usize = 16;
/// Rows of logits, at most: which of them hold NaN is told by a bit each.
pub const MOST_ROWS: u32 = 32;
/// Ids in a vocabulary, at most: radix totals are summed in two words (see `shaders/shared/mix_radix.wgsl`).
pub const MOST_VOCAB: u32 = 500_000;
/// A token that is left out.
pub const MASKED: f32 = -3.0e38;
/// What a logit of -inf is read as.
pub const IMPOSSIBLE: f32 = -1.0e30;

/// Points of a term's schedule, at most.
pub const MOST_POINTS: usize = 16;
/// Tokens that can be given ahead.
pub const MOST_FORCED: usize = 256;

/// Words before the workgroups' records in the scratch; the first is the step's number.
const RECORDS: u32 = 32;
/// Words of a record before its rows.
const RECORD_HEADER: u32 = 12;
/// Radix selections: the row filter, top-k, top-p, typical-p.
const SELECTIONS: u32 = 4;
/// Words of the radix scratch: for each selection four levels of 256 bins of two words, and four states.
pub const RADIX_WORDS: u32 = SELECTIONS * (4 * 512 + 16);
/// The live weights' first word in the controls.
const WEIGHTS: u32 = 24;
/// The given tokens' first word: the first step, how many, and the tokens.
const FORCED: u32 = 40;
/// The schedules' first word.
const SCHEDULES: u32 = 300;
/// Words of a schedule: how many points, then a step and a weight of each.
const SCHEDULE_WORDS: u32 = 1 + 2 * MOST_POINTS as u32;
/// Words of the past before the scores.
const PAST_HEADER: u32 = 4;
/// The mark of a token that ends the text.
const ENDS: u32 = 0x8000_0000;

/// The fixed sizes of a mix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MixShape {
    /// Ids that are mixed: the smallest vocabulary of all rows.
    pub vocab: u32,
    /// Floats between rows of logits.
    pub stride: u32,
    /// The row of each term.
    pub terms: Vec<u32>,
    /// Rows whose log-probs are reported, the base first.
    pub reported: Vec<u32>,
    /// Reported candidates.
    pub candidates: u32,
    /// Slots of the ring.
    pub slots: u32,
    /// Where each decode batch begins in the batches' buffer, in units of 16 bytes.
    pub batch_at: Vec<u32>,
    /// The entries of those batches that are fed: those with this number.
    pub lane: u32,
    /// Workgroups that share the vocabulary.
    pub groups: u32,
    /// Invocations of `finish`, which is one workgroup.
    pub finish_lanes: u32,
    /// Tokens that the past holds: the prompt, and the steps that are counted.
    pub room: u32,
}

/// The shapes of the mixing kernels: on software adapters barriers cost in proportion to invocations, and more than loops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// As many workgroups as fill a GPU.
    Wide,
    /// Few workgroups that loop longer.
    Narrow,
}

impl MixShape {
    /// Sets the numbers of workgroups and invocations.
    #[must_use]
    pub fn spread(self, spread: Spread) -> Self {
        let (most, finish_lanes) = match spread {
            Spread::Wide => (128, 256),
            Spread::Narrow => (16, 64),
        };
        Self { groups: self.vocab.div_ceil(8 * LANES).clamp(1, most), finish_lanes, ..self }
    }

    /// Ids of one workgroup.
    pub fn chunk(&self) -> u32 {
        self.vocab.div_ceil(self.groups).next_multiple_of(LANES)
    }

    /// Words of a workgroup's record.
    pub fn record_words(&self) -> u32 {
        RECORD_HEADER + 2 * self.reported.len() as u32
    }

    /// The word of the scratch where z begins.
    pub fn z_at(&self) -> u32 {
        RECORDS + self.groups * self.record_words() + 2 * self.groups * LANES
    }

    /// Words of the scratch.
    pub fn work_words(&self) -> u32 {
        self.z_at() + self.vocab
    }

    /// Words of the past: see `shaders/shared/mix_past.wgsl`.
    fn past_words(&self) -> u32 {
        PAST_HEADER + 3 * self.vocab + self.room
    }

    /// Words of a ring slot: see `finish`.
    pub fn slot_words(&self) -> u32 {
        let (terms, rows) = (self.terms.len() as u32, self.reported.len() as u32);
        (super::finish::HEADER + terms + rows + self.candidates * (rows + 2)).next_multiple_of(4)
    }

    fn params(&self, flags: u32, selection: u32, level: u32) -> Params {
        let list = |values: &[u32]| {
            let mut all = [0; MOST];
            all.iter_mut().zip(values).for_each(|(all, value)| *all = *value);
            all
        };
        Params {
            vocab: self.vocab,
            stride: self.stride,
            groups: self.groups,
            chunk: self.chunk(),
            candidates: self.candidates,
            slots: self.slots,
            slot_words: self.slot_words(),
            batches: self.batch_at.len() as u32,
            flags,
            selection,
            level,
            lanes: LANES,
            n_terms: self.terms.len() as u32,
            n_reported: self.reported.len() as u32,
            lane: self.lane,
            room: self.room,
            terms: list(&self.terms),
            reported: list(&self.reported),
            batch_at: list(&self.batch_at),
        }
    }
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct Params {
    vocab: u32,
    stride: u32,
    groups: u32,
    chunk: u32,
    candidates: u32,
    slots: u32,
    slot_words: u32,
    batches: u32,
    flags: u32,
    selection: u32,
    level: u32,
    lanes: u32,
    n_terms: u32,
    n_reported: u32,
    lane: u32,
    room: u32,
    terms: [u32; MOST],
    reported: [u32; MOST],
    batch_at: [u32; MOST],
}

/// The live settings but the weights, as the kernels read them.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
pub struct Controls {
    /// 1 / temperature; 1 when greedy.
    pub inv_temperature: f32,
    /// The temperature; 0 when greedy.
    pub temperature: f32,
    /// 1 takes the argmax.
    pub greedy: u32,
    /// The seed, low word first.
    pub seed: [u32; 2],
    /// How many of the most likely tokens are kept.
    pub top_k: u32,
    /// The share of the probability that is kept.
    pub top_p: f32,
    /// temperature * ln(`min_p`): how far below the best z a token may lie.
    pub min_p_drop: f32,
    /// 1 divides by the sum of the weights.
    pub normalize: u32,
    /// The row that filters.
    pub filter_row: u32,
    /// ln(alpha) or p as the bits of a float, or k.
    pub filter_value: u32,
    /// The share that typical-p keeps, or 0 when it is off.
    pub typical_p: f32,
    /// What is done to z, of [`edits`].
    pub edits: u32,
    /// 1 if `prepare` runs before the mix.
    pub prepared: u32,
    /// Steps before which no end may be drawn.
    pub min_tokens: u32,
    /// The repetition penalty.
    pub repetition: f32,
    /// The presence penalty.
    pub presence: f32,
    /// The frequency penalty.
    pub frequency: f32,
    /// Tokens of the past that count; 0 is all.
    pub last_n: u32,
    /// 1 if the prompt is part of the past.
    pub with_prompt: u32,
    /// No n-gram of this length twice; 0 is off.
    pub ngram: u32,
    /// Zeros.
    pub pad: [u32; 3],
}

/// Bits of [`Controls::edits`].
pub mod edits {
    /// Scores are added, and tokens banned.
    pub const SCORES: u32 = 1;
    /// Repetition, presence, frequency.
    pub const PENALTIES: u32 = 2;
    /// Tokens that would repeat an n-gram are left out.
    pub const NGRAMS: u32 = 4;
    /// Ends are left out before `min_tokens`.
    pub const LATE_ENDS: u32 = 8;
}

/// The buffers of a mix.
#[derive(Debug)]
pub struct MixBuffers {
    /// [`Controls`], then the weights.
    pub controls: wgpu::Buffer,
    /// Scratch, `work_words` long.
    pub work: wgpu::Buffer,
    /// Bins and states of the radix selections.
    pub radix: wgpu::Buffer,
    /// What the last steps reported, `slots` times `slot_words`.
    pub ring: wgpu::Buffer,
    /// Scores, counts, marks, and the tokens so far.
    pub past: wgpu::Buffer,
}

impl MixBuffers {
    /// Makes them, zeroed: the step is 0 and no weight is set.
    pub fn new(gpu: &Gpu, shape: &MixShape) -> Result<Self, GpuError> {
        let make = |label, words: u32| gpu.buffer(label, 4 * u64::from(words), Usage::Storage);
        Ok(Self {
            controls: make("mix controls", SCHEDULES + SCHEDULE_WORDS * MOST as u32)?,
            work: make("mix scratch", shape.work_words())?,
            radix: make("mix radix", RADIX_WORDS)?,
            ring: make("telemetry ring", shape.slots * shape.slot_words())?,
            past: make("past", shape.past_words())?,
        })
    }

    /// Writes all settings but the weights.
    pub fn set_controls(&self, gpu: &Gpu, controls: &Controls) {
        gpu.write(&self.controls, 0, std::slice::from_ref(controls));
    }

    /// Writes one term's weight: 4 bytes.
    pub fn set_weight(&self, gpu: &Gpu, term: usize, weight: f32) {
        gpu.write(&self.controls, 4 * (u64::from(WEIGHTS) + term as u64), &[weight]);
    }

    /// Gives a term a schedule: steps, ascending, and weights, at most [`MOST_POINTS`]. None takes it away.
    pub fn set_schedule(&self, gpu: &Gpu, term: usize, points: &[(u32, f32)]) {
        let mut words = vec![points.len() as u32];
        words.extend(points.iter().flat_map(|(step, weight)| [*step, weight.to_bits()]));
        gpu.write(&self.controls, 4 * u64::from(SCHEDULES + SCHEDULE_WORDS * term as u32), &words);
    }

    /// Gives the tokens of the steps from `from` on, at most [`MOST_FORCED`].
    pub fn set_forced(&self, gpu: &Gpu, from: u32, ids: &[u32]) {
        let words = [&[from, ids.len() as u32], ids].concat();
        gpu.write(&self.controls, 4 * u64::from(FORCED), &words);
    }

    /// Writes scores from the token `first` on.
    pub fn set_scores(&self, gpu: &Gpu, first: u32, scores: &[f32]) {
        gpu.write(&self.past, 4 * u64::from(PAST_HEADER + first), scores);
    }

    /// Puts a prompt and what was said after it into the past. What goes beyond the past's room is left out. What was counted before
    /// must be forgotten, too: [`MixBuffers::forget`].
    pub fn set_past(&self, gpu: &Gpu, shape: &MixShape, prompt: &[u32], said: &[u32]) {
        let words: Vec<u32> = prompt.iter().chain(said).copied().take(shape.room as usize).collect();
        gpu.write(&self.past, 0, &[0, 0, prompt.len() as u32, 0]);
        gpu.write(&self.past, 4 * u64::from(PAST_HEADER + 3 * shape.vocab), &words);
    }

    /// Forgets what was counted, and marks the ends.
    pub fn forget(&self, gpu: &Gpu, shape: &MixShape, ends: &[u32]) {
        let vocab = shape.vocab;
        let mut words = vec![0; 2 * vocab as usize];
        for end in ends.iter().filter(|end| **end < vocab) {
            words[(vocab + end) as usize] = ENDS;
        }
        gpu.write(&self.past, 4 * u64::from(PAST_HEADER + vocab), &words);
    }

    /// Sets the number of the next step, which numbers the noise and the ring slots.
    pub fn set_step(&self, gpu: &Gpu, step: u32) {
        gpu.write(&self.work, 0, &[step]);
    }
}

/// What a mixing kernel is bound to.
#[derive(Debug, Clone, Copy)]
pub struct Mixing<'a> {
    /// The sizes.
    pub shape: &'a MixShape,
    /// The mix's own buffers.
    pub buffers: &'a MixBuffers,
    /// `[rows, stride]` in f32.
    pub logits: &'a wgpu::Buffer,
    /// The decode batches that the token feeds.
    pub batches: &'a wgpu::Buffer,
}

/// What sets dispatches of one kernel apart.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Stage {
    pub(super) flags: u32,
    pub(super) selection: u32,
    pub(super) level: u32,
}

impl Mixing<'_> {
    /// The constant of kernels that hold a value of each reported row in workgroup memory.
    pub(super) fn report(&self) -> (&'static str, u32) {
        ("REPORT", self.shape.reported.len() as u32)
    }

    /// A dispatch of `kernel` with its parameters at binding 0 and `bound` of the others.
    pub(super) fn dispatch(
        &self,
        gpu: &Gpu,
        kernel: &'static str,
        stage: Stage,
        bound: &[u32],
        consts: &[(&str, u32)],
        groups: u32,
    ) -> Result<Dispatch, GpuError> {
        let params = gpu.uniform_of("mix params", &self.shape.params(stage.flags, stage.selection, stage.level))?;
        let buffers = self.buffers;
        let mut bindings = vec![Binding::whole(0, &params)];
        for (at, buffer) in [
            (1, &buffers.controls),
            (2, self.logits),
            (3, &buffers.work),
            (4, &buffers.radix),
            (5, self.batches),
            (6, &buffers.ring),
            (7, &buffers.past),
        ] {
            if bound.contains(&at) {
                bindings.push(Binding::whole(at, buffer));
            }
        }
        let count = [Extent::Fixed(groups), Extent::Fixed(1), Extent::Fixed(1)];
        Dispatch::new(gpu, kernel, &[], consts, &bindings, count)
    }
}

/// A logit as the kernels read it: -inf is [`IMPOSSIBLE`], NaN and +inf are [`MASKED`].
pub fn logit(l: f32) -> f32 {
    match l {
        f32::NEG_INFINITY => IMPOSSIBLE,
        l if l.is_finite() => l.clamp(IMPOSSIBLE, -IMPOSSIBLE),
        _ => MASKED,
    }
}

/// Whether a logit leaves its token possible.
pub fn is_possible(l: f32) -> bool {
    l > -1.0e29
}

/// Logits to test with, and single kernels run by themselves.
#[cfg(any(test, feature = "grid"))]
pub(crate) mod lab {
    use super::{Controls, Gpu, GpuError, MixBuffers, MixShape, Mixing, Spread};
    use crate::ops::grid::Numbers;

    /// What logits look like.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Kind {
        /// Bell-shaped, about a model's range.
        Random,
        /// Multiples of a half, so most values tie.
        Ties,
        /// All the same.
        Equal,
        /// Up to ten thousand in magnitude.
        Spread,
        /// A third is -inf, in different places in each row.
        Holes,
        /// The last row has a NaN.
        Nan,
        /// -inf only.
        Impossible,
    }

    /// `rows` seeded rows of `vocab` logits.
    pub(crate) fn rows_of(vocab: usize, rows: usize, kind: Kind) -> Vec<Vec<f32>> {
        let mut numbers = Numbers::new((vocab * 100 + rows * 10) as u64 + kind as u64);
        let mut all: Vec<Vec<f32>> = (0..rows)
            .map(|_| {
                (0..vocab)
                    .map(|_| {
                        let bell = 3.0 * (0..4).map(|_| numbers.float()).sum::<f32>();
                        match kind {
                            Kind::Ties => (2.0 * bell).round() / 2.0,
                            Kind::Equal => 1.25,
                            Kind::Spread => bell * 800.0,
                            Kind::Holes if numbers.bits().is_multiple_of(3) => f32::NEG_INFINITY,
                            Kind::Random | Kind::Holes | Kind::Nan => bell,
                            Kind::Impossible => f32::NEG_INFINITY,
                        }
                    })
                    .collect()
            })
            .collect();
        if kind == Kind::Nan {
            all[rows - 1][vocab / 2] = f32::NAN;
        }
        all
    }

    /// Buffers and logits for single kernels.
    pub(crate) struct Lab {
        shape: MixShape,
        buffers: MixBuffers,
        logits: wgpu::Buffer,
        batches: wgpu::Buffer,
    }

    impl Lab {
        /// A mix of all `rows`, with these weights and controls.
        pub(crate) fn new(
            gpu: &Gpu,
            rows: &[Vec<f32>],
            weights: &[f32],
            controls: &Controls,
        ) -> Result<Self, GpuError> {
            let vocab = rows[0].len() as u32;
            let all: Vec<u32> = (0..rows.len() as u32).collect();
            let shape = MixShape {
                vocab,
                stride: vocab,
                terms: all.clone(),
                reported: all,
                candidates: 0,
                slots: 1,
                batch_at: Vec::new(),
                lane: 0,
                groups: 1,
                finish_lanes: 64,
                room: 0,
            }
            .spread(Spread::Wide);
            let buffers = MixBuffers::new(gpu, &shape)?;
            buffers.set_controls(gpu, controls);
            for (term, weight) in weights.iter().enumerate() {
                buffers.set_weight(gpu, term, *weight);
            }
            let logits = gpu.storage_of("logits", &rows.concat())?;
            Ok(Self { shape, buffers, logits, batches: gpu.storage_of("batches", &[0u32; 4])? })
        }

        /// The same after `ids` were said, the first `prompt` of them as the prompt.
        pub(crate) fn with_past(mut self, gpu: &Gpu, ids: &[u32], prompt: usize) -> Result<Self, GpuError> {
            self.shape.room = ids.len() as u32;
            self.buffers = MixBuffers::new(gpu, &self.shape)?;
            self.buffers.set_past(gpu, &self.shape, &ids[..prompt], &ids[prompt..]);
            self.buffers.set_step(gpu, (ids.len() - prompt) as u32);
            Ok(self)
        }

        /// Other controls.
        pub(crate) fn set(&self, gpu: &Gpu, controls: &Controls) {
            self.buffers.set_controls(gpu, controls);
        }

        /// Counts and marks.
        pub(crate) async fn past(&self, gpu: &Gpu) -> Result<(Vec<u32>, Vec<u32>), GpuError> {
            let vocab = self.shape.vocab as usize;
            let words: Vec<u32> = gpu.read(&self.buffers.past, self.shape.past_words() as usize).await?;
            let from = |part: usize| words[super::PAST_HEADER as usize + part * vocab..][..vocab].to_vec();
            Ok((from(1), from(2)))
        }

        pub(crate) fn mixing(&self) -> Mixing<'_> {
            Mixing { shape: &self.shape, buffers: &self.buffers, logits: &self.logits, batches: &self.batches }
        }

        /// z of every id.
        pub(crate) async fn z(&self, gpu: &Gpu) -> Result<Vec<f32>, GpuError> {
            let words: Vec<f32> = gpu.read(&self.buffers.work, self.shape.work_words() as usize).await?;
            Ok(words[self.shape.z_at() as usize..].to_vec())
        }

        /// A field of every workgroup's record.
        pub(crate) async fn field(&self, gpu: &Gpu, field: usize) -> Result<Vec<u32>, GpuError> {
            let words: Vec<u32> = gpu.read(&self.buffers.work, self.shape.z_at() as usize).await?;
            let record = self.shape.record_words() as usize;
            Ok((0..self.shape.groups as usize)
                .map(|group| words[super::RECORDS as usize + group * record + field])
                .collect())
        }

        /// The bins and states of one radix selection.
        pub(crate) async fn selection(&self, gpu: &Gpu, selection: u32) -> Result<Vec<u32>, GpuError> {
            let words: Vec<u32> = gpu.read(&self.buffers.radix, super::RADIX_WORDS as usize).await?;
            let each = (super::RADIX_WORDS / super::SELECTIONS) as usize;
            Ok(words[selection as usize * each..][..each].to_vec())
        }
    }
}
