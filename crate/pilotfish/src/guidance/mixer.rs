//! The mix on the GPU: planned once, steered live.

use super::rule::check_row;
use super::tokens::check_forced;
use super::{FilterKind, MixError, MixRule, RowFilter, Sampling, Schedule, TelemetryLayout, TokenRules};
use crate::gpu::{Dispatch, Gpu};
use crate::ops::finish::finish;
use crate::ops::mix::{Mix, RowKeep};
use crate::ops::mixing::{Controls, MASKED, MOST, MOST_ROWS, MOST_VOCAB, MixBuffers, MixShape, Mixing, Spread, edits};
use crate::ops::pick::pick;
use crate::ops::prepare::prepare;
use crate::ops::row_max::row_max;
use crate::ops::select::{Selection, select};

/// What a [`Mixer`] is made of.
#[derive(Debug, Clone)]
pub struct MixerPlan<'a> {
    /// Ids that are mixed: the smallest vocabulary of all rows, at most 500,000.
    pub vocab: u32,
    /// Floats between rows of logits.
    pub vocab_stride: u32,
    /// `[rows, vocab_stride]` in f32: the last logits of every row of every weight set.
    pub logits: &'a wgpu::Buffer,
    /// How many rows, at most 32.
    pub rows: usize,
    /// What is mixed.
    pub rule: &'a MixRule,
    /// How a token is drawn.
    pub sampling: &'a Sampling,
    /// What is said about single tokens.
    pub tokens: &'a TokenRules,
    /// The base's prompt, for penalties that count it.
    pub prompt: &'a [u32],
    /// Tokens that end the text.
    pub ends: &'a [u32],
    /// Tokens of prompt and steps that the past holds; of what is drawn later, penalties hear nothing.
    pub room: u32,
    /// Rows whose log-probs are reported: the base first, then each guide's; at most 16.
    pub report: Vec<usize>,
    /// How many of the most likely tokens are reported, at most 64.
    pub candidates: u32,
    /// The buffer of all decode batches. In each batch the entries of `lane` get the token, and their positions grow by one.
    pub batches: &'a wgpu::Buffer,
    /// Where each batch begins, in bytes, a multiple of 256; at most 16.
    pub batch_offsets: Vec<u64>,
    /// Which entries of the batches are fed.
    pub lane: u32,
    /// How many steps' reports are kept: as many as may be in flight.
    pub slots: u32,
}

/// Mixes, draws, feeds back and reports, step after step. Every dispatch of every combination of filters is made at the start.
#[derive(Debug)]
pub struct Mixer {
    shape: MixShape,
    buffers: MixBuffers,
    rows: usize,
    rule: MixRule,
    sampling: Sampling,
    tokens: TokenRules,
    /// What is on the GPU of `tokens`; nothing until something was said.
    scores: Vec<f32>,
    ends: Vec<u32>,
    /// The past holds counts and marks of what was said, or not even those of the ends.
    counts: bool,
    dispatches: Dispatches,
    order: Vec<At>,
}

/// Every dispatch that any setting may need.
#[derive(Debug)]
struct Dispatches {
    prepare: Dispatch,
    row_max: Dispatch,
    row_spread: Dispatch,
    row_count: [Dispatch; 4],
    row_mass: [Dispatch; 4],
    row_typical: [Dispatch; 4],
    /// For each way a row keeps tokens, without and with drawing.
    mix: [[Dispatch; 2]; 5],
    top_k: [Dispatch; 4],
    top_p: [Dispatch; 4],
    top_p_after_top_k: [Dispatch; 4],
    typical: [Dispatch; 4],
    /// After no selection by z, top-k, top-p.
    pick: [Dispatch; 3],
    finish: Dispatch,
}

/// The place of a dispatch among [`Dispatches`].
#[derive(Debug, Clone, Copy)]
enum At {
    Prepare,
    RowMax,
    RowSpread,
    Select(Selection, usize),
    Mix { keep: usize, pick: usize },
    Pick(usize),
    Finish,
}

const KEEPS: [RowKeep; 5] = [
    RowKeep::All,
    RowKeep::Plausible,
    RowKeep::Selected(Selection::RowCount),
    RowKeep::Selected(Selection::RowMass),
    RowKeep::Selected(Selection::RowTypical),
];

impl Mixer {
    /// Checks the plan, makes buffers and dispatches, and writes the settings. The next step is step 0.
    pub fn new(gpu: &Gpu, plan: &MixerPlan<'_>) -> crate::Result<Self> {
        Self::spread(gpu, plan, if gpu.info().software { Spread::Narrow } else { Spread::Wide })
    }

    /// As [`Mixer::new`], with the kernels' shape given.
    pub(super) fn spread(gpu: &Gpu, plan: &MixerPlan<'_>, spread: Spread) -> crate::Result<Self> {
        plan.validate()?;
        let shape = MixShape {
            vocab: plan.vocab,
            stride: plan.vocab_stride,
            terms: plan.rule.terms.iter().map(|term| term.row as u32).collect(),
            reported: plan.report.iter().map(|row| *row as u32).collect(),
            candidates: plan.candidates,
            slots: plan.slots,
            batch_at: plan.batch_offsets.iter().map(|offset| (offset / 16) as u32).collect(),
            lane: plan.lane,
            groups: 1,
            finish_lanes: 64,
            room: plan.room,
        }
        .spread(spread);
        let buffers = MixBuffers::new(gpu, &shape)?;
        let mixing = Mixing { shape: &shape, buffers: &buffers, logits: plan.logits, batches: plan.batches };
        let mix = |keep| -> crate::Result<[Dispatch; 2]> {
            Ok([Mix { keep, pick: false }.dispatch(gpu, &mixing)?, Mix { keep, pick: true }.dispatch(gpu, &mixing)?])
        };
        let dispatches = Dispatches {
            prepare: prepare(gpu, &mixing)?,
            row_max: row_max(gpu, &mixing, false)?,
            row_spread: row_max(gpu, &mixing, true)?,
            row_count: select(gpu, &mixing, Selection::RowCount)?,
            row_mass: select(gpu, &mixing, Selection::RowMass)?,
            row_typical: select(gpu, &mixing, Selection::RowTypical)?,
            mix: [mix(KEEPS[0])?, mix(KEEPS[1])?, mix(KEEPS[2])?, mix(KEEPS[3])?, mix(KEEPS[4])?],
            top_k: select(gpu, &mixing, Selection::TopK)?,
            top_p: select(gpu, &mixing, Selection::TopP)?,
            top_p_after_top_k: select(gpu, &mixing, Selection::TopPAfterTopK)?,
            typical: select(gpu, &mixing, Selection::Typical)?,
            pick: [
                pick(gpu, &mixing, None)?,
                pick(gpu, &mixing, Some(Selection::TopK))?,
                pick(gpu, &mixing, Some(Selection::TopP))?,
            ],
            finish: finish(gpu, &mixing)?,
        };
        let mut mixer = Self {
            shape,
            buffers,
            rows: plan.rows,
            rule: plan.rule.clone(),
            sampling: *plan.sampling,
            tokens: TokenRules::default(),
            scores: Vec::new(),
            ends: plan.ends.to_vec(),
            counts: true,
            dispatches,
            order: Vec::new(),
        };
        for (term, of) in mixer.rule.terms.iter().enumerate() {
            mixer.buffers.set_weight(gpu, term, of.weight);
        }
        for Schedule { term, points } in &mixer.rule.schedules {
            mixer.buffers.set_schedule(gpu, *term, points);
        }
        mixer.restart(gpu, plan.prompt, &[]);
        mixer.set_tokens(gpu, plan.tokens)?;
        Ok(mixer)
    }

    /// What the next step dispatches under the settings of now, in order: two dispatches if nothing filters.
    pub fn dispatches(&self) -> impl Iterator<Item = &Dispatch> {
        self.order.iter().map(|at| self.dispatches.at(*at))
    }

    /// Gives terms new weights, all or none: a write of 4 bytes each, in force from the next submitted step on. Their schedules
    /// end.
    pub fn set_weights(&mut self, gpu: &Gpu, weights: &[(usize, f32)]) -> Result<(), MixError> {
        let rule = self.rule.with_weights(weights)?;
        let before = std::mem::replace(&mut self.rule, rule);
        for (term, weight) in weights {
            self.buffers.set_weight(gpu, *term, *weight);
            if before.schedules.iter().any(|schedule| schedule.term == *term) {
                self.buffers.set_schedule(gpu, *term, &[]);
            }
        }
        if before.schedules.len() != self.rule.schedules.len() {
            self.apply(gpu);
        }
        Ok(())
    }

    /// Gives terms schedules, all or none, in force from the next submitted step on.
    pub fn set_schedules(&mut self, gpu: &Gpu, schedules: &[Schedule]) -> Result<(), MixError> {
        self.rule = self.rule.with_schedules(schedules)?;
        for Schedule { term, points } in schedules {
            self.buffers.set_schedule(gpu, *term, points);
        }
        self.apply(gpu);
        Ok(())
    }

    /// Changes scores, bans and the allowed set, from the next submitted step on: one write of what differs.
    pub fn set_tokens(&mut self, gpu: &Gpu, tokens: &TokenRules) -> Result<(), MixError> {
        tokens.validate(self.shape.vocab)?;
        if *tokens != self.tokens {
            let table = tokens.table(self.shape.vocab);
            let before = |token: usize| self.scores.get(token).copied().unwrap_or(0.0);
            let differs = |token: &usize| before(*token).to_bits() != table[*token].to_bits();
            if let Some(first) = (0..table.len()).find(differs) {
                let last = (0..table.len()).rfind(differs).unwrap_or(first);
                self.buffers.set_scores(gpu, first as u32, &table[first..=last]);
            }
            self.scores = table;
            self.tokens = tokens.clone();
        }
        self.apply(gpu);
        Ok(())
    }

    /// Gives the tokens of the steps from `from` on, whatever the mix says; what was given before is forgotten. The mix is
    /// then that token alone.
    pub fn force(&mut self, gpu: &Gpu, from: u32, ids: &[u32]) -> Result<(), MixError> {
        check_forced(ids, self.shape.vocab)?;
        self.buffers.set_forced(gpu, from, ids);
        Ok(())
    }

    /// Changes how tokens are drawn, from the next submitted step on.
    pub fn set_sampling(&mut self, gpu: &Gpu, sampling: &Sampling) -> Result<(), MixError> {
        sampling.validate(self.shape.vocab)?;
        self.sampling = *sampling;
        self.apply(gpu);
        Ok(())
    }

    /// Changes which row filters, and how, from the next submitted step on.
    pub fn set_filter(&mut self, gpu: &Gpu, filter: Option<RowFilter>) -> Result<(), MixError> {
        if let Some(filter) = filter {
            filter.validate(self.rows, self.shape.vocab)?;
        }
        self.rule.filter = filter;
        self.apply(gpu);
        Ok(())
    }

    /// Goes on after a prompt and what was `said`: the next step has the number of tokens said, and with the same seed makes the
    /// same noise as it ever did.
    pub fn restart(&mut self, gpu: &Gpu, prompt: &[u32], said: &[u32]) {
        self.buffers.set_past(gpu, &self.shape, prompt, said);
        // Two words a token of the vocabulary: searches go back at every step, and few of them count anything.
        if self.counts {
            self.buffers.forget(gpu, &self.shape, &self.ends);
            self.counts = self.prepares();
        }
        self.buffers.set_step(gpu, said.len() as u32);
    }

    /// Whether steps count what is said.
    fn prepares(&self) -> bool {
        matches!(self.order.first(), Some(At::Prepare))
    }

    /// Ids that are mixed.
    pub fn vocab(&self) -> u32 {
        self.shape.vocab
    }

    /// What is mixed now.
    pub fn rule(&self) -> &MixRule {
        &self.rule
    }

    /// What is said about single tokens now.
    pub fn tokens(&self) -> &TokenRules {
        &self.tokens
    }

    /// How tokens are drawn now.
    pub fn sampling(&self) -> &Sampling {
        &self.sampling
    }

    /// The ring of reports, to copy from.
    pub fn ring(&self) -> &wgpu::Buffer {
        &self.buffers.ring
    }

    /// The buffer in which a step leaves z, and where: `[vocab]` in f32, to be copied before the next step runs. Read it with
    /// [`Mixer::logits`].
    pub fn z(&self) -> (&wgpu::Buffer, std::ops::Range<u64>) {
        let first = 4 * u64::from(self.shape.z_at());
        (&self.buffers.work, first..first + 4 * u64::from(self.shape.vocab))
    }

    /// z from its bytes; -inf where a token was left out.
    pub fn logits(bytes: &[u8]) -> Vec<f32> {
        let z = |word: &[u8]| word.iter().rev().fold(0, |all, byte| all << 8 | u32::from(*byte));
        let shown = |z: f32| if z <= 0.5 * MASKED { f32::NEG_INFINITY } else { z };
        bytes.chunks_exact(4).map(|word| shown(f32::from_bits(z(word)))).collect()
    }

    /// Bytes of one report.
    pub fn slot_bytes(&self) -> u64 {
        4 * u64::from(self.shape.slot_words())
    }

    /// Where in [`Mixer::ring`] the report of `step` lies.
    pub fn slot_range(&self, step: u32) -> std::ops::Range<u64> {
        let first = u64::from(step % self.shape.slots) * self.slot_bytes();
        first..first + self.slot_bytes()
    }

    /// How a report is to be read, by [`super::Telemetry::decode`].
    pub fn layout(&self) -> TelemetryLayout {
        TelemetryLayout {
            terms: self.shape.terms.len(),
            rows: self.shape.reported.len(),
            candidates: self.shape.candidates as usize,
            bytes: self.slot_bytes() as usize,
        }
    }

    /// Bytes of the mixer's own buffers on the GPU.
    pub fn bytes(&self) -> u64 {
        [&self.buffers.controls, &self.buffers.work, &self.buffers.radix, &self.buffers.ring, &self.buffers.past]
            .iter()
            .map(|buffer| buffer.size())
            .sum()
    }

    /// Writes the settings and chooses the dispatches.
    fn apply(&mut self, gpu: &Gpu) {
        let filter = self.rule.filter;
        let greedy = self.sampling.temperature == 0.0;
        let penalties = self.sampling.penalties;
        let ngrams = penalties.no_repeat_ngram != 0;
        let flag = |holds: bool, bit: u32| if holds { bit } else { 0 };
        let prepared = penalties.charge() || ngrams || !self.rule.schedules.is_empty();
        self.buffers.set_controls(
            gpu,
            &Controls {
                inv_temperature: self.sampling.inv_temperature(),
                temperature: self.sampling.temperature,
                greedy: u32::from(greedy),
                seed: [self.sampling.seed as u32, (self.sampling.seed >> 32) as u32],
                top_k: self.sampling.top_k,
                top_p: self.sampling.top_p,
                min_p_drop: self.sampling.min_p_drop(),
                normalize: u32::from(self.rule.normalize),
                filter_row: filter.map_or(0, |filter| filter.row as u32),
                filter_value: filter.map_or(0, |filter| match filter.kind {
                    FilterKind::Plausibility { alpha } => alpha.ln().to_bits(),
                    FilterKind::TopK { k } => k,
                    FilterKind::TopP { p } | FilterKind::TypicalP { p } => p.to_bits(),
                }),
                typical_p: if self.sampling.typical_p == 1.0 { 0.0 } else { self.sampling.typical_p },
                edits: flag(!self.tokens.is_empty(), edits::SCORES)
                    | flag(penalties.charge(), edits::PENALTIES)
                    | flag(ngrams, edits::NGRAMS)
                    | flag(self.sampling.first_end() != 0, edits::LATE_ENDS),
                prepared: u32::from(prepared),
                min_tokens: self.sampling.first_end(),
                repetition: penalties.repetition,
                presence: penalties.presence,
                frequency: penalties.frequency,
                last_n: penalties.last_n,
                with_prompt: u32::from(penalties.prompt),
                ngram: penalties.no_repeat_ngram,
                pad: [0; 3],
            },
        );
        self.order.clear();
        if prepared {
            self.order.push(At::Prepare);
        }
        let levels = |selection| (0..4).map(move |level| At::Select(selection, level));
        let keep = match filter.map(|filter| filter.kind) {
            None => 0,
            Some(FilterKind::Plausibility { .. }) => {
                self.order.push(At::RowMax);
                1
            }
            Some(FilterKind::TopK { .. }) => {
                self.order.extend(levels(Selection::RowCount));
                2
            }
            Some(FilterKind::TopP { .. }) => {
                self.order.push(At::RowMax);
                self.order.extend(levels(Selection::RowMass));
                3
            }
            Some(FilterKind::TypicalP { .. }) => {
                self.order.push(At::RowSpread);
                self.order.extend(levels(Selection::RowTypical));
                4
            }
        };
        let filters = self.sampling.filters();
        self.order.push(At::Mix { keep, pick: usize::from(!greedy && !filters) });
        if filters {
            let mut last = 0;
            if self.sampling.typical_p != 1.0 {
                self.order.extend(levels(Selection::Typical));
            }
            if self.sampling.top_k != 0 {
                self.order.extend(levels(Selection::TopK));
                last = 1;
            }
            if self.sampling.top_p != 1.0 {
                self.order.extend(levels(if last == 1 { Selection::TopPAfterTopK } else { Selection::TopP }));
                last = 2;
            }
            self.order.push(At::Pick(last));
        }
        self.order.push(At::Finish);
        self.counts |= prepared;
    }
}

impl Dispatches {
    fn at(&self, at: At) -> &Dispatch {
        match at {
            At::Prepare => &self.prepare,
            At::RowMax => &self.row_max,
            At::RowSpread => &self.row_spread,
            At::Select(selection, level) => match selection {
                Selection::RowCount => &self.row_count[level],
                Selection::RowMass => &self.row_mass[level],
                Selection::RowTypical => &self.row_typical[level],
                Selection::TopK => &self.top_k[level],
                Selection::TopP => &self.top_p[level],
                Selection::TopPAfterTopK => &self.top_p_after_top_k[level],
                Selection::Typical => &self.typical[level],
            },
            At::Mix { keep, pick } => &self.mix[keep][pick],
            At::Pick(last) => &self.pick[last],
            At::Finish => &self.finish,
        }
    }
}

impl MixerPlan<'_> {
    fn validate(&self) -> Result<(), MixError> {
        let plan = |what, found: u64, expected, holds: bool| {
            if holds { Ok(()) } else { Err(MixError::Plan { what, found, expected }) }
        };
        let vocab = self.vocab;
        plan("vocab", vocab.into(), "1 to 500000", (1..=MOST_VOCAB).contains(&vocab))?;
        plan("vocab_stride", self.vocab_stride.into(), "at least the vocabulary", self.vocab_stride >= vocab)?;
        plan("rows", self.rows as u64, "1 to 32", self.rows > 0 && self.rows as u64 <= u64::from(MOST_ROWS))?;
        let bytes = 4 * self.rows as u64 * u64::from(self.vocab_stride);
        plan("logits bytes", self.logits.size(), "rows times vocab_stride floats", self.logits.size() >= bytes)?;
        let report = self.report.len();
        plan("reported rows", report as u64, "1 to 16", (1..=MOST).contains(&report))?;
        plan("candidates", self.candidates.into(), "at most 64", self.candidates <= 64)?;
        plan("slots", self.slots.into(), "1 to 4096", (1..=4096).contains(&self.slots))?;
        let batches = self.batch_offsets.len();
        plan("batches", batches as u64, "at most 16", batches <= MOST)?;
        for offset in &self.batch_offsets {
            plan("batch offset", *offset, "a multiple of 256", offset % 256 == 0)?;
            plan("batch offset", *offset, "an offset inside the buffer", offset + 32 <= self.batches.size())?;
        }
        for row in &self.report {
            check_row("the report", *row, self.rows)?;
        }
        let room = self.room;
        let holds = room <= 1 << 22 && self.prompt.len() <= room as usize;
        plan("room of the past", room.into(), "at least the prompt, at most 4194304", holds)?;
        self.rule.validate(self.rows, vocab)?;
        self.tokens.validate(vocab)?;
        self.sampling.validate(vocab)
    }
}
