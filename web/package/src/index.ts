export { type ErrorCode, PilotfishError } from './errors';
export { type Guide, type Model, type SessionOptions } from './model';
export { type ModelCache, Pilotfish } from './pilotfish';
export type { Session } from './session';
export type {
  CacheEntry,
  CacheUsage,
  Candidate,
  EngineInfo,
  LoadOptions,
  Matvec,
  Message,
  ModelInfo,
  OpenOptions,
  Plausibility,
  Progress,
  Prompt,
  Sampling,
  SessionInfo,
  Source,
  Step,
  StepOf,
} from './types';
