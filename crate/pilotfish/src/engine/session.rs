//! A guided generation: rows prefilled, steps submitted ahead, tokens read late.
//!
//! A step is one submit: every weight set's rows go from ids to logits, the mix becomes a token, and that token is already
//! the next step's input when the CPU hears of it. Several steps are in flight; what was sampled past a stop is dropped.

use std::collections::VecDeque;
use std::ops::Deref;
use std::rc::Rc;

use serde::Serialize;

use super::model::Model;
use super::options::{Returns, SessionOptions};
use super::plan::{RowInfo, SessionInfo, SessionPlan, mix_rule};
use super::rows::Rows;
use super::step::{Candidate, LogProbs, Step, Stop};
use super::stop::StopStrings;
use super::{Engine, Models};
use crate::adapter::Adapter;
use crate::gpu::{Binding, Gpu, Owned, Readback, StepShape, Usage, record};
use crate::guidance::{Mixer, MixerPlan, Telemetry};
use crate::model::{BatchToken, Forward, ForwardPlan, Logits, RowAdapters, batch_words};
use crate::ops::attend;
use crate::tokenizer::{StreamDecoder, Tokenizer};
use crate::{Error, Result};

/// The most steps in flight.
pub(super) const MAX_IN_FLIGHT: u32 = 8;

/// Steps in flight on a GPU: enough to hide the way of a token to the CPU, few enough for a slider to feel immediate.
const DEFAULT_IN_FLIGHT: u32 = 3;

/// Each weight set's decode batch begins at a multiple of this many bytes: WebGPU's binding alignment, and room for
/// [`super::rows::MAX_ROWS`] tokens.
pub(super) const BATCH_STRIDE: u64 = 256;

/// What is done while a session is being made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PrefillProgress {
    /// Prompt tokens in the caches, over all rows.
    pub done: usize,
    /// Prompt tokens in all.
    pub total: usize,
}
/// A generation under way.
#[derive(Debug)]
pub struct Session {
    pub(super) gpu: Rc<Gpu>,
    base: Rc<Model>,
    /// Their weights are in use.
    _guides: Vec<Rc<Model>>,
    /// Everything the session has on the GPU.
    _buffers: Owned,
    pub(super) adapters: Vec<Rc<Adapter>>,
    pub(super) rows: Rows,
    pub(super) sets: Vec<Set>,
    pub(super) mixer: Mixer,
    decoder: StreamDecoder<SharedTokenizer>,
    stops: StopStrings,
    readbacks: Vec<Readback>,
    /// Of the mixed logits, if they are asked for.
    logits: Vec<Readback>,
    flights: VecDeque<u32>,
    /// Steps submitted, which is also how far every row's position has moved.
    pub(super) submitted: u32,
    taken: u32,
    max_tokens: u32,
    in_flight: u32,
    longest_prompt: u32,
    stop_asked: bool,
    ended: bool,
    info: SessionInfo,
}

/// A model's tokenizer, kept alive by the model.
#[derive(Debug)]
struct SharedTokenizer(Rc<Model>);

impl Deref for SharedTokenizer {
    type Target = Tokenizer;

    fn deref(&self) -> &Tokenizer {
        &self.0.tokenizer
    }
}

/// One weight set of a session.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) model: usize,
    forward: Forward,
    pub(super) adapters: Option<RowAdapters>,
    rows: u32,
}

impl Session {
    /// Allocates, plans every dispatch, and prefills. `options` names guide models and adapters by their place in `models`.
    /// `progress` answers `false` to abort.
    pub async fn new(
        engine: &Engine,
        models: Models<'_>,
        options: &SessionOptions,
        mut progress: impl FnMut(PrefillProgress) -> bool,
    ) -> Result<Self> {
        let plan = SessionPlan::new(engine, models, options)?;
        let SessionPlan { rows, context, vocab, vocab_stride, used, mut memory } = plan;
        let gpu = Rc::clone(&engine.gpu);
        let rule = mix_rule(&rows, options)?;
        let scope = gpu.scope();
        let logits_bytes = u64::from(vocab_stride) * 4 * rows.rows.len() as u64;
        let logits = gpu.buffer("logits", logits_bytes, Usage::Storage)?;
        let batches = gpu.buffer("decode batches", BATCH_STRIDE * used.len() as u64, Usage::Storage)?;
        let mut sets = Vec::new();
        for (at, index) in used.iter().enumerate() {
            let first_row = rows.rows.iter().position(|row| row.model == *index).unwrap_or_default() as u32;
            let Model { spec, weights, .. } = models.pick(*index);
            let adapters = RowAdapters::new(&gpu, spec, &rows.adapters(models, *index))?;
            memory.adapters += adapters.as_ref().map_or(0, |adapters| adapters.bytes);
            let sizes = rows.sizes(*index, context, engine.chunk());
            let forward = Forward::new(
                &gpu,
                &ForwardPlan {
                    spec,
                    weights,
                    adapters: adapters.as_ref(),
                    sizes,
                    decode_batch: Binding {
                        at: 0,
                        buffer: &batches,
                        range: Some((at as u64 * BATCH_STRIDE, BATCH_STRIDE)),
                    },
                    logits: Logits { buffer: &logits, stride: vocab_stride, first_row },
                    score_logits: None,
                    shape: engine.shape,
                },
            )?;
            sets.push(Set { model: *index, forward, adapters, rows: sizes.rows });
        }

        let mut mixer = Mixer::new(
            &gpu,
            &MixerPlan {
                vocab,
                vocab_stride,
                logits: &logits,
                rows: rows.rows.len(),
                rule: &rule,
                sampling: &options.sampling,
                tokens: &options.tokens,
                prompt: &rows.rows[0].ids,
                ends: models.base.tokenizer.ends(),
                steps: options.max_tokens.min(context),
                report: std::iter::once(0).chain(rows.guides.iter().map(|guide| guide.terms[0].0)).collect(),
                candidates: options.candidates.min(vocab),
                batches: &batches,
                batch_offsets: (0..used.len() as u64).map(|at| at * BATCH_STRIDE).collect(),
                slots: MAX_IN_FLIGHT,
            },
        )?;
        mixer.force(&gpu, 0, &options.forced)?;
        let readbacks =
            (0..MAX_IN_FLIGHT).map(|_| gpu.readback("telemetry", mixer.slot_bytes())).collect::<Result<_, _>>()?;
        let logits_kept = if options.returns == Returns::Logits { MAX_IN_FLIGHT } else { 0 };
        let z_bytes = 4 * u64::from(vocab);
        let z_readbacks = (0..logits_kept).map(|_| gpu.readback("mixed logits", z_bytes)).collect::<Result<_, _>>()?;
        let buffers = scope.close();
        gpu.flush().await?;

        let info = SessionInfo {
            rows: rows
                .rows
                .iter()
                .map(|row| RowInfo {
                    name: row.name.clone(),
                    model: row.model,
                    prompt_tokens: row.ids.len(),
                    adapters: row.adapters.iter().map(|used| used.adapter).collect(),
                })
                .collect(),
            context_length: context,
            dispatches_per_step: 0,
            weight_bytes_per_step: memory.weights + memory.adapters,
            memory,
        };
        let software = gpu.info().software;
        let mut session = Self {
            decoder: StreamDecoder::new(SharedTokenizer(Rc::clone(models.base))),
            stops: StopStrings::new(&options.stop)?,
            longest_prompt: rows.rows.iter().map(|row| row.ids.len()).max().unwrap_or_default() as u32,
            gpu,
            base: Rc::clone(models.base),
            _guides: models.guides.to_vec(),
            _buffers: buffers,
            adapters: models.adapters.to_vec(),
            rows,
            sets,
            mixer,
            readbacks,
            logits: z_readbacks,
            flights: VecDeque::new(),
            submitted: 0,
            taken: 0,
            max_tokens: options.max_tokens,
            in_flight: match options.in_flight {
                // On the CPU steps cannot overlap with anything: going ahead would only delay a stop.
                0 if software => 1,
                0 => DEFAULT_IN_FLIGHT,
                asked => asked.min(MAX_IN_FLIGHT),
            },
            stop_asked: false,
            ended: options.max_tokens == 0,
            info,
        };
        session.prefill(engine.chunk() as usize, &batches, &mut progress).await?;
        session.info.dispatches_per_step = session.step_dispatches().count() as u32;
        Ok(session)
    }

    /// What this session takes and does.
    pub fn info(&self) -> &SessionInfo {
        &self.info
    }

    /// The text that was held back because it may be the beginning of a stop string, or of a character: for a caller who stops
    /// while no step is in flight, so that no last step brings it.
    pub fn rest(&mut self) -> String {
        let (text, found) = self.stops.push(&self.decoder.finish());
        if found.is_some() { text } else { text + &self.stops.finish() }
    }

    /// Submits no more; [`Session::next`] gives what is in flight no more either, but one last step that says
    /// [`Stop::Stopped`] if there is one.
    pub fn stop(&mut self) {
        self.stop_asked = true;
    }

    /// The next token, or `None` when the generation has ended.
    pub async fn next(&mut self) -> Result<Option<Step>> {
        while !self.ended && !self.stop_asked && self.flights.len() < self.in_flight as usize && self.room().is_none() {
            self.submit();
        }
        let Some(slot) = self.flights.pop_front() else { return Ok(None) };
        let mut telemetry = None;
        let (layout, readback) = (self.mixer.layout(), &self.readbacks[slot as usize]);
        let read = readback.take(&self.gpu, |report| telemetry = Some(Telemetry::decode(report, &layout))).await;
        let telemetry = match (read, telemetry) {
            (Ok(()), Some(Ok(telemetry))) => telemetry,
            // After a fault nothing more comes of this session.
            (read, telemetry) => {
                self.ended = true;
                self.flights.clear();
                read?;
                return telemetry.transpose().map_err(Error::from).map(|_| None);
            }
        };
        let mut step = self.step(&telemetry);
        if let Some(readback) = self.logits.get(slot as usize) {
            readback.take(&self.gpu, |bytes| step.logits = Some(Mixer::logits(bytes))).await?;
        }
        if step.stop.is_some() {
            self.ended = true;
            self.drain().await?;
        }
        Ok(Some(step))
    }

    /// Why no further step can be submitted, if so.
    fn room(&self) -> Option<Stop> {
        if self.submitted >= self.max_tokens {
            Some(Stop::Length)
        } else if self.longest_prompt + self.submitted > self.info.context_length {
            Some(Stop::Context)
        } else {
            None
        }
    }

    /// Waits for steps past the end and forgets them.
    async fn drain(&mut self) -> Result<()> {
        while let Some(slot) = self.flights.pop_front() {
            self.readbacks[slot as usize].take(&self.gpu, |_| ()).await?;
            if let Some(logits) = self.logits.get(slot as usize) {
                logits.take(&self.gpu, |_| ()).await?;
            }
        }
        Ok(())
    }

    /// Every dispatch of the next step, in order.
    fn step_dispatches(&self) -> impl Iterator<Item = (&crate::gpu::Dispatch, StepShape)> {
        let splits = attend::splits(self.longest_prompt + self.submitted, self.gpu.info().software);
        let forwards = self.sets.iter().flat_map(move |set| {
            let shape = StepShape { tokens: set.rows, splits };
            set.forward.decode.iter().map(move |dispatch| (dispatch, shape))
        });
        forwards.chain(self.mixer.dispatches().map(|dispatch| (dispatch, StepShape::default())))
    }

    /// One encoder, one pass, one submit.
    fn submit(&mut self) {
        let slot = self.submitted % MAX_IN_FLIGHT;
        let mut encoder = self.gpu.encoder();
        record(&mut encoder, self.step_dispatches(), None);
        let readback = &self.readbacks[slot as usize];
        let report = self.mixer.slot_range(self.submitted);
        encoder.copy_buffer_to_buffer(self.mixer.ring(), report.start, &readback.buffer, 0, report.end - report.start);
        if let Some(logits) = self.logits.get(slot as usize) {
            let (scratch, z) = self.mixer.z();
            encoder.copy_buffer_to_buffer(scratch, z.start, &logits.buffer, 0, z.end - z.start);
        }
        self.gpu.submit(encoder);
        readback.start();
        self.logits.get(slot as usize).into_iter().for_each(Readback::start);
        self.flights.push_back(slot);
        self.submitted += 1;
    }

    fn step(&mut self, telemetry: &Telemetry) -> Step {
        let tokenizer = &self.base.tokenizer;
        let id = telemetry.token;
        let index = self.taken;
        self.taken += 1;
        let end = tokenizer.is_end(id);
        let last = self.flights.is_empty();
        let mut stop = if end {
            Some(Stop::End)
        } else if self.stop_asked {
            Some(Stop::Stopped)
        } else {
            self.room().filter(|_| last)
        };
        let mut text = if end { String::new() } else { self.decoder.push(id) };
        if stop.is_some() {
            text += &self.decoder.finish();
        }
        let (mut text, found) = self.stops.push(&text);
        let stop_string = found.map(str::to_owned);
        if stop_string.is_some() {
            stop = Some(Stop::StopString);
        } else if stop.is_some() {
            text += &self.stops.finish();
        }
        let log_probs =
            |mix: f32, sampled: f32, rows: &[f32]| LogProbs { base: rows[0], mix, sampled, guides: rows[1..].to_vec() };
        let mut term = 1;
        let weights = self
            .rows
            .guides
            .iter()
            .map(|guide| {
                let weight = telemetry.weights[term] * guide.terms[0].1;
                term += guide.terms.len();
                weight
            })
            .collect();
        Step {
            index,
            id,
            text,
            stop,
            stop_string,
            log_probs: log_probs(telemetry.mix_log_prob, telemetry.sampled_log_prob, &telemetry.log_probs),
            entropy: telemetry.base_entropy,
            kl: telemetry.kl,
            weights,
            temperature: telemetry.temperature,
            candidates: telemetry
                .candidates
                .iter()
                .map(|candidate| Candidate {
                    id: candidate.id,
                    text: tokenizer.decode(&[candidate.id]),
                    log_probs: log_probs(candidate.mix, candidate.sampled, &candidate.rows),
                })
                .collect(),
            logits: None,
        }
    }

    /// Puts all prompts but their last tokens in the caches; the last ones are the first step's input.
    async fn prefill(
        &mut self,
        chunk: usize,
        batches: &wgpu::Buffer,
        progress: &mut impl FnMut(PrefillProgress) -> bool,
    ) -> Result<()> {
        let total = self.rows.rows.iter().map(|row| row.ids.len()).sum();
        let mut done = 0;
        // Everything is planned: what follows is the prefill alone, so that callers can time it.
        if !progress(PrefillProgress { done, total }) {
            return Err(Error::Aborted);
        }
        for (at, set) in self.sets.iter().enumerate() {
            let mut tokens = Vec::new();
            let mut last = Vec::new();
            for (row, ids) in self.rows.rows.iter().filter(|row| row.model == set.model).map(|row| &row.ids).enumerate()
            {
                let token = |position: usize| BatchToken {
                    id: ids[position],
                    row: row as u32,
                    position: position as u32,
                    pad: 0,
                };
                tokens.extend((0..ids.len() - 1).map(token));
                last.push(token(ids.len() - 1));
            }
            for batch in tokens.chunks(chunk) {
                set.forward.submit_prefill(&self.gpu, batch);
                self.gpu.flush().await?;
                done += batch.len();
                if !progress(PrefillProgress { done, total }) {
                    return Err(Error::Aborted);
                }
            }
            done += last.len();
            self.gpu.write(batches, at as u64 * BATCH_STRIDE, &batch_words(&last));
        }
        if progress(PrefillProgress { done: total, total }) { Ok(()) } else { Err(Error::Aborted) }
    }
}
