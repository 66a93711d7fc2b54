//! Puts together what the splits of [`super::attend`] found.

use super::attend::{Heads, Variant};
use crate::gpu::{Binding, Dispatch, Extent, Gpu, GpuError};

/// What the kernel reads and writes; the same buffers as [`super::attend::Attend`]'s.
///
/// Its twin is [`super::attend::attend`]: split or not, attention is the same function.
#[derive(Debug, Clone, Copy)]
pub struct Combine<'a> {
    /// The heads.
    pub heads: Heads,
    /// That of [`super::attend::Attend`].
    pub variant: Variant,
    /// The batch.
    pub batch: Binding<'a>,
    /// What each split found.
    pub partials: &'a wgpu::Buffer,
    /// `[tokens, stride(n_heads head_dim)]`.
    pub out: &'a wgpu::Buffer,
}

impl Combine<'_> {
    /// The dispatch over a decoding step's tokens, left out where `attend` has written `out` itself: on a GPU, with one split.
    pub fn dispatch(&self, gpu: &Gpu) -> Result<Dispatch, GpuError> {
        let params = gpu.uniform_of("attend_combine params", &self.heads.params())?;
        let bindings = [
            Binding::whole(0, &params),
            Binding { at: 1, ..self.batch },
            Binding::whole(2, self.partials),
            Binding::whole(3, self.out),
        ];
        let consts = self.heads.consts(&[("SIZE", 64)]);
        let heads = match self.variant {
            Variant::Workgroup => Extent::IfSplit(self.heads.n_heads),
            Variant::Serial => Extent::Fixed(self.heads.n_heads),
        };
        let count = [heads, Extent::Tokens(1), Extent::Fixed(1)];
        Dispatch::new(gpu, "attend_combine", &[], &consts, &bindings, count)
    }
}
