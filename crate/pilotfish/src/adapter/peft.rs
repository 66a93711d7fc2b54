//! Adapters in the format of Hugging Face's PEFT: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! LoRA with its rank and alpha patterns and rank-stabilised scaling, and the bilinear, preference-conditioned adapters of PARM
//! (arXiv 2505.06274; `peft_type = "PBLORA"` of its authors' PEFT). Everything else is refused by its name.

use std::collections::BTreeMap;

use fancy_regex::Regex;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::Deserialize;

use super::{Adapter, AdapterError, Component, Module, Pair, Place, RowOrder, check_rank};

/// What of `adapter_config.json` bears on the numbers. PEFT writes many more fields; those that would change the numbers are
/// here to be refused.
#[derive(Debug, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the fields of somebody else's file")]
struct Config {
    peft_type: String,
    base_model_name_or_path: Option<String>,
    #[serde(default)]
    r: Option<u64>,
    /// PARM's rank of the fixed part.
    #[serde(default)]
    r1: Option<u64>,
    /// PARM's rank of the part under the preference vector.
    #[serde(default)]
    r2: Option<u64>,
    lora_alpha: f64,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    rank_pattern: BTreeMap<String, u64>,
    #[serde(default)]
    alpha_pattern: BTreeMap<String, f64>,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    fan_in_fan_out: bool,
    #[serde(default)]
    lora_bias: bool,
    #[serde(default)]
    use_qalora: bool,
    bias: Option<String>,
    modules_to_save: Option<serde_json::Value>,
    layer_replication: Option<serde_json::Value>,
    target_parameters: Option<serde_json::Value>,
    trainable_token_indices: Option<serde_json::Value>,
    alora_invocation_tokens: Option<serde_json::Value>,
}

impl Adapter {
    /// Reads an adapter from the contents of the two files of a PEFT directory.
    pub fn from_peft(config: &str, safetensors: &[u8]) -> Result<Self, AdapterError> {
        let config: Config =
            serde_json::from_str(config).map_err(|error| AdapterError::Config { message: error.to_string() })?;
        config.check()?;
        let damaged = |error: safetensors::SafeTensorError| AdapterError::Safetensors { message: error.to_string() };
        let tensors = SafeTensors::deserialize(safetensors).map_err(damaged)?;
        let mut places: BTreeMap<Place, Parts<'_>> = BTreeMap::new();
        for (name, view) in tensors.iter() {
            let (place, part, module) = parse(name)?;
            let parts = places.entry(place).or_default();
            parts.module = module;
            parts.views.insert(part, (name.to_owned(), view));
        }
        let mut adapter = Self {
            name: String::new(),
            architecture: None,
            base: config.base_model_name_or_path.clone().filter(|base| !base.is_empty()),
            row_order: RowOrder::HalfSplit,
            fixed: Component::default(),
            preferences: Vec::new(),
        };
        for (place, parts) in &places {
            if config.is_parm() {
                parts.bilinear(&config, *place, &mut adapter)?;
            } else {
                adapter.fixed.pairs.insert(*place, parts.lora(&config)?);
            }
        }
        adapter.checked()
    }
}

impl Config {
    fn is_parm(&self) -> bool {
        self.peft_type == "PBLORA"
    }

    /// Refuses what would change the numbers in ways that are not computed here.
    fn check(&self) -> Result<(), AdapterError> {
        let refuse = |what: String| Err(AdapterError::Unsupported { what });
        let given = |value: &Option<serde_json::Value>| match value {
            None | Some(serde_json::Value::Null) => false,
            Some(serde_json::Value::Array(list)) => !list.is_empty(),
            Some(serde_json::Value::Object(map)) => !map.is_empty(),
            Some(_) => true,
        };
        if self.peft_type != "LORA" && !self.is_parm() {
            return refuse(format!("peft_type {:?}", self.peft_type));
        }
        if let Some(bias) = self.bias.as_deref().filter(|bias| *bias != "none") {
            return refuse(format!("bias {bias:?}"));
        }
        for (is, what) in [
            (self.use_dora, "use_dora (DoRA)"),
            (self.fan_in_fan_out, "fan_in_fan_out"),
            (self.lora_bias, "lora_bias"),
            (self.use_qalora, "use_qalora (QALoRA)"),
            (given(&self.modules_to_save), "modules_to_save"),
            (given(&self.layer_replication), "layer_replication"),
            (given(&self.target_parameters), "target_parameters"),
            (given(&self.trainable_token_indices), "trainable_token_indices"),
            (given(&self.alora_invocation_tokens), "alora_invocation_tokens (activated LoRA)"),
        ] {
            if is {
                return refuse(what.into());
            }
        }
        Ok(())
    }

    /// The value of the first pattern that names `module`, as PEFT matches: the whole path, or its end after a dot.
    fn pattern<T: Copy>(patterns: &BTreeMap<String, T>, module: &str) -> Result<Option<T>, AdapterError> {
        for (key, value) in patterns {
            let config =
                |error: fancy_regex::Error| AdapterError::Config { message: format!("pattern {key:?}: {error}") };
            let regex = Regex::new(&format!(r"^(.*\.)?({key})$")).map_err(config)?;
            if regex.is_match(module).map_err(config)? {
                return Ok(Some(*value));
            }
        }
        Ok(None)
    }
}

/// What a tensor is to its module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    A,
    B,
    /// PARM's mixing matrix of the fixed part.
    W1,
    /// PARM's mixing matrices, one a preference.
    W2,
}

/// The tensors of one module.
#[derive(Debug, Default)]
struct Parts<'a> {
    /// Its path in the model.
    module: String,
    views: BTreeMap<Part, (String, TensorView<'a>)>,
}

impl Parts<'_> {
    fn lora(&self, config: &Config) -> Result<Pair, AdapterError> {
        let (a_name, [rank, _], a) = self.matrix(Part::A, "lora_A.weight")?;
        let (b_name, [outputs, b_rank], b) = self.matrix(Part::B, "lora_B.weight")?;
        check_rank(&a_name, rank)?;
        let said = Config::pattern(&config.rank_pattern, &self.module)?.or(config.r).unwrap_or(rank);
        if said != rank {
            let expected = format!("rank {said}, as adapter_config.json says");
            return Err(AdapterError::TensorShape {
                tensor: a_name,
                found: vec![rank, (a.len() as u64) / rank],
                expected,
            });
        }
        if b_rank != rank {
            let expected = format!("rank {rank}, as {a_name} has");
            return Err(AdapterError::TensorShape { tensor: b_name, found: vec![outputs, b_rank], expected });
        }
        let alpha = Config::pattern(&config.alpha_pattern, &self.module)?.unwrap_or(config.lora_alpha);
        let divisor = if config.use_rslora { (rank as f64).sqrt() } else { rank as f64 };
        Ok(Pair { scale: (alpha / divisor) as f32, rank: rank as u32, a, b })
    }

    /// `s (B₁ W₁ A₁ + B₂ W₂ᵏ A₂)`: A and B hold both parts, the fixed one first; W₂ is `[preferences, r2 * r2]`.
    fn bilinear(&self, config: &Config, place: Place, adapter: &mut Adapter) -> Result<(), AdapterError> {
        let (a_name, [rank, inputs], a) = self.matrix(Part::A, "pblora_A")?;
        let (b_name, [outputs, b_rank], b) = self.matrix(Part::B, "pblora_B")?;
        let (w1_name, w1_shape, w1) = self.matrix(Part::W1, "pblora_W1")?;
        let (w2_name, w2_shape, w2) = self.matrix(Part::W2, "pblora_W2")?;
        check_rank(&a_name, rank)?;
        let shape = |tensor: &str, found: [u64; 2], expected: String, holds: bool| {
            let wrong = || AdapterError::TensorShape { tensor: tensor.to_owned(), found: found.to_vec(), expected };
            if holds { Ok(()) } else { Err(wrong()) }
        };
        let (r1, r2) = (config.r1.unwrap_or(w1_shape[0]), config.r2.unwrap_or(rank.saturating_sub(w1_shape[0])));
        check_rank(&a_name, r1)?;
        check_rank(&a_name, r2)?;
        shape(&a_name, [rank, inputs], format!("rank r1 + r2 = {}", r1 + r2), rank == r1 + r2)?;
        shape(&b_name, [outputs, b_rank], format!("rank {rank}, as {a_name} has"), b_rank == rank)?;
        shape(&w1_name, w1_shape, format!("[{r1}, {r1}]"), w1_shape == [r1, r1])?;
        let preferences = w2_shape[0] as usize;
        let known = adapter.preferences.len();
        let same = known == 0 || known == preferences;
        shape(&w2_name, w2_shape, format!("[{}, {}]", known.max(1), r2 * r2), w2_shape[1] == r2 * r2 && same)?;
        adapter.preferences.resize(preferences, Component::default());
        let scale = (config.lora_alpha / r2 as f64) as f32;
        let (r1, r2, rank) = (r1 as usize, r2 as usize, rank as usize);
        let columns = |from: usize, to: usize| -> Vec<f32> {
            b.chunks_exact(rank).flat_map(|row| &row[from..to]).copied().collect()
        };
        let (a_1, a_2) = a.split_at(r1 * inputs as usize);
        let fixed = Pair { scale, rank: r1 as u32, a: a_1.to_vec(), b: product(&columns(0, r1), &w1, r1) };
        adapter.fixed.pairs.insert(place, fixed);
        let b_2 = columns(r1, rank);
        for (component, w2) in adapter.preferences.iter_mut().zip(w2.chunks_exact(r2 * r2)) {
            let pair = Pair { scale, rank: r2 as u32, a: a_2.to_vec(), b: product(&b_2, w2, r2) };
            component.pairs.insert(place, pair);
        }
        Ok(())
    }

    /// A matrix by rows: its name, `[rows, columns]`, values.
    fn matrix(&self, part: Part, ending: &str) -> Result<(String, [u64; 2], Vec<f32>), AdapterError> {
        let Some((name, view)) = self.views.get(&part) else {
            let found = self.views.values().next().map_or_else(|| self.module.clone(), |(name, _)| name.clone());
            return Err(AdapterError::HalfMissing { found, missing: format!("{}.{ending}", self.module) });
        };
        let [rows, columns] = view.shape() else {
            let found = view.shape().iter().map(|dim| *dim as u64).collect();
            return Err(AdapterError::TensorShape { tensor: name.clone(), found, expected: "two dimensions".into() });
        };
        let shape = [*rows as u64, *columns as u64];
        if shape.contains(&0) {
            // A rank of 0 is a row or column less; which one does not matter.
            return Err(AdapterError::Rank { tensor: name.clone(), found: 0, most: super::MOST_RANK });
        }
        Ok((name.clone(), shape, floats(name, view)?))
    }
}

/// `left * right`, `right` being `[r, r]`.
fn product(left: &[f32], right: &[f32], r: usize) -> Vec<f32> {
    left.chunks_exact(r)
        .flat_map(|row| {
            (0..r).map(|column| {
                let terms = row.iter().zip(right.iter().skip(column).step_by(r));
                terms.map(|(l, r)| f64::from(*l) * f64::from(*r)).sum::<f64>() as f32
            })
        })
        .collect()
}

fn floats(name: &str, view: &TensorView<'_>) -> Result<Vec<f32>, AdapterError> {
    let bytes = view.data();
    let pairs = || bytes.chunks_exact(2).map(|two| [two[0], two[1]]);
    Ok(match view.dtype() {
        Dtype::F32 => bytes.chunks_exact(4).map(bytemuck::pod_read_unaligned).collect(),
        Dtype::F16 => pairs().map(|two| half::f16::from_le_bytes(two).to_f32()).collect(),
        Dtype::BF16 => pairs().map(|two| half::bf16::from_le_bytes(two).to_f32()).collect(),
        other => return Err(AdapterError::Unsupported { what: format!("{name} in {other:?}") }),
    })
}

/// `base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight`: place, part, and the module's path in the model.
fn parse(name: &str) -> Result<(Place, Part, String), AdapterError> {
    let unsupported = |what: String| Err(AdapterError::Unsupported { what });
    let parts: Vec<&str> = name.split('.').collect();
    if name.contains("lora_magnitude_vector") {
        return unsupported(format!("DoRA ({name})"));
    }
    if name.contains("lora_embedding_") {
        return unsupported(format!("LoRA on embeddings ({name})"));
    }
    let part = |name: &str| match name {
        "lora_A" | "pblora_A" => Some(Part::A),
        "lora_B" | "pblora_B" => Some(Part::B),
        "pblora_W1" => Some(Part::W1),
        "pblora_W2" => Some(Part::W2),
        _ => None,
    };
    let Some((at, part)) = parts.iter().enumerate().find_map(|(at, name)| Some((at, part(name)?))) else {
        return unsupported(format!("tensor {name}"));
    };
    let layer = parts[..at].windows(2).find_map(|two| if two[0] == "layers" { two[1].parse().ok() } else { None });
    let module = parts[..at].last().and_then(|last| Module::ALL.into_iter().find(|known| known.peft_name() == *last));
    match (layer, module) {
        (Some(layer), Some(module)) => {
            // PEFT's own wrapping is no part of the path that patterns are matched with.
            let path = parts[..at].join(".");
            let path = path.strip_prefix("base_model.model.").unwrap_or(&path).to_owned();
            Ok(((layer, module), part, path))
        }
        _ => unsupported(format!("LoRA on {}", parts[..at].join("."))),
    }
}
