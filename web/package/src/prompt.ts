import { PilotfishError } from './errors.js';
import type { WirePrompt } from './protocol.js';
import type { Prompt } from './types.js';

/** @throws PilotfishError `argument.invalid` for none, or more than one */
export function promptOf({ messages, prompt, ids }: Prompt): WirePrompt {
  const given = [messages, prompt, ids].filter((one) => one !== undefined).length;
  if (given !== 1) {
    throw new PilotfishError('argument.invalid', `give exactly one of messages, prompt and ids; found ${given}`);
  }
  if (messages !== undefined) return { chat: messages };
  return prompt !== undefined ? { text: prompt } : { ids: Array.from(ids ?? []) };
}
