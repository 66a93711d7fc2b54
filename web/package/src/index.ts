export { type ErrorCode, PilotfishError } from './errors';
export { type Guide, type Model, type SessionOptions } from './model';
export { type ModelCache, Pilotfish } from './pilotfish';
export type { Session } from './session';
export type {
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
  Progress,
  Prompt,
  Sampling,
  SessionInfo,
  Source,
  Step,
  StepOf,
} from './types';
