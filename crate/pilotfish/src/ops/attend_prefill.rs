//! Attention of a chunk of tokens: each sees its own row's cache up to its own position.

use super::attend::{Heads, Variant};
use crate::gpu::{Binding, Dispatch, Extent, Gpu, GpuError};

/// What the kernel reads and writes. [`super::rope::Rope`] comes before it.
///
/// Tokens of one row are neighbours in the chunk, with consecutive positions; several rows may follow each other. Its twin is
/// [`super::attend::attend`], token by token.
#[derive(Debug, Clone, Copy)]
pub struct Prefill<'a> {
    /// The heads.
    pub heads: Heads,
    /// [`Variant::of`] the GPU, unless a test wants the other.
    pub variant: Variant,
    /// The batch.
    pub batch: Binding<'a>,
    /// The key cache, holding the chunk's keys.
    pub k_cache: &'a wgpu::Buffer,
    /// The value cache, holding the chunk's values.
    pub v_cache: &'a wgpu::Buffer,
    /// `[tokens, stride(n_heads head_dim)]`: rotated queries in, attention out.
    pub out: &'a wgpu::Buffer,
}

impl Prefill<'_> {
    /// The dispatch over a chunk's tokens.
    pub fn dispatch(&self, gpu: &Gpu) -> Result<Dispatch, GpuError> {
        let params = gpu.uniform_of("attend_prefill params", &self.heads.params())?;
        let bindings = [
            Binding::whole(0, &params),
            Binding { at: 1, ..self.batch },
            Binding::whole(2, self.k_cache),
            Binding::whole(3, self.v_cache),
            Binding::whole(4, self.out),
        ];
        let (kernel, size) = match self.variant {
            Variant::Workgroup => ("attend_prefill_serial", 16),
            Variant::Serial => ("attend_prefill_serial", 16),
        };
        let consts = self.heads.consts(&[("SIZE", size)]);
        let count = [Extent::Tokens(size), Extent::Fixed(self.heads.n_heads), Extent::Fixed(1)];
        Dispatch::new(gpu, kernel, &[], &consts, &bindings, count)
    }
}
