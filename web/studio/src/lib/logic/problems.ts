/**
 * Every error the page can meet, in words for the person before it: what happened, and what to do.
 * The engine's own message (what was found, what was expected) is shown beneath as it came.
 */

export type Remedy = 'restart-engine' | 'use-cpu' | 'choose-model' | 'edit-prompt' | 'retry';

export interface Problem {
  readonly code: string;
  readonly title: string;
  readonly message: string;
  readonly advice: readonly string[];
  readonly remedy: Remedy | null;
}

interface Entry {
  readonly title: string;
  readonly advice: readonly string[];
  readonly remedy?: Remedy;
}

const NO_WEBGPU: Entry = {
  title: 'WebGPU is not available here',
  advice: [
    'Chrome, Edge and other Chromium browsers have it from version 113 on (on Linux it may need chrome://flags/#enable-unsafe-webgpu and #enable-vulkan).',
    'Safari has it from version 26 on.',
    'Firefox has it from 141 on Windows and 145 on Apple silicon; elsewhere set dom.webgpu.enabled to true in about:config.',
    'It needs a secure address (https:// or localhost), and hardware acceleration switched on in the browser’s settings.',
    'The CPU needs none of it, and is slower.',
  ],
  remedy: 'use-cpu',
};

const MISFIT: Entry = {
  title: 'Made for another model',
  advice: ['An adapter fits the model it was trained on, and others of the same shape. It comes back with its own.'],
};

/** Exact codes first, then families by prefix. Longest prefix wins. */
const ENTRIES: Readonly<Record<string, Entry>> = {
  'gpu.unavailable': NO_WEBGPU,
  'gpu.lost': {
    title: 'The graphics device was lost',
    advice: [
      'The driver was reset, the machine slept, or another program needed the GPU. What was said so far is kept.',
      'Restart the engine; the model is read again.',
    ],
    remedy: 'restart-engine',
  },
  'gpu.out_of_memory': {
    title: 'The graphics device has no memory left',
    advice: [
      'Choose a smaller model, a shorter context, or fewer model guides.',
      'Closing other tabs that use the GPU can help.',
    ],
    remedy: 'choose-model',
  },
  gpu: {
    title: 'The graphics device reported an error',
    advice: ['Restart the engine and try again.'],
    remedy: 'restart-engine',
  },
  'gpu.too_large': {
    title: 'The model is larger than this device allows',
    advice: ['Choose a smaller model, or a smaller format of it such as Q4_0.'],
    remedy: 'choose-model',
  },
  'gpu.limit': {
    title: 'This device does not offer what the engine needs',
    advice: ['Another browser, or a newer graphics driver, may offer more.'],
  },
  'cpu.no_simd': {
    title: 'This browser is too old for the engine',
    advice: [
      'It has neither WebGPU nor SIMD in its WebAssembly. Chrome and Edge from 91, Firefox from 89 and Safari from 16.4 can run it.',
    ],
  },
  'cpu.too_large': {
    title: 'The model does not fit this browser’s memory',
    advice: ['WebAssembly has 4 GiB at most. Choose a smaller model, or one with fewer bits a weight such as Q4_0.'],
    remedy: 'choose-model',
  },
  'gguf.truncated': {
    title: 'The file ends too early',
    advice: ['It was probably not downloaded completely. Fetch it again, and compare its size with the publisher’s.'],
    remedy: 'choose-model',
  },
  gguf: {
    title: 'This is not a GGUF file that can be read',
    advice: ['Choose a GGUF file of version 2 or 3 (files that end in .gguf).'],
    remedy: 'choose-model',
  },
  arch: {
    title: 'This kind of model is not supported yet',
    advice: ['Families that work: llama (SmolLM2, Llama 2 and 3, Mistral), gemma3, qwen2 and qwen3.'],
    remedy: 'choose-model',
  },
  'arch.not_a_model': {
    title: 'This file is no model',
    advice: [
      'An adapter can be a guide: it changes a model that is loaded. Other parts of a model are of no use alone.',
    ],
    remedy: 'choose-model',
  },
  adapter: {
    title: 'This adapter cannot be used',
    advice: [
      'Adapters that work are LoRA on the matrices of attention and feed-forward, in GGUF or as PEFT wrote them.',
    ],
  },
  'adapter.architecture': MISFIT,
  'adapter.layer': MISFIT,
  'adapter.shape': MISFIT,
  'adapter.not_an_adapter': {
    title: 'This file is no adapter',
    advice: ['Choose a LoRA adapter in GGUF (general.type is “adapter”), or both files of a PEFT adapter.'],
  },
  'adapter.files': {
    title: 'A part of the adapter is missing',
    advice: ['A PEFT adapter is two files: adapter_config.json and adapter_model.safetensors.'],
  },
  tokenizer: {
    title: 'The file’s tokenizer cannot be used',
    advice: ['Choose another conversion of this model; the file’s vocabulary is missing or of an unknown kind.'],
    remedy: 'choose-model',
  },
  'session.vocabulary': {
    title: 'This guide speaks another vocabulary than the model',
    advice: [
      'A model guide must share the base model’s tokens: choose one of the same family, or a fine-tuned version of it.',
    ],
  },
  'session.prompt_too_long': {
    title: 'The conversation is longer than the context',
    advice: ['Shorten the prompt, clear the conversation, or raise the context length under Sampling.'],
    remedy: 'edit-prompt',
  },
  'session.too_many_rows': {
    title: 'There are more guides than one model takes at once',
    advice: [
      'Remove a guide, or a guide’s “against” sentence: each guide is a row, and “against” makes it two.',
      'A search takes them all for everything that it tries at once: let it try less.',
    ],
  },
  'session.pool_full': {
    title: 'There is no more room for keys and values',
    advice: ['Shorten the context or the answer under Sampling, or let the method try less at once.'],
  },
  method: {
    title: 'The method cannot work like this',
    advice: ['Look at the numbers of the method, and at the guide that rewards.'],
  },
  'session.empty_prompt': {
    title: 'There is nothing to answer',
    advice: ['Write a prompt first.'],
    remedy: 'edit-prompt',
  },
  mix: {
    title: 'These weights or filters cannot be mixed',
    advice: ['Look at the weights of the guides and at the sampling settings.'],
  },
  chat: {
    title: 'The file’s chat template failed',
    advice: ['Choose another conversion of this model; its chat template cannot be used.'],
    remedy: 'choose-model',
  },
  quant: {
    title: 'The file’s weights cannot be read',
    advice: ['The file may be damaged: fetch it again, or choose another conversion of this model.'],
    remedy: 'choose-model',
  },
  model: {
    title: 'The file contradicts itself',
    advice: ['It may be damaged: fetch it again, or choose another conversion of this model.'],
    remedy: 'choose-model',
  },
  session: {
    title: 'The answer could not be started',
    advice: ['Look at the guides and the sampling settings, then try again.'],
    remedy: 'retry',
  },
  'download.http': {
    title: 'The server did not give the file',
    advice: [
      'Check the address. On Hugging Face use the link of the “download” button; models behind a login cannot be fetched from here.',
    ],
    remedy: 'choose-model',
  },
  'download.interrupted': {
    title: 'The download was cut',
    advice: ['Load it again: what has arrived is kept, and the rest follows from there.'],
    remedy: 'retry',
  },
  'download.hash_mismatch': {
    title: 'The downloaded file is not the one expected',
    advice: ['Its checksum was wrong, so it was removed. Load it again.'],
    remedy: 'retry',
  },
  download: {
    title: 'The file could not be fetched',
    advice: ['Check the connection and the address. The server must allow other sites to read the file (CORS).'],
    remedy: 'retry',
  },
  source: {
    title: 'The file could not be read',
    advice: ['It may have been moved or changed. Choose it again.'],
    remedy: 'choose-model',
  },
  'cache.full': {
    title: 'The browser grants this site no more storage',
    advice: ['Free some disk space, or open the model from a file on disk instead of by address.'],
    remedy: 'choose-model',
  },
  cache: {
    title: 'The browser’s storage failed',
    advice: ['Open the model from a file on disk instead of by address.'],
    remedy: 'choose-model',
  },
  worker: {
    title: 'The engine stopped',
    advice: ['Restart it; the model is read again. If it cannot start at all, reload the page.'],
    remedy: 'restart-engine',
  },
  internal: {
    title: 'The engine has a fault',
    advice: ['Restart it; the model is read again. This is a bug: please report the message below.'],
    remedy: 'restart-engine',
  },
  closed: {
    title: 'The engine was closed',
    advice: ['Restart it; the model is read again.'],
    remedy: 'restart-engine',
  },
};

const UNKNOWN: Entry = {
  title: 'Something went wrong',
  advice: ['Try again; if it keeps happening, restart the engine.'],
  remedy: 'retry',
};

export function problemFrom(error: unknown): Problem {
  const code = codeOf(error);
  const entry = entryFor(code);
  return {
    code,
    title: entry.title,
    message: error instanceof Error ? error.message : String(error),
    advice: entry.advice,
    remedy: entry.remedy ?? null,
  };
}

/** A page's own complaint, worded like the engine's. */
export function problemOf(code: string, message: string): Problem {
  return problemFrom(Object.assign(new Error(message), { code }));
}

/** Whether a file was refused as a model because it is an adapter. */
export function isAdapter({ code, message }: Problem): boolean {
  return code === 'arch.not_a_model' && /\badapter\b/.test(message);
}

/** True for what a person asked for: a cancelled load is no problem. */
export function isAbort(error: unknown): boolean {
  return error instanceof Error && (error.name === 'AbortError' || codeOf(error).endsWith('aborted'));
}

function codeOf(error: unknown): string {
  if (typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'string')
    return error.code;
  return 'unknown';
}

function entryFor(code: string): Entry {
  for (let key = code; key !== ''; key = key.slice(0, Math.max(key.lastIndexOf('.'), 0))) {
    const entry = ENTRIES[key];
    if (entry) return entry;
  }
  return UNKNOWN;
}
