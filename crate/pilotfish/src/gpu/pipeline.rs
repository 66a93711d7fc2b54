//! Pipelines, made once per kernel, slots and constants, and the bind groups that go with them.

use std::fmt::Write as _;
use std::rc::Rc;

use super::{Gpu, GpuError, wgsl};

include!(concat!(env!("OUT_DIR"), "/shaders.rs"));

/// Which program: a kernel of `shaders/`, what fills its slots, and its constants.
#[derive(Debug, Clone, Copy)]
pub struct Shader<'a> {
    /// The file's stem.
    pub kernel: &'a str,
    /// `(slot, value)` pairs for its imports.
    pub slots: &'a [(&'a str, &'a str)],
    /// `(name, value)` pairs for its `#const` lines.
    pub consts: &'a [(&'a str, u32)],
}

/// A compiled kernel.
#[derive(Debug)]
pub struct Pipeline {
    pub(super) pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
}

/// A buffer at a binding number, whole or in part.
#[derive(Debug, Clone, Copy)]
pub struct Binding<'a> {
    /// `@binding(n)`; all kernels use `@group(0)`.
    pub at: u32,
    /// The buffer.
    pub buffer: &'a wgpu::Buffer,
    /// Byte offset (a multiple of 256) and size, or the whole buffer.
    pub range: Option<(u64, u64)>,
}

impl<'a> Binding<'a> {
    /// The whole buffer at binding `at`.
    pub fn whole(at: u32, buffer: &'a wgpu::Buffer) -> Self {
        Self { at, buffer, range: None }
    }
}

impl Gpu {
    /// Compiles `shader`, or returns it from the cache. The entry point is `main`.
    pub fn pipeline(&self, shader: &Shader<'_>) -> Result<Rc<Pipeline>, GpuError> {
        let mut key = shader.kernel.to_owned();
        for (slot, value) in shader.slots {
            let _ = write!(key, " {slot}:{value}");
        }
        for (name, value) in shader.consts {
            let _ = write!(key, " {name}={value}");
        }
        if let Some(found) = self.pipelines.borrow().get(&key) {
            return Ok(Rc::clone(found));
        }
        let source = |name: &str| SOURCES.iter().find(|(stem, _)| *stem == name).map(|(_, text)| *text);
        let text = wgsl::assemble(&source, shader.kernel, shader.slots, shader.consts)
            .map_err(|error| GpuError::Invalid { message: error.to_string() })?;
        let module = self.device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(&key),
            source: wgpu::ShaderSource::Wgsl(text.into()),
        });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&key),
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                // Every kernel writes its workgroup memory before it reads it.
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: None,
        });
        let layout = pipeline.get_bind_group_layout(0);
        let made = Rc::new(Pipeline { pipeline, layout });
        self.pipelines.borrow_mut().insert(key, Rc::clone(&made));
        Ok(made)
    }

    /// Binds buffers for `pipeline`.
    pub fn bind(&self, pipeline: &Pipeline, bindings: &[Binding<'_>]) -> wgpu::BindGroup {
        let entries: Vec<wgpu::BindGroupEntry<'_>> = bindings
            .iter()
            .map(|binding| wgpu::BindGroupEntry {
                binding: binding.at,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: binding.buffer,
                    offset: binding.range.map_or(0, |(offset, _)| offset),
                    size: binding.range.and_then(|(_, size)| wgpu::BufferSize::new(size)),
                }),
            })
            .collect();
        self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.layout,
            entries: &entries,
        })
    }
}
