//! A weight set: one copy of a model's weights on the GPU, streamed there through a bounded buffer.
//!
//! Projections that read the same input and have the same format lie in one matrix (q, k, v; gate, up), so that a step reads
//! them in one dispatch. A matrix larger than a binding is split by rows. Packing is lossless: see [`crate::quant`].

use super::source::ByteSource;
use crate::arch::{LayerTensors, ModelSpec, Rope, TensorIndex};
use crate::gguf::TensorInfo;
use crate::gpu::{Gpu, Owned, Usage};
use crate::ops::matrix::Matrix;
use crate::quant;
use crate::{Error, Result};

/// File bytes read, packed and uploaded at a time. With the packed copy beside it this bounds the host memory of a load.
const PIECE: usize = 4 << 20;

/// What a load says while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct LoadProgress {
    /// Bytes of tensors on the GPU.
    pub done: u64,
    /// Bytes of tensors in the file.
    pub total: u64,
}

/// Rows of a matrix that give the outputs from `column` on.
#[derive(Debug)]
pub struct Projection {
    /// The weights.
    pub matrix: Matrix,
    /// The first output (or vocabulary id) that `matrix` gives.
    pub column: u32,
    /// `[matrix.rows]` in f32, added to the output.
    pub bias: Option<wgpu::Buffer>,
}

/// The first half of the feed-forward block.
#[derive(Debug)]
pub enum GateUp {
    /// Gate rows, then up rows, in one matrix: one dispatch gives `act(gate) * up`.
    Fused(Matrix),
    /// Different formats, or too large for one binding.
    Split(Vec<Projection>),
}

/// One layer's weights. Gains are `[n]` in f32.
#[derive(Debug)]
pub struct Layer {
    /// Before attention.
    pub attn_norm: wgpu::Buffer,
    /// `[q | k | v]` outputs.
    pub qkv: Vec<Projection>,
    /// Gains of the norms of query and key heads, `[2, head_dim]`.
    pub qk_norm: Option<wgpu::Buffer>,
    /// Attention's output projection.
    pub attn_output: Vec<Projection>,
    /// After attention (gemma).
    pub post_attn_norm: Option<wgpu::Buffer>,
    /// Before the feed-forward block.
    pub ffn_norm: wgpu::Buffer,
    /// `act(gate) * up`.
    pub gate_up: GateUp,
    /// Back to the residual stream.
    pub down: Vec<Projection>,
    /// After the feed-forward block (gemma).
    pub post_ffn_norm: Option<wgpu::Buffer>,
}

/// All weights of one model on one GPU.
#[derive(Debug)]
pub struct Weights {
    /// Token embeddings, `[n_vocab, hidden]`, split where a binding is too small.
    pub embed: Vec<Projection>,
    /// The output matrix, or `None` where the embeddings serve as it.
    pub output: Option<Vec<Projection>>,
    /// Before the output matrix.
    pub output_norm: wgpu::Buffer,
    /// The layers in order.
    pub layers: Vec<Layer>,
    /// Radians a position for each pair of a head, by kind of rotation.
    pub frequencies: Vec<(Rope, Vec<f32>)>,
    /// Bytes on the GPU.
    pub bytes: u64,
    /// All of it, to be freed.
    buffers: Owned,
}

impl Weights {
    /// The matrix that gives logits.
    pub fn logits(&self) -> &[Projection] {
        self.output.as_ref().unwrap_or(&self.embed)
    }

    /// Streams the tensors of `source` to `gpu`, in the order of the file. `allocated` is called before, with every buffer made
    /// and none filled. `progress` answers `false` to abort.
    pub async fn load(
        gpu: &Gpu,
        spec: &ModelSpec,
        source: &mut impl ByteSource,
        allocated: impl FnOnce(&Self) -> Result<()>,
        mut progress: impl FnMut(LoadProgress) -> bool,
    ) -> Result<Self> {
        let mut uploads = Uploads { gpu, tensors: &spec.tensors, items: Vec::new(), bytes: 0 };
        let scope = gpu.scope();
        let mut weights = uploads.allocate(spec)?;
        weights.buffers = scope.close();
        weights.frequencies = frequencies(spec, source).await?;
        gpu.flush().await?;
        allocated(&weights)?;
        let Uploads { mut items, .. } = uploads;
        items.sort_by_key(|item| spec.tensors[item.tensor].offset);
        let mut state = LoadProgress { done: 0, total: items.iter().map(|item| spec.tensors[item.tensor].bytes).sum() };
        let mut unflushed = 0;
        let mut bytes = Vec::new();
        let mut words = Vec::new();
        let mut values = Vec::new();
        for item in &items {
            let tensor = &spec.tensors[item.tensor];
            let k = tensor.row_len() as usize;
            let row_bytes = quant::row_bytes(tensor.ty, k);
            let at_once = (PIECE / row_bytes).max(1);
            let rows = tensor.rows() as usize;
            for first in (0..rows).step_by(at_once) {
                let n = at_once.min(rows - first);
                bytes.resize(n * row_bytes, 0);
                source.read(tensor.offset + (first * row_bytes) as u64, &mut bytes).await?;
                match &item.to {
                    To::Floats(buffer, at) => {
                        values.resize(n * k, 0.0);
                        quant::dequantize(tensor.ty, &bytes, &mut values)?;
                        gpu.write(buffer, at + (first * k * 4) as u64, &values);
                    }
                    To::Rows(parts) => {
                        let row_words = quant::row_words(tensor.ty, k);
                        words.clear();
                        words.resize(n * row_words, 0);
                        quant::pack_rows(tensor.ty, k, &bytes, &mut words)?;
                        for part in parts {
                            part.write(gpu, row_words, first, &words);
                        }
                    }
                }
                state.done += bytes.len() as u64;
                unflushed += bytes.len();
                // Queued writes hold their bytes until they are done: wait before they pile up.
                if unflushed >= 4 * PIECE {
                    gpu.flush().await?;
                    unflushed = 0;
                    if !progress(state) {
                        return Err(Error::Aborted);
                    }
                }
            }
        }
        gpu.flush().await?;
        if progress(state) { Ok(weights) } else { Err(Error::Aborted) }
    }
}

/// The frequencies of each kind of rotation in the model.
pub(super) async fn frequencies(spec: &ModelSpec, source: &mut impl ByteSource) -> Result<Vec<(Rope, Vec<f32>)>> {
    let mut made: Vec<(Rope, Vec<f32>)> = Vec::new();
    for layer in &spec.layers {
        if made.iter().any(|(known, _)| *known == layer.rope) {
            continue;
        }
        let factors = match layer.rope.factors {
            None => None,
            Some(tensor) => Some(read_floats(&spec.tensors[tensor], source).await?),
        };
        made.push((layer.rope, layer.rope.inverse_frequencies(factors.as_deref())));
    }
    Ok(made)
}

/// A small tensor, decoded.
pub(super) async fn read_floats(tensor: &TensorInfo, source: &mut impl ByteSource) -> Result<Vec<f32>> {
    let mut bytes = vec![0; tensor.bytes as usize];
    source.read(tensor.offset, &mut bytes).await?;
    let mut values = vec![0.0; tensor.shape.iter().product::<u64>() as usize];
    quant::dequantize(tensor.ty, &bytes, &mut values)?;
    Ok(values)
}

/// Where a tensor goes.
struct Item {
    tensor: TensorIndex,
    to: To,
}

enum To {
    /// Decoded to f32, from this byte on.
    Floats(wgpu::Buffer, u64),
    Rows(Vec<Part>),
}

/// Rows `from..to` of a tensor go to row `at` of `buffer`.
struct Part {
    buffer: wgpu::Buffer,
    from: usize,
    to: usize,
    at: usize,
}

impl Part {
    /// Writes the rows of this part that lie in `words`, which hold tensor rows from `first` on.
    fn write(&self, gpu: &Gpu, row_words: usize, first: usize, words: &[u32]) {
        let end = first + words.len() / row_words;
        let (from, to) = (self.from.max(first), self.to.min(end));
        if from < to {
            let at = (self.at + from - self.from) * row_words * 4;
            gpu.write(&self.buffer, at as u64, &words[(from - first) * row_words..(to - first) * row_words]);
        }
    }
}

/// Makes the buffers and notes what goes where.
struct Uploads<'a> {
    gpu: &'a Gpu,
    tensors: &'a [TensorInfo],
    items: Vec<Item>,
    bytes: u64,
}

impl Uploads<'_> {
    fn allocate(&mut self, spec: &ModelSpec) -> Result<Weights> {
        let embed = self.stack("token_embd", &[(spec.model.token_embd, None)])?;
        let output =
            if spec.tied { None } else { Some(self.stack("output", &[(spec.model.output, spec.model.output_bias)])?) };
        let output_norm = self.gain(spec.model.output_norm)?;
        let layers = spec.layers.iter().map(|layer| self.layer(&layer.tensors)).collect::<Result<_>>()?;
        Ok(Weights {
            embed,
            output,
            output_norm,
            layers,
            frequencies: Vec::new(),
            bytes: self.bytes,
            buffers: Owned::default(),
        })
    }

    fn layer(&mut self, layer: &LayerTensors) -> Result<Layer> {
        let mut gate_up = self.stack("gate_up", &[(layer.gate, None), (layer.up, None)])?;
        Ok(Layer {
            attn_norm: self.gain(layer.attn_norm)?,
            qkv: self.stack("qkv", &[(layer.q, layer.q_bias), (layer.k, layer.k_bias), (layer.v, layer.v_bias)])?,
            qk_norm: layer.q_norm.zip(layer.k_norm).map(|(q, k)| self.floats("qk norm", [q, k])).transpose()?,
            attn_output: self.stack("attn_output", &[(layer.o, None)])?,
            post_attn_norm: self.optional(layer.post_attn_norm)?,
            ffn_norm: self.gain(layer.ffn_norm)?,
            gate_up: if gate_up.len() == 1 { GateUp::Fused(gate_up.remove(0).matrix) } else { GateUp::Split(gate_up) },
            down: self.stack("down", &[(layer.down, None)])?,
            post_ffn_norm: self.optional(layer.post_ffn_norm)?,
        })
    }

    fn optional(&mut self, tensor: Option<TensorIndex>) -> Result<Option<wgpu::Buffer>> {
        tensor.map(|tensor| self.gain(tensor)).transpose()
    }

    fn gain(&mut self, tensor: TensorIndex) -> Result<wgpu::Buffer> {
        self.floats("gain", [tensor])
    }

    /// Vectors decoded to f32, one after the other in one buffer.
    fn floats(&mut self, label: &str, vectors: impl IntoIterator<Item = TensorIndex> + Clone) -> Result<wgpu::Buffer> {
        let bytes = |tensor: TensorIndex| self.tensors[tensor].row_len() * 4;
        let total = vectors.clone().into_iter().map(bytes).sum();
        let buffer = self.gpu.buffer(label, total, Usage::Storage)?;
        let mut at = 0;
        for tensor in vectors {
            self.items.push(Item { tensor, to: To::Floats(buffer.clone(), at) });
            at += self.tensors[tensor].row_len() * 4;
        }
        self.bytes += total;
        Ok(buffer)
    }

    /// Puts `parts` below each other: one matrix per run of one format that a binding can hold.
    fn stack(&mut self, label: &str, parts: &[(TensorIndex, Option<TensorIndex>)]) -> Result<Vec<Projection>> {
        let tensors = self.tensors;
        let mut made: Vec<Projection> = Vec::new();
        let mut column = 0;
        let mut at = 0;
        while at < parts.len() {
            let first = &tensors[parts[at].0];
            let biased = parts[at].1.is_some();
            let run: Vec<(TensorIndex, Option<TensorIndex>)> = parts[at..]
                .iter()
                .copied()
                .take_while(|(tensor, bias)| tensors[*tensor].ty == first.ty && bias.is_some() == biased)
                .collect();
            at += run.len();
            let row_bytes = (quant::row_words(first.ty, first.row_len() as usize) * 4) as u64;
            let most = (self.gpu.info().max_binding / row_bytes).max(1);
            let total: u64 = run.iter().map(|(tensor, _)| tensors[*tensor].rows()).sum();
            if total > most && run.len() > 1 {
                // Too large together: each tensor by itself.
                for part in run {
                    for alone in self.stack(label, &[part])? {
                        made.push(Projection { column: column + alone.column, ..alone });
                    }
                    column += tensors[part.0].rows() as u32;
                }
                continue;
            }
            for from in (0..total).step_by(most as usize) {
                let rows = most.min(total - from);
                let matrix = self.matrix(label, first, rows)?;
                self.place(&run, from as usize, &matrix);
                let bias =
                    if biased { Some(self.floats("bias", run.iter().filter_map(|(_, bias)| *bias))?) } else { None };
                made.push(Projection { matrix, column: column + from as u32, bias });
            }
            column += total as u32;
        }
        Ok(made)
    }

    fn matrix(&mut self, label: &str, like: &TensorInfo, rows: u64) -> Result<Matrix> {
        let (ty, k) = (like.ty, like.row_len() as usize);
        let bytes = rows * (quant::row_words(ty, k) * 4) as u64;
        let buffer = self.gpu.buffer(label, bytes, Usage::Storage)?;
        self.bytes += bytes;
        Ok(Matrix { ty, rows: rows as u32, k: k as u32, buffer })
    }

    /// Notes which rows of the run's tensors lie in `matrix`, whose first row is row `first` of the run.
    fn place(&mut self, run: &[(TensorIndex, Option<TensorIndex>)], first: usize, matrix: &Matrix) {
        let end = first + matrix.rows as usize;
        let mut start = 0;
        for (tensor, _) in run {
            let rows = self.tensors[*tensor].rows() as usize;
            let (from, to) = (first.max(start), end.min(start + rows));
            if from < to {
                let part = Part { buffer: matrix.buffer.clone(), from: from - start, to: to - start, at: from - first };
                match self.items.iter_mut().find(|item| item.tensor == *tensor) {
                    Some(Item { to: To::Rows(parts), .. }) => parts.push(part),
                    _ => self.items.push(Item { tensor: *tensor, to: To::Rows(vec![part]) }),
                }
            }
            start += rows;
        }
    }
}
