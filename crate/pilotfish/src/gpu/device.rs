//! Opening a GPU: adapter, limits, optional features, and where its faults are kept until somebody can be told.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::{GpuError, Owned, Pipeline};

/// How to open the GPU.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GpuOptions {
    /// Prefer the adapter that saves power.
    pub low_power: bool,
    /// Ask for WebGPU's default limits and no optional feature, whatever the adapter offers.
    pub defaults_only: bool,
    /// The web page has made sure that the device will have `subgroups`, which wgpu cannot ask for there
    /// (gfx-rs/wgpu issue 10146).
    pub web_subgroups: bool,
}

/// The optional features in use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Features {
    /// `shader-f16`.
    pub f16: bool,
    /// `subgroups`.
    pub subgroups: bool,
    /// `timestamp-query`.
    pub timestamps: bool,
}

/// What a user is told about the GPU.
#[derive(Debug, Clone, Serialize)]
pub struct GpuInfo {
    /// The adapter's name as the driver gives it (browsers may leave it empty).
    pub name: String,
    /// The driver and its version, where known.
    pub driver: String,
    /// `vulkan`, `metal`, `dx12` or `webgpu`.
    pub backend: String,
    /// It runs on the CPU: `SwiftShader`, lavapipe, WARP.
    pub software: bool,
    /// Optional features in use.
    pub features: Features,
    /// The largest buffer, in bytes.
    pub max_buffer: u64,
    /// The largest storage binding, in bytes.
    pub max_binding: u64,
}

/// One device, one queue, and the pipelines made on it.
#[derive(Debug)]
pub struct Gpu {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) limits: wgpu::Limits,
    pub(super) pipelines: RefCell<HashMap<String, Rc<Pipeline>>>,
    /// The innermost last.
    pub(super) scopes: RefCell<Vec<Owned>>,
    fault: Arc<Mutex<Option<GpuError>>>,
    info: GpuInfo,
    nothing: wgpu::Buffer,
}

impl Gpu {
    /// Opens the preferred adapter with the largest buffers and bindings it offers.
    pub async fn open(options: &GpuOptions) -> Result<Self, GpuError> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
        let adapter = instance
            .request_adapter(&wgpu::RequestAdapterOptions {
                power_preference: if options.low_power {
                    wgpu::PowerPreference::LowPower
                } else {
                    wgpu::PowerPreference::HighPerformance
                },
                ..Default::default()
            })
            .await
            .map_err(|error| GpuError::Unavailable { found: error.to_string() })?;
        let offered = adapter.limits();
        let mut limits = wgpu::Limits::default();
        for (limit, found, expected) in [
            ("max_buffer_size", offered.max_buffer_size, limits.max_buffer_size),
            (
                "max_storage_buffer_binding_size",
                offered.max_storage_buffer_binding_size,
                limits.max_storage_buffer_binding_size,
            ),
            (
                "max_compute_invocations_per_workgroup",
                offered.max_compute_invocations_per_workgroup.into(),
                limits.max_compute_invocations_per_workgroup.into(),
            ),
        ] {
            if found < expected {
                return Err(GpuError::Limit { limit, found, expected });
            }
        }
        let mut wanted = wgpu::Features::empty();
        if !options.defaults_only {
            limits.max_buffer_size = offered.max_buffer_size;
            limits.max_storage_buffer_binding_size = offered.max_storage_buffer_binding_size;
            wanted = wgpu::Features::SHADER_F16 | wgpu::Features::SUBGROUP | wgpu::Features::TIMESTAMP_QUERY;
        }
        let wanted = wanted & adapter.features();
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor {
                label: Some("pilotfish"),
                required_features: wanted,
                required_limits: limits.clone(),
                ..Default::default()
            })
            .await
            .map_err(|error| GpuError::Unavailable { found: error.to_string() })?;
        let adapter = adapter.get_info();
        let name = adapter.name.to_lowercase();
        let info = GpuInfo {
            software: adapter.device_type == wgpu::DeviceType::Cpu
                || ["swiftshader", "llvmpipe", "basic render"].iter().any(|known| name.contains(known)),
            name: adapter.name,
            driver: format!("{} {}", adapter.driver, adapter.driver_info).trim().to_owned(),
            backend: format!("{:?}", adapter.backend).to_lowercase(),
            features: Features {
                f16: wanted.contains(wgpu::Features::SHADER_F16),
                subgroups: wanted.contains(wgpu::Features::SUBGROUP) || options.web_subgroups,
                timestamps: wanted.contains(wgpu::Features::TIMESTAMP_QUERY),
            },
            max_buffer: limits.max_buffer_size,
            max_binding: limits.max_storage_buffer_binding_size,
        };
        let fault = Arc::new(Mutex::new(None));
        let keep = |error: GpuError, fault: &Mutex<Option<GpuError>>| {
            fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        };
        let uncaptured = Arc::clone(&fault);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let message = error.to_string();
            keep(
                match error {
                    wgpu::Error::OutOfMemory { .. } => GpuError::OutOfMemory { message },
                    _ => GpuError::Invalid { message },
                },
                &uncaptured,
            );
        }));
        let lost = Arc::clone(&fault);
        device.set_device_lost_callback(move |reason, message| {
            keep(GpuError::Lost { message: format!("{reason:?}: {message}") }, &lost);
        });
        let nothing = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("nothing"),
            size: 16,
            usage: wgpu::BufferUsages::STORAGE,
            mapped_at_creation: false,
        });
        Ok(Self {
            device,
            queue,
            limits,
            pipelines: RefCell::default(),
            scopes: RefCell::default(),
            fault,
            info,
            nothing,
        })
    }

    /// What this GPU is.
    pub fn info(&self) -> &GpuInfo {
        &self.info
    }

    /// The optional features in use.
    pub fn features(&self) -> Features {
        self.info.features
    }

    /// What a kernel's read-only binding gets when the op does without it: 16 bytes of zeros.
    pub fn nothing(&self) -> &wgpu::Buffer {
        &self.nothing
    }

    /// The first fault since the device was opened, if any. Faults arrive late (the API reports them asynchronously), so
    /// every readback asks.
    pub fn fault(&self) -> Result<(), GpuError> {
        match &*self.fault.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some(error) => Err(error.clone()),
        }
    }

    /// As [`Gpu::fault`], but a fault that does not end the device (no memory for one buffer, say) is forgotten once told.
    pub fn take_fault(&self) -> Result<(), GpuError> {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        match &*fault {
            Some(lost @ GpuError::Lost { .. }) => Err(lost.clone()),
            _ => fault.take().map_or(Ok(()), Err),
        }
    }

    /// Gives the device back now; whatever is on it is lost, and further calls end in [`GpuError::Lost`].
    pub fn close(&self) {
        self.device.destroy();
    }

    /// Makes the queue look at what has finished: an empty submit. Firefox otherwise completes a readback on a 100 ms
    /// timer (Mozilla bug 1870699).
    pub fn nudge(&self) {
        self.queue.submit([]);
    }
}
