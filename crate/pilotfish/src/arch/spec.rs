//! A model as data: everything the engine needs to know that is not a weight.

use serde::Serialize;

use super::reader::Reader;
use super::{ArchError, FAMILIES, Rope, RopeStyle};
use crate::gguf::{Header, TensorInfo};

/// An index into [`ModelSpec::tensors`], which is also the index into the header's tensors.
pub type TensorIndex = usize;

/// A decoder-only transformer, as its file describes it.
///
/// One layer computes, on a row `x` of `hidden` numbers (norms are RMS norms times a weight):
///
/// ```text
/// h = attn_norm(x);  q, k, v = h·Q, h·K, h·V (+ bias);  q, k = q_norm(q), k_norm(k) per head
/// a = attention(rope(q), rope(k), v) · O;  x += post_attn_norm(a)
/// h = ffn_norm(x);  f = (activation(h·gate) * (h·up)) · down;  x += post_ffn_norm(f)
/// ```
///
/// Steps without a tensor are left out. Matrices lie as `[columns = inputs, rows = outputs]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "four independent properties, not states")]
pub struct ModelSpec {
    /// `general.architecture`.
    pub family: &'static str,
    /// `general.name`, or the family's.
    pub name: String,
    /// Rows of the embedding and of the output: token ids run from 0 to `n_vocab - 1`.
    pub n_vocab: u32,
    /// Positions the model was trained for.
    pub context_length: u32,
    /// Width of the residual stream.
    pub hidden: u32,
    /// Query heads.
    pub n_heads: u32,
    /// Key and value heads; divides `n_heads`.
    pub n_kv_heads: u32,
    /// Width of one head; even.
    pub head_dim: u32,
    /// Width of the feed-forward layer.
    pub ffn: u32,
    /// Added to the mean square in RMS norms.
    pub norm_eps: f32,
    /// Which elements turn together.
    pub rope_style: RopeStyle,
    /// Multiplies `q·k`.
    pub attention_scale: f32,
    /// `c · tanh(s / c)` on attention scores.
    pub attention_softcap: Option<f32>,
    /// `c · tanh(z / c)` on logits.
    pub final_softcap: Option<f32>,
    /// Multiplies embeddings.
    pub embedding_scale: Option<f32>,
    /// Between gate and up.
    pub activation: Activation,
    /// Whether q, k and v have biases.
    pub qkv_bias: bool,
    /// Whether heads of q and k are normed.
    pub qk_norm: bool,
    /// Whether what attention and feed-forward add is normed first.
    pub post_norms: bool,
    /// Whether the output uses the embedding's weights.
    pub tied: bool,
    /// The layers, first to last.
    pub layers: Vec<Layer>,
    /// Tensors outside the layers.
    pub model: ModelTensors,
    /// The file's tensors, in its order.
    pub tensors: Vec<TensorInfo>,
}

/// The gate's non-linearity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x / (1 + e^-x)`.
    Silu,
    /// GELU in its tanh approximation.
    GeluTanh,
}

/// What may differ between layers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Layer {
    /// How positions turn.
    pub rope: Rope,
    /// Position `p` sees the positions in `(p - window, p]`; all up to `p` where there is none.
    pub window: Option<u32>,
    /// Its weights.
    pub tensors: LayerTensors,
}

/// Which tensor plays which part in a layer. With `H = n_heads * head_dim` and `K = n_kv_heads * head_dim`:
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerTensors {
    /// `[hidden]`
    pub attn_norm: TensorIndex,
    /// `[hidden, H]`
    pub q: TensorIndex,
    /// `[hidden, K]`
    pub k: TensorIndex,
    /// `[hidden, K]`
    pub v: TensorIndex,
    /// `[H]`; present with the next two or not at all.
    pub q_bias: Option<TensorIndex>,
    /// `[K]`
    pub k_bias: Option<TensorIndex>,
    /// `[K]`
    pub v_bias: Option<TensorIndex>,
    /// `[head_dim]`; present with the next or not at all.
    pub q_norm: Option<TensorIndex>,
    /// `[head_dim]`
    pub k_norm: Option<TensorIndex>,
    /// `[H, hidden]`
    pub o: TensorIndex,
    /// `[hidden]`; present with `post_ffn_norm` or not at all.
    pub post_attn_norm: Option<TensorIndex>,
    /// `[hidden]`
    pub ffn_norm: TensorIndex,
    /// `[hidden, ffn]`
    pub gate: TensorIndex,
    /// `[hidden, ffn]`
    pub up: TensorIndex,
    /// `[ffn, hidden]`
    pub down: TensorIndex,
    /// `[hidden]`
    pub post_ffn_norm: Option<TensorIndex>,
}

/// Which tensor plays which part outside the layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ModelTensors {
    /// `[hidden, n_vocab]`
    pub token_embd: TensorIndex,
    /// `[hidden]`
    pub output_norm: TensorIndex,
    /// `[hidden, n_vocab]`; the same as `token_embd` where the two are tied. Of a classifier `[hidden, classes]`.
    pub output: TensorIndex,
    /// `[classes]`
    pub output_bias: Option<TensorIndex>,
    /// A classifier or reward model: so many scores of a text, from its last position, in the place of logits.
    pub classes: Option<u32>,
    /// `[rope.dims / 2]`
    pub rope_freqs: Option<TensorIndex>,
}

impl ModelSpec {
    /// What the file means, or why it cannot be run.
    pub fn from_header(header: &Header) -> Result<Self, ArchError> {
        let parts = header.metadata.opt_u32("split.count")?.unwrap_or(1);
        if parts > 1 {
            return Err(ArchError::Split { parts });
        }
        if let Some(found) = header.metadata.opt_string("general.type")?
            && found != "model"
        {
            let found = format!("general.type {found:?}");
            return Err(ArchError::NotAModel { found });
        }
        if header.tensors.is_empty() {
            let found = "no tensors".into();
            return Err(ArchError::NotAModel { found });
        }
        let found = header.metadata.string("general.architecture")?;
        let Some((family, read)) = FAMILIES.iter().find(|(name, _)| *name == found) else {
            let found = found.to_owned();
            return Err(ArchError::UnknownArchitecture { found });
        };
        let mut reader = Reader::new(header, family);
        let spec = read(&mut reader)?;
        reader.finish()?;
        Ok(spec)
    }

    /// Layers.
    pub fn n_layers(&self) -> u32 {
        self.layers.len() as u32
    }
}
