//! Any bytes as a GGUF file: no panic, no allocation beyond the input, and a header that keeps its promises.
//!
//! The first byte says how much of the file is there and whether its length is known.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pilotfish::arch::ModelSpec;
use pilotfish::gguf::{GgufError, Header};

fuzz_target!(|input: &[u8]| {
    let Some((&mode, file)) = input.split_first() else {
        return;
    };
    let file_len = match mode & 1 {
        0 => file.len() as u64,
        _ => u64::MAX,
    };
    let there = file.len() * usize::from(mode >> 1) / 127;
    if let Err(GgufError::NeedMore { at_least }) = Header::parse(&file[..there], file_len) {
        assert!(at_least > there as u64 && at_least <= file_len);
    }
    let header = match Header::parse(file, file_len) {
        Ok(header) => header,
        Err(error) => {
            assert!(!error.to_string().is_empty() && !error.code().is_empty());
            return;
        }
    };
    let mut end = header.data_offset;
    let mut tensors: Vec<_> = header.tensors.iter().collect();
    tensors.sort_by_key(|tensor| tensor.offset);
    for tensor in tensors {
        assert!(tensor.offset >= end, "{tensor:?} overlaps");
        end = tensor.offset + tensor.bytes;
        assert!(end <= file_len, "{tensor:?} is not in the file");
    }
    for (key, value) in header.metadata.iter() {
        // The very value: NaN equals nothing.
        assert!(header.metadata.get(key).is_some_and(|found| std::ptr::eq(found, value)));
        let _ = header.metadata.opt_u32(key);
        let _ = header.metadata.opt_f32s(key);
        let _ = header.metadata.opt_i32s(key);
        if let Ok(Some(strings)) = header.metadata.opt_strings(key) {
            assert!((0..strings.len()).all(|index| strings.get(index).is_some()));
        }
    }
    match ModelSpec::from_header(&header) {
        Ok(spec) => {
            let _ = spec.memory();
            for layer in &spec.layers {
                if layer.rope.dims <= 4096 {
                    let _ = layer.rope.inverse_frequencies(None);
                }
                assert!(layer.rope.magnitude() > 0.0);
            }
        }
        Err(error) => assert!(!error.to_string().is_empty() && !error.code().is_empty()),
    }
});
