//! What the family files share: metadata under the family's prefix, tensors by name with their shapes checked, and the
//! sizes every decoder has.

use std::collections::HashMap;

use super::spec::{LayerTensors, ModelTensors, TensorIndex};
use super::{ArchError, Rope, RopeScaling};
use crate::gguf::{Header, Metadata, TensorInfo, Value};

/// Tensors some converters write that no computation uses: inverse frequencies, known from the metadata.
const IGNORED: [&str; 2] = [".attn_rot_embd", ".rotary_emb.inv_freq"];

/// A header read on a family's behalf, remembering which tensors found a use.
pub(super) struct Reader<'a> {
    pub(super) metadata: &'a Metadata,
    pub(super) family: &'static str,
    tensors: &'a [TensorInfo],
    by_name: HashMap<&'a str, TensorIndex>,
    used: Vec<bool>,
}

/// The sizes every decoder has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) n_vocab: u32,
    pub(super) context_length: u32,
    pub(super) hidden: u32,
    pub(super) n_layers: u32,
    pub(super) n_heads: u32,
    pub(super) n_kv_heads: u32,
    pub(super) head_dim: u32,
    pub(super) ffn: u32,
    pub(super) norm_eps: f32,
}

/// Whether a family has a group of tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Has {
    Always,
    /// As the first layer has them.
    Maybe,
    Never,
}

/// Which groups of tensors a family's layers have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Groups {
    pub(super) qkv_bias: Has,
    pub(super) qk_norm: Has,
    pub(super) post_norms: Has,
}

impl<'a> Reader<'a> {
    pub(super) fn new(header: &'a Header, family: &'static str) -> Self {
        let names = header.tensors.iter().enumerate();
        Self {
            metadata: &header.metadata,
            family,
            tensors: &header.tensors,
            by_name: names.map(|(index, t)| (t.name.as_str(), index)).collect(),
            used: vec![false; header.tensors.len()],
        }
    }

    /// `family.name`.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.family)
    }

    /// A positive integer, or `None` where it is absent or zero, as converters write "none".
    pub(super) fn opt_positive(&self, name: &str) -> Result<Option<u32>, ArchError> {
        let value = self.metadata.opt_u32(&self.key(name))?;
        Ok(value.filter(|&v| v > 0))
    }

    /// A positive integer.
    pub(super) fn positive(&self, name: &str) -> Result<u32, ArchError> {
        match self.metadata.u32(&self.key(name))? {
            0 => Err(self.unsupported(name, 0, "at least 1")),
            value => Ok(value),
        }
    }

    /// A positive integer, which may be written as an array of one value per layer if all are the same.
    fn uniform(&self, name: &str) -> Result<Option<u32>, ArchError> {
        let key = self.key(name);
        let Some(Value::Array(_)) = self.metadata.get(&key) else {
            return self.opt_positive(name);
        };
        match &self.metadata.u32s(&key)?[..] {
            [first, rest @ ..] if *first > 0 && rest.iter().all(|v| v == first) => Ok(Some(*first)),
            _ => Err(self.unsupported(name, "different in each layer", "the same in all")),
        }
    }

    /// A positive float, or `None` where it is absent or zero.
    pub(super) fn opt_positive_f32(&self, name: &str) -> Result<Option<f32>, ArchError> {
        match self.metadata.opt_f32(&self.key(name))? {
            Some(value) if value < 0.0 => Err(self.unsupported(name, value, "greater than 0")),
            value => Ok(value.filter(|&v| v > 0.0)),
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "callers pass numbers and literals")]
    pub(super) fn unsupported(&self, name: &str, found: impl ToString, expected: impl ToString) -> ArchError {
        ArchError::Unsupported { key: self.key(name), found: found.to_string(), expected: expected.to_string() }
    }

    pub(super) fn sizes(&mut self) -> Result<Sizes, ArchError> {
        if let Some(experts) = self.opt_positive("expert_count")? {
            return Err(self.unsupported("expert_count", experts, "no experts"));
        }
        let hidden = self.positive("embedding_length")?;
        let n_heads = self.required_uniform("attention.head_count")?;
        let n_kv_heads = self.uniform("attention.head_count_kv")?.unwrap_or(n_heads);
        if !n_heads.is_multiple_of(n_kv_heads) {
            let expected = format!("a divisor of the {n_heads} query heads");
            return Err(self.unsupported("attention.head_count_kv", n_kv_heads, expected));
        }
        let norm_eps = self.metadata.f32(&self.key("attention.layer_norm_rms_epsilon"))?;
        if norm_eps < 0.0 {
            let name = "attention.layer_norm_rms_epsilon";
            return Err(self.unsupported(name, norm_eps, "at least 0"));
        }
        Ok(Sizes {
            n_vocab: self.vocabulary(hidden)?,
            context_length: self.positive("context_length")?,
            hidden,
            n_layers: self.positive("block_count")?,
            n_heads,
            n_kv_heads,
            head_dim: self.head_dim(hidden, n_heads)?,
            ffn: self.required_uniform("feed_forward_length")?,
            norm_eps,
        })
    }

    fn required_uniform(&self, name: &str) -> Result<u32, ArchError> {
        match self.uniform(name)? {
            Some(value) => Ok(value),
            None => self.positive(name),
        }
    }

    fn head_dim(&self, hidden: u32, n_heads: u32) -> Result<u32, ArchError> {
        let name = "attention.key_length";
        let head_dim = self.opt_positive(name)?.unwrap_or(hidden / n_heads);
        if head_dim == 0 || !head_dim.is_multiple_of(2) {
            return Err(self.unsupported(name, head_dim, "an even number"));
        }
        let value_length = self.opt_positive("attention.value_length")?;
        match value_length.filter(|&v| v != head_dim) {
            Some(v) => Err(self.unsupported("attention.value_length", v, head_dim)),
            None => Ok(head_dim),
        }
    }

    /// Rows of the embedding: files pad them beyond the tokenizer's list, so they decide.
    fn vocabulary(&mut self, hidden: u32) -> Result<u32, ArchError> {
        let index = self.tensor("token_embd.weight", &[hidden.into(), 0])?;
        let rows = self.tensors[index].rows();
        u32::try_from(rows).map_err(|_| ArchError::TensorShape {
            tensor: self.tensors[index].name.clone(),
            found: self.tensors[index].shape.clone(),
            expected: vec![hidden.into(), u32::MAX.into()],
        })
    }

    /// How positions turn, from the family's metadata.
    pub(super) fn rope(&self, head_dim: u32, default_base: f32) -> Result<Rope, ArchError> {
        let name = "rope.dimension_count";
        let dims = self.opt_positive(name)?.unwrap_or(head_dim);
        if dims > head_dim || !dims.is_multiple_of(2) {
            let expected = format!("an even number of at most {head_dim}");
            return Err(self.unsupported(name, dims, expected));
        }
        let base = self.opt_positive_f32("rope.freq_base")?;
        Ok(Rope {
            base: self.above_one("rope.freq_base", base.unwrap_or(default_base))?,
            dims,
            scaling: self.rope_scaling()?,
            factors: None,
        })
    }

    /// A rotary base: of 1 or less all pairs would turn alike or backwards, and `YaRN` divides by its logarithm.
    pub(super) fn above_one(&self, name: &str, base: f32) -> Result<f32, ArchError> {
        if base > 1.0 { Ok(base) } else { Err(self.unsupported(name, base, "greater than 1")) }
    }

    fn rope_scaling(&self) -> Result<RopeScaling, ArchError> {
        let name = "rope.scaling.type";
        let kind = self.metadata.opt_string(&self.key(name))?;
        let factor = match self.opt_positive_f32("rope.scaling.factor")? {
            // Files from before `rope.scaling` existed.
            None => self.opt_positive_f32("rope.scale_linear")?,
            found => found,
        };
        match (kind, factor) {
            (Some("none"), _) | (None | Some("linear" | "yarn"), None) => Ok(RopeScaling::None),
            (None | Some("linear"), Some(factor)) => Ok(RopeScaling::Linear { factor }),
            (Some("yarn"), Some(factor)) => {
                let f32_or = |name, default| {
                    let value = self.opt_positive_f32(name)?;
                    Ok::<_, ArchError>(value.unwrap_or(default))
                };
                Ok(RopeScaling::Yarn {
                    factor,
                    original_context: match self.opt_positive("rope.scaling.original_context_length")? {
                        Some(found) => found,
                        None => self.positive("context_length")?,
                    },
                    attention_factor: f32_or("rope.scaling.attn_factor", 1.0)?
                        * f32_or("rope.scaling.yarn_attn_factor", 1.0)?,
                    beta_fast: f32_or("rope.scaling.yarn_beta_fast", 32.0)?,
                    beta_slow: f32_or("rope.scaling.yarn_beta_slow", 1.0)?,
                })
            }
            (Some(other), _) => Err(self.unsupported(name, other, "none, linear or yarn")),
        }
    }

    /// The tensors outside the layers.
    pub(super) fn model_tensors(&mut self, sizes: &Sizes) -> Result<ModelTensors, ArchError> {
        let (hidden, n_vocab) = (sizes.hidden.into(), sizes.n_vocab.into());
        let token_embd = self.tensor("token_embd.weight", &[hidden, n_vocab])?;
        let logits = self.opt_tensor("output.weight", &[hidden, n_vocab])?;
        let classifier = self.opt_tensor("cls.output.weight", &[hidden, 0])?;
        let classes = classifier.map(|index| self.tensors[index].rows());
        let output_bias = match classes {
            Some(classes) => self.opt_tensor("cls.output.bias", &[classes])?,
            None => None,
        };
        Ok(ModelTensors {
            token_embd,
            output_norm: self.tensor("output_norm.weight", &[hidden])?,
            // A classifier's file may still have what gave logits.
            output: classifier.or(logits).unwrap_or(token_embd),
            output_bias,
            classes: classes.map(|classes| classes as u32),
            rope_freqs: None,
        })
    }

    /// The tensors of layer `layer`.
    pub(super) fn layer_tensors(
        &mut self,
        layer: u32,
        sizes: &Sizes,
        groups: Groups,
    ) -> Result<LayerTensors, ArchError> {
        let head_dim = u64::from(sizes.head_dim);
        let (hidden, ffn) = (u64::from(sizes.hidden), u64::from(sizes.ffn));
        let q = head_dim * u64::from(sizes.n_heads);
        let kv = head_dim * u64::from(sizes.n_kv_heads);
        let bias = self.has(groups.qkv_bias, "blk.0.attn_q.bias");
        let qk_norm = self.has(groups.qk_norm, "blk.0.attn_q_norm.weight");
        let post_norms = self.has(groups.post_norms, "blk.0.post_attention_norm.weight");
        let name = |part: &str| format!("blk.{layer}.{part}");
        let mut part = |part: &str, shape: &[u64]| self.tensor(&name(part), shape);
        let attn_norm = part("attn_norm.weight", &[hidden])?;
        let mut part_if = |condition: bool, name: &str, shape: &[u64]| condition.then(|| part(name, shape)).transpose();
        Ok(LayerTensors {
            attn_norm,
            q_bias: part_if(bias, "attn_q.bias", &[q])?,
            k_bias: part_if(bias, "attn_k.bias", &[kv])?,
            v_bias: part_if(bias, "attn_v.bias", &[kv])?,
            q_norm: part_if(qk_norm, "attn_q_norm.weight", &[head_dim])?,
            k_norm: part_if(qk_norm, "attn_k_norm.weight", &[head_dim])?,
            post_attn_norm: part_if(post_norms, "post_attention_norm.weight", &[hidden])?,
            post_ffn_norm: part_if(post_norms, "post_ffw_norm.weight", &[hidden])?,
            q: part("attn_q.weight", &[hidden, q])?,
            k: part("attn_k.weight", &[hidden, kv])?,
            v: part("attn_v.weight", &[hidden, kv])?,
            o: part("attn_output.weight", &[q, hidden])?,
            ffn_norm: part("ffn_norm.weight", &[hidden])?,
            gate: part("ffn_gate.weight", &[hidden, ffn])?,
            up: part("ffn_up.weight", &[hidden, ffn])?,
            down: part("ffn_down.weight", &[ffn, hidden])?,
        })
    }

    fn has(&self, has: Has, witness: &str) -> bool {
        match has {
            Has::Always => true,
            Has::Maybe => self.by_name.contains_key(witness),
            Has::Never => false,
        }
    }

    /// The tensor of that name and shape, fastest dimension first; 0 stands for any size.
    pub(super) fn tensor(&mut self, name: &str, shape: &[u64]) -> Result<TensorIndex, ArchError> {
        self.opt_tensor(name, shape)?
            .ok_or_else(|| ArchError::MissingTensor { tensor: name.to_owned(), expected: shape.to_vec() })
    }

    /// The same, or `None` where it is absent.
    pub(super) fn opt_tensor(&mut self, name: &str, shape: &[u64]) -> Result<Option<TensorIndex>, ArchError> {
        let Some(&index) = self.by_name.get(name) else {
            return Ok(None);
        };
        let found = &self.tensors[index].shape;
        let fits = |(found, expected): (&u64, &u64)| *expected == 0 || found == expected;
        if found.len() != shape.len() || !found.iter().zip(shape).all(fits) {
            return Err(ArchError::TensorShape {
                tensor: name.to_owned(),
                found: found.clone(),
                expected: shape.to_vec(),
            });
        }
        self.used[index] = true;
        Ok(Some(index))
    }

    /// `general.name`, or the family's.
    pub(super) fn name(&self) -> Result<String, ArchError> {
        let name = self.metadata.opt_string("general.name")?;
        Ok(name.unwrap_or(self.family).to_owned())
    }

    /// All tensors, for the spec.
    pub(super) fn all_tensors(&self) -> Vec<TensorInfo> {
        self.tensors.to_vec()
    }

    /// Refuses a file with a tensor that found no use.
    pub(super) fn finish(self) -> Result<(), ArchError> {
        let ignored = |name: &str| IGNORED.iter().any(|part| name.contains(part));
        let mut unused = self.tensors.iter().zip(&self.used).filter(|(_, used)| !**used);
        match unused.find(|(tensor, _)| !ignored(&tensor.name)) {
            Some((tensor, _)) => Err(ArchError::UnusedTensor { tensor: tensor.name.clone(), family: self.family }),
            None => Ok(()),
        }
    }
}
