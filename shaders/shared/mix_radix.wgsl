// Radix selection over sortable float keys: finds the key at which a running total from the top reaches a target.
//
// Four levels of 8 bits. A total is a pair of words (high, low) worth high * 2^13 + low with low < 2^13: each element adds
// at most 2^26, so neither half overflows over 500,000 elements, and integer sums do not depend on their order. Counting is
// the same with 1 for each element.
//
// radix, per selection (0 the row filter, 1 top-k, 2 top-p, 3 typical-p): 4 levels x 256 bins x (high, low), then 4 x state.
// A state is (prefix of the key so far, target left high, low, floor); the second level's floor is that of typical-p.
@group(0) @binding(4) var<storage, read_write> radix: array<atomic<u32>>;

const BINS = 256u;
const LEVEL_WORDS = 512u;
const STATES = 2048u;
const SELECTION_WORDS = 2064u;
const LIMB = 13u;
const LIMB_MASK = 0x1fffu;
const BY_MASS = 1u;
// Flag of selection 0: in the order of typicality.
const BY_DISTANCE = 4u;
const TYPICAL = 3u;

var<workgroup> part_sum: array<vec2<u32>, SIZE>;
var<workgroup> part_found: vec3<u32>;

fn bins_of(selection: u32, level: u32) -> u32 {
    return selection * SELECTION_WORDS + level * LEVEL_WORDS;
}

fn state_of(selection: u32, level: u32) -> u32 {
    return selection * SELECTION_WORDS + STATES + level * 4u;
}

fn carried(high: u32, low: u32) -> vec2<u32> {
    return vec2<u32>(high + (low >> LIMB), low & LIMB_MASK);
}

fn plus(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return carried(a.x + b.x, a.y + b.y);
}

fn minus(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let borrow = select(0u, 1u, a.y < b.y);
    return vec2<u32>(a.x - b.x - borrow, a.y + (borrow << LIMB) - b.y);
}

fn less(a: vec2<u32>, b: vec2<u32>) -> bool {
    return a.x < b.x || (a.x == b.x && a.y < b.y);
}

// p * total, at least one unit.
fn share(p: f32, total: vec2<u32>) -> vec2<u32> {
    let target_mass = max(p * (f32(total.x) * 8192.0 + f32(total.y)), 1.0);
    let high = floor(target_mass * 0.0001220703125);
    return vec2<u32>(u32(high), u32(target_mass - high * 8192.0));
}

fn bin(at: u32) -> vec2<u32> {
    return carried(atomicLoad(&radix[at]), atomicLoad(&radix[at + 1u]));
}

// What is wanted of a selection: a count, or a share of the whole mass.
fn wanted(selection: u32, by_mass: bool, total: vec2<u32>) -> vec2<u32> {
    var at = FILTER_VALUE;
    if selection == 1u {
        at = TOP_K;
    } else if selection == 2u {
        at = TOP_P;
    } else if selection == TYPICAL {
        at = TYPICAL_P;
    }
    if by_mass {
        return share(control(at), total);
    }
    return carried(0u, controls[at]);
}

// Adds digit `level - 1` to the prefix, from the bins that the dispatch before filled. Returns (prefix, target left).
// Every invocation of the workgroup calls it, and gets the same. If the target is never reached the digit is 0: then the
// final key is 0 and everything is kept.
fn narrow(lane: u32, selection: u32, level: u32, by_mass: bool) -> vec3<u32> {
    let before = level - 1u;
    let bins = bins_of(selection, before);
    var prefix = 0u;
    if before > 0u {
        prefix = atomicLoad(&radix[state_of(selection, before)]);
    }
    let per_lane = BINS / SIZE;
    let first = BINS - per_lane * lane;
    var own = vec2<u32>(0u, 0u);
    for (var b = 1u; b <= per_lane; b++) {
        own = plus(own, bin(bins + 2u * (first - b)));
    }
    workgroupBarrier();
    part_sum[lane] = own;
    if lane == 0u {
        part_found = vec3<u32>(prefix << 8u, 0xffffffffu, 0u);
    }
    workgroupBarrier();
    var above = vec2<u32>(0u, 0u);
    var total = vec2<u32>(0u, 0u);
    for (var i = 0u; i < SIZE; i++) {
        if i == lane {
            above = total;
        }
        total = plus(total, part_sum[i]);
    }
    var left = vec2<u32>();
    if before == 0u {
        left = wanted(selection, by_mass, total);
    } else {
        let state = state_of(selection, before);
        left = vec2<u32>(atomicLoad(&radix[state + 1u]), atomicLoad(&radix[state + 2u]));
    }
    if less(above, left) && !less(plus(above, own), left) {
        for (var b = 1u; b <= per_lane; b++) {
            let here = bin(bins + 2u * (first - b));
            if !less(plus(above, here), left) {
                let rest = minus(left, above);
                part_found = vec3<u32>((prefix << 8u) | (first - b), rest.x, rest.y);
                break;
            }
            above = plus(above, here);
        }
    }
    workgroupBarrier();
    return part_found;
}

// The key from which on a finished selection keeps.
fn selected_key(lane: u32, selection: u32, by_mass: bool) -> u32 {
    let key = narrow(lane, selection, 4u, by_mass).x;
    return max(key, atomicLoad(&radix[state_of(selection, 0u) + 3u]));
}

// The mean of (x - max) / T under softmax(x / T): of z, or of the filter's row, where T is 1. As entropy = log-sum-exp - mean of
// x / T, it is what typical-p measures from.
fn mean_below(by_row: bool) -> f32 {
    let max_at = select(Z_MAX, FILTER_MAX, by_row);
    let sum_at = select(Z_HEAT, FILTER_SUM, by_row);
    let spread_at = select(Z_SPREAD, FILTER_SPREAD, by_row);
    let inv_t = select(control(INV_TEMPERATURE), 1.0, by_row);
    let top = max_over_groups(max_at);
    var sum = 0.0;
    var spread = 0.0;
    for (var g = 0u; g < params.groups; g++) {
        let record = record_of(g);
        let m = work_float(record + max_at);
        let factor = rescale(m, top, inv_t);
        if factor > 0.0 {
            sum += factor * work_float(record + sum_at);
            spread += factor * (work_float(record + spread_at) + (m - top) * inv_t * work_float(record + sum_at));
        }
    }
    return spread / max(sum, 1.0e-30);
}

// Orders by typicality, the most typical highest: |-log p - entropy| = |mean - z / T|.
fn typical_key_of(z: f32, top: f32, inv_t: f32, mean: f32) -> u32 {
    return sort_key(-abs((z - top) * inv_t - mean));
}
