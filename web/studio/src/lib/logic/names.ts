/** Names that engine options can be keyed by: never empty, never twice, never a bare integer. */

export function uniqueName(wanted: string, taken: ReadonlySet<string>): string {
  const trimmed = wanted.trim() || 'guide';
  // JavaScript puts integer-like keys first, which would reorder the guides.
  const base = /^\d+$/.test(trimmed) ? `guide ${trimmed}` : trimmed;
  let name = base;
  for (let n = 2; taken.has(name); n++) name = `${base} ${n}`;
  return name;
}

/** A short name for a guide that was only given a sentence: "You are relentlessly cheerful." -> "relentlessly cheerful". */
export function nameFromSentence(sentence: string): string {
  const words = sentence
    .trim()
    .replace(/^you(?:'re| are)?\s+(?:an?\s+|the\s+)?/i, '')
    .replace(/[.!?].*$/s, '')
    .split(/\s+/)
    .slice(0, 3)
    .join(' ');
  return words.slice(0, 24) || 'guide';
}

/** "https://host/path/Gemma-3-270M-Q4_K_M.gguf?download=true" -> "Gemma-3-270M-Q4_K_M". */
export function nameFromAddress(address: string): string {
  const path = address.split(/[?#]/)[0] ?? '';
  const file = path.split('/').at(-1) ?? '';
  return decode(file).replace(/\.gguf$/i, '') || 'model';
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
