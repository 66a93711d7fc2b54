//! What a session will be: its rows, its mix and its memory, known and checked before anything is allocated.

use serde::Serialize;

use super::limits::MAX_ROWS;
use super::model::Model;
use super::options::{NamedFilter, SessionOptions};
use super::processor::Processor;
use super::rows::{Row, Rows};
use super::stop::StopStrings;
use super::{Engine, Models};
use crate::guidance::{MixRule, RowFilter, Schedule, Term, check_forced};
use crate::ops::stride;
use crate::{Error, Result};

/// What a session takes and does.
#[derive(Debug, Clone, Serialize)]
pub struct SessionInfo {
    /// The rows: what runs beside the base.
    pub rows: Vec<RowInfo>,
    /// Texts, or trials of a method, that run at once, each with rows like these.
    pub samples: usize,
    /// Positions per row.
    pub context_length: u32,
    /// Kernel calls in one step; 0 on the CPU.
    pub dispatches_per_step: u32,
    /// Bytes of weights read in one step.
    pub weight_bytes_per_step: u64,
    /// Memory: the GPU's, or the CPU's.
    pub memory: SessionMemory,
}

/// One row of a session.
#[derive(Debug, Clone, Serialize)]
pub struct RowInfo {
    /// `base`, a guide's name, or `NAME against`.
    pub name: String,
    /// 0 is the base's model; `i + 1` is guide model `i`.
    pub model: usize,
    /// Tokens of its prompt.
    pub prompt_tokens: usize,
    /// The adapters it runs under, by their place.
    pub adapters: Vec<usize>,
}

impl RowInfo {
    pub(super) fn of(row: &Row) -> Self {
        Self {
            name: row.name.clone(),
            model: row.model,
            prompt_tokens: row.ids.len(),
            adapters: row.adapters.iter().map(|used| used.adapter).collect(),
        }
    }
}

/// Bytes in the memory of what runs the session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct SessionMemory {
    /// Weights of all models in use.
    pub weights: u64,
    /// What rows add to them; known when they are packed.
    pub adapters: u64,
    /// Key-value caches.
    pub kv: u64,
    /// Activations and logits.
    pub activations: u64,
}

/// What a session will take, known before anything is allocated.
#[derive(Debug)]
pub struct SessionPlan {
    /// The rows.
    pub rows: Rows,
    /// Positions per row.
    pub context: u32,
    /// Memory: the GPU's, or the CPU's.
    pub memory: SessionMemory,
    /// Texts that run at once.
    pub lanes: usize,
    pub(super) vocab: u32,
    pub(super) vocab_stride: u32,
    /// The models in use, in the order of their rows, and the slots of their pools.
    pub(super) used: Vec<(usize, u32)>,
}

impl SessionPlan {
    /// Renders and tokenizes the prompts, checks every option, and adds up the memory.
    pub fn new(engine: &Engine, models: Models<'_>, options: &SessionOptions) -> Result<Self> {
        Self::on(&engine.processor()?, models, options)
    }

    pub(super) fn on(processor: &Processor, models: Models<'_>, options: &SessionOptions) -> Result<Self> {
        let chunk = processor.chunk();
        let rows = Rows::plan(models, options)?;
        let mut used: Vec<usize> = rows.rows.iter().map(|row| row.model).collect();
        used.dedup();
        let in_use = || used.iter().map(|index| &**models.pick(*index));
        let vocab = in_use().map(Model::vocab).min().unwrap_or_default();
        options.method.validate(vocab)?;
        let lanes = lanes(&rows, options)?;
        let most = in_use().map(|model| model.spec.context_length).min().unwrap_or_default();
        let context = context(&rows, options, most)?;
        let vocab_stride = stride(in_use().map(|model| model.spec.n_vocab).max().unwrap_or_default());
        options.sampling.validate(vocab)?;
        options.tokens.validate(vocab)?;
        check_forced(&options.forced, vocab)?;
        StopStrings::new(&options.stop)?;
        mix_rule(&rows, options)?.validate(rows.rows.len(), vocab)?;
        let mut memory = SessionMemory {
            activations: u64::from(vocab_stride) * 4 * (rows.rows.len() * lanes) as u64,
            ..SessionMemory::default()
        };
        let used: Vec<(usize, u32)> =
            used.iter().map(|index| (*index, slots(&rows, options, *index, lanes, context))).collect();
        for (index, slots) in &used {
            let Model { spec, weights, .. } = &**models.pick(*index);
            let sizes = rows.sizes(*index, lanes, context, chunk, *slots);
            memory.weights += weights.bytes();
            memory.kv += sizes.kv_bytes(spec);
            memory.activations += sizes.activation_bytes(spec);
        }
        Ok(Self { rows, context, memory, lanes, vocab, vocab_stride, used })
    }
}

/// Texts that run at once: samples, or trials of a method.
fn lanes(rows: &Rows, options: &SessionOptions) -> Result<usize> {
    let own = rows.rows.len();
    let lanes = options.method.lanes(own);
    if lanes > 1 && options.samples > 1 {
        return Err(Error::MethodSamples { method: options.method.name.name(), samples: options.samples });
    }
    let lanes = if lanes > 1 { lanes } else { options.samples as usize };
    if lanes == 0 || own * lanes > MAX_ROWS {
        return Err(Error::TooManyRows { rows: own, samples: lanes, most: MAX_ROWS });
    }
    Ok(lanes)
}

/// Positions per row: what was asked for, or what is needed, within `most`, what every model was trained for.
fn context(rows: &Rows, options: &SessionOptions, most: u32) -> Result<u32> {
    let needed = rows.longest().saturating_add(options.max_tokens);
    let context = if options.context_length == 0 { needed.min(most) } else { options.context_length.min(most) };
    rows.check_lengths(context)?;
    Ok(context)
}

/// Slots of a model's pool: a prompt is there once for all lanes, what they add is each one's own.
fn slots(rows: &Rows, options: &SessionOptions, model: usize, lanes: usize, context: u32) -> u32 {
    if options.pool_length > 0 {
        return options.pool_length;
    }
    let of_row = |row: &Row| {
        let shared = row.ids.len() as u32 - 1;
        let own = context - shared;
        let others = options.method.parts_by().map_or(own, |most| most.min(own));
        shared + own + (lanes as u32 - 1) * others
    };
    rows.of_model(model).map(of_row).sum()
}

/// The terms of the mix: the base with weight 1, then each guide's rows.
pub(super) fn mix_rule(rows: &Rows, options: &SessionOptions) -> Result<MixRule> {
    let mut terms = vec![Term { row: 0, weight: 1.0 }];
    for (guide, rows) in options.guides.iter().zip(&rows.guides) {
        terms.extend(rows.terms.iter().map(|(row, sign)| Term { row: *row, weight: sign * guide.weight }));
    }
    let filter = match &options.filter {
        None => None,
        Some(NamedFilter { row, kind }) => Some(RowFilter {
            row: match options.guides.iter().position(|guide| guide.name == *row) {
                Some(guide) => rows.guides[guide].terms[0].0,
                None if row == "base" => 0,
                None => return Err(Error::UnknownRow { row: row.clone() }),
            },
            kind: *kind,
        }),
    };
    let mut schedules = Vec::new();
    for (name, points) in &options.schedules {
        let guide = options.guides.iter().position(|guide| guide.name == *name);
        schedules.extend(rows.schedules(guide.ok_or_else(|| Error::ScheduleGuide { name: name.clone() })?, points));
    }
    Ok(MixRule { terms, normalize: options.normalize, filter, schedules })
}

impl Rows {
    /// The term of each of a guide's rows, with its sign. The base's term comes first.
    pub(super) fn terms(&self, guide: usize) -> impl Iterator<Item = (usize, f32)> {
        let first = 1 + self.guides[..guide].iter().map(|guide| guide.terms.len()).sum::<usize>();
        self.guides[guide].terms.iter().enumerate().map(move |(at, (_, sign))| (first + at, *sign))
    }

    /// A guide's schedule as its terms have it.
    pub(super) fn schedules(&self, guide: usize, points: &[(u32, f32)]) -> impl Iterator<Item = Schedule> {
        let signed = move |sign: f32| points.iter().map(|(step, weight)| (*step, sign * weight)).collect();
        self.terms(guide).map(move |(term, sign)| Schedule { term, points: signed(sign) })
    }
}
