//! Files of the reference writer: whole, and damaged in every way that fits into a second.

use super::{ModelSpec, RopeScaling};
use crate::gguf::{GgufError, Header};
use crate::quant::TensorType;

/// Made by `tests/fixtures/make_tiny_models.py`.
const TINY: [(&str, &[u8]); 14] = [
    ("llama", include_bytes!("../../../../tests/fixtures/tiny/tiny-llama-f32.gguf")),
    ("llama", include_bytes!("../../../../tests/fixtures/tiny/tiny-llama-q4_0.gguf")),
    ("llama", include_bytes!("../../../../tests/fixtures/tiny/tiny-llama-q4_1.gguf")),
    ("llama", include_bytes!("../../../../tests/fixtures/tiny/tiny-llama-q2_k.gguf")),
    ("qwen2", include_bytes!("../../../../tests/fixtures/tiny/tiny-qwen2-f16.gguf")),
    ("qwen2", include_bytes!("../../../../tests/fixtures/tiny/tiny-qwen2-q5_1.gguf")),
    ("qwen2", include_bytes!("../../../../tests/fixtures/tiny/tiny-qwen2-q5_k.gguf")),
    ("qwen3", include_bytes!("../../../../tests/fixtures/tiny/tiny-qwen3-bf16.gguf")),
    ("qwen3", include_bytes!("../../../../tests/fixtures/tiny/tiny-qwen3-iq4_nl.gguf")),
    ("qwen3", include_bytes!("../../../../tests/fixtures/tiny/tiny-qwen3-q3_k.gguf")),
    ("qwen3", include_bytes!("../../../../tests/fixtures/tiny/tiny-qwen3-q6_k.gguf")),
    ("gemma3", include_bytes!("../../../../tests/fixtures/tiny/tiny-gemma3-q8_0.gguf")),
    ("gemma3", include_bytes!("../../../../tests/fixtures/tiny/tiny-gemma3-q4_k.gguf")),
    ("gemma3", include_bytes!("../../../../tests/fixtures/tiny/tiny-gemma3-q5_0.gguf")),
];

#[test]
fn files_of_the_reference_writer_are_read_in_every_family_and_format() {
    let mut formats = Vec::new();
    for (family, file) in TINY {
        let header = Header::parse(file, file.len() as u64).unwrap();
        let spec = ModelSpec::from_header(&header).unwrap();
        assert_eq!(spec.family, family);
        let embedding = &spec.tensors[spec.model.token_embd];
        assert_eq!(spec.name, format!("tiny-{family}-{}", embedding.ty));
        formats.push(embedding.ty);
        let tokens = header.metadata.strings("tokenizer.ggml.tokens").unwrap();
        assert!(tokens.len() as u32 <= spec.n_vocab);
        if spec.name == "tiny-qwen2-q5_1" {
            let rope = spec.layers[0].rope;
            assert!(matches!(rope.scaling, RopeScaling::Yarn { factor: 4.0, .. }));
        }
    }
    formats.sort_unstable();
    assert_eq!(formats, TensorType::ALL);
}

/// The same numbers each run (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % bound
    }

    /// Overwrites one to eight bytes with noise, a bit more or less, or a number at an edge.
    fn damage(&mut self, bytes: &mut [u8]) {
        let at = self.below(bytes.len() - 8);
        match self.below(4) {
            0 => bytes[at] = self.below(256) as u8,
            1 => bytes[at] ^= 1 << self.below(8),
            2 => bytes[at] = bytes[at].wrapping_add(1),
            _ => {
                let edges = [0, 1, 255, 1 << 31, u32::MAX.into(), 1 << 60, u64::MAX / 2, u64::MAX];
                let width = [1, 4, 8][self.below(3)];
                let edge: u64 = edges[self.below(edges.len())];
                bytes[at..at + width].copy_from_slice(&edge.to_le_bytes()[..width]);
            }
        }
    }
}

/// A small sibling of the fuzz target `gguf_header`, which goes on where a second ends.
#[test]
fn a_damaged_header_is_refused_or_keeps_its_promises() {
    let mut random = Random(20_261_122);
    let (mut refused, mut not_a_model, mut read) = (0, 0, 0);
    for (_, file) in TINY {
        let file_len = file.len() as u64;
        let whole = Header::parse(file, file_len).unwrap();
        for round in 0..1000 {
            let mut header = file[..whole.data_offset as usize].to_vec();
            for _ in 0..=random.below(3) {
                // Most of a header is tokens; the beginning and the end are where the numbers are.
                let len = header.len();
                match round % 3 {
                    0 => random.damage(&mut header),
                    1 => random.damage(&mut header[..len.min(900)]),
                    _ => random.damage(&mut header[len - 1200..]),
                }
            }
            let known = [file_len, u64::MAX][round % 2];
            let header = match Header::parse(&header, known) {
                Ok(header) => header,
                Err(GgufError::NeedMore { at_least }) => {
                    assert!(at_least > header.len() as u64 && at_least <= known);
                    refused += 1;
                    continue;
                }
                Err(_) => {
                    refused += 1;
                    continue;
                }
            };
            let mut tensors: Vec<_> = header.tensors.iter().collect();
            tensors.sort_by_key(|tensor| tensor.offset);
            let mut end = header.data_offset;
            for tensor in tensors {
                assert!(tensor.offset >= end, "{tensor:?} overlaps");
                end = tensor.offset + tensor.bytes;
            }
            assert!(end <= known);
            let Ok(spec) = ModelSpec::from_header(&header) else {
                not_a_model += 1;
                continue;
            };
            read += 1;
            assert!(spec.memory().weight_bytes > 0);
            for layer in &spec.layers {
                assert_eq!(layer.rope.inverse_frequencies(None).len() as u32, layer.rope.dims / 2);
                assert!(layer.rope.magnitude() > 0.0);
            }
        }
    }
    // Each way out is taken often, or the damage is not the kind meant.
    assert!(refused > 1000 && not_a_model > 1000 && read > 1000, "{refused} {not_a_model} {read}");
}
