//! An adapter put into the weights: for checking, and for programs that know no adapters.

use std::collections::BTreeMap;

use super::RowAdapter;
use crate::adapter::{AdapterError, Pair};
use crate::arch::{ModelSpec, TensorIndex};
use crate::gguf::{Header, Writer};
use crate::quant::{self, TensorType};

/// The GGUF file of a model whose matrices an adapter has changed, `W + s B A` in f32; all else is copied as it is.
///
/// `bytes` is the whole file of the model, and the adapter is fitted to it.
pub fn merge(bytes: &[u8], spec: &ModelSpec, used: &RowAdapter<'_>) -> Result<Vec<u8>, AdapterError> {
    used.adapter.check(spec)?;
    let header = Header::parse(bytes, bytes.len() as u64)?;
    let mut changes: BTreeMap<TensorIndex, Vec<(f32, &Pair)>> = BTreeMap::new();
    for (share, component) in used.shares()?.into_iter().zip(used.adapter.components()) {
        for ((layer, module), pair) in &component.pairs {
            let tensor = module.tensor(&spec.layers[*layer as usize]);
            changes.entry(tensor).or_default().push((share * pair.scale, pair));
        }
    }
    let mut writer = Writer::new();
    // The writer has an alignment of its own.
    for (key, value) in header.metadata.iter().filter(|(key, _)| *key != "general.alignment") {
        writer = writer.value(key, value.clone());
    }
    for (index, tensor) in header.tensors.iter().enumerate() {
        let raw = bytes.get(tensor.offset as usize..(tensor.offset + tensor.bytes) as usize).unwrap_or_default();
        writer = match changes.get(&index) {
            None => writer.tensor(&tensor.name, &tensor.shape, tensor.ty, raw.to_vec())?,
            Some(changes) => {
                let mut values = vec![0.0; (tensor.row_len() * tensor.rows()) as usize];
                quant::dequantize(tensor.ty, raw, &mut values)?;
                for (scale, pair) in changes {
                    add(&mut values, *scale, pair);
                }
                let raw = quant::encode(TensorType::F32, &values)?;
                writer.tensor(&tensor.name, &tensor.shape, TensorType::F32, raw)?
            }
        };
    }
    Ok(writer.finish())
}

/// `values += scale * B A`.
fn add(values: &mut [f32], scale: f32, pair: &Pair) {
    let (rank, inputs) = (pair.rank as usize, pair.inputs() as usize);
    let mut sums = vec![0.0f64; inputs];
    for (row, b) in values.chunks_exact_mut(inputs).zip(pair.b.chunks_exact(rank)) {
        sums.fill(0.0);
        for (b, a) in b.iter().zip(pair.a.chunks_exact(inputs)) {
            for (sum, a) in sums.iter_mut().zip(a) {
                *sum += f64::from(*b) * f64::from(*a);
            }
        }
        for (value, sum) in row.iter_mut().zip(&sums) {
            *value += (f64::from(scale) * sum) as f32;
        }
    }
}
