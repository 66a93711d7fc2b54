/**
 * `subgroups` for the engine's device. wgpu's web backend knows no name for the feature (gfx-rs/wgpu issue 10146) and so
 * cannot ask for it, but hands WGSL through as it is: so the feature is added where the device is requested. To be deleted
 * when wgpu can ask.
 */

export interface Subgroups {
  readonly subgroups: boolean;
  readonly subgroup_min_size?: number | undefined;
  readonly subgroup_max_size?: number | undefined;
}

/** What the adapter that the engine will get says about subgroups; null where there is no adapter. */
export async function lookAtAdapter(power: GPUPowerPreference): Promise<Subgroups | null> {
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: power });
  if (adapter === null) return null;
  if (!adapter.features.has('subgroups')) return { subgroups: false };
  const { subgroupMinSize, subgroupMaxSize } = adapter.info;
  return { subgroups: true, subgroup_min_size: subgroupMinSize, subgroup_max_size: subgroupMaxSize };
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
