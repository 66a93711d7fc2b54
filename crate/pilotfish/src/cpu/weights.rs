//! A weight set in memory, read once from its file and laid out for the kernels on the way.

use pilotfish_cpu::{Levels, PANEL, Panels};

use super::blocks;
use super::error::CpuError;
use crate::arch::{LayerTensors, ModelSpec, Rope, TensorIndex};
use crate::gguf::TensorInfo;
use crate::model::{ByteSource, LoadProgress};
use crate::quant;
use crate::{Error, Result};

/// File bytes read at a time.
const PIECE: usize = 1 << 20;
/// What a process must be able to address beside weights: activations, a page of keys and values, the program.
const BESIDE: u64 = 128 << 20;

/// One layer's weights.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) attn_norm: Vec<f32>,
    /// Query, key and value.
    pub(super) qkv: [Panels; 3],
    /// `[q | k | v]`
    pub(super) qkv_bias: Option<Vec<f32>>,
    /// Gains of the norms of query and of key heads.
    pub(super) qk_norm: Option<[Vec<f32>; 2]>,
    pub(super) o: Panels,
    pub(super) post_attn_norm: Option<Vec<f32>>,
    pub(super) ffn_norm: Vec<f32>,
    /// Gate and up.
    pub(super) gate_up: [Panels; 2],
    pub(super) down: Panels,
    pub(super) post_ffn_norm: Option<Vec<f32>>,
}

/// All weights of one model.
#[derive(Debug)]
pub struct Weights {
    pub(super) spec: ModelSpec,
    pub(super) embed: Panels,
    /// `None` where the embeddings serve as it.
    pub(super) output: Option<Panels>,
    /// Of a classifier's scores.
    pub(super) output_bias: Option<Vec<f32>>,
    pub(super) output_norm: Vec<f32>,
    pub(super) layers: Vec<Layer>,
    /// Radians a position for each pair of a head, by kind of rotation.
    pub(super) frequencies: Vec<(Rope, Vec<f32>)>,
}

impl Weights {
    /// Reads the tensors of `spec`. `progress` answers `false` to abort.
    ///
    /// A model that cannot be addressed here (4 GiB in wasm) is refused before anything is read.
    pub async fn load(
        spec: &ModelSpec,
        source: &mut impl ByteSource,
        progress: impl FnMut(LoadProgress) -> bool,
    ) -> Result<Self> {
        let needed = spec.tensors.iter().map(in_memory).fold(BESIDE, u64::saturating_add);
        let limit = isize::MAX as u64 * 2;
        if needed > limit {
            return Err(CpuError::TooLarge { needed, limit }.into());
        }
        let total = spec.tensors.iter().map(|tensor| tensor.bytes).sum();
        let state = LoadProgress { done: 0, total };
        let mut reader = Reader { tensors: &spec.tensors, source, progress, state };
        let embed = reader.matrix(spec.model.token_embd).await?;
        let output = if spec.tied { None } else { Some(reader.matrix(spec.model.output).await?) };
        let output_bias = reader.optional(spec.model.output_bias).await?;
        let output_norm = reader.vector(spec.model.output_norm).await?;
        let mut layers = Vec::new();
        for layer in &spec.layers {
            layers.push(reader.layer(&layer.tensors).await?);
        }
        let mut frequencies: Vec<(Rope, Vec<f32>)> = Vec::new();
        for layer in &spec.layers {
            if !frequencies.iter().any(|(known, _)| *known == layer.rope) {
                let factors = reader.optional(layer.rope.factors).await?;
                frequencies.push((layer.rope, layer.rope.inverse_frequencies(factors.as_deref())));
            }
        }
        Ok(Self { spec: spec.clone(), embed, output, output_bias, output_norm, layers, frequencies })
    }

    /// The model's shape.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// The matrix that gives logits, or a classifier's scores.
    pub(super) fn logits(&self) -> &Panels {
        self.output.as_ref().unwrap_or(&self.embed)
    }

    /// Whether weighted sums of logits are the logits of weighted sums: the output is a matrix and nothing more.
    pub fn adds_up(&self) -> bool {
        self.output_bias.is_none() && self.spec.final_softcap.is_none()
    }

    fn matrices(&self) -> impl Iterator<Item = &Panels> {
        let layers = self.layers.iter();
        layers.flat_map(|layer| layer.qkv.iter().chain(&layer.gate_up).chain([&layer.o, &layer.down]))
    }

    /// Bytes of all matrices.
    pub fn bytes(&self) -> u64 {
        let others = [Some(&self.embed), self.output.as_ref()];
        self.matrices().chain(others.into_iter().flatten()).map(|matrix| matrix.bytes() as u64).sum()
    }

    /// Bytes of weights that a step reads: all but embeddings that are not the output too.
    pub fn bytes_per_step(&self) -> u64 {
        self.matrices().chain([self.logits()]).map(|matrix| matrix.bytes() as u64).sum()
    }

    /// Multiplications of a weight and an activation that a token takes, with its logits.
    pub fn products_per_token(&self) -> u64 {
        let matrices = self.matrices().chain([self.logits()]);
        matrices.map(|matrix| matrix.rows() as u64 * matrix.inputs() as u64).sum()
    }
}

/// Bytes that a tensor takes here.
fn in_memory(tensor: &TensorInfo) -> u64 {
    match tensor.shape.len() {
        1 => tensor.row_len().saturating_mul(4),
        _ => blocks::layout(tensor.ty).bytes(tensor.rows(), tensor.row_len()),
    }
}

struct Reader<'a, S, P> {
    tensors: &'a [TensorInfo],
    source: &'a mut S,
    progress: P,
    state: LoadProgress,
}

impl<S: ByteSource, P: FnMut(LoadProgress) -> bool> Reader<'_, S, P> {
    async fn layer(&mut self, layer: &LayerTensors) -> Result<Layer> {
        let biases = [
            self.optional(layer.q_bias).await?,
            self.optional(layer.k_bias).await?,
            self.optional(layer.v_bias).await?,
        ];
        let qk_norm = [self.optional(layer.q_norm).await?, self.optional(layer.k_norm).await?];
        Ok(Layer {
            attn_norm: self.vector(layer.attn_norm).await?,
            qkv: [self.matrix(layer.q).await?, self.matrix(layer.k).await?, self.matrix(layer.v).await?],
            qkv_bias: if let [Some(q), Some(k), Some(v)] = biases { Some([q, k, v].concat()) } else { None },
            qk_norm: if let [Some(q), Some(k)] = qk_norm { Some([q, k]) } else { None },
            o: self.matrix(layer.o).await?,
            post_attn_norm: self.optional(layer.post_attn_norm).await?,
            ffn_norm: self.vector(layer.ffn_norm).await?,
            gate_up: [self.matrix(layer.gate).await?, self.matrix(layer.up).await?],
            down: self.matrix(layer.down).await?,
            post_ffn_norm: self.optional(layer.post_ffn_norm).await?,
        })
    }

    async fn optional(&mut self, tensor: Option<TensorIndex>) -> Result<Option<Vec<f32>>> {
        match tensor {
            Some(tensor) => Ok(Some(self.vector(tensor).await?)),
            None => Ok(None),
        }
    }

    /// A small tensor, decoded.
    async fn vector(&mut self, tensor: TensorIndex) -> Result<Vec<f32>> {
        let tensor = &self.tensors[tensor];
        let mut bytes = vec![0; tensor.bytes as usize];
        self.read(tensor.offset, &mut bytes).await?;
        let mut values = vec![0.0; tensor.shape.iter().product::<u64>() as usize];
        quant::dequantize(tensor.ty, &bytes, &mut values)?;
        Ok(values)
    }

    /// A matrix, some panels at a time.
    async fn matrix(&mut self, tensor: TensorIndex) -> Result<Panels> {
        let tensor = &self.tensors[tensor];
        let (ty, k, rows) = (tensor.ty, tensor.row_len() as usize, tensor.rows() as usize);
        let mut matrix = Panels::zeros(blocks::layout(ty), rows, k);
        let row_bytes = quant::row_bytes(ty, k);
        let at_once = (PIECE / row_bytes / PANEL).max(1) * PANEL;
        let mut bytes = Vec::new();
        let mut levels = vec![Levels::default(); PANEL];
        for first in (0..rows).step_by(at_once) {
            bytes.resize(at_once.min(rows - first) * row_bytes, 0);
            self.read(tensor.offset + (first * row_bytes) as u64, &mut bytes).await?;
            for (panel, sixteen) in bytes.chunks(PANEL * row_bytes).enumerate() {
                let mut n = 0;
                for (row, levels) in sixteen.chunks_exact(row_bytes).zip(&mut levels) {
                    blocks::take_apart(ty, row, k, levels)?;
                    n += 1;
                }
                matrix.fill(first / PANEL + panel, &levels[..n]);
            }
        }
        Ok(matrix)
    }

    async fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<()> {
        self.source.read(offset, into).await?;
        self.state.done += into.len() as u64;
        if (self.progress)(self.state) { Ok(()) } else { Err(Error::Aborted) }
    }
}
