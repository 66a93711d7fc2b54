/** Which adapters a handful of files are: a GGUF is one by itself, what PEFT wrote is two files that belong together. */

import type { AdapterSource, PeftFiles } from '../engine/port';

export interface Sorted {
  readonly adapters: readonly AdapterSource[];
  /** What stands in the way, as a sentence; null when nothing does. */
  readonly complaint: string | null;
}

export function sortAdapterFiles(files: readonly File[]): Sorted {
  const ending = (end: string) => files.filter((file) => file.name.toLowerCase().endsWith(end));
  const ggufs = ending('.gguf');
  const weights = ending('.safetensors');
  const configs = ending('.json');
  const sorted = (adapters: readonly AdapterSource[], complaint: string | null = null): Sorted => ({
    adapters,
    complaint,
  });
  const [tensors, config] = [weights[0], configs[0]];
  if (tensors && config && weights.length === 1 && configs.length === 1) {
    return sorted([...ggufs, { config, weights: tensors }]);
  }
  if (weights.length > 1 || configs.length > 1) {
    return sorted(ggufs, 'More than one PEFT adapter at once cannot be told apart: open them one by one.');
  }
  if (tensors) {
    return sorted(
      ggufs,
      `${tensors.name} comes without its adapter_config.json, which says what its numbers mean: choose or drop both together.`,
    );
  }
  if (config) {
    return sorted(
      ggufs,
      `${config.name} comes without its adapter_model.safetensors, which holds the weights: choose or drop both together.`,
    );
  }
  const [other] = files;
  if (ggufs.length > 0 || !other) return sorted(ggufs);
  return sorted(
    [],
    `${other.name} is no adapter: expected a .gguf file, or adapter_config.json with adapter_model.safetensors.`,
  );
}

/** Whether any of these files can only belong to a PEFT adapter. */
export function hasPeft(files: readonly File[]): boolean {
  return files.some((file) => /\.(safetensors|json)$/i.test(file.name));
}

/** What an address means: a PEFT directory's weights have their configuration beside them. */
export function adapterAt(address: string): AdapterSource {
  const [path = ''] = address.split(/[?#]/);
  if (!/\.safetensors$/i.test(path)) return address;
  return { config: address.replace(path, path.replace(/[^/]*$/, 'adapter_config.json')), weights: address };
}

export function isPeft(source: AdapterSource): source is PeftFiles {
  return typeof source === 'object' && 'config' in source;
}

/** What to call an adapter before its file is read. */
export function adapterName(source: AdapterSource): string {
  const one = isPeft(source) ? source.weights : source;
  const path = typeof one === 'string' ? (one.split(/[?#]/)[0] ?? '') : one.name;
  const parts = path.split('/').filter((part) => part !== '');
  const file = (parts.at(-1) ?? '').replace(/\.(gguf|safetensors)$/i, '');
  // PEFT calls every adapter the same; its folder is what tells them apart.
  const folder = parts.at(-2);
  return (file === 'adapter_model' && folder !== undefined && parts.length > 2 ? folder : file) || 'adapter';
}
