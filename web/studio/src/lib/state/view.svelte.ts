/** How the page is looked at: theme, what colours tokens, which panel is open on a narrow screen. */

import type { Measure } from '../logic/scale';
import { keep, recall } from '../logic/kept';

export type Theme = 'system' | 'light' | 'dark';
export type Panel = 'model' | 'guides' | 'sampling' | 'token';

const THEMES: readonly Theme[] = ['system', 'light', 'dark'];
const MEASURES: readonly Measure[] = ['shift', 'kl', 'off'];

export class View {
  theme = $state<Theme>(recall('theme', (stored) => THEMES.find((theme) => theme === stored) ?? null, 'system'));
  measure = $state<Measure>(
    recall('measure', (stored) => MEASURES.find((measure) => measure === stored) ?? null, 'shift'),
  );
  /** On narrow screens one panel at most is open beneath the conversation. */
  panel = $state<Panel | null>(null);
  /** Read out by screen readers when it changes. */
  status = $state('');

  setTheme(theme: Theme): void {
    this.theme = theme;
    keep('theme', theme);
    if (theme === 'system') delete document.documentElement.dataset['theme'];
    else document.documentElement.dataset['theme'] = theme;
  }

  setMeasure(measure: Measure): void {
    this.measure = measure;
    keep('measure', measure);
  }

  toggle(panel: Panel): void {
    this.panel = this.panel === panel ? null : panel;
  }
}
