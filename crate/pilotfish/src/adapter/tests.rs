//! Reading and writing adapters, and what is refused.

use ::safetensors::tensor::{Dtype, TensorView};
use serde_json::json;

use super::*;
use crate::gguf::Writer;
use crate::quant::{self, TensorType};

/// A safetensors file of f32 tensors whose values count up by a sixteenth.
fn safetensors(tensors: &[(&str, &[usize])]) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, shape)| {
            (0..shape.iter().product::<usize>()).flat_map(|at| (at as f32 / 16.0).to_le_bytes()).collect()
        })
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape), bytes)| {
        (*name, TensorView::new(Dtype::F32, shape.to_vec(), bytes).expect("the shape fits"))
    });
    ::safetensors::serialize(views, None).expect("it serialises")
}

const Q_A: &str = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
const Q_B: &str = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight";

fn config(more: &serde_json::Value) -> String {
    let mut all = json!({ "peft_type": "LORA", "r": 2, "lora_alpha": 8, "bias": "none", "modules_to_save": null });
    let more = more.as_object().cloned().unwrap_or_default();
    all.as_object_mut().expect("it is an object").extend(more);
    all.to_string()
}

fn read(more: &serde_json::Value, tensors: &[(&str, &[usize])]) -> Result<Adapter, AdapterError> {
    Adapter::from_peft(&config(more), &safetensors(tensors))
}

fn code(result: Result<Adapter, AdapterError>) -> &'static str {
    let error = result.expect_err("it is refused");
    assert!(!error.to_string().is_empty());
    error.code()
}

#[test]
fn the_scale_is_that_of_the_config() {
    let pair = |more: serde_json::Value| {
        let adapter = read(&more, &[(Q_A, &[2, 3]), (Q_B, &[4, 2])]).expect("it reads");
        adapter.fixed.pairs[&(0, Module::Q)].clone()
    };
    let plain = pair(json!({}));
    assert_eq!((plain.scale, plain.rank, plain.inputs(), plain.outputs()), (4.0, 2, 3, 4));
    assert_eq!(plain.a, [0.0, 0.0625, 0.125, 0.1875, 0.25, 0.3125]);
    assert_eq!(pair(json!({ "use_rslora": true })).scale, 8.0 / 2f32.sqrt());
    assert_eq!(pair(json!({ "alpha_pattern": { "q_proj": 2 } })).scale, 1.0);
    assert_eq!(pair(json!({ "alpha_pattern": { r"layers\.0\..*": 6 } })).scale, 3.0);
    assert_eq!(pair(json!({ "alpha_pattern": { "proj": 2, "k_proj": 3 } })).scale, 4.0, "whole names only");
    assert_eq!(pair(json!({ "r": 7, "rank_pattern": { "self_attn.q_proj": 2 } })).scale, 4.0);
}

#[test]
fn what_is_not_computed_is_refused_by_name() {
    let both: &[(&str, &[usize])] = &[(Q_A, &[2, 3]), (Q_B, &[4, 2])];
    for (more, name) in [
        (json!({ "peft_type": "IA3" }), "IA3"),
        (json!({ "use_dora": true }), "DoRA"),
        (json!({ "bias": "all" }), "bias"),
        (json!({ "modules_to_save": ["lm_head"] }), "modules_to_save"),
        (json!({ "fan_in_fan_out": true }), "fan_in_fan_out"),
    ] {
        let error = read(&more, both).expect_err("it is refused");
        assert_eq!(error.code(), "adapter.unsupported");
        assert!(error.to_string().contains(name), "{error}");
    }
    for name in [
        "base_model.model.model.embed_tokens.lora_embedding_A",
        "base_model.model.lm_head.lora_A.weight",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector",
        "base_model.model.model.layers.0.self_attn.qkv_proj.lora_A.weight",
        "base_model.model.model.layers.0.input_layernorm.weight",
    ] {
        assert_eq!(code(read(&json!({}), &[(name, &[2, 3])])), "adapter.unsupported", "{name}");
    }
}

#[test]
fn damaged_adapters_are_refused() {
    assert_eq!(code(Adapter::from_peft("{", &[])), "adapter.config");
    assert_eq!(code(Adapter::from_peft(&config(&json!({})), b"not a file")), "adapter.safetensors");
    let whole = safetensors(&[(Q_A, &[2, 3]), (Q_B, &[4, 2])]);
    for cut in [0, 7, 60, whole.len() - 1] {
        assert_eq!(code(Adapter::from_peft(&config(&json!({})), &whole[..cut])), "adapter.safetensors");
    }
    assert_eq!(code(read(&json!({}), &[])), "adapter.empty");
    assert_eq!(code(read(&json!({}), &[(Q_A, &[2, 3])])), "adapter.half_missing");
    assert_eq!(code(read(&json!({}), &[(Q_B, &[4, 2])])), "adapter.half_missing");
    assert_eq!(code(read(&json!({}), &[(Q_A, &[2, 3]), (Q_B, &[4, 3])])), "adapter.tensor_shape");
    assert_eq!(code(read(&json!({ "r": 3 }), &[(Q_A, &[2, 3]), (Q_B, &[4, 2])])), "adapter.tensor_shape");
    assert_eq!(code(read(&json!({}), &[(Q_A, &[2, 3, 1]), (Q_B, &[4, 2])])), "adapter.tensor_shape");
    assert_eq!(code(read(&json!({ "r": 0 }), &[(Q_A, &[0, 3]), (Q_B, &[4, 0])])), "adapter.rank");
    assert_eq!(code(read(&json!({ "r": 513 }), &[(Q_A, &[513, 3]), (Q_B, &[4, 513])])), "adapter.rank");
    assert_eq!(code(read(&json!({ "lora_alpha": null }), &[(Q_A, &[2, 3]), (Q_B, &[4, 2])])), "adapter.config");
    assert_eq!(code(read(&json!({ "lora_alpha": 1e39 }), &[(Q_A, &[2, 3]), (Q_B, &[4, 2])])), "adapter.not_finite");
}

#[test]
fn a_gguf_adapter_is_what_was_written() {
    let tensors: &[(&str, &[usize])] = &[
        (Q_A, &[2, 3]),
        (Q_B, &[4, 2]),
        ("base_model.model.model.layers.1.mlp.down_proj.lora_A.weight", &[4, 5]),
        ("base_model.model.model.layers.1.mlp.down_proj.lora_B.weight", &[3, 4]),
    ];
    let more = json!({ "rank_pattern": { "down_proj": 4 }, "base_model_name_or_path": "x/Y" });
    let adapter = read(&more, tensors).expect("it reads");
    let again = Adapter::from_gguf(&adapter.to_gguf().expect("it writes")).expect("it reads again");
    assert_eq!((again.base.as_deref(), again.row_order), (Some("x/Y"), RowOrder::HalfSplit));
    assert_eq!(again.pairs().count(), 2);
    for ((place, pair), (other_place, other)) in adapter.pairs().zip(again.pairs()) {
        assert_eq!((place, &pair.a, pair.rank), (other_place, &other.a, other.rank));
        // All of it scales with alpha / rank: what one has in its scale the other may have in B.
        let products = |pair: &Pair| pair.b.iter().map(|b| b * pair.scale).collect::<Vec<_>>();
        assert_eq!(products(pair), products(other));
    }
}

#[test]
fn a_gguf_file_that_is_no_adapter_is_refused() {
    let gguf = |writer: Writer| Adapter::from_gguf(&writer.finish());
    let lora = || Writer::new().string("general.type", "adapter").string("adapter.type", "lora");
    assert_eq!(code(gguf(Writer::new())), "adapter.not_an_adapter");
    assert_eq!(code(gguf(Writer::new().string("general.type", "model"))), "adapter.not_an_adapter");
    assert_eq!(code(gguf(lora())), "gguf.missing_key");
    assert_eq!(code(gguf(lora().f32("adapter.lora.alpha", 1.0))), "adapter.empty");
    let with = |name: &str, shape: &[u64]| {
        let n = shape.iter().product::<u64>() as usize;
        let bytes = quant::encode(TensorType::F32, &vec![1.0; n]).expect("f32 has an encoder");
        lora().f32("adapter.lora.alpha", 1.0).tensor(name, shape, TensorType::F32, bytes).expect("it fits")
    };
    assert_eq!(code(gguf(with("token_embd.weight.lora_a", &[4, 2]))), "adapter.unsupported");
    assert_eq!(code(gguf(with("blk.0.attn_q.weight.lora_a", &[4, 2]))), "adapter.half_missing");
    assert_eq!(code(Adapter::from_gguf(b"GGML")), "gguf.not_gguf");
}

/// `B₁W₁A₁ + B₂ (Σ α_k W₂ᵏ) A₂` by hand.
#[test]
fn a_bilinear_adapter_is_linear_in_its_preferences() {
    let module = "base_model.model.model.layers.0.self_attn.v_proj";
    let name = |part: &str| format!("{module}.pblora_{part}");
    let names = [name("A"), name("B"), name("W1"), name("W2")];
    let shapes: [&[usize]; 4] = [&[3, 2], &[2, 3], &[1, 1], &[2, 4]];
    let tensors: Vec<(&str, &[usize])> = names.iter().map(String::as_str).zip(shapes).collect();
    let mut more = json!({ "peft_type": "PBLORA", "r1": 1, "r2": 2, "lora_alpha": 6 });
    let adapter = read(&more, &tensors).expect("it reads");
    assert_eq!(adapter.preferences.len(), 2);

    let counting = |n: usize| (0..n).map(|at| at as f32 / 16.0).collect::<Vec<_>>();
    let (a, b, w1, w2) = (counting(6), counting(6), counting(1), counting(8));
    let alpha = [0.3f32, 0.7];
    let mixed: Vec<f32> = (0..4).map(|at| alpha[0] * w2[at] + alpha[1] * w2[4 + at]).collect();
    for output in 0..2 {
        for input in 0..2 {
            let fixed = b[output * 3] * w1[0] * a[input];
            let second = |i: usize, j: usize| b[output * 3 + 1 + i] * mixed[2 * i + j] * a[2 * (1 + j) + input];
            let want = 3.0 * (fixed + (0..4).map(|at| second(at / 2, at % 2)).sum::<f32>());
            let shares = [1.0, alpha[0], alpha[1]];
            let got: f32 = adapter
                .components()
                .zip(shares)
                .map(|(component, share)| {
                    let pair = &component.pairs[&(0, Module::V)];
                    let (rank, inputs) = (pair.rank as usize, pair.inputs() as usize);
                    let product = |at: usize| pair.b[output * rank + at] * pair.a[at * inputs + input];
                    share * pair.scale * (0..rank).map(product).sum::<f32>()
                })
                .sum();
            assert!((got - want).abs() < 1e-6, "{got} {want}");
        }
    }
    let again = Adapter::from_gguf(&adapter.to_gguf().expect("it writes")).expect("it reads again");
    assert_eq!(again.preferences.len(), 2);

    more["r2"] = json!(1);
    assert_eq!(code(read(&more, &tensors)), "adapter.tensor_shape");
    let without_w2 = &tensors[..3];
    let whole = json!({ "peft_type": "PBLORA", "r1": 1, "r2": 2 });
    assert_eq!(code(read(&whole, without_w2)), "adapter.half_missing");
}

#[test]
fn rows_are_interleaved_as_gguf_has_them() {
    // gguf[h * 4 + 2 i + j] = hf[h * 4 + 2 j + i], heads of four.
    let mut b: Vec<f32> = (0..8).map(|row| row as f32).collect();
    interleave(&mut b, 1, 4);
    assert_eq!(b, [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
}

#[test]
fn names_of_one_model_are_recognised() {
    assert!(same_name("HuggingFaceTB/SmolLM2-135M-Instruct", "Smollm2 135M 8k Lc100K Mix1 Ep2"));
    assert!(same_name("/models/Qwen3-0.6B/", "Qwen3 0.6B Base"));
    assert!(!same_name("meta-llama/Llama-3.2-1B", "SmolLM2 135M Instruct"));
    assert!(!same_name("HuggingFaceTB/SmolLM2-360M-Instruct", "SmolLM2 135M Instruct"));
    assert!(!same_name("", "SmolLM2"));
}

/// Whatever bytes come, an answer comes: a seeded walk over damaged files.
#[test]
fn damaged_bytes_never_panic() {
    let tensors: &[(&str, &[usize])] = &[(Q_A, &[2, 3]), (Q_B, &[4, 2])];
    let whole = safetensors(tensors);
    let gguf = read(&json!({}), tensors).expect("it reads").to_gguf().expect("it writes");
    let mut numbers = crate::ops::grid::Numbers::new(17);
    for _ in 0..4000 {
        for file in [&whole, &gguf] {
            let mut bytes = file.clone();
            for _ in 0..=numbers.bits() % 4 {
                let at = (numbers.bits() % bytes.len() as u64) as usize;
                bytes[at] = numbers.bits() as u8;
            }
            let _ = Adapter::from_peft(&config(&json!({})), &bytes);
            let _ = Adapter::from_gguf(&bytes);
        }
    }
}
