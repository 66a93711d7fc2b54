//! The adapter as Hugging Face's PEFT writes it.

use std::path::Path;

use pilotfish::adapter::Module;
use pilotfish::arch::{ModelSpec, RopeStyle};
use safetensors::serialize;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;

use super::write_whole;
use crate::error::{Result, TrainError};
use crate::lora::Lora;

/// Writes `adapter_config.json` and `adapter_model.safetensors` (f32) into `folder`. `base` is the name of the base model that
/// PEFT looks for. A preference-conditioned adapter is written as PARM's own code has it, `PBLORA`.
pub fn write_peft(folder: &Path, lora: &Lora, spec: &ModelSpec, base: &str) -> Result<()> {
    let mut targets: Vec<&str> = lora.changes.iter().map(|change| change.place.1.peft_name()).collect();
    targets.sort_unstable();
    targets.dedup();
    let (rank, turned) = (lora.rank as usize, lora.turned_rank() as usize);
    let bilinear = lora.dimensions > 0;
    let mut config = json!({
        "peft_type": if bilinear { "PBLORA" } else { "LORA" },
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "lora_alpha": lora.scale * if bilinear { turned } else { rank } as f32,
        "lora_dropout": lora.dropout,
        "target_modules": targets,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "modules_to_save": null,
        "use_dora": false,
        "use_rslora": false,
    });
    if bilinear {
        config["r1"] = json!(rank - turned);
        config["r2"] = json!(turned);
        config["obj_num"] = json!(lora.dimensions);
    } else {
        config["r"] = json!(rank);
    }
    let mut text = serde_json::to_string_pretty(&config).unwrap_or_default();
    text.push('\n');
    write_whole(&folder.join("adapter_config.json"), text.as_bytes())?;
    let mut tensors = Vec::new();
    for change in &lora.changes {
        let (layer, module) = change.place;
        let block = match module {
            Module::Q | Module::K | Module::V | Module::O => "self_attn",
            Module::Gate | Module::Up | Module::Down => "mlp",
        };
        let stem = format!("base_model.model.model.layers.{layer}.{block}.{}", module.peft_name());
        let interleaved = spec.rope_style == RopeStyle::Interleaved && matches!(module, Module::Q | Module::K);
        let b = if interleaved { half_split(&change.b, rank, spec.head_dim as usize) } else { change.b.clone() };
        let (a_shape, b_shape) = ([rank, change.a.len() / rank], [b.len() / rank, rank]);
        let Some(mixing) = &change.mixing else {
            tensors.push((format!("{stem}.lora_A.weight"), a_shape, bytes(&change.a)));
            tensors.push((format!("{stem}.lora_B.weight"), b_shape, bytes(&b)));
            continue;
        };
        let shared = rank - turned;
        for (part, shape, values) in [
            ("A", a_shape, &change.a),
            ("B", b_shape, &b),
            ("W1", [shared, shared], &mixing.shared),
            ("W2", [lora.dimensions, turned * turned], &mixing.turned),
        ] {
            tensors.push((format!("{stem}.pblora_{part}"), shape, bytes(values)));
        }
    }
    let path = folder.join("adapter_model.safetensors");
    let wrong = |error: safetensors::SafeTensorError| {
        let message = format!("cannot be put together: {error}");
        TrainError::Checkpoint { path: path.clone(), message }
    };
    let mut views = Vec::with_capacity(tensors.len());
    for (name, shape, bytes) in &tensors {
        views.push((name, TensorView::new(Dtype::F32, shape.to_vec(), bytes).map_err(wrong)?));
    }
    let metadata = [("format".to_owned(), "pt".to_owned())].into_iter().collect();
    write_whole(&path, &serialize(views, Some(metadata)).map_err(wrong)?)
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Rows of `b [heads * head_dim, rank]` from the order of GGUF's llama models, neighbours turning together, to that of
/// transformers: row `2 i` of a head becomes row `i`, row `2 i + 1` row `i + head_dim / 2`.
fn half_split(b: &[f32], rank: usize, head_dim: usize) -> Vec<f32> {
    let mut turned = Vec::with_capacity(b.len());
    for head in b.chunks_exact(head_dim * rank) {
        for row in (0..head_dim).step_by(2).chain((1..head_dim).step_by(2)) {
            turned.extend_from_slice(&head[row * rank..][..rank]);
        }
    }
    turned
}
