//! Weight sets, KV cache, and the recorded step.
