//! `llama`: Llama 2 and 3, Mistral, `SmolLM2` and whatever else was converted to their layout.
//!
//! The converter permutes q and k so that rotary pairs are neighbours. Llama 3.1 and later carry `rope_freqs.weight`,
//! which divides the frequencies; Mistral may have a sliding window.

use super::reader::{Groups, Has, Reader};
use super::{Activation, ArchError, Layer, ModelSpec, RopeStyle};

const GROUPS: Groups = Groups { qkv_bias: Has::Maybe, qk_norm: Has::Never, post_norms: Has::Never };

pub(super) fn read(file: &mut Reader<'_>) -> Result<ModelSpec, ArchError> {
    let sizes = file.sizes()?;
    let mut model = file.model_tensors(&sizes)?;
    let mut rope = file.rope(sizes.head_dim, 10_000.0)?;
    model.rope_freqs = file.opt_tensor("rope_freqs.weight", &[u64::from(rope.dims / 2)])?;
    rope.factors = model.rope_freqs;
    let window = file.opt_positive("attention.sliding_window")?;
    let layer = |index| {
        let tensors = file.layer_tensors(index, &sizes, GROUPS)?;
        Ok(Layer { rope, window, tensors })
    };
    let layers: Vec<Layer> = (0..sizes.n_layers).map(layer).collect::<Result<_, ArchError>>()?;
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
        rope_style: RopeStyle::Interleaved,
        attention_scale: 1.0 / (sizes.head_dim as f32).sqrt(),
        attention_softcap: None,
        final_softcap: None,
        embedding_scale: None,
        activation: Activation::Silu,
        qkv_bias: layers.iter().any(|layer| layer.tensors.q_bias.is_some()),
        qk_norm: false,
        post_norms: false,
        tied: model.output == model.token_embd,
        layers,
        model,
        tensors: file.all_tensors(),
    })
}
