/** Everything the page knows, and the few things that concern more than one part of it. */

import { getContext, setContext } from 'svelte';
import type { Source } from '../engine/port';
import { Desk } from './desk.svelte';
import { Dials } from './dials.svelte';
import { Host } from './host.svelte';
import { labelOf, Shelf } from './shelf.svelte';
import { Talk } from './talk.svelte';
import { View } from './view.svelte';

export class Studio {
  readonly host = new Host();
  readonly shelf = new Shelf(this.host);
  readonly desk = new Desk();
  readonly dials = new Dials();
  readonly view = new View();
  readonly talk = new Talk(this.shelf, this.desk, this.dials, (error) => this.#lost(error));

  constructor() {
    this.host.onLost = (reason) => this.#lost(reason);
  }

  async openBase(source: Source): Promise<void> {
    if (this.talk.busy) return;
    this.shelf.again = () => void this.openBase(source);
    if (await this.shelf.openBase(source)) this.view.status = `${labelOf(source)} is ready.`;
  }

  async openGuide(source: Source): Promise<void> {
    if (this.talk.busy) return;
    this.shelf.again = () => void this.openGuide(source);
    const model = await this.shelf.load(source);
    if (!model) return;
    this.desk.addModel(model, source, labelOf(source));
    this.view.status = `${labelOf(source)} was added as a guide.`;
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
    this.#lostGuides = this.desk.guides.flatMap((guide) => guide.source ?? []);
    this.host.fail(error);
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
