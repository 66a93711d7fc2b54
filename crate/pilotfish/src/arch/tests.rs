//! What each family's file says, and what is refused.

use super::{Activation, ArchError, Memory, ModelSpec, Rope, RopeScaling, RopeStyle, families};
use crate::gguf::{Array, Header, Scalar, Value, Writer};
use crate::quant::TensorType;

/// A model's file before it is written, so that tests can spoil it.
struct Model {
    metadata: Vec<(String, Value)>,
    tensors: Vec<(String, Vec<u64>)>,
}

const HIDDEN: u64 = 24;
const N_HEADS: u64 = 4;
const N_KV: u64 = 2;
const HEAD_DIM: u64 = 8;
const FFN: u64 = 40;
const N_VOCAB: u64 = 50;

impl Model {
    fn new(family: &str, layers: u32) -> Self {
        let mut model = Self { metadata: vec![], tensors: vec![] };
        model.set("general.architecture", Value::String(family.into()));
        for (key, value) in [
            ("context_length", 128),
            ("embedding_length", HIDDEN as u32),
            ("block_count", layers),
            ("feed_forward_length", FFN as u32),
            ("attention.head_count", N_HEADS as u32),
            ("attention.head_count_kv", N_KV as u32),
            ("attention.key_length", HEAD_DIM as u32),
        ] {
            model.set_u32(&format!("{family}.{key}"), value);
        }
        let eps = format!("{family}.attention.layer_norm_rms_epsilon");
        model.set(&eps, Value::Scalar(Scalar::F32(1e-5)));
        model.add("token_embd.weight", &[HIDDEN, N_VOCAB]);
        model.add("output_norm.weight", &[HIDDEN]);
        let (q, kv) = (N_HEADS * HEAD_DIM, N_KV * HEAD_DIM);
        for layer in 0..layers {
            let mut parts: Vec<(&str, &[u64])> = vec![
                ("attn_norm.weight", &[HIDDEN]),
                ("attn_q.weight", &[HIDDEN, N_HEADS * HEAD_DIM]),
                ("attn_k.weight", &[HIDDEN, N_KV * HEAD_DIM]),
                ("attn_v.weight", &[HIDDEN, N_KV * HEAD_DIM]),
                ("attn_output.weight", &[N_HEADS * HEAD_DIM, HIDDEN]),
                ("ffn_norm.weight", &[HIDDEN]),
                ("ffn_gate.weight", &[HIDDEN, FFN]),
                ("ffn_up.weight", &[HIDDEN, FFN]),
                ("ffn_down.weight", &[FFN, HIDDEN]),
            ];
            let (q, kv) = ([q], [kv]);
            if family == "qwen2" {
                parts.push(("attn_q.bias", &q));
                parts.extend([("attn_k.bias", &kv[..]), ("attn_v.bias", &kv[..])]);
            }
            if family == "qwen3" || family == "gemma3" {
                parts.push(("attn_q_norm.weight", &[HEAD_DIM]));
                parts.push(("attn_k_norm.weight", &[HEAD_DIM]));
            }
            if family == "gemma3" {
                parts.push(("post_attention_norm.weight", &[HIDDEN]));
                parts.push(("post_ffw_norm.weight", &[HIDDEN]));
            }
            for (part, shape) in parts {
                model.add(&format!("blk.{layer}.{part}"), shape);
            }
        }
        model
    }

    fn set(&mut self, key: &str, value: Value) {
        self.metadata.retain(|(known, _)| known != key);
        self.metadata.push((key.into(), value));
    }

    fn set_u32(&mut self, key: &str, value: u32) {
        self.set(key, Value::Scalar(Scalar::U32(value)));
    }

    fn set_f32(&mut self, key: &str, value: f32) {
        self.set(key, Value::Scalar(Scalar::F32(value)));
    }

    fn set_text(&mut self, key: &str, text: &str) {
        self.set(key, Value::String(text.into()));
    }

    fn add(&mut self, name: &str, shape: &[u64]) {
        self.tensors.push((name.into(), shape.to_vec()));
    }

    fn remove(&mut self, name: &str) {
        self.tensors.retain(|(known, _)| known != name);
        self.metadata.retain(|(known, _)| known != name);
    }

    fn read(&self) -> Result<ModelSpec, ArchError> {
        let mut writer = Writer::new();
        for (key, value) in &self.metadata {
            writer = writer.value(key, value.clone());
        }
        for (name, shape) in &self.tensors {
            let bytes = vec![0; 2 * shape.iter().product::<u64>() as usize];
            writer = writer.tensor(name, shape, TensorType::F16, bytes).unwrap();
        }
        let file = writer.finish();
        ModelSpec::from_header(&Header::parse(&file, file.len() as u64).unwrap())
    }
}

/// The message of the error that `spoil` brings about in a llama file, and its code.
fn refused(spoil: impl FnOnce(&mut Model)) -> (String, &'static str) {
    let mut model = Model::new("llama", 2);
    spoil(&mut model);
    let error = model.read().expect_err("the file must be refused");
    (error.to_string(), error.code())
}

#[test]
fn every_family_reads_its_sizes_and_roles() {
    for family in families() {
        let spec = Model::new(family, 2).read().unwrap();
        assert_eq!((spec.family, spec.name.as_str()), (family, family));
        assert_eq!((spec.n_vocab, spec.context_length), (50, 128));
        assert_eq!((spec.hidden, spec.ffn, spec.n_layers()), (24, 40, 2));
        assert_eq!((spec.n_heads, spec.n_kv_heads, spec.head_dim), (4, 2, 8));
        assert_eq!(spec.attention_scale, 1.0 / 8f32.sqrt());
        assert_eq!(spec.qkv_bias, family == "qwen2");
        assert_eq!(spec.qk_norm, ["qwen3", "gemma3"].contains(&family));
        assert_eq!(spec.post_norms, family == "gemma3");
        assert!(spec.tied && spec.model.output == spec.model.token_embd);
        let interleaved = spec.rope_style == RopeStyle::Interleaved;
        assert_eq!(interleaved, family == "llama");
        let roles = &spec.layers[1].tensors;
        for (index, name) in [
            (Some(roles.q), "blk.1.attn_q.weight"),
            (Some(roles.o), "blk.1.attn_output.weight"),
            (Some(roles.down), "blk.1.ffn_down.weight"),
            (roles.v_bias, "blk.1.attn_v.bias"),
            (roles.k_norm, "blk.1.attn_k_norm.weight"),
            (roles.post_attn_norm, "blk.1.post_attention_norm.weight"),
            (roles.post_ffn_norm, "blk.1.post_ffw_norm.weight"),
        ] {
            if let Some(index) = index {
                assert_eq!(spec.tensors[index].name, name);
            }
        }
    }
}

#[test]
fn gemma_s_sixth_layer_sees_everything() {
    let mut model = Model::new("gemma3", 7);
    model.set_u32("gemma3.attention.sliding_window", 16);
    model.set_text("gemma3.rope.scaling.type", "linear");
    model.set_f32("gemma3.rope.scaling.factor", 8.0);
    let spec = model.read().unwrap();
    let windows: Vec<_> = spec.layers.iter().map(|layer| layer.window).collect();
    let local = Some(16);
    assert_eq!(windows, [local, local, local, local, local, None, local]);
    assert_eq!(spec.layers[0].rope.base, 1e4);
    assert_eq!(spec.layers[0].rope.scaling, RopeScaling::None);
    assert_eq!(spec.layers[5].rope.base, 1e6);
    let stretched = RopeScaling::Linear { factor: 8.0 };
    assert_eq!(spec.layers[5].rope.scaling, stretched);
    assert_eq!(spec.embedding_scale, Some(24f32.sqrt()));
    assert_eq!(spec.activation, Activation::GeluTanh);

    // Without a window no layer is local.
    model.remove("gemma3.attention.sliding_window");
    let spec = model.read().unwrap();
    assert!(spec.layers.iter().all(|l| l.window.is_none() && l.rope.base == 1e6));
}

#[test]
fn llama_takes_frequency_factors_windows_biases_and_an_output_of_its_own() {
    let mut model = Model::new("llama", 1);
    model.add("rope_freqs.weight", &[HEAD_DIM / 2]);
    model.add("output.weight", &[HIDDEN, N_VOCAB]);
    model.add("blk.0.attn_q.bias", &[N_HEADS * HEAD_DIM]);
    model.add("blk.0.attn_k.bias", &[N_KV * HEAD_DIM]);
    model.add("blk.0.attn_v.bias", &[N_KV * HEAD_DIM]);
    model.set_u32("llama.attention.sliding_window", 64);
    let spec = model.read().unwrap();
    let index = spec.layers[0].rope.factors.unwrap();
    assert_eq!(spec.tensors[index].name, "rope_freqs.weight");
    assert_eq!(spec.tensors[spec.model.output].name, "output.weight");
    assert_eq!(spec.layers[0].window, Some(64));
    assert!(!spec.tied && spec.qkv_bias);
}

#[test]
fn sizes_left_out_follow_from_others() {
    let mut model = Model::new("llama", 0);
    model.set_u32("llama.block_count", 1);
    model.remove("llama.attention.key_length");
    model.remove("llama.attention.head_count_kv");
    for (part, shape) in [
        ("attn_norm", &[HIDDEN][..]),
        ("attn_q", &[HIDDEN, HIDDEN]),
        ("attn_k", &[HIDDEN, HIDDEN]),
        ("attn_v", &[HIDDEN, HIDDEN]),
        ("attn_output", &[HIDDEN, HIDDEN]),
        ("ffn_norm", &[HIDDEN]),
        ("ffn_gate", &[HIDDEN, FFN]),
        ("ffn_up", &[HIDDEN, FFN]),
        ("ffn_down", &[FFN, HIDDEN]),
    ] {
        model.add(&format!("blk.0.{part}.weight"), shape);
    }
    let spec = model.read().unwrap();
    assert_eq!((spec.n_kv_heads, spec.head_dim), (4, 6));
    // One value for each layer, where all are the same, is one value.
    let per_layer = Value::Array(Array::from(&[4u32, 4][..]));
    model.set("llama.attention.head_count", per_layer);
    let same = model.read().unwrap();
    assert_eq!((same.n_heads, same.layers), (4, spec.layers));
}

#[test]
fn an_unknown_architecture_is_refused_naming_those_that_work() {
    let (message, code) = refused(|m| m.set_text("general.architecture", "mamba"));
    assert_eq!(code, "arch.unknown");
    for name in families().chain(["mamba"]) {
        assert!(message.contains(name), "{message}");
    }
}

/// How a model is broken, the code that follows, and what the message names.
type Break = (fn(&mut Model), &'static str, &'static str);

#[test]
fn what_contradicts_itself_is_refused_by_name() {
    let cases: [Break; 14] = [
        (|m| m.remove("blk.1.ffn_up.weight"), "arch.missing_tensor", "blk.1.ffn_up.weight"),
        (|m| m.remove("token_embd.weight"), "arch.missing_tensor", "token_embd.weight"),
        (|m| m.remove("llama.context_length"), "gguf.missing_key", "llama.context_length"),
        (|m| m.set_u32("llama.embedding_length", 25), "arch.tensor_shape", "[24, 50]"),
        (|m| m.set_u32("llama.feed_forward_length", 41), "arch.tensor_shape", "[24, 41]"),
        (|m| m.set_u32("llama.block_count", 3), "arch.missing_tensor", "blk.2."),
        (|m| m.set_u32("llama.block_count", 1), "arch.unused_tensor", "blk.1."),
        (|m| m.set_u32("llama.block_count", 0), "arch.unsupported", "at least 1"),
        (|m| m.set_u32("llama.attention.head_count_kv", 3), "arch.unsupported", "divisor"),
        (|m| m.set_u32("llama.attention.key_length", 7), "arch.unsupported", "even"),
        (|m| m.set_u32("llama.attention.value_length", 4), "arch.unsupported", "value_length"),
        (|m| m.set_u32("llama.expert_count", 8), "arch.unsupported", "expert_count"),
        (|m| m.add("blk.0.attn_output.bias", &[HIDDEN]), "arch.unused_tensor", "attn_output.bias"),
        (|m| m.add("blk.0.attn_q.bias", &[N_HEADS * HEAD_DIM]), "arch.missing_tensor", "attn_k.bias"),
    ];
    for (spoil, code, part) in cases {
        let (message, found) = refused(spoil);
        assert_eq!(found, code, "{message}");
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn rope_settings_that_cannot_be_computed_are_refused() {
    for (key, value, part) in [
        ("llama.rope.freq_base", 0.5, "greater than 1"),
        ("llama.rope.freq_base", -1e4, "greater than 0"),
        ("llama.rope.scaling.factor", -2.0, "greater than 0"),
        ("llama.rope.freq_base", f32::INFINITY, "finite"),
    ] {
        let (message, _) = refused(|m| m.set_f32(key, value));
        assert!(message.contains(key) && message.contains(part), "{message}");
    }
    let (message, _) = refused(|m| m.set_text("llama.rope.scaling.type", "longrope"));
    assert!(message.contains("longrope") && message.contains("yarn"), "{message}");
    let (message, _) = refused(|m| m.set_u32("llama.rope.dimension_count", 10));
    assert!(message.contains("at most 8"), "{message}");
}

#[test]
fn files_that_are_not_a_whole_model_are_refused() {
    let (message, code) = refused(|m| m.set_u32("split.count", 3));
    assert_eq!(code, "arch.split");
    assert!(message.contains("3 files"), "{message}");
    let (message, code) = refused(|m| m.set_text("general.type", "adapter"));
    assert_eq!(code, "arch.not_a_model");
    assert!(message.contains("adapter"), "{message}");
    let (_, code) = refused(|m| m.tensors.clear());
    assert_eq!(code, "arch.not_a_model");
}

fn rope(scaling: RopeScaling) -> Rope {
    Rope { base: 1e4, dims: 8, scaling, factors: None }
}

#[test]
fn frequencies_fall_by_the_same_ratio() {
    let plain = rope(RopeScaling::None).inverse_frequencies(None);
    assert_eq!(plain, [1.0, 0.1, 0.01, 0.001]);
    let slower = rope(RopeScaling::Linear { factor: 4.0 }).inverse_frequencies(None);
    assert_eq!(slower, [0.25, 0.025, 0.0025, 0.00025]);
    let factors = rope(RopeScaling::None).inverse_frequencies(Some(&[1.0, 2.0, 4.0, 8.0]));
    assert_eq!(factors, [1.0, 0.05, 0.0025, 0.000_125]);
}

/// Worked out by hand from the paper's formula (arXiv 2309.00071, section 3.2).
#[test]
fn yarn_leaves_fast_pairs_and_stretches_slow_ones() {
    let yarn = Rope {
        base: 1e6,
        dims: 16,
        scaling: RopeScaling::Yarn {
            factor: 4.0,
            original_context: 32_768,
            attention_factor: 1.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
        },
        factors: None,
    };
    let found = yarn.inverse_frequencies(None);
    let plain = Rope { scaling: RopeScaling::None, ..yarn };
    let plain = plain.inverse_frequencies(None);
    // The ramp runs from pair floor(2.95) = 2 to ceil(4.96) = 5.
    let ratio: Vec<f32> = found.iter().zip(&plain).map(|(a, b)| a / b).collect();
    let expected = [1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.25, 0.25];
    for (found, expected) in ratio.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-6, "{ratio:?}");
    }
    assert!((yarn.magnitude() - 1.138_629_4).abs() < 1e-6);
    assert_eq!(rope(RopeScaling::None).magnitude(), 1.0);
}

#[test]
fn memory_counts_packed_weights_and_half_precision_keys_and_values() {
    let spec = Model::new("llama", 2).read().unwrap();
    let matrices = HIDDEN * N_VOCAB + 2 * (2 * HIDDEN * 32 + 2 * HIDDEN * 16 + 3 * HIDDEN * FFN);
    let vectors = HIDDEN + 2 * 2 * HIDDEN;
    let expected =
        Memory { weight_bytes: 2 * matrices + 4 * vectors, kv_bytes_per_position: 2 * 2 * 2 * N_KV * HEAD_DIM };
    assert_eq!(spec.memory(), expected);
}

#[test]
fn a_spec_is_printed_as_json() {
    let spec = Model::new("qwen2", 1).read().unwrap();
    let json = serde_json::to_value(&spec).unwrap();
    assert_eq!(json["family"], "qwen2");
    assert_eq!(json["rope_style"], "half_split");
    assert_eq!(json["layers"][0]["rope"]["scaling"]["type"], "none");
    assert_eq!(json["tensors"][0]["ty"], "f16");
}
