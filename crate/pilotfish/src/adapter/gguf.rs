//! Adapters in GGUF files, as llama.cpp's `convert_lora_to_gguf.py` writes them: `general.type = "adapter"`, `adapter.type =
//! "lora"`, `adapter.lora.alpha`, and tensors `NAME.weight.lora_a` of `[inputs, rank]` and `.lora_b` of `[rank, outputs]` (the
//! fastest dimension first). A change is multiplied with alpha / rank.
//!
//! Two additions of ours, which llama.cpp does not read: `pilotfish.adapter.rows = "half_split"` where the rows of B are still
//! in the order of transformers, and `NAME.weight.preference.K.lora_a` for the components of a preference-aware adapter.

use super::{Adapter, AdapterError, Component, MOST_RANK, Module, Pair, Place, RowOrder, check_rank, entry};
use crate::gguf::{Header, TensorInfo, Writer};
use crate::quant::{self, TensorType};

/// Says that B's rows are in the order of transformers.
const ROWS_KEY: &str = "pilotfish.adapter.rows";
/// The value of [`ROWS_KEY`].
const HALF_SPLIT: &str = "half_split";

/// Where a tensor belongs: in component `preference` (`None` the fixed one).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct At {
    preference: Option<usize>,
    place: Place,
}

impl Adapter {
    /// Reads a GGUF adapter, given whole.
    pub fn from_gguf(bytes: &[u8]) -> Result<Self, AdapterError> {
        let header = Header::parse(bytes, bytes.len() as u64)?;
        let metadata = &header.metadata;
        let is = |key: &str, wanted: &str| match metadata.opt_string(key)? {
            Some(found) if found == wanted => Ok(()),
            found => {
                let found = found.map_or_else(|| format!("no {key}"), |found| format!("{key} {found:?}"));
                Err(AdapterError::NotAnAdapter { found })
            }
        };
        is("general.type", "adapter")?;
        is("adapter.type", "lora")?;
        let alpha = metadata.f32("adapter.lora.alpha")?;
        let text = |key: &str| Ok::<_, AdapterError>(metadata.opt_string(key)?.map(str::to_owned));
        let row_order = match metadata.opt_string(ROWS_KEY)? {
            None => RowOrder::Model,
            Some(HALF_SPLIT) => RowOrder::HalfSplit,
            Some(found) => return Err(AdapterError::Unsupported { what: format!("{ROWS_KEY} {found:?}") }),
        };
        let mut halves: Vec<(At, [Option<&TensorInfo>; 2])> = Vec::new();
        for tensor in &header.tensors {
            let (at, half) = parse(&tensor.name)?;
            entry(&mut halves, at)[half] = Some(tensor);
        }
        let mut adapter = Self {
            name: text("general.name")?.unwrap_or_default(),
            architecture: text("general.architecture")?,
            base: text("general.base_model.0.name")?,
            row_order,
            fixed: Component::default(),
            preferences: Vec::new(),
        };
        for (At { preference, place }, pair) in halves {
            let [a, b] = match pair {
                [Some(a), Some(b)] => [a, b],
                [Some(only), None] | [None, Some(only)] => return Err(half_missing(&only.name)),
                [None, None] => continue,
            };
            let pair = read_pair(bytes, a, b, alpha)?;
            let component = match preference {
                None => &mut adapter.fixed,
                Some(at) => {
                    if at >= adapter.preferences.len() {
                        adapter.preferences.resize(at + 1, Component::default());
                    }
                    &mut adapter.preferences[at]
                }
            };
            component.pairs.insert(place, pair);
        }
        adapter.checked()
    }

    /// The adapter as a GGUF file, its matrices in half precision. A pair's own scale goes into its B, so that one alpha serves all.
    pub fn to_gguf(&self) -> Result<Vec<u8>, AdapterError> {
        let alpha = self.pairs().next().map_or(1.0, |(_, pair)| pair.scale * pair.rank as f32);
        let mut writer = Writer::new()
            .string("general.type", "adapter")
            .string("adapter.type", "lora")
            .f32("adapter.lora.alpha", alpha)
            .string("general.name", &self.name);
        if let Some(architecture) = &self.architecture {
            writer = writer.string("general.architecture", architecture);
        }
        if let Some(base) = &self.base {
            writer = writer.u32("general.base_model.count", 1).string("general.base_model.0.name", base);
        }
        if self.row_order == RowOrder::HalfSplit {
            writer = writer.string(ROWS_KEY, HALF_SPLIT);
        }
        for (at, component) in self.components().enumerate() {
            for ((layer, module), pair) in &component.pairs {
                let within = if at == 0 { String::new() } else { format!("preference.{}.", at - 1) };
                let name = |half: &str| format!("blk.{layer}.{}.weight.{within}lora_{half}", module.gguf_name());
                let rank = u64::from(pair.rank);
                let ratio = pair.scale * pair.rank as f32 / alpha;
                let b: Vec<f32> = pair.b.iter().map(|value| value * ratio).collect();
                let a_bytes = quant::encode(TensorType::F16, &pair.a)?;
                let b_bytes = quant::encode(TensorType::F16, &b)?;
                writer = writer.tensor(&name("a"), &[pair.inputs(), rank], TensorType::F16, a_bytes)?.tensor(
                    &name("b"),
                    &[rank, pair.outputs()],
                    TensorType::F16,
                    b_bytes,
                )?;
            }
        }
        Ok(writer.finish())
    }
}

/// `blk.3.attn_q.weight.lora_a`: where it belongs, and 0 for A, 1 for B.
fn parse(name: &str) -> Result<(At, usize), AdapterError> {
    let parts: Vec<&str> = name.split('.').collect();
    let ["blk", layer, module, "weight", within @ .., half] = &parts[..] else {
        return Err(AdapterError::Unsupported { what: format!("tensor {name}") });
    };
    let layer = layer.parse().ok();
    let module = Module::ALL.into_iter().find(|known| known.gguf_name() == *module);
    let half = ["lora_a", "lora_b"].iter().position(|known| known == half);
    // Far more preferences than any paper has, and few enough to be counted in memory.
    let preference = match within {
        [] => Some(None),
        ["preference", at] => at.parse().ok().filter(|at| *at < MOST_RANK as usize).map(Some),
        _ => None,
    };
    match (layer, module, half, preference) {
        (Some(layer), Some(module), Some(half), Some(preference)) => {
            Ok((At { preference, place: (layer, module) }, half))
        }
        _ => Err(AdapterError::Unsupported { what: format!("tensor {name}") }),
    }
}

fn half_missing(found: &str) -> AdapterError {
    let (stem, half) = found.split_at(found.len() - 1);
    let missing = format!("{stem}{}", if half == "a" { 'b' } else { 'a' });
    AdapterError::HalfMissing { found: found.to_owned(), missing }
}

fn read_pair(bytes: &[u8], a: &TensorInfo, b: &TensorInfo, alpha: f32) -> Result<Pair, AdapterError> {
    let shape = |tensor: &TensorInfo| match tensor.shape[..] {
        [columns, rows] => Ok([columns, rows]),
        _ => Err(AdapterError::TensorShape {
            tensor: tensor.name.clone(),
            found: tensor.shape.clone(),
            expected: "two dimensions".into(),
        }),
    };
    let ([_, rank], [b_rank, _]) = (shape(a)?, shape(b)?);
    if b_rank != rank {
        return Err(AdapterError::TensorShape {
            tensor: b.name.clone(),
            found: b.shape.clone(),
            expected: format!("rank {rank} as {}", a.name),
        });
    }
    let rank = check_rank(&a.name, rank)?;
    let values = |tensor: &TensorInfo| {
        let (from, len) = (tensor.offset as usize, tensor.bytes as usize);
        // The header's reader has checked that tensors lie inside the file.
        let raw = bytes.get(from..from + len).unwrap_or_default();
        let mut values = vec![0.0; (tensor.row_len() * tensor.rows()) as usize];
        quant::dequantize(tensor.ty, raw, &mut values).map(|()| values)
    };
    Ok(Pair { scale: alpha / rank as f32, rank, a: values(a)?, b: values(b)? })
}
