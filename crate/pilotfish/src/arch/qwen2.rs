//! `qwen2`: Qwen 2 and 2.5. Biases on q, k and v; rotary halves.

use super::reader::{Groups, Has, Reader};
use super::{Activation, ArchError, Layer, ModelSpec, RopeStyle};

const GROUPS: Groups = Groups { qkv_bias: Has::Always, qk_norm: Has::Never, post_norms: Has::Never };

pub(super) fn read(file: &mut Reader<'_>) -> Result<ModelSpec, ArchError> {
    read_with(file, GROUPS)
}

/// What Qwen 2 and 3 share: all but the groups.
pub(super) fn read_with(file: &mut Reader<'_>, groups: Groups) -> Result<ModelSpec, ArchError> {
    let sizes = file.sizes()?;
    let model = file.model_tensors(&sizes)?;
    let rope = file.rope(sizes.head_dim, 10_000.0)?;
    let layer = |index| {
        let tensors = file.layer_tensors(index, &sizes, groups)?;
        Ok(Layer { rope, window: None, tensors })
    };
    let layers = (0..sizes.n_layers).map(layer).collect::<Result<_, ArchError>>()?;
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
        attention_scale: 1.0 / (sizes.head_dim as f32).sqrt(),
        attention_softcap: None,
        final_softcap: None,
        embedding_scale: None,
        activation: Activation::Silu,
        qkv_bias: groups.qkv_bias == Has::Always,
        qk_norm: groups.qk_norm == Has::Always,
        post_norms: false,
        tied: model.output == model.token_embd,
        layers,
        model,
        tensors: file.all_tensors(),
    })
}
