//! Attention of a chunk of tokens: each sees its own row's cache up to its own position.

use super::attend::{Heads, Variant};
use crate::gpu::{Binding, Dispatch, Extent, Gpu, GpuError};

/// Invocations in a workgroup. A lane sums four queries and four dimensions, so a workgroup does as many quads of queries as
/// heads of `head_dim / 4` lanes fit in; with that, what is staged takes less than 16 KiB for every `head_dim` up to 256.
const SIZE: u32 = 128;
/// Tokens in a workgroup where each invocation does one by itself.
const SERIAL_TOKENS: u32 = 8;

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
    /// `[tokens, stride(n_heads head_dim)]`: the queries, normed and rotated.
    pub q: &'a wgpu::Buffer,
    /// The key cache, holding the chunk's keys.
    pub k_cache: &'a wgpu::Buffer,
    /// The value cache, holding the chunk's values.
    pub v_cache: &'a wgpu::Buffer,
    /// `[tokens, stride(n_heads head_dim)]`; not the buffer that `q` is.
    pub out: &'a wgpu::Buffer,
}

impl Prefill<'_> {
    /// The dispatch over a chunk's tokens.
    pub fn dispatch(&self, gpu: &Gpu) -> Result<Dispatch, GpuError> {
        let heads = &self.heads;
        let params = gpu.uniform_of("attend_prefill params", &heads.params())?;
        let bindings = [
            Binding::whole(0, &params),
            Binding { at: 1, ..self.batch },
            Binding::whole(2, self.q),
            Binding::whole(3, self.k_cache),
            Binding::whole(4, self.v_cache),
            Binding::whole(5, self.out),
        ];
        let (groups, group) = heads.groups();
        let (kernel, tokens, in_y, own) = match self.variant {
            Variant::Workgroup => {
                let quads = (SIZE / (heads.head_dim / 4)).clamp(1, 8);
                let keys = if heads.head_dim > 192 { 8 } else { 16 };
                ("attend_prefill", 4 * quads, heads.n_heads, vec![("SIZE", SIZE), ("QUADS", quads), ("KEYS", keys)])
            }
            Variant::Serial => {
                let own = vec![("SIZE", SERIAL_TOKENS), ("GROUP", group), ("GROUPS", groups)];
                ("attend_prefill_serial", SERIAL_TOKENS, heads.n_kv_heads * groups, own)
            }
        };
        let count = [Extent::Tokens(tokens), Extent::Fixed(in_y), Extent::Fixed(1)];
        Dispatch::new(gpu, kernel, &[], &heads.consts(&own), &bindings, count)
    }
}
