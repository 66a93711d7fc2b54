//! `gemma3`: Gemma 3, text. Embeddings scaled by the root of the width, norms before and after each half of a layer and
//! on the heads of q and k, GELU, and five layers with a sliding window and a rotary base of their own for each that
//! sees everything.
//!
//! Gemma's norms multiply by `1 + weight`; the converter has added the 1, so here they are norms like any other.

use super::reader::{Groups, Has, Reader};
use super::{Activation, ArchError, Layer, ModelSpec, Rope, RopeScaling, RopeStyle};

const GROUPS: Groups = Groups { qkv_bias: Has::Never, qk_norm: Has::Always, post_norms: Has::Always };

/// Every sixth layer sees everything.
const PATTERN: u32 = 6;
/// The rotary base of layers with a window.
const LOCAL_BASE: f32 = 10_000.0;
/// The rotary base of the others, where the file names none.
const GLOBAL_BASE: f32 = 1_000_000.0;
/// Layers of the 27B model, whose attention is scaled by `hidden / n_heads` in place of `head_dim`.
const LAYERS_27B: u32 = 62;

pub(super) fn read(file: &mut Reader<'_>) -> Result<ModelSpec, ArchError> {
    let sizes = file.sizes()?;
    let model = file.model_tensors(&sizes)?;
    let global = file.rope(sizes.head_dim, GLOBAL_BASE)?;
    let local_base = file.opt_positive_f32("rope.freq_base_swa")?;
    let local = Rope {
        base: file.above_one("rope.freq_base_swa", local_base.unwrap_or(LOCAL_BASE))?,
        // Stretching concerns positions further apart than a window.
        scaling: RopeScaling::None,
        ..global
    };
    let window = file.opt_positive("attention.sliding_window")?;
    let pattern = file.opt_positive("attention.sliding_window_pattern")?;
    let pattern = pattern.unwrap_or(PATTERN);
    let layer = |index: u32| {
        let tensors = file.layer_tensors(index, &sizes, GROUPS)?;
        let local_window = window.filter(|_| !(index + 1).is_multiple_of(pattern));
        Ok(Layer { rope: if local_window.is_some() { local } else { global }, window: local_window, tensors })
    };
    let layers = (0..sizes.n_layers).map(layer).collect::<Result<_, ArchError>>()?;
    let scaled_by = match sizes.n_layers {
        LAYERS_27B => sizes.hidden as f32 / sizes.n_heads as f32,
        _ => sizes.head_dim as f32,
    };
    Ok(ModelSpec {
        family: file.family,
        name: file.name()?,
        n_vocab: sizes.n_vocab,
        context_length: sizes.context_length,
        hidden: sizes.hidden,
        n_heads: sizes.n_heads,
        n_kv_heads: sizes.n_kv_heads,
        head_dim: sizes.head_dim,
        ffn: sizes.ffn,
        norm_eps: sizes.norm_eps,
        rope_style: RopeStyle::HalfSplit,
        attention_scale: 1.0 / scaled_by.sqrt(),
        attention_softcap: file.opt_positive_f32("attn_logit_softcapping")?,
        final_softcap: file.opt_positive_f32("final_logit_softcapping")?,
        embedding_scale: Some((sizes.hidden as f32).sqrt()),
        activation: Activation::GeluTanh,
        qkv_bias: false,
        qk_norm: true,
        post_norms: true,
        tied: model.output == model.token_embd,
        layers,
        model,
        tensors: file.all_tensors(),
    })
}
