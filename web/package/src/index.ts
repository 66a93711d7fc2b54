export type { Adapter, Adapters, AdapterUse } from './adapter.js';
export { type ErrorCode, PilotfishError } from './errors.js';
export { type Guide, type Model, type SessionOptions } from './model.js';
export { type ModelCache, Pilotfish } from './pilotfish.js';
export type { Session } from './session.js';
export type {
  AdapterInfo,
  CacheEntry,
  CacheUsage,
  Candidate,
  EngineInfo,
  Filter,
  LoadOptions,
  Matvec,
  Message,
  ModelInfo,
  OpenOptions,
  PeftSource,
  Progress,
  Prompt,
  Sampling,
  SessionInfo,
  Source,
  Step,
  StepOf,
  TokenRules,
  Weight,
} from './types.js';
