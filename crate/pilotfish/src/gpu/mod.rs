//! Device and limits, buffers, pipelines, the one-pass recorder, readback.
