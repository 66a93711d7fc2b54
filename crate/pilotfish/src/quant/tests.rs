//! Every format against the reference's numbers, and the GPU's packing against the file's bytes.

use super::planes::pack_bits_in_order;
use super::*;

/// Made by `tests/fixtures/make_quant_vectors.py` with the `gguf` Python package.
const VECTORS: &[u8] = include_bytes!("../../../../tests/fixtures/quant_vectors.bin");

struct Vector {
    ty: TensorType,
    bytes: &'static [u8],
    values: Vec<f32>,
}

fn vectors() -> Vec<Vector> {
    fn take(rest: &mut &'static [u8], len: usize) -> &'static [u8] {
        let (head, tail) = rest.split_at(len);
        *rest = tail;
        head
    }
    let (mut rest, mut vectors) = (VECTORS, Vec::new());
    while !rest.is_empty() {
        let name_len = take(&mut rest, 1)[0] as usize;
        let name = std::str::from_utf8(take(&mut rest, name_len)).unwrap();
        let ty = TensorType::from_name(name).unwrap();
        let count = u32::from_le_bytes(take(&mut rest, 4).try_into().unwrap()) as usize;
        let bytes = take(&mut rest, row_bytes(ty, count));
        let values =
            take(&mut rest, 4 * count).chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        vectors.push(Vector { ty, bytes, values });
    }
    vectors
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Any bytes, the same each run (xorshift).
fn random_bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn every_format_decodes_as_the_reference_does() {
    let vectors = vectors();
    let mut types: Vec<_> = vectors.iter().map(|v| v.ty).collect();
    types.sort_unstable();
    assert_eq!(types, TensorType::ALL);
    for Vector { ty, bytes, values } in vectors {
        let mut decoded = vec![f32::NAN; values.len()];
        dequantize(ty, bytes, &mut decoded).unwrap();
        assert_eq!(bits(&decoded), bits(&values), "{ty}");
    }
}

#[test]
fn packing_for_the_gpu_loses_nothing() {
    for Vector { ty, bytes, values } in vectors() {
        // As one long row, as rows of one block, and as rows that end inside a unit.
        for row_len in [values.len(), ty.block_len(), 3 * ty.block_len()] {
            let rows = values.len() / row_len;
            let src = &bytes[..rows * row_bytes(ty, row_len)];
            let values = &values[..rows * row_len];
            // Stale words must not show through.
            let mut words = vec![u32::MAX; rows * row_words(ty, row_len)];
            pack_rows(ty, row_len, src, &mut words).unwrap();
            let mut unpacked = vec![f32::NAN; rows * row_len];
            dequantize_packed(ty, row_len, &words, &mut unpacked).unwrap();
            assert_eq!(bits(&unpacked), bits(values), "{ty}, rows of {row_len}");
        }
    }
}

#[test]
fn any_bytes_pack_to_what_they_decode_to() {
    for ty in TensorType::ALL {
        for blocks in [1, 2, 3, 7] {
            let row_len = blocks * ty.block_len();
            let bytes = random_bytes(3 * row_bytes(ty, row_len), blocks as u64 + 17);
            let mut words = vec![u32::MAX; 3 * row_words(ty, row_len)];
            pack_rows(ty, row_len, &bytes, &mut words).unwrap();
            let (mut direct, mut packed) = (vec![0.0; 3 * row_len], vec![0.0; 3 * row_len]);
            dequantize(ty, &bytes, &mut direct).unwrap();
            dequantize_packed(ty, row_len, &words, &mut packed).unwrap();
            assert_eq!(bits(&direct), bits(&packed), "{ty}");
        }
    }
}

#[test]
fn a_row_ends_in_zeros() {
    for ty in TensorType::ALL {
        let row_len = ty.block_len();
        let bytes = vec![0xff; row_bytes(ty, row_len)];
        let mut words = vec![u32::MAX; row_words(ty, row_len)];
        pack_rows(ty, row_len, &bytes, &mut words).unwrap();
        let mut unit = vec![f32::NAN; unit_len(ty)];
        dequantize_packed(ty, unit_len(ty), &words, &mut unit).unwrap();
        assert!(unit[row_len..].iter().all(|v| *v == 0.0), "{ty}");
    }
}

/// The layout the shaders are written against; a change here is a change there.
#[test]
fn the_gpu_layout_is_as_documented() {
    let sizes = TensorType::ALL.map(|ty| (ty.name(), unit_len(ty), unit_words(ty)));
    let documented = [
        ("f32", 8, 8),
        ("f16", 8, 4),
        ("bf16", 8, 4),
        ("q4_0", 64, 9),
        ("q4_1", 32, 5),
        ("q5_0", 64, 11),
        ("q5_1", 32, 6),
        ("q8_0", 64, 17),
        ("q2_k", 256, 21),
        ("q3_k", 256, 29),
        ("q4_k", 256, 37),
        ("q5_k", 256, 45),
        ("q6_k", 256, 53),
        ("iq4_nl", 64, 9),
    ];
    assert_eq!(sizes, documented);

    // Bits of element 37 alone, in both planes.
    assert_eq!(pack_bits_in_order(1 << 5), 1 << (8 + 1));
    let one = |plane: &mut dyn FnMut(&mut [u32])| {
        let mut words = [0; 16];
        plane(&mut words);
        words
    };
    let mut src = [0u8; 32];
    src[5] = 0xf0;
    // Split nibbles of 64 elements: high nibble of byte 5 is element 37 = 8 * 4 + 4 + 1.
    let words = one(&mut |words| super::planes::pack_nibbles(&src, words));
    assert_eq!((words[4], super::planes::nibble(&words, 37)), (0xf000, 15));
    src[5] = 2;
    // Bit 1 of byte 5 is element 37 = 32 * 1 + 4 * 1 + 1.
    let words = one(&mut |words| super::planes::pack_bits(&src, &mut words[..8]));
    assert_eq!((words[1], super::planes::bit(&words, 37)), (1 << 9, 1));
    src[5] = 0b1100;
    // Bits 2 and 3 of byte 5 are element 37 = 16 * 2 + 4 * 1 + 1.
    let words = one(&mut |words| super::planes::pack_pairs(&src, &mut words[..8]));
    assert_eq!((words[2], super::planes::pair(&words, 37)), (3 << 10, 3));
}

#[test]
fn encoded_values_decode_to_the_nearest_level() {
    let values: Vec<f32> = random_bytes(320, 5).iter().map(|&b| (f32::from(b) - 128.0) / 300.0).collect();
    for (ty, largest_error) in [
        (TensorType::F32, 0.0),
        (TensorType::F16, 3e-4),
        (TensorType::BF16, 2e-3),
        (TensorType::Q8_0, 0.5 * 0.43 / 127.0 + 3e-4),
        (TensorType::Q5_0, 0.43 / 16.0),
        (TensorType::Q5_1, 0.5 * 0.86 / 31.0 + 3e-4),
        (TensorType::Q4_0, 0.43 / 8.0),
        (TensorType::Q4_1, 0.5 * 0.86 / 15.0 + 3e-4),
        (TensorType::IQ4NL, 0.43 * 24.0 / 127.0),
    ] {
        let bytes = encode(ty, &values).unwrap();
        let mut decoded = vec![0.0; values.len()];
        dequantize(ty, &bytes, &mut decoded).unwrap();
        let pairs = values.iter().zip(&decoded);
        let error = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(error <= largest_error, "{ty}: {error} > {largest_error}");
        let zeros = encode(ty, &[0.0; 64]).unwrap();
        dequantize(ty, &zeros, &mut decoded[..64]).unwrap();
        assert_eq!(decoded[..64], [0.0; 64], "{ty}");
    }
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    let ty = TensorType::Q4K;
    let (mut values, mut words) = (vec![0.0; 256], vec![0; 37]);
    let code = |result: Result<(), QuantError>| result.unwrap_err().code();
    assert_eq!(code(dequantize(ty, &[0; 143], &mut values)), "quant.length");
    assert_eq!(code(dequantize(ty, &[0; 144], &mut values[..255])), "quant.row_length");
    assert_eq!(code(pack_rows(ty, 0, &[], &mut words)), "quant.row_length");
    assert_eq!(code(pack_rows(ty, 300, &[0; 144], &mut words)), "quant.row_length");
    assert_eq!(code(pack_rows(ty, 256, &[0; 150], &mut words)), "quant.length");
    assert_eq!(code(pack_rows(ty, 256, &[0; 144], &mut words[1..])), "quant.length");
    assert_eq!(code(dequantize_packed(ty, 256, &words[1..], &mut values)), "quant.length");
    assert_eq!(code(pack_rows(ty, usize::MAX - 255, &[], &mut words)), "quant.too_large");
    let error = encode(ty, &values).unwrap_err();
    assert_eq!(error.code(), "quant.no_encoder");
    assert!(error.to_string().contains("q8_0"), "{error}");
}
