//! The GGUF container: header, metadata, tensor directory. No tensor data is interpreted here.
