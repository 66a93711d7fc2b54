//! Buffers: made checked, written by the queue, read back late.

use super::{Gpu, GpuError};

/// What a buffer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// Read or written by kernels, written by the queue, copied from and to.
    Storage,
    /// A kernel's parameters.
    Uniform,
    /// Mapped by the CPU to read.
    Readback,
}

impl Gpu {
    /// Makes a zeroed buffer of at least `bytes` (rounded up to 16). `label` appears in errors.
    pub fn buffer(&self, label: &str, bytes: u64, usage: Usage) -> Result<wgpu::Buffer, GpuError> {
        let bytes = bytes.max(16).next_multiple_of(16);
        let largest = match usage {
            Usage::Storage => self.limits.max_buffer_size.min(self.limits.max_storage_buffer_binding_size),
            Usage::Uniform => self.limits.max_uniform_buffer_binding_size,
            Usage::Readback => self.limits.max_buffer_size,
        };
        if bytes > largest {
            return Err(GpuError::TooLarge { what: label.to_owned(), found: bytes, expected: largest });
        }
        let usage = match usage {
            Usage::Storage => wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC,
            Usage::Uniform => wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            Usage::Readback => wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        };
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes,
            usage,
            mapped_at_creation: false,
        });
        self.made(&buffer);
        Ok(buffer)
    }

    /// A storage buffer holding `values`.
    pub fn storage_of<T: bytemuck::NoUninit>(&self, label: &str, values: &[T]) -> Result<wgpu::Buffer, GpuError> {
        let buffer = self.buffer(label, std::mem::size_of_val(values) as u64, Usage::Storage)?;
        self.write(&buffer, 0, values);
        Ok(buffer)
    }

    /// A uniform buffer holding `value`, a `#[repr(C)]` struct laid out as the shader's.
    pub fn uniform_of<T: bytemuck::NoUninit>(&self, label: &str, value: &T) -> Result<wgpu::Buffer, GpuError> {
        let buffer = self.buffer(label, size_of::<T>() as u64, Usage::Uniform)?;
        self.write(&buffer, 0, std::slice::from_ref(value));
        Ok(buffer)
    }

    /// Writes `values` at byte `offset` (a multiple of 4); takes effect before the next submit.
    pub fn write<T: bytemuck::NoUninit>(&self, buffer: &wgpu::Buffer, offset: u64, values: &[T]) {
        if !values.is_empty() {
            self.queue.write_buffer(buffer, offset, bytemuck::cast_slice(values));
        }
    }

    /// Copies a storage buffer to the CPU: for tests, scoring and callers that ask for logits; never in the ordinary path.
    pub async fn read<T: bytemuck::Pod>(&self, buffer: &wgpu::Buffer, count: usize) -> Result<Vec<T>, GpuError> {
        let bytes = ((count * size_of::<T>()) as u64).next_multiple_of(4);
        let scope = self.scope();
        let readback = self.readback("read", bytes)?;
        let _owned = scope.close();
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(buffer, 0, &readback.buffer, 0, bytes);
        self.submit(encoder);
        readback.start();
        let mut values = Vec::new();
        readback
            .take(self, |mapped| {
                values = mapped.chunks_exact(size_of::<T>()).take(count).map(bytemuck::pod_read_unaligned).collect();
            })
            .await?;
        Ok(values)
    }

    /// A reusable place to read `bytes` back to.
    pub fn readback(&self, label: &str, bytes: u64) -> Result<Readback, GpuError> {
        Ok(Readback { buffer: self.buffer(label, bytes, Usage::Readback)?, bytes, done: std::cell::RefCell::new(None) })
    }

    /// A new command encoder.
    pub fn encoder(&self) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
    }

    /// Sends queued writes on their way and waits until they, and everything submitted before, are done.
    pub async fn flush(&self) -> Result<(), GpuError> {
        self.queue.submit([]);
        let (sender, receiver) = futures_channel::oneshot::channel();
        self.queue.on_submitted_work_done(move || {
            // Nobody waits if the caller was dropped.
            let _ = sender.send(());
        });
        if let Err(error) = self.device.poll(wgpu::PollType::wait_indefinitely()) {
            return Err(GpuError::Lost { message: error.to_string() });
        }
        let done = receiver.await;
        self.take_fault()?;
        done.map_err(|_| GpuError::Lost { message: "the queue was dropped".into() })
    }

    /// Submits what `encoder` holds.
    pub fn submit(&self, encoder: wgpu::CommandEncoder) {
        self.queue.submit([encoder.finish()]);
    }
}

/// A mappable buffer: copy into [`Readback::buffer`], submit, [`Readback::start`], and later [`Readback::take`].
#[derive(Debug)]
pub struct Readback {
    /// Where to copy to.
    pub buffer: wgpu::Buffer,
    bytes: u64,
    done: std::cell::RefCell<Option<futures_channel::oneshot::Receiver<Result<(), wgpu::BufferAsyncError>>>>,
}

impl Readback {
    /// Asks for the mapping of what was submitted before this call.
    pub fn start(&self) {
        let (sender, receiver) = futures_channel::oneshot::channel();
        self.buffer.slice(..self.bytes).map_async(wgpu::MapMode::Read, move |result| {
            // The receiver is gone if the reader was dropped; then nobody wants the answer.
            let _ = sender.send(result);
        });
        *self.done.borrow_mut() = Some(receiver);
    }

    /// Waits for the mapping, shows the bytes to `with`, and unmaps. Fails if [`Readback::start`] was not called.
    pub async fn take(&self, gpu: &Gpu, with: impl FnOnce(&[u8])) -> Result<(), GpuError> {
        let receiver = self.done.borrow_mut().take();
        let Some(receiver) = receiver else {
            return Err(GpuError::Invalid { message: "a readback was taken before it was started".into() });
        };
        // Natively somebody has to drive the device; in a browser this does nothing and the await below waits.
        if let Err(error) = gpu.device.poll(wgpu::PollType::wait_indefinitely()) {
            return Err(GpuError::Lost { message: error.to_string() });
        }
        let mapped = receiver.await;
        gpu.fault()?;
        let failed = |message: String| GpuError::Lost { message };
        mapped.map_err(|_| failed("the mapping was dropped".into()))?.map_err(|error| failed(error.to_string()))?;
        let view = self.buffer.slice(..self.bytes).get_mapped_range().map_err(|error| failed(error.to_string()))?;
        with(&view);
        drop(view);
        self.buffer.unmap();
        Ok(())
    }
}
