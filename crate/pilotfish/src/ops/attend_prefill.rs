//! Attention of a chunk of tokens: each sees its own row's cache up to its own position.

use super::attend::{Heads, Variant};
use crate::gpu::{Binding, Dispatch, Extent, Gpu, GpuError};

/// Invocations in a workgroup. A lane sums four queries and four dimensions, so a workgroup does as many quads of queries as
/// heads of `head_dim / 4` lanes fit in; with that, what is staged takes less than 16 KiB for every `head_dim` up to 256.
const SIZE: u32 = 128;

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
        let (kernel, tokens, own) = match self.variant {
            Variant::Workgroup => {
                let quads = (SIZE / (self.heads.head_dim / 4)).clamp(1, 8);
                let keys = if self.heads.head_dim > 192 { 8 } else { 16 };
                ("attend_prefill", 4 * quads, vec![("SIZE", SIZE), ("QUADS", quads), ("KEYS", keys)])
            }
            Variant::Serial => ("attend_prefill_serial", 16, vec![("SIZE", 16)]),
        };
        let count = [Extent::Tokens(tokens), Extent::Fixed(self.heads.n_heads), Extent::Fixed(1)];
        Dispatch::new(gpu, kernel, &[], &self.heads.consts(&own), &bindings, count)
    }
}
