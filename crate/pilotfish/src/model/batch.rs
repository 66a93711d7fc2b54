//! Batches as the kernels read them: which token of which row stands at which position, and which slot a position has.
//!
//! A weight set has a decode batch and a prefill batch, and one table of slots for both behind them:
//!
//! ```text
//! decode   (tokens, table, 0, 0), then (id, row, position, lane) for each row
//! prefill  (tokens, table, 0, 0), then (id, row, position, 0) for each token of a chunk
//! table    [rows, context] slots
//! ```
//!
//! `table` in a header is where the table begins, in entries from that header. All of it lies in one buffer: an attention kernel
//! has no binding left for a table of its own under `WebGPU`'s default limits.

use super::Sizes;
use crate::gpu::{Binding, Gpu};
use crate::tokenizer::TokenId;

/// Bytes of an entry, and of a header.
const ENTRY: u64 = 16;
/// Parts of a buffer begin at multiples of this: `WebGPU`'s alignment of bindings.
const ALIGNMENT: u64 = 256;

/// One token of a batch.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct BatchToken {
    /// Token id.
    pub id: TokenId,
    /// The row, of this weight set.
    pub row: u32,
    /// Position in that row.
    pub position: u32,
    /// The mix that chooses the row's next token; in a prefill, nothing.
    pub lane: u32,
}

/// Where the batches of a weight set lie in a buffer, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchPlace {
    decode: u64,
    prefill: u64,
    table: u64,
    end: u64,
    context: u32,
}

impl BatchPlace {
    /// The place for a forward pass of these sizes, from byte `start` on or a little later.
    pub fn after(start: u64, sizes: &Sizes) -> Self {
        let batch = |tokens: u32| (ENTRY * (1 + u64::from(tokens))).next_multiple_of(ALIGNMENT);
        let decode = start.next_multiple_of(ALIGNMENT);
        let prefill = decode + batch(sizes.rows);
        let table = prefill + batch(sizes.chunk);
        let end = table + (4 * u64::from(sizes.rows) * u64::from(sizes.context)).next_multiple_of(ENTRY);
        Self { decode, prefill, table, end, context: sizes.context }
    }

    /// Where the next weight set's may begin.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Where the decode batch begins.
    pub fn decode_at(&self) -> u64 {
        self.decode
    }

    /// The decode batch and the table. The binding's `at` is to be set.
    pub(super) fn decode<'a>(&self, buffer: &'a wgpu::Buffer) -> Binding<'a> {
        Binding { at: 0, buffer, range: Some((self.decode, self.end - self.decode)) }
    }

    /// The prefill batch and the table. The binding's `at` is to be set.
    pub(super) fn prefill<'a>(&self, buffer: &'a wgpu::Buffer) -> Binding<'a> {
        Binding { at: 0, buffer, range: Some((self.prefill, self.end - self.prefill)) }
    }

    /// Writes a decode batch.
    pub fn write_decode(&self, gpu: &Gpu, buffer: &wgpu::Buffer, tokens: &[BatchToken]) {
        self.write(gpu, buffer, self.decode, tokens);
    }

    /// Writes a prefill batch.
    pub fn write_prefill(&self, gpu: &Gpu, buffer: &wgpu::Buffer, tokens: &[BatchToken]) {
        self.write(gpu, buffer, self.prefill, tokens);
    }

    /// Writes the slots of a row from position `first` on.
    pub fn write_slots(&self, gpu: &Gpu, buffer: &wgpu::Buffer, row: usize, first: usize, slots: &[u32]) {
        let at = row as u64 * u64::from(self.context) + first as u64;
        gpu.write(buffer, self.table + 4 * at, slots);
    }

    fn write(&self, gpu: &Gpu, buffer: &wgpu::Buffer, at: u64, tokens: &[BatchToken]) {
        let table = ((self.table - at) / ENTRY) as u32;
        let header = BatchToken { id: tokens.len() as u32, row: table, position: 0, lane: 0 };
        let entries: Vec<BatchToken> = std::iter::once(header).chain(tokens.iter().copied()).collect();
        gpu.write(buffer, at, &entries);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_each_other_and_can_be_bound() {
        let sizes = Sizes { rows: 3, context: 10, chunk: 32, slots: 30 };
        let first = BatchPlace::after(0, &sizes);
        assert_eq!((first.decode, first.prefill, first.table, first.end), (0, 256, 256 + 768, 1024 + 128));
        let second = BatchPlace::after(first.end(), &sizes);
        assert_eq!((second.decode_at(), second.prefill), (1280, 1536));
    }
}
