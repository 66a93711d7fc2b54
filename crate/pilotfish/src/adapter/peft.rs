//! Adapters in the format of Hugging Face's PEFT: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! LoRA with its rank and alpha patterns and rank-stabilised scaling, and the bilinear, preference-conditioned adapters of PARM
//! (arXiv 2505.06274; `peft_type = "PBLORA"` of its authors' PEFT). Everything else is refused by its name.

use fancy_regex::Regex;
use serde_json::Value;

use super::safetensors::{self, Tensor};
use super::{Adapter, AdapterError, Component, Module, Pair, Place, RowOrder, check_rank, entry};

/// `adapter_config.json`. PEFT writes many fields; only those that bear on the numbers are looked at.
struct Config(Value);

impl Adapter {
    /// Reads an adapter from the contents of the two files of a PEFT directory.
    pub fn from_peft(config: &str, safetensors: &[u8]) -> Result<Self, AdapterError> {
        let config = Config::read(config)?;
        let mut places: Vec<(Place, Parts<'_>)> = Vec::new();
        for (name, tensor) in safetensors::read(safetensors)? {
            let (place, part, module) = parse(&name)?;
            let parts = entry(&mut places, place);
            parts.module = module;
            parts.tensors[part as usize] = Some((name, tensor));
        }
        let mut adapter = Self {
            name: String::new(),
            architecture: None,
            base: config.text("base_model_name_or_path").filter(|base| !base.is_empty()).map(str::to_owned),
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
    /// Reads it, and refuses what would change the numbers in ways that are not computed here.
    fn read(text: &str) -> Result<Self, AdapterError> {
        let refuse = |what: String| Err(AdapterError::Unsupported { what });
        let config = Self(serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?);
        match config.text("peft_type") {
            Some("LORA" | "PBLORA") => {}
            Some(other) => return refuse(format!("peft_type {other:?}")),
            None => return Err(wrong("it has no peft_type".into())),
        }
        if let Some(bias) = config.text("bias").filter(|bias| *bias != "none") {
            return refuse(format!("bias {bias:?}"));
        }
        for (key, what) in [
            ("use_dora", "use_dora (DoRA)"),
            ("fan_in_fan_out", "fan_in_fan_out"),
            ("lora_bias", "lora_bias"),
            ("use_qalora", "use_qalora (QALoRA)"),
            ("modules_to_save", "modules_to_save"),
            ("layer_replication", "layer_replication"),
            ("target_parameters", "target_parameters"),
            ("trainable_token_indices", "trainable_token_indices"),
            ("alora_invocation_tokens", "alora_invocation_tokens (activated LoRA)"),
        ] {
            if config.given(key) {
                return refuse(what.into());
            }
        }
        Ok(config)
    }

    fn is_parm(&self) -> bool {
        self.text("peft_type") == Some("PBLORA")
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.as_str()
    }

    fn count(&self, key: &str) -> Option<u64> {
        self.0.get(key)?.as_u64()
    }

    /// Whether there is anything but nothing: null, false, an empty list or map.
    fn given(&self, key: &str) -> bool {
        match self.0.get(key) {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(Value::Array(list)) => !list.is_empty(),
            Some(Value::Object(map)) => !map.is_empty(),
            Some(_) => true,
        }
    }

    fn alpha(&self) -> Result<f64, AdapterError> {
        let alpha = self.0.get("lora_alpha").and_then(Value::as_f64);
        alpha.ok_or_else(|| wrong("lora_alpha is no number".into()))
    }

    fn uses_rslora(&self) -> bool {
        self.given("use_rslora")
    }

    /// The value of the first pattern under `key` that names `module`, as PEFT matches: the whole path, or its end after a dot.
    fn pattern(&self, key: &str, module: &str) -> Result<Option<&Value>, AdapterError> {
        for (pattern, value) in self.0.get(key).and_then(Value::as_object).into_iter().flatten() {
            let said = |error: fancy_regex::Error| wrong(format!("{key} {pattern:?}: {error}"));
            let regex = Regex::new(&format!(r"^(.*\.)?({pattern})$")).map_err(said)?;
            if regex.is_match(module).map_err(said)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }
}

fn wrong(message: String) -> AdapterError {
    AdapterError::Config { message }
}

/// What a tensor is to its module.
#[derive(Debug, Clone, Copy)]
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
    /// By [`Part`], with their names.
    tensors: [Option<(String, Tensor<'a>)>; 4],
}

impl Parts<'_> {
    fn lora(&self, config: &Config) -> Result<Pair, AdapterError> {
        let (a_name, [rank, _], a) = self.matrix(Part::A, "lora_A.weight")?;
        let (b_name, [outputs, b_rank], b) = self.matrix(Part::B, "lora_B.weight")?;
        check_rank(&a_name, rank)?;
        let said = config.pattern("rank_pattern", &self.module)?.and_then(Value::as_u64);
        let said = said.or_else(|| config.count("r")).unwrap_or(rank);
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
        let alpha = config.pattern("alpha_pattern", &self.module)?.and_then(Value::as_f64);
        let alpha = alpha.map_or_else(|| config.alpha(), Ok)?;
        let divisor = if config.uses_rslora() { (rank as f64).sqrt() } else { rank as f64 };
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
        let (r1, r2) =
            (config.count("r1").unwrap_or(w1_shape[0]), config.count("r2").unwrap_or(rank.saturating_sub(w1_shape[0])));
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
        let scale = (config.alpha()? / r2 as f64) as f32;
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
        let Some((name, tensor)) = &self.tensors[part as usize] else {
            let found =
                self.tensors.iter().flatten().next().map_or_else(|| self.module.clone(), |(name, _)| name.clone());
            return Err(AdapterError::HalfMissing { found, missing: format!("{}.{ending}", self.module) });
        };
        let [rows, columns] = tensor.shape[..] else {
            let (tensor, found) = (name.clone(), tensor.shape.clone());
            return Err(AdapterError::TensorShape { tensor, found, expected: "two dimensions".into() });
        };
        if rows == 0 || columns == 0 {
            // A rank of 0 is a row or column less; which one does not matter.
            return Err(AdapterError::Rank { tensor: name.clone(), found: 0, most: super::MOST_RANK });
        }
        Ok((name.clone(), [rows, columns], tensor.floats(name)?))
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
