export type { Adapter, Adapters, AdapterUse } from './adapter.js';
export { type ErrorCode, PilotfishError } from './errors.js';
export { type Guide, type Model, type RestoreOptions, type RewardOptions, type SessionOptions } from './model.js';
export { type ModelCache, Pilotfish } from './pilotfish.js';
export type { RewardModel } from './reward.js';
export type { Session } from './session.js';
export type { ResumeOptions, TurnOptions } from './turn.js';
export type {
  AdapterInfo,
  Backend,
  CacheEntry,
  CacheUsage,
  Candidate,
  Cost,
  CpuInfo,
  EngineInfo,
  Filter,
  LoadOptions,
  Matvec,
  Message,
  Method,
  ModelInfo,
  OpenOptions,
  PeftSource,
  Precision,
  Progress,
  Prompt,
  Reward,
  Sampling,
  SavedSession,
  Scorer,
  SessionInfo,
  Source,
  Step,
  StepOf,
  TokenRules,
  Weight,
  WhenFull,
} from './types.js';
