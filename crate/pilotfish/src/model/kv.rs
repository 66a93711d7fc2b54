//! The key-value cache of a weight set on the GPU: keys and values of each layer, by slot. A step pays for slots with one word read
//! per key and head, beside `head_dim * 4` bytes of key and value.

use super::Sizes;
use super::forward::heads;
use crate::arch::ModelSpec;
use crate::gpu::{Gpu, GpuError, Owned, Usage};

/// The caches of all layers.
#[derive(Debug)]
pub struct KvCache {
    /// Keys and values of each layer.
    pub(super) layers: Vec<(wgpu::Buffer, wgpu::Buffer)>,
    _buffers: Owned,
}

impl KvCache {
    /// Room for `slots` positions of a model.
    pub fn new(gpu: &Gpu, spec: &ModelSpec, slots: u32) -> Result<Self, GpuError> {
        let scope = gpu.scope();
        let sizes = Sizes { rows: 0, context: 0, chunk: 0, slots };
        let cache = |layer| {
            let bytes = heads(spec, layer, &sizes).cache_bytes();
            Ok((gpu.buffer("key cache", bytes, Usage::Storage)?, gpu.buffer("value cache", bytes, Usage::Storage)?))
        };
        let layers = spec.layers.iter().map(cache).collect::<Result<_, GpuError>>()?;
        Ok(Self { layers, _buffers: scope.close() })
    }
}
