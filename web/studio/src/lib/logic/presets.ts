/** Sentences to begin with. */

export interface GuidePreset {
  readonly name: string;
  readonly context: string;
  readonly against?: string;
  readonly weight: number;
}

export const GUIDE_PRESETS: readonly GuidePreset[] = [
  { name: 'cheerful', context: 'You are relentlessly cheerful.', weight: 1.5 },
  { name: 'gloomy', context: 'You are gloomy and expect the worst.', weight: 1.5 },
  { name: 'pirate', context: 'You are a pirate and talk like one.', weight: 1.5 },
  {
    name: 'plain words',
    context: 'You explain everything in short, simple words that a child understands.',
    against: 'You write in long, learned, technical sentences.',
    weight: 1,
  },
  { name: 'poet', context: 'You are a poet who answers in vivid images.', weight: 1 },
  { name: 'sceptic', context: 'You doubt every claim and ask for evidence.', weight: 1 },
];

export const PROMPT_PRESETS: readonly string[] = [
  'Describe a rainy morning in a harbour town.',
  'What should I do with a free afternoon?',
  'Why is the sky blue?',
];
