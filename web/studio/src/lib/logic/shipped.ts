/** The guides that come with the page: adapters for its default model. `models/guides/README.md` is their card. */

import manifest from '../../../../../models/guides/manifest.json';

export interface ShippedGuide {
  readonly name: string;
  /** One sentence: what it prefers. */
  readonly prefers: string;
  readonly address: string;
  readonly sha256: string;
  readonly bytes: number;
  /** The model it was made for, and the address of that model here. */
  readonly base: { readonly name: string; readonly address: string };
  /** Where its fader stands at first. */
  readonly weight: number;
  /** Whether a first visit finds it on the desk; every guide there costs each token, so the others wait to be added. */
  readonly atFirst: boolean;
}

export const SHIPPED_GUIDES: readonly ShippedGuide[] = manifest.guides.map((guide) => ({
  name: guide.name,
  prefers: guide.prefers,
  address: `/models/guides/${guide.file}`,
  sha256: guide.sha256,
  bytes: guide.bytes,
  base: { name: guide.base.name, address: `/models/${guide.base.model}.gguf` },
  weight: guide.weight,
  atFirst: guide.at_first,
}));
