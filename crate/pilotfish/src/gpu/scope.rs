//! Who owns buffers, and frees them.
//!
//! In a browser a buffer that nobody holds any more is freed when the garbage collector finds it, and that looks at the few
//! bytes of the handle, not at the gigabyte behind it (wgpu 30's web backend does nothing when a buffer is dropped). So what a
//! model or a session made is destroyed with it.

use super::Gpu;

/// Buffers that are destroyed when this is dropped; what the GPU is still doing with them is finished first.
#[derive(Debug, Default)]
pub struct Owned(Vec<wgpu::Buffer>);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.iter().for_each(wgpu::Buffer::destroy);
    }
}

/// While this lives, it collects every buffer that is made, those of a scope within it excepted. Must not live across an await:
/// buffers of other work would be among them. Dropped, for an error's sake, it destroys what it has collected.
#[derive(Debug)]
pub struct Scope<'a>(&'a Gpu);

impl Gpu {
    /// Begins to collect.
    pub fn scope(&self) -> Scope<'_> {
        self.scopes.borrow_mut().push(Owned::default());
        Scope(self)
    }

    /// Hands a new buffer to the innermost scope, if there is one.
    pub(super) fn made(&self, buffer: &wgpu::Buffer) {
        if let Some(Owned(buffers)) = self.scopes.borrow_mut().last_mut() {
            buffers.push(buffer.clone());
        }
    }
}

impl Scope<'_> {
    /// Ends the collecting.
    pub fn close(self) -> Owned {
        // What is left for `drop` is taken out here.
        self.0.scopes.borrow_mut().last_mut().map(std::mem::take).unwrap_or_default()
    }
}

impl Drop for Scope<'_> {
    fn drop(&mut self) {
        let ended = self.0.scopes.borrow_mut().pop();
        drop(ended);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{GpuOptions, Usage};
    use super::*;

    #[test]
    fn a_scope_collects_what_is_made_within_and_an_inner_one_its_own() {
        let gpu = pollster::block_on(Gpu::open(&GpuOptions::default())).expect("a Vulkan driver is installed");
        let make = || gpu.buffer("test", 64, Usage::Storage).expect("64 bytes can be had");
        make();
        let outer = gpu.scope();
        make();
        let inner = gpu.scope().close();
        let with_two = gpu.scope();
        make();
        make();
        let two = with_two.close();
        drop(gpu.scope());
        make();
        let outer = outer.close();
        assert_eq!((outer.0.len(), inner.0.len(), two.0.len()), (2, 0, 2));
        assert!(gpu.scopes.borrow().is_empty());
        // What was destroyed cannot be used, what was not can.
        let gone = two.0[0].clone();
        drop(two);
        gpu.write(&outer.0[0], 0, &[1.0f32]);
        assert!(pollster::block_on(gpu.read::<f32>(&outer.0[0], 1)).is_ok_and(|read| read == [1.0]));
        assert!(pollster::block_on(gpu.read::<f32>(&gone, 1)).is_err());
    }
}
