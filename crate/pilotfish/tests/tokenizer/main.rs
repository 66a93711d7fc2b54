//! The tokenizers against their own vectors, against real models, and against what is no vocabulary at all.

mod json;
mod real;
mod refused;
mod stream;
mod support;
mod vectors;
