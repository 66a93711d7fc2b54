// What the kernels between the logits and the next token share: parameters, controls and the layout of their scratch.
// The same numbers stand in `ops/mixing.rs`.
#import elementary

struct Params {
    vocab: u32,       // ids that are mixed: the smallest vocabulary of all rows
    stride: u32,      // floats between rows of logits
    groups: u32,      // workgroups that share the vocabulary
    chunk: u32,       // ids of one workgroup, a multiple of SIZE
    candidates: u32,  // reported candidates
    slots: u32,       // ring slots
    slot_words: u32,  // words of one
    batches: u32,     // decode batches to feed
    flags: u32,       // what this dispatch does; see each kernel
    selection: u32,   // which radix selection this dispatch works on
    level: u32,       // its digit, 0 the highest
    lanes: u32,       // invocations of a workgroup of `mix`
    n_terms: u32,     // loops run to these, not to constants: unrolled, they compile for seconds on SwiftShader
    n_reported: u32,  // reported rows; a constant only where it sizes an array, so that most kernels compile once
    lane: u32,        // the entries of the decode batches that this mix feeds
    room: u32,        // tokens that the past holds at most
    terms: array<vec4<u32>, 4>,     // the row of each term
    reported: array<vec4<u32>, 4>,  // rows whose log-probs are reported, the base first
    batch_at: array<vec4<u32>, 4>,  // where each decode batch begins, in vec4s
}

@group(0) @binding(0) var<uniform> params: Params;
// Live settings: one word each, written by the CPU at any time between steps.
@group(0) @binding(1) var<storage, read> controls: array<u32>;
// Scratch of a step: [0] the step's number; the prepared weights; a record per workgroup; the best id of each lane of
// `mix`; z [vocab].
@group(0) @binding(3) var<storage, read_write> work: array<u32>;

const INV_TEMPERATURE = 0u;  // 1 when greedy
const TEMPERATURE = 1u;
const GREEDY = 2u;
const SEED_LOW = 3u;
const SEED_HIGH = 4u;
const TOP_K = 5u;
const TOP_P = 6u;
const MIN_P_DROP = 7u;       // temperature * ln(min_p)
const NORMALIZE = 8u;
const FILTER_ROW = 9u;
const FILTER_VALUE = 10u;    // ln(alpha), k or p
const TYPICAL_P = 11u;       // p, or 0 bits when off
const EDITS = 12u;           // what is done to z; see mix_edits
const PREPARED = 13u;        // 1: `prepare` ran and wrote this step's weights
const MIN_TOKENS = 14u;      // steps before which no end may be drawn
const REPETITION = 15u;
const PRESENCE = 16u;
const FREQUENCY = 17u;
const LAST_N = 18u;          // tokens of the past that count; 0 is all
const WITH_PROMPT = 19u;     // 1: the prompt is part of the past
const NGRAM = 20u;           // no n-gram of this length twice; 0 is off
const WEIGHTS = 24u;         // [16]
const FORCED_FROM = 40u;     // the first step whose token is given, how many there are, and the tokens
const FORCED_COUNT = 41u;
const FORCED = 42u;          // [256]
const SCHEDULES = 300u;      // [16] (points, then steps and weights of 16 points)
const MOST_POINTS = 16u;

// Words of the scratch before the records.
const NOW = 16u;             // [16] the weights of this step, if PREPARED
// Words of a workgroup's record; from ROWS on two for each reported row: max, sum of exp(l - max).
const RECORDS = 32u;
const Z_MAX = 0u;
const Z_SUM = 1u;            // of exp(z - max)
const Z_PUSH = 2u;           // of exp(z - max) * (z - l_base)
const BASE_SPREAD = 3u;      // of exp(l - max) * (l - max) over the base
const PICK_SCORE = 4u;
const PICK_ID = 5u;
const BAD_ROWS = 6u;         // bit r: row r has a NaN or +inf
const FILTER_MAX = 7u;       // max of the filter's row
const Z_HEAT = 8u;           // of e = exp((z - max) / T)
const Z_SPREAD = 9u;         // of e * (z - max) / T
const FILTER_SUM = 10u;      // of e = exp(l - max) over the filter's row
const FILTER_SPREAD = 11u;   // of e * (l - max)
const ROWS = 12u;

// A token that is left out. Infinities are not used: WGSL lets a compiler assume there are none.
const MASKED = -3.0e38;
// What -inf is read as.
const IMPOSSIBLE = -1.0e30;
const NO_ID = 0xffffffffu;

fn control(at: u32) -> f32 {
    return bitcast<f32>(controls[at]);
}

fn term_row(t: u32) -> u32 {
    return params.terms[t / 4u][t % 4u];
}

fn reported_row(r: u32) -> u32 {
    return params.reported[r / 4u][r % 4u];
}

// The weight of a term in this step.
fn weight_of(t: u32, prepared: bool) -> f32 {
    if prepared {
        return work_float(NOW + t);
    }
    return control(WEIGHTS + t);
}

fn record_of(group: u32) -> u32 {
    return RECORDS + group * (ROWS + 2u * params.n_reported);
}

fn best_of(slot: u32) -> u32 {
    return record_of(params.groups) + 2u * slot;
}

fn z_of(id: u32) -> u32 {
    return best_of(params.groups * params.lanes) + id;
}

fn work_float(at: u32) -> f32 {
    return bitcast<f32>(work[at]);
}

fn is_masked(z: f32) -> bool {
    return z < -2.0e38;
}

// The largest of one field over all workgroups' records.
fn max_over_groups(field: u32) -> f32 {
    var top = MASKED;
    for (var g = 0u; g < params.groups; g++) {
        top = max(top, work_float(record_of(g) + field));
    }
    return top;
}

// exp((m - top) * inv_t) where m may be MASKED.
fn rescale(m: f32, top: f32, inv_t: f32) -> f32 {
    return exp_below(max(m - top, -1.0e30) * inv_t);
}
