/**
 * A pretend language model: one text, some of whose places can be filled in several ways, each way leaning towards a
 * mood. Guides lean towards moods too, so that the mix, its KL and its candidates come from the real formula.
 */

/** Leaning of a filling: how sunny, how salty. */
export type Lean = readonly [sunny: number, salty: number];
type Filling = readonly [text: string, logit: number, lean?: Lean];

const S = (text: string): Filling[] => [
  [text, 8],
  [' and', -1],
  [',', -1.4],
  [' the', -1.8],
  [' a', -2.1],
  [' of', -2.6],
];
const slot = (...fillings: Filling[]): Filling[] => fillings;

const TEXT: readonly Filling[][] = [
  slot(['The', 3], ['A', 1.2], ['Ah', 0, [0.2, 1.4]], ['What', -0.4, [1.2, 0]], ['Rain', 0.4], ['Morning', 0.2]),
  slot([' har', 3], [' morning', 1.5], [' rain', 1.1], [' sea', 0.2, [0, 1.3]], [' town', 0.4]),
  S('bour'),
  slot(
    [' wakes', 2.4],
    [' lies', 1.4, [-0.8, 0]],
    [' sparkles', -0.5, [1.7, 0.1]],
    [' smiles', -1.5, [1.9, 0]],
    [' waits', 1, [-0.5, 0]],
    [' creaks', 0, [-0.3, 1.2]],
  ),
  S(' under'),
  slot([' a', 3], [' the', 2], [' one', -1], [' its', 0.5]),
  slot(
    [' grey', 2.6, [-1.1, 0]],
    [' soft', 1.6, [0.7, 0]],
    [' glorious', -2, [2.2, 0]],
    [' low', 1.3, [-0.4, 0.2]],
    [' silver', 0.8, [0.8, 0.2]],
    [' salt', -1, [0, 2]],
    [' weeping', -1.5, [-1.8, 0]],
  ),
  S(' sky'),
  S(','),
  slot([' and', 3], [' while', 1.4], [' where', 1.1], [' as', 0.7]),
  slot([' the', 3], [' every', 0.6, [0.8, 0]], [' no', -1.2, [-1.4, 0]], [' each', 0.4]),
  slot(
    [' boats', 2.2, [0, 0.4]],
    [' gulls', 1.8, [0.1, 0.5]],
    [' streets', 1.6],
    [' fishermen', 0.6, [0, 1.1]],
    [' masts', 0.5, [-0.1, 1.4]],
    [' windows', 0.9],
  ),
  slot(
    [' rock', 2.1],
    [' glisten', 0.8, [1.2, 0]],
    [' dance', -0.3, [1.8, 0]],
    [' sag', 0, [-1.6, 0]],
    [' sway', 1.6],
    [' groan', 0, [-1.2, 0.8]],
  ),
  slot(
    [' quietly', 2.2],
    [' gently', 1.8, [0.7, 0]],
    [' merrily', -1.6, [2.2, 0.2]],
    [' wearily', -0.6, [-1.7, 0]],
    [' together', 0.4, [0.6, 0]],
  ),
  S(' in'),
  S(' the'),
  slot(
    [' rain', 2.9],
    [' drizzle', 1.3, [-0.4, 0]],
    [' swell', 0.2, [0, 1.6]],
    [' light', 0.1, [1.3, 0]],
    [' gloom', -0.6, [-2, 0]],
  ),
  S('.'),
  slot([' A', 2.2], [' The', 2.4], [' Somewhere', 0.9], [' How', -0.4, [1.6, 0]], [' Nobody', -0.7, [-1.6, 0]]),
  slot(
    [' baker', 2.1, [0.4, 0]],
    [' lamp', 1.4],
    [' kettle', 0.7, [0.5, 0]],
    [' foghorn', 0.8, [-0.6, 1.2]],
    [' bell', 1.2, [0.1, 0.8]],
    [' dog', 0.7],
  ),
  S(' at'),
  S(' the'),
  S(' corner'),
  slot(
    [' opens', 1.9, [0.3, 0]],
    [' sings', 0.2, [1.9, 0.3]],
    [' hums', 1.1, [1, 0]],
    [' waits', 1.4, [-0.6, 0]],
    [' gives', 0.2],
    [' sighs', 0.1, [-1.7, 0]],
  ),
  slot([',', 2.6], [' up', 0.4], [' softly', 0.8, [0.3, 0]], [' and', 1.6]),
  S(' and'),
  S(' the'),
  slot(
    [' smell', 2.5],
    [' sound', 1.2],
    [' joy', -2.2, [2.4, 0]],
    [' cold', 0.2, [-1.5, 0]],
    [' warmth', 0.8, [1.4, 0]],
  ),
  S(' of'),
  slot(
    [' warm', 1.9, [0.9, 0]],
    [' wet', 1.5, [-0.8, 0]],
    [' fresh', 1.7, [0.8, 0]],
    [' stale', -0.4, [-1.9, 0]],
    [' tarred', -0.6, [0, 2]],
  ),
  slot(
    [' bread', 2.5, [0.4, 0]],
    [' rope', 0.6, [0, 1.5]],
    [' stone', 1, [-0.4, 0]],
    [' coffee', 1.2, [0.5, 0]],
    [' salt', 0.9, [0, 1.2]],
  ),
  slot([' drifts', 2.2], [' climbs', 0.8, [0.4, 0]], [' lingers', 1, [-0.3, 0]], [' dances', -0.8, [1.9, 0]]),
  S(' down'),
  S(' to'),
  S(' the'),
  S(' water'),
  slot(['.', 3], ['!', -1.8, [2.4, 0.4]], [',', 0.8], ['…', -0.6, [-1.5, 0]]),
  slot(['\n\n', 2.4], [' ', 0.4]),
  S('By'),
  S(' ten'),
  S(' o'),
  S('’'),
  S('clock'),
  slot([' the', 2.6], [' a', 1.2], [' even', 0.3, [0.6, 0]]),
  slot(
    [' clouds', 2.3],
    [' fog', 1, [-0.5, 0.3]],
    [' sun', 0.4, [1.6, 0]],
    [' tide', 1, [0, 1.3]],
    [' damp', 0, [-1.5, 0]],
  ),
  slot(
    [' thin', 1.8, [0.4, 0]],
    [' turns', 1.3, [0, 0.6]],
    [' breaks', 0.8, [0.9, 0]],
    [' settles', 1.1, [-0.9, 0]],
    [' laughs', -2, [2.2, 0]],
  ),
  slot([',', 2.4], [' at', 1.1], [' over', 1]),
  S(' and'),
  slot([' everything', 1.9], [' nothing', 0.2, [-1.9, 0]], [' everyone', 0.7, [0.9, 0]], [' the', 1.8]),
  slot(
    [' shines', 1.3, [1.2, 0]],
    [' drips', 1.8, [-0.4, 0]],
    [' goes', 1, [-0.1, 0]],
    [' celebrates', -2, [2.3, 0]],
    [' rots', -1.6, [-2.1, 0.4]],
  ),
  slot(['.', 3.4], ['!', -1.4, [2.3, 0.5]], ['…', -0.4, [-1.4, 0]]),
];

export interface Place {
  readonly texts: readonly string[];
  /** Log-probabilities over the fillings. */
  readonly base: readonly number[];
  /** The same under a guide that leans as given. */
  under(lean: Lean): number[];
}

export function placeAt(position: number): Place | null {
  const fillings = TEXT[position];
  if (!fillings) return null;
  const logits = fillings.map(([, logit]) => logit);
  return {
    texts: fillings.map(([text]) => text),
    base: logSoftmax(logits),
    under: (lean) =>
      logSoftmax(fillings.map(([, logit, own]) => logit + (own ? 1.4 * (own[0] * lean[0] + own[1] * lean[1]) : 0))),
  };
}

/** Where a guide's sentence leans: read off a few telling words. */
export function leanOf(sentence: string): Lean {
  const has = (words: RegExp) => words.test(sentence);
  const sunny = has(/cheer|happy|joy|sunny|poet/i) ? 1 : has(/gloom|weary|pessim|worst|sad/i) ? -1 : 0.15;
  return [sunny, has(/pirate|sea|sailor|salt/i) ? 1 : 0];
}

export function logSoftmax(logits: readonly number[]): number[] {
  const max = Math.max(...logits);
  const normaliser = max + Math.log(logits.reduce((sum, z) => sum + Math.exp(z - max), 0));
  return logits.map((z) => z - normaliser);
}
