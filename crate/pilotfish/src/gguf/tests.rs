//! What a reader must take, and what it must refuse.

use super::value::ValueType;
use super::{Array, GgufError, Header, MAX_HEADER_BYTES, Metadata, Scalar, Value, Writer};
use crate::quant::TensorType;

/// A file by hand, so that it can be wrong in ways the writer cannot be.
#[derive(Clone)]
struct Raw(Vec<u8>);

impl Raw {
    fn new(version: u32, tensors: u64, entries: u64) -> Self {
        let mut raw = Self(b"GGUF".to_vec());
        raw = raw.u32(version).u64(tensors).u64(entries);
        raw
    }
    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
    fn u32(self, v: u32) -> Self {
        self.bytes(&v.to_le_bytes())
    }
    fn u64(self, v: u64) -> Self {
        self.bytes(&v.to_le_bytes())
    }
    fn text(self, text: &[u8]) -> Self {
        self.u64(text.len() as u64).bytes(text)
    }
    /// A directory entry of an F32 vector.
    fn vector(self, name: &str, len: u64, offset: u64) -> Self {
        let entry = self.text(name.as_bytes()).u32(1).u64(len);
        entry.u32(0).u64(offset)
    }
    /// Pads the header and adds `data` bytes of tensors.
    fn data(mut self, data: usize) -> Self {
        let end = self.0.len().next_multiple_of(32) + data;
        self.0.resize(end, 0);
        self
    }
    fn parse(&self) -> Result<Header, GgufError> {
        Header::parse(&self.0, self.0.len() as u64)
    }
    fn refused(&self) -> GgufError {
        self.parse().expect_err("the file must be refused")
    }
}

fn sample() -> Vec<u8> {
    Writer::new()
        .string("general.architecture", "llama")
        .u32("llama.block_count", 30)
        .f32("llama.rope.freq_base", 1e4)
        .bool("tokenizer.ggml.add_bos_token", true)
        .strings("tokenizer.ggml.tokens", ["a", "", "é", "日本"])
        .array("tokenizer.ggml.token_type", Array::from(&[1, -3][..]))
        .array("tokenizer.ggml.scores", Array::from(&[-0.5f32, 2.0][..]))
        .tensor("a", &[3, 2], TensorType::F32, vec![1; 24])
        .and_then(|w| w.tensor("b", &[64], TensorType::Q8_0, vec![2; 68]))
        .expect("a valid tensor")
        .finish()
}

#[test]
fn what_was_written_is_read() {
    let file = sample();
    let header = Header::parse(&file, file.len() as u64).unwrap();
    let meta = &header.metadata;
    assert_eq!(header.version, 3);
    assert_eq!(meta.string("general.architecture").unwrap(), "llama");
    assert_eq!(meta.u32("llama.block_count").unwrap(), 30);
    assert_eq!(meta.f32("llama.rope.freq_base").unwrap(), 1e4);
    assert!(meta.bool("tokenizer.ggml.add_bos_token").unwrap());
    let tokens = meta.strings("tokenizer.ggml.tokens").unwrap();
    assert_eq!(tokens.iter().collect::<Vec<_>>(), ["a", "", "é", "日本"]);
    assert_eq!(tokens.get(4), None);
    assert_eq!(meta.i32s("tokenizer.ggml.token_type").unwrap(), [1, -3]);
    assert_eq!(meta.f32s("tokenizer.ggml.scores").unwrap(), [-0.5, 2.0]);
    let keys: Vec<_> = meta.iter().map(|(key, _)| key).collect();
    assert_eq!(keys[..2], ["general.architecture", "llama.block_count"]);

    let [a, b] = &header.tensors[..] else { panic!("two tensors") };
    assert_eq!((a.row_len(), a.rows(), a.bytes), (3, 2, 24));
    assert_eq!((b.ty, b.bytes), (TensorType::Q8_0, 68));
    assert_eq!(a.offset, header.data_offset);
    assert_eq!(b.offset, header.data_offset + 32);
    assert_eq!(file[a.offset as usize], 1);
    assert_eq!(file[b.offset as usize], 2);
    assert_eq!(header.tensor("b"), Some(b));
}

#[test]
fn every_prefix_asks_for_more_until_the_header_is_there() {
    let file = sample();
    let whole = Header::parse(&file, file.len() as u64).unwrap();
    let mut parsed = 0;
    for len in 0..=file.len() {
        match Header::parse(&file[..len], file.len() as u64) {
            Ok(header) => {
                assert_eq!(header, whole);
                parsed += 1;
            }
            Err(GgufError::NeedMore { at_least }) => {
                assert!(parsed == 0, "asked for more after having had enough");
                assert!(at_least > len as u64 && at_least <= file.len() as u64);
            }
            Err(error) => panic!("at {len}: {error}"),
        }
    }
    // The padding before the tensor data is not needed.
    assert!(parsed > file.len() as u64 as usize - whole.data_offset as usize);
}

#[test]
fn a_header_cut_anywhere_is_called_truncated() {
    let file = sample();
    let whole = Header::parse(&file, file.len() as u64).unwrap();
    for len in 0..file.len() - 32 {
        let error = Header::parse(&file[..len], len as u64).unwrap_err();
        assert_eq!(error.code(), "gguf.truncated", "at {len}: {error}");
        if len as u64 >= whole.data_offset {
            let GgufError::TensorOutOfFile { tensor, .. } = &error else { panic!("{error}") };
            let first_gone = whole.tensors.iter().find(|t| t.offset + t.bytes > len as u64);
            assert_eq!(*tensor, first_gone.unwrap().name);
        }
    }
}

#[test]
fn asking_for_more_grows_by_half() {
    let tokens = (0..100_000).map(|i| format!("token {i}"));
    let file = Writer::new().strings("tokens", tokens).finish();
    let (mut have, mut parsed_bytes, mut tries) = (0, 0, 0);
    while let Err(GgufError::NeedMore { at_least }) = Header::parse(&file[..have], file.len() as u64) {
        parsed_bytes += have;
        tries += 1;
        have = at_least as usize;
    }
    assert!(tries < 12, "{tries} tries");
    assert!(parsed_bytes < 3 * file.len());
}

#[test]
fn version_2_is_read_and_others_are_refused() {
    assert_eq!(Raw::new(2, 0, 0).parse().unwrap().version, 2);
    for version in [0, 1, 4, 0x0102] {
        let error = Raw::new(version, 0, 0).refused();
        assert_eq!(error, GgufError::Version { found: version });
    }
    let error = Raw::new(3u32.swap_bytes(), 0, 0).refused();
    assert_eq!(error, GgufError::BigEndian);
}

#[test]
fn what_is_not_gguf_is_said_to_be_something_else() {
    for (start, hint) in [
        (&b"<!DOCTYPE html>"[..], "web page"),
        (b"version https://git-lfs", "LFS"),
        (b"PK\x03\x04....", "zip"),
        (b"\x40\x01\0\0\0\0\0\0{", "safetensors"),
        (b"hello there", "expected \"GGUF\""),
    ] {
        let error = Header::parse(start, 1 << 20).unwrap_err();
        assert_eq!(error.code(), "gguf.not_gguf");
        assert!(error.to_string().contains(hint), "{error}");
    }
}

#[test]
fn a_length_beyond_the_file_is_refused_before_anything_is_allocated() {
    let huge = u64::MAX / 2;
    for raw in [
        Raw::new(3, huge, 0),
        Raw::new(3, 0, huge),
        Raw::new(3, 0, 1).u64(huge).u64(0).u64(0),
        Raw::new(3, 0, 1).text(b"k").u32(8).u64(huge),
        Raw::new(3, 0, 1).text(b"k").u32(9).u32(8).u64(huge),
        Raw::new(3, 0, 1).text(b"k").u32(9).u32(10).u64(huge),
        Raw::new(3, 0, 1).text(b"k").u32(9).u32(8).u64(1).u64(huge),
    ] {
        assert_eq!(raw.refused().code(), "gguf.truncated");
        // Where the file's length is not known, the limit on headers holds.
        let error = Header::parse(&raw.0, u64::MAX).unwrap_err();
        assert!(["gguf.header_too_large", "gguf.truncated"].contains(&error.code()), "{error}");
    }
    let raw = Raw::new(3, 0, 1).text(b"k").u32(8).u64(MAX_HEADER_BYTES);
    let error = Header::parse(&raw.0, u64::MAX).unwrap_err();
    assert_eq!(error.code(), "gguf.header_too_large");
}

#[test]
fn damaged_metadata_is_refused_by_key() {
    let entry = || Raw::new(3, 0, 1).text(b"some.key");
    for (raw, code) in [
        (entry().u32(13).u64(0), "gguf.value_type"),
        (entry().u32(9).u32(9).u64(0).u64(0), "gguf.value_type"),
        (entry().u32(7).bytes(&[2]), "gguf.bool"),
        (entry().u32(9).u32(7).u64(2).bytes(&[1, 7]), "gguf.bool"),
        (entry().u32(8).text(b"\xff"), "gguf.utf8"),
    ] {
        let error = raw.refused();
        assert_eq!(error.code(), code);
        assert!(error.to_string().contains("some.key"), "{error}");
    }
    let twice = Raw::new(3, 0, 2).text(b"k").u32(0).bytes(&[1]);
    let error = twice.text(b"k").u32(0).bytes(&[2]).refused();
    assert_eq!(error, GgufError::DuplicateKey { key: "k".into() });
}

#[test]
fn an_invalid_string_in_an_array_is_named_by_its_index() {
    let array = |texts: [&[u8]; 3]| {
        let raw = Raw::new(3, 0, 1).text(b"k").u32(9).u32(8).u64(3);
        texts.iter().fold(raw, |raw, text| raw.text(text)).refused()
    };
    let named = |index| GgufError::Utf8 { what: format!("string {index} of metadata key \"k\"") };
    assert_eq!(array([b"a", b"\xff", b"b"]), named(1));
    // Valid as a whole, but the second string begins inside a character.
    assert_eq!(array([b"a", b"\xc3", b"\xa9"]), named(1));
}

#[test]
fn damaged_tensors_are_refused_by_name() {
    let refused = |raw: Raw, code: &str| {
        let error = raw.refused();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains("blk.0.w"), "{error}");
        error
    };
    let entry = |count| Raw::new(3, count, 0).text(b"blk.0.w");
    let name = "blk.0.w";
    refused(entry(1).u32(0).u64(0).u64(0).u64(0), "gguf.shape");
    refused(entry(1).u32(5).u64(1).u64(1).u64(1), "gguf.shape");
    refused(entry(1).u32(1).u64(0).u32(0).u64(0), "gguf.shape");
    let wide = entry(1).u32(2).u64(1 << 40).u64(1 << 40);
    refused(wide.u32(0).u64(0), "gguf.shape");
    let long = entry(1).u32(1).u64(1 << 59).u32(0).u64(0);
    refused(long, "gguf.truncated");
    refused(entry(1).u32(1).u64(33).u32(8).u64(0), "gguf.row_length");
    let raw = Raw::new(3, 1, 0);
    refused(raw.clone().vector(name, 4, 16).data(64), "gguf.misaligned");
    refused(raw.clone().vector(name, 4, 32).data(32), "gguf.truncated");
    refused(raw.vector(name, 4, u64::MAX - 31).data(64), "gguf.truncated");
    let two = Raw::new(3, 2, 0).vector("a", 64, 0);
    refused(two.vector(name, 4, 32).data(256), "gguf.overlap");
    let two = Raw::new(3, 2, 0).vector(name, 4, 0);
    refused(two.vector(name, 4, 32).data(64), "gguf.duplicate_tensor");

    let error = refused(entry(1).u32(1).u64(256).u32(23).u64(0), "gguf.tensor_type");
    let message = error.to_string();
    assert!(message.contains("IQ4_XS") && message.contains("Q4_K"), "{message}");
    let error = refused(entry(1).u32(1).u64(256).u32(999).u64(0), "gguf.tensor_type");
    assert!(error.to_string().contains("ggml type 999"), "{error}");
}

#[test]
fn tensors_may_lie_in_any_order_and_leave_gaps() {
    let raw = Raw::new(3, 2, 0).vector("late", 4, 64).vector("early", 8, 0);
    let header = raw.data(128).parse().unwrap();
    assert_eq!(header.tensors[0].offset, header.data_offset + 64);
    assert_eq!(header.tensors[1].offset, header.data_offset);
}

#[test]
fn the_file_s_own_alignment_counts() {
    let with = |alignment: u32| {
        let raw = Raw::new(3, 1, 1).text(b"general.alignment").u32(4);
        raw.u32(alignment).vector("a", 4, 64).data(256)
    };
    assert_eq!(with(64).parse().unwrap().data_offset % 64, 0);
    assert_eq!(with(128).refused().code(), "gguf.misaligned");
    for found in [0, 3, 1 << 17] {
        assert_eq!(with(found).refused(), GgufError::Alignment { found });
    }
}

#[test]
fn getters_say_what_they_found_and_what_they_expected() {
    let meta = metadata(&[
        ("negative", Value::Scalar(Scalar::I32(-1))),
        ("wide", Value::Scalar(Scalar::U64(1 << 32))),
        ("small", Value::Scalar(Scalar::U8(7))),
        ("double", Value::Scalar(Scalar::F64(0.5))),
        ("nan", Value::Scalar(Scalar::F32(f32::NAN))),
        ("text", Value::String("x".repeat(100))),
    ]);
    assert_eq!(meta.u32("small").unwrap(), 7);
    assert_eq!(meta.u64("wide").unwrap(), 1 << 32);
    assert_eq!(meta.f32("double").unwrap(), 0.5);
    assert_eq!(meta.opt_u32("absent").unwrap(), None);
    for (error, parts) in [
        (meta.u32("absent").unwrap_err(), ["absent", "missing"]),
        (meta.u32("negative").unwrap_err(), ["the i32 -1", "from 0"]),
        (meta.u32("wide").unwrap_err(), ["4294967296", "from 0"]),
        (meta.f32("nan").unwrap_err(), ["f32", "finite"]),
        (meta.f32("small").unwrap_err(), ["the u8 7", "float"]),
        (meta.opt_bool("text").unwrap_err(), ["100 bytes", "a boolean"]),
        (meta.f32s("small").unwrap_err(), ["u8", "array of floats"]),
    ] {
        for part in parts {
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}

#[test]
fn every_value_type_survives_a_round_trip() {
    let scalars = [
        Scalar::U8(200),
        Scalar::I8(-3),
        Scalar::U16(60_000),
        Scalar::I16(-300),
        Scalar::U32(1 << 31),
        Scalar::I32(-(1 << 30)),
        Scalar::F32(1.5),
        Scalar::Bool(true),
        Scalar::U64(1 << 60),
        Scalar::I64(-(1 << 60)),
        Scalar::F64(1e-300),
    ];
    let mut writer = Writer::new();
    for scalar in scalars {
        let (ty, raw) = scalar.to_raw();
        let array = Array::from_raw(ty, &raw.repeat(3));
        writer = writer.value(ty.name(), Value::Scalar(scalar)).array(&format!("{}s", ty.name()), array);
    }
    let file = writer.finish();
    let header = Header::parse(&file, file.len() as u64).unwrap();
    for scalar in scalars {
        let name = scalar.ty().name();
        assert_eq!(header.metadata.get(name), Some(&Value::Scalar(scalar)));
        let Some(Value::Array(array)) = header.metadata.get(&format!("{name}s")) else { panic!("an array of {name}") };
        assert_eq!(array.iter().collect::<Vec<_>>(), [scalar; 3]);
    }
    assert_eq!(ValueType::from_id(ValueType::ARRAY), None);
}

fn metadata(entries: &[(&str, Value)]) -> Metadata {
    let mut metadata = Metadata::default();
    for (key, value) in entries {
        assert!(metadata.insert(key, value.clone()));
    }
    metadata
}
