//! What the panels hold is what the file says.

use pilotfish_cpu::{Inputs, Isa, Levels, PANEL, Panels, Precision, Second, Workers, multiply, panel_row};

use super::blocks;
use crate::quant::{self, TensorType};

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

/// Rows of any bytes whose scales are finite, decoded by `quant`, and the same in panels.
fn both(ty: TensorType, rows: usize, k: usize) -> (Vec<f32>, Panels) {
    let row_bytes = quant::row_bytes(ty, k);
    let mut seed = 5;
    let mut decoded = vec![0.0; rows * k];
    let mut all = Vec::new();
    for row in decoded.chunks_exact_mut(k) {
        // A float block of any bytes is a NaN once in a while; a scale too.
        loop {
            seed += 2;
            let bytes = if k > 4 * ty.block_len() || ty.block_len() > 1 {
                random_bytes(row_bytes, seed)
            } else {
                quant::encode(ty, &vec![0.25; k]).expect("floats can be encoded")
            };
            quant::dequantize(ty, &bytes, row).expect("the lengths fit");
            if row.iter().all(|value| value.is_finite() && value.abs() < 1e30) {
                let mut levels = Levels::default();
                blocks::take_apart(ty, &bytes, k, &mut levels).expect("the lengths fit");
                all.push(levels);
                break;
            }
        }
    }
    let mut panels = Panels::zeros(blocks::layout(ty), rows, k);
    all.chunks(PANEL).enumerate().for_each(|(panel, rows)| panels.fill(panel, rows));
    (decoded, panels)
}

fn columns(ty: TensorType) -> usize {
    if ty.block_len() == 1 { 4 } else { 2 * ty.block_len().max(128) }
}

#[test]
fn a_weight_in_a_panel_is_the_reference_s_bit_for_bit() {
    for ty in TensorType::ALL {
        let (rows, k) = (PANEL + 3, columns(ty));
        let (decoded, panels) = both(ty, rows, k);
        let mut row = vec![f32::NAN; k];
        for (at, want) in decoded.chunks_exact(k).enumerate() {
            panels.row(at, &mut row);
            for (column, (found, want)) in row.iter().zip(want).enumerate() {
                // Minus zero times a scale may be plus zero once an offset is added.
                let same = found.to_bits() == want.to_bits() || *found == 0.0 && *want == 0.0;
                assert!(same, "{ty}, row {at}, column {column}: {found}, not {want}");
            }
        }
        assert_eq!(panels.bytes() as u64, blocks::layout(ty).bytes(rows as u64, k as u64), "{ty}");
    }
}

#[test]
fn precise_products_are_those_of_the_decoded_weights() {
    for ty in TensorType::ALL {
        let (rows, k) = (PANEL + 3, columns(ty));
        let (decoded, panels) = both(ty, rows, k);
        for isa in Isa::available() {
            let mut x = Inputs::default();
            x.resize(3, k, Second::None);
            x.floats.iter_mut().enumerate().for_each(|(at, x)| *x = (at * 37 % 64) as f32 / 32.0 - 1.0);
            let mut out = Vec::new();
            multiply(isa, &Workers::alone(), Precision::Precise, &[&panels], &x, &mut out);
            let mut found = vec![0.0; rows];
            for (token, x) in x.floats.chunks_exact(k).enumerate() {
                panel_row(&out, 3, 0, token, &mut found);
                for (found, weights) in found.iter().zip(decoded.chunks_exact(k)) {
                    let terms = || weights.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x));
                    let (want, size) = (terms().sum::<f64>(), terms().map(f64::abs).sum::<f64>());
                    let bound = (k + 2) as f64 * 2f64.powi(-24) * size;
                    assert!((f64::from(*found) - want).abs() <= bound, "{ty}, {}: {found}, not {want}", isa.name());
                }
            }
        }
    }
}

#[test]
fn a_row_of_the_wrong_length_is_refused() {
    let mut levels = Levels::default();
    for ty in [TensorType::Q4_0, TensorType::Q6K, TensorType::F16] {
        let error = blocks::take_apart(ty, &[0; 3], 256, &mut levels).expect_err("it is refused");
        assert_eq!(error.code(), "quant.length", "{error}");
    }
}
