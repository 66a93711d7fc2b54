//! `prune`: a smaller model of some of a model's layers, with its vocabulary, for guides that cost less. It writes badly until it is
//! trained again: `train sft` on the whole model's own answers, then `merge`.

use std::path::PathBuf;

use clap::Args;
use pilotfish::arch::ModelSpec;
use pilotfish::gguf::{Header, Scalar, Value, Writer};

use crate::args::Global;
use crate::error::{CliError, Result};
use crate::units::bytes;
use crate::{input, output};

/// Flags of `prune`.
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// The model: a GGUF file.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// The layers to keep, from 0: numbers and ranges, such as 0-9,20-29.
    #[arg(long, value_name = "LAYERS", value_parser = Kept::parse)]
    keep: Kept,
    /// The GGUF file to write.
    #[arg(value_name = "OUT.gguf")]
    to: PathBuf,
}

/// Layers by number, rising.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept(Vec<u32>);

impl Kept {
    fn parse(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.trim().parse::<u32>().map_err(|_| format!("{text:?} is no layer's number"));
        let mut layers: Vec<u32> = Vec::new();
        for part in text.split(',') {
            let (first, last) = match part.split_once('-') {
                Some((first, last)) => (number(first)?, number(last)?),
                None => (number(part)?, number(part)?),
            };
            if first > last || layers.last().is_some_and(|before| *before >= first) {
                return Err(format!("{part:?} does not come after what is before it: layers keep their order"));
            }
            // No model has as many; a range is written out.
            if last >= 10_000 {
                return Err(format!("there is no layer {last}"));
            }
            layers.extend(first..=last);
        }
        Ok(Self(layers))
    }
}

/// Writes the smaller model and says what was written.
pub(crate) fn run(args: &PruneArgs, global: &Global) -> Result<()> {
    let file = input::bytes(&args.model)?;
    let pruned = prune(&file, &args.keep.0)?;
    std::fs::write(&args.to, &pruned).map_err(|source| CliError::Write { path: args.to.clone(), source })?;
    let layers = args.keep.0.len();
    if global.json {
        return output::json(&serde_json::json!({ "path": args.to, "bytes": pruned.len(), "layers": layers }));
    }
    output::text(&format!("{}: {layers} layers, {}\n", args.to.display(), bytes(pruned.len() as u64)))
}

fn prune(file: &[u8], keep: &[u32]) -> Result<Vec<u8>> {
    let header = Header::parse(file, file.len() as u64).map_err(pilotfish::Error::from)?;
    let spec = ModelSpec::from_header(&header).map_err(pilotfish::Error::from)?;
    let layers = spec.layers.len();
    if let Some(missing) = keep.iter().find(|layer| **layer as usize >= layers) {
        return Err(CliError::Usage(format!("there is no layer {missing}: the model has {layers}, from 0")));
    }
    let count =
        format!("{}.block_count", header.metadata.string("general.architecture").map_err(pilotfish::Error::from)?);
    let mut writer = Writer::new();
    // The writer has an alignment of its own.
    for (key, value) in header.metadata.iter().filter(|(key, _)| *key != "general.alignment") {
        let value = if key == count { Value::Scalar(Scalar::U32(keep.len() as u32)) } else { value.clone() };
        writer = writer.value(key, value);
    }
    for tensor in &header.tensors {
        let Some(name) = renamed(&tensor.name, keep) else { continue };
        // The header was parsed for a file of this length, so that no tensor lies outside it.
        let raw = &file[tensor.offset as usize..(tensor.offset + tensor.bytes) as usize];
        writer = writer.tensor(&name, &tensor.shape, tensor.ty, raw.to_vec()).map_err(pilotfish::Error::from)?;
    }
    let pruned = writer.finish();
    let header = Header::parse(&pruned, pruned.len() as u64).map_err(pilotfish::Error::from)?;
    let smaller = ModelSpec::from_header(&header).map_err(pilotfish::Error::from)?;
    // A family may say by a layer's place how far it sees and how its positions turn.
    let moved = smaller.layers.iter().zip(keep).find(|(now, was)| {
        let was = &spec.layers[**was as usize];
        (&now.rope, now.window) != (&was.rope, was.window)
    });
    match moved {
        Some((_, was)) => Err(CliError::Usage(format!(
            "layer {was} would see another part of the text at its new place: keep whole groups of layers of this model"
        ))),
        None => Ok(pruned),
    }
}

/// A tensor's name in the smaller model; nothing for a layer that is left out.
fn renamed(name: &str, keep: &[u32]) -> Option<String> {
    let layer = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
    let Some((number, part)) = layer else { return Some(name.to_owned()) };
    let place = keep.iter().position(|layer| layer.to_string() == number)?;
    Some(format!("blk.{place}.{part}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_numbers_and_ranges_that_rise() {
        let kept = |text: &str| Kept::parse(text).map(|kept| kept.0);
        assert_eq!(kept("0-2,5"), Ok(vec![0, 1, 2, 5]));
        assert_eq!(kept("3"), Ok(vec![3]));
        for wrong in ["", "a", "1-", "2-1", "1,1", "0-3,2", "0-4000000000"] {
            assert!(kept(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn layers_move_up() {
        assert_eq!(renamed("blk.5.attn_q.weight", &[0, 5]).as_deref(), Some("blk.1.attn_q.weight"));
        assert_eq!(renamed("blk.4.attn_q.weight", &[0, 5]), None);
        assert_eq!(renamed("token_embd.weight", &[0]).as_deref(), Some("token_embd.weight"));
    }
}
