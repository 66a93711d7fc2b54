/**
 * `subgroups` for the engine's device. wgpu's web backend knows no name for the feature (gfx-rs/wgpu issue 10146) and so
 * cannot ask for it, but hands WGSL through as it is: so the feature is added where the device is requested. To be deleted
 * when wgpu can ask.
 */

/** The adapter that the engine will get, or null where there is none. */
export function adapterFor(power: GPUPowerPreference): Promise<GPUAdapter | null> {
  return navigator.gpu.requestAdapter({ powerPreference: power });
}

/** Runs `work`, in which every device is requested with `subgroups`. */
export async function withSubgroups<T>(work: () => Promise<T>): Promise<T> {
  const original = GPUAdapter.prototype.requestDevice;
  GPUAdapter.prototype.requestDevice = function (descriptor) {
    const asked = new Set([...(descriptor?.requiredFeatures ?? [])]);
    if (this.features.has('subgroups')) asked.add('subgroups');
    return original.call(this, { ...descriptor, requiredFeatures: asked });
  };
  try {
    return await work();
  } finally {
    GPUAdapter.prototype.requestDevice = original;
  }
}
