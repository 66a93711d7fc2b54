//! The fourteen formats a tensor may have here, and how GGUF numbers them.

use super::{Format, bf16, f16, f32, iq4_nl, q2_k, q3_k, q4_0, q4_1, q4_k, q5_0, q5_1, q5_k, q6_k, q8_0};

/// How a tensor's weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TensorType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of a single: 8 bits of exponent, 7 of mantissa.
    BF16,
    /// 4 bits, one scale per 32.
    Q4_0,
    /// 4 bits, scale and minimum per 32.
    Q4_1,
    /// 5 bits, one scale per 32.
    Q5_0,
    /// 5 bits, scale and minimum per 32.
    Q5_1,
    /// 8 bits, one scale per 32.
    Q8_0,
    /// 2 bits, 4-bit scale and minimum per 16, two scales per 256.
    Q2K,
    /// 3 bits, 6-bit scale per 16, one scale per 256.
    Q3K,
    /// 4 bits, 6-bit scale and minimum per 32, two scales per 256.
    Q4K,
    /// 5 bits, 6-bit scale and minimum per 32, two scales per 256.
    Q5K,
    /// 6 bits, 8-bit scale per 16, one scale per 256.
    Q6K,
    /// 4 bits into a table of 16 unevenly spaced values, one scale per 32.
    IQ4NL,
}

impl TensorType {
    /// Every format, in the order of the enum.
    pub const ALL: [Self; 14] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
        Self::IQ4NL,
    ];

    /// The format's sizes and functions.
    pub const fn format(self) -> &'static Format {
        match self {
            Self::F32 => &f32::FORMAT,
            Self::F16 => &f16::FORMAT,
            Self::BF16 => &bf16::FORMAT,
            Self::Q4_0 => &q4_0::FORMAT,
            Self::Q4_1 => &q4_1::FORMAT,
            Self::Q5_0 => &q5_0::FORMAT,
            Self::Q5_1 => &q5_1::FORMAT,
            Self::Q8_0 => &q8_0::FORMAT,
            Self::Q2K => &q2_k::FORMAT,
            Self::Q3K => &q3_k::FORMAT,
            Self::Q4K => &q4_k::FORMAT,
            Self::Q5K => &q5_k::FORMAT,
            Self::Q6K => &q6_k::FORMAT,
            Self::IQ4NL => &iq4_nl::FORMAT,
        }
    }

    /// The lower-case name, as in `q4_k`; shader files are named with it.
    pub const fn name(self) -> &'static str {
        self.format().name
    }

    /// Elements in one block of the file.
    pub const fn block_len(self) -> usize {
        self.format().block_len
    }

    /// Bytes of one block of the file.
    pub const fn block_bytes(self) -> usize {
        self.format().block_bytes
    }

    /// The number GGUF stores for this format (`ggml_type`).
    pub const fn ggml_id(self) -> u32 {
        self.format().ggml_id
    }

    /// The format with that GGUF number, if it is one of the fourteen.
    pub fn from_ggml(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|ty| ty.ggml_id() == id)
    }

    /// The format with that lower-case name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ty| ty.name() == name)
    }
}

impl std::fmt::Display for TensorType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl serde::Serialize for TensorType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Names of all `ggml_type` numbers in use, so that a refused tensor is refused by name. Source: `ggml.h`.
pub const GGML_TYPE_NAMES: [(u32, &str); 36] = [
    (0, "F32"),
    (1, "F16"),
    (2, "Q4_0"),
    (3, "Q4_1"),
    (6, "Q5_0"),
    (7, "Q5_1"),
    (8, "Q8_0"),
    (9, "Q8_1"),
    (10, "Q2_K"),
    (11, "Q3_K"),
    (12, "Q4_K"),
    (13, "Q5_K"),
    (14, "Q6_K"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (30, "BF16"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
    (40, "NVFP4"),
    (41, "Q1_0"),
];
