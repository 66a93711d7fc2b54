//! The forward pass on candle's tape.

use std::sync::Arc;

use candle_core::{Device, Tensor, Var};
use pilotfish::adapter::Module;
use pilotfish::arch::{Layer, TensorIndex};
use rand::Rng as _;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use crate::base::Base;
use crate::error::Result;
use crate::forest::Forest;
use crate::lora::Lora;
use crate::ops::{Adapted, Attention, Glu, Linear, LogProbs, RmsNorm, Rotate};

/// The trained matrices as leaves of a tape.
pub(crate) struct Leaves<'l> {
    lora: &'l Lora,
    /// Of each change, in [`Lora::slices`]' order: A, B, and between them the mixing matrices of preferences.
    vars: Vec<Vec<Var>>,
    /// `[outputs, rank]` of each change: B, or `B W(α)`.
    b: Vec<Tensor>,
}

impl<'l> Leaves<'l> {
    /// Under a preference vector, which is empty for plain LoRA.
    pub(crate) fn new(lora: &'l Lora, preference: &[f32]) -> Result<Self> {
        let rank = lora.rank as usize;
        let turned = lora.turned_rank() as usize;
        let var = |values: &[f32], rows: usize| {
            let shape = (rows, values.len() / rows);
            Var::from_vec(values.to_vec(), shape, &Device::Cpu)
        };
        let (mut all, mut b) = (Vec::new(), Vec::new());
        for change in &lora.changes {
            let mut vars = vec![var(&change.a, rank)?, var(&change.b, change.b.len() / rank)?];
            b.push(match &change.mixing {
                None => vars[1].as_tensor().clone(),
                Some(mixing) => {
                    let shared = rank - turned;
                    vars.push(var(&mixing.shared, shared)?);
                    vars.push(var(&mixing.turned, lora.dimensions)?);
                    let alpha = Tensor::from_slice(preference, (1, preference.len()), &Device::Cpu)?;
                    let w_2 = alpha.matmul(&vars[3])?.reshape((turned, turned))?;
                    let columns = |from, count| vars[1].narrow(1, from, count)?.contiguous();
                    Tensor::cat(&[columns(0, shared)?.matmul(&vars[2])?, columns(shared, turned)?.matmul(&w_2)?], 1)?
                        .contiguous()?
                }
            });
            all.push(vars);
        }
        Ok(Self { lora, vars: all, b })
    }

    /// The leaves in [`Lora::slices`]' order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Var> {
        self.vars.iter().flatten()
    }

    /// `A` and `B W(α)` of a matrix.
    fn at(&self, layer: usize, module: Module) -> Option<[&Tensor; 2]> {
        let at = self.lora.changes.iter().position(|change| change.place == (layer as u32, module))?;
        Some([self.vars[at][0].as_tensor(), &self.b[at]])
    }
}

/// What a pass is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    /// To be differentiated; the seed is for dropout.
    Train { seed: u64 },
    /// Numbers only.
    Evaluate,
}

/// Log-probabilities of the forest's targets, `[targets]`: the base's own without `leaves`.
pub(crate) fn log_probs(base: &Base, leaves: Option<&Leaves<'_>>, forest: &Forest, pass: Pass) -> Result<Tensor> {
    let spec = &base.spec;
    let (hidden, tokens) = (spec.hidden as usize, forest.tokens.len());
    let embeddings = base.tensor(spec.model.token_embd);
    let scale = spec.embedding_scale.unwrap_or(1.0);
    let row = |id: &u32| embeddings[*id as usize * hidden..][..hidden].iter().map(move |value| value * scale);
    let x: Vec<f32> = forest.tokens.iter().flat_map(row).collect();
    let mut x = Tensor::from_vec(x, (tokens, hidden), &Device::Cpu)?;
    let run = Run {
        base,
        leaves,
        spans: Arc::new(forest.spans.clone()),
        positions: Arc::new(forest.positions.clone()),
        pass,
    };
    for (index, layer) in spec.layers.iter().enumerate() {
        x = run.layer(index, layer, &x)?;
    }
    let predictors = Tensor::from_slice(&forest.predictors, forest.predictors.len(), &Device::Cpu)?;
    let x = run.norm(&x.index_select(&predictors, 0)?, spec.model.output_norm)?;
    let output = base.matrix(spec.model.output);
    let targets = Arc::new(forest.targets.clone());
    let differentiate = matches!(pass, Pass::Train { .. });
    Ok(x.apply_op1(LogProbs::new(output, spec.final_softcap, targets, differentiate))?)
}

struct Run<'r> {
    base: &'r Base,
    leaves: Option<&'r Leaves<'r>>,
    spans: Arc<Vec<crate::ops::Span>>,
    positions: Arc<Vec<u32>>,
    pass: Pass,
}

impl Run<'_> {
    fn layer(&self, index: usize, layer: &Layer, x: &Tensor) -> Result<Tensor> {
        let (spec, tensors) = (&self.base.spec, &layer.tensors);
        let h = self.norm(x, tensors.attn_norm)?;
        let q = self.linear(&h, index, layer, Module::Q, tensors.q_bias)?;
        let k = self.linear(&h, index, layer, Module::K, tensors.k_bias)?;
        let v = self.linear(&h, index, layer, Module::V, tensors.v_bias)?;
        let q = self.rotate(layer, &self.head_norm(&q, tensors.q_norm)?)?;
        let k = self.rotate(layer, &self.head_norm(&k, tensors.k_norm)?)?;
        let attention = Attention {
            spans: Arc::clone(&self.spans),
            positions: Arc::clone(&self.positions),
            n_heads: spec.n_heads as usize,
            n_kv_heads: spec.n_kv_heads as usize,
            head_dim: spec.head_dim as usize,
            scale: spec.attention_scale,
            soft_cap: spec.attention_softcap,
            window: layer.window,
        };
        let attended = q.apply_op3(&k, &v, attention)?;
        let y = self.linear(&attended, index, layer, Module::O, None)?;
        let x = self.add(x, &y, tensors.post_attn_norm)?;
        let h = self.norm(&x, tensors.ffn_norm)?;
        let gate = self.linear(&h, index, layer, Module::Gate, None)?;
        let up = self.linear(&h, index, layer, Module::Up, None)?;
        let y = gate.apply_op2(&up, Glu { activation: spec.activation })?;
        let y = self.linear(&y, index, layer, Module::Down, None)?;
        self.add(&x, &y, tensors.post_ffn_norm)
    }

    fn norm(&self, x: &Tensor, gain: TensorIndex) -> Result<Tensor> {
        let gain = Arc::clone(self.base.tensor(gain));
        Ok(x.apply_op1(RmsNorm { gain, eps: self.base.spec.norm_eps })?)
    }

    /// Norms each head where the family does.
    fn head_norm(&self, x: &Tensor, gain: Option<TensorIndex>) -> Result<Tensor> {
        gain.map_or(Ok(x.clone()), |gain| self.norm(x, gain))
    }

    /// The residual stream with what a half of a layer adds, normed first where the family does.
    fn add(&self, x: &Tensor, y: &Tensor, norm: Option<TensorIndex>) -> Result<Tensor> {
        let y = norm.map_or(Ok(y.clone()), |gain| self.norm(y, gain))?;
        Ok((x + y)?)
    }

    fn linear(
        &self,
        x: &Tensor,
        index: usize,
        layer: &Layer,
        module: Module,
        bias: Option<TensorIndex>,
    ) -> Result<Tensor> {
        let weight = self.base.matrix(module.tensor(layer));
        let bias = bias.map(|bias| Arc::clone(self.base.tensor(bias)));
        let linear = Linear { weight, bias };
        let Some((leaves, [a, b])) = self.leaves.and_then(|leaves| Some((leaves, leaves.at(index, module)?))) else {
            return Ok(x.apply_op1(linear)?);
        };
        let kept = self.kept(leaves.lora.dropout, x.elem_count(), index, module);
        Ok(x.apply_op3(a, b, Adapted { linear, scale: leaves.lora.scale, kept })?)
    }

    /// Dropout's mask: of the pass's seed and the place alone, so that a resumed run drops the same.
    fn kept(&self, dropout: f32, count: usize, index: usize, module: Module) -> Option<Vec<f32>> {
        let Pass::Train { seed } = self.pass else { return None };
        if dropout <= 0.0 {
            return None;
        }
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(index as u64 * Module::ALL.len() as u64 + module as u64);
        let scale = 1.0 / (1.0 - dropout);
        Some((0..count).map(|_| if random.random::<f32>() < dropout { 0.0 } else { scale }).collect())
    }

    fn rotate(&self, layer: &Layer, x: &Tensor) -> Result<Tensor> {
        let spec = &self.base.spec;
        let pairs = layer.rope.dims as usize / 2;
        let (frequencies, magnitude) = (self.base.frequencies(&layer.rope), layer.rope.magnitude());
        let turn = |position: u32, frequency: f32| {
            let (sin, cos) = (f64::from(position) * f64::from(frequency)).sin_cos();
            (cos as f32 * magnitude, sin as f32 * magnitude)
        };
        let turns = self
            .positions
            .iter()
            .flat_map(|position| frequencies.iter().take(pairs).map(move |frequency| turn(*position, *frequency)));
        let turns = Arc::new(turns.collect());
        Ok(x.apply_op1(Rotate { turns, pairs, head_dim: spec.head_dim as usize, style: spec.rope_style })?)
    }
}
