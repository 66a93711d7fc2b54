/** Everything the page knows, and the few things that concern more than one part of it. */

import { getContext, setContext } from 'svelte';
import type { AdapterSource, Backend, Model, Progress, Source } from '../engine/port';
import { isPeft, sortAdapterFiles } from '../logic/adapter-files';
import { isAdapter, problemOf } from '../logic/problems';
import type { ShippedGuide } from '../logic/shipped';
import { AdapterFile, type Reading } from './adapter-file.svelte';
import { Desk } from './desk.svelte';
import { Dials } from './dials.svelte';
import { Host } from './host.svelte';
import { Search } from './search.svelte';
import { labelOf, Shelf } from './shelf.svelte';
import { Talk } from './talk.svelte';
import { View } from './view.svelte';

export class Studio {
  readonly host = new Host();
  readonly shelf = new Shelf(this.host);
  readonly desk = new Desk();
  readonly dials = new Dials();
  readonly view = new View();
  readonly search = new Search();
  readonly talk = new Talk(this.shelf, this.desk, this.dials, this.search, (error) => this.#lost(error));

  constructor() {
    this.host.onLost = (reason) => this.#lost(reason);
  }

  async openBase(source: Source): Promise<void> {
    if (this.talk.busy) return;
    this.shelf.again = () => void this.openBase(source);
    // Two models may be more than the GPU holds; what the old one has read serves no other.
    await this.talk.release();
    const opened = await this.shelf.openBase(source, (model, signal, onProgress) =>
      this.#fit(model, signal, onProgress),
    );
    if (!opened) return;
    this.search.forget();
    this.view.status = `${labelOf(source)} is ready.`;
  }

  /** A model with the base's vocabulary; or an adapter for it, which only its file tells apart. */
  async openGuide(source: AdapterSource): Promise<void> {
    if (this.talk.busy) return;
    if (isPeft(source)) return this.addAdapter(source);
    this.shelf.again = () => void this.openGuide(source);
    const model = await this.shelf.load(source);
    if (!model) {
      if (this.shelf.problem && isAdapter(this.shelf.problem)) await this.addAdapter(source);
      return;
    }
    this.desk.addModel(model, source, labelOf(source));
    this.view.status = `${labelOf(source)} was added as a guide.`;
  }

  /** Guides out of files that were chosen or dropped together. */
  async openGuideFiles(files: readonly File[]): Promise<void> {
    const { adapters, complaint } = sortAdapterFiles(files);
    this.desk.problem = complaint === null ? null : problemOf('adapter.files', complaint);
    for (const source of adapters) await this.openGuide(source);
  }

  /** Puts an adapter on the desk at once; it waits there for a base, or says why the loaded one does not take it. */
  async addAdapter(source: AdapterSource | ShippedGuide): Promise<void> {
    this.shelf.problem = null;
    const file = new AdapterFile(source);
    this.desk.addAdapters([file]);
    await this.readAdapter(file);
    this.view.status = file.problem
      ? `${file.name} cannot be used: ${file.problem.title}.`
      : `${file.name} was added as a guide.`;
  }

  /** Reads an adapter for the base that is loaded; without one it goes on waiting. */
  async readAdapter(file: AdapterFile): Promise<void> {
    const model = this.shelf.base;
    if (!model || file.phase === 'loading') return;
    file.phase = 'loading';
    file.part = 0;
    const reading = await file.read(model, new AbortController().signal, ({ loaded, total }) => {
      file.part = total > 0 ? loaded / total : 0;
    });
    const wanted = this.desk.adapterFiles.includes(file);
    if (wanted && this.shelf.base === model) file.take(reading);
    else if (reading && 'adapter' in reading) void reading.adapter.dispose();
  }

  /** Reads the desk's adapters for a model that is about to be the base. The former base's stay until it is. */
  async #fit(model: Model, signal: AbortSignal, onProgress: (progress: Progress) => void): Promise<() => void> {
    const readings = new Map<AdapterFile, Reading>();
    for (const file of this.desk.adapterFiles) {
      const asGuide = (progress: Progress) => onProgress({ ...progress, phase: 'guide' });
      readings.set(file, await file.read(model, signal, asGuide));
    }
    return () => {
      const wanted = new Set(this.desk.adapterFiles);
      for (const [file, reading] of readings) {
        if (wanted.has(file)) file.take(reading);
        else if (reading && 'adapter' in reading) void reading.adapter.dispose();
      }
      // Guides that were added meanwhile.
      for (const file of wanted) if (!readings.has(file)) void this.readAdapter(file);
    };
  }

  /** Changes what computes: the engine is opened anew for it, and the models are read again. */
  async compute(backend: Backend): Promise<void> {
    if (this.talk.busy || this.shelf.loading) return;
    this.host.prefer(backend);
    const open = this.host.engine !== null;
    if (!open && !this.host.problem) return;
    if (open) {
      await this.talk.release();
      this.#forget();
    }
    this.host.close();
    if (open) await this.restart();
    else this.shelf.again?.();
  }

  /** Opens the engine anew and reads the models again. */
  async restart(): Promise<void> {
    const base = this.shelf.baseSource;
    const guides = this.#lostGuides;
    this.#lostGuides = [];
    if (!(await this.host.open()) || !base) return;
    await this.openBase(base);
    for (const source of guides) await this.openGuide(source);
  }

  #lostGuides: Source[] = [];

  #lost(error: unknown): void {
    // The running answer and the worker may both report the same loss.
    if (this.host.phase === 'failed') return;
    this.host.fail(error);
    void this.talk.release();
    this.#forget();
  }

  /** Models are gone with their engine; where they came from is kept. */
  #forget(): void {
    this.#lostGuides = this.desk.guides.flatMap((guide) => guide.source ?? []);
    this.shelf.forget();
    this.desk.forget();
  }
}

const KEY = Symbol('studio');

export function provideStudio(): Studio {
  return setContext(KEY, new Studio());
}

export function useStudio(): Studio {
  return getContext<Studio>(KEY);
}
