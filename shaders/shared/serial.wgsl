// Online softmax by one invocation alone, over up to four query heads that share a kv head, BLOCK keys at a time: what is
// loaded and unpacked serves all heads, and nothing is in arrays of its own: SwiftShader gathers those lane by lane, and
// lavapipe unrolls them into minutes of compilation. On SwiftShader this is three times as fast as a head and a key at a time
// (2 cores, 2026-11-22).
//
// Needs SIZE, GROUP, `k_cache`, `v_cache`, and of the kernel:
//   q_at(g, p)               values 4p .. 4p+3 of query g, scaled
//   add(g, p, fade, value)   sum[g][p] = sum[g][p] * fade + value, where a fade of 0 means that there is no sum yet
const BLOCK: u32 = 32u;

// D4 again, for loops that are not to be unrolled: lavapipe takes ten times as long to compile them. Not from `params`: it
// compiles a kernel anew, and keeps the code, whenever a loop's end in a uniform is bound (Mesa 22.3, 2026-11-24).
var<private> d4: u32;

// To be called first; there is at least one token, which no compiler knows.
fn begin_loops(tokens: u32) {
    d4 = min(D4, tokens * D4);
}

// Weights of a lane's block of keys, four in a vector: no lane sees another's.
var<workgroup> weights: array<vec4<f32>, BLOCK / 4u * GROUP * SIZE>;
// And where the keys and values of the block are, in the same way.
var<workgroup> places: array<vec4<u32>, BLOCK / 4u * SIZE>;
// Of each head: the largest score so far, the sum of weights.
var<private> largest: vec4<f32> = vec4(NEVER);
var<private> total: vec4<f32>;

// Sees the positions begin .. end of a row: `table` says where its slots are, `cache` where those of a kv head are.
fn see(lane: u32, cache: u32, table: u32, begin: u32, end: u32) {
    for (var block = begin; block < end; block += BLOCK) {
        let stop = min(block + BLOCK, end);
        var high = vec4(NEVER);
        for (var key = block; key < stop; key += 4u) {
            // Past the end the last key is seen again.
            let keys = min(vec4(key) + vec4(0u, 1u, 2u, 3u), vec4(end - 1u));
            let at = vec4(cache)
                + vec4(slot_at(table, keys.x), slot_at(table, keys.y), slot_at(table, keys.z), slot_at(table, keys.w));
            places[(key - block) / 4u * SIZE + lane] = at;
            var s0 = vec4(0.0);
            var s1 = vec4(0.0);
            var s2 = vec4(0.0);
            var s3 = vec4(0.0);
            for (var p = 0u; p < d4; p++) {
                let a = unpack(k_cache[at.x + p]);
                let b = unpack(k_cache[at.y + p]);
                let c = unpack(k_cache[at.z + p]);
                let d = unpack(k_cache[at.w + p]);
                s0 += dots(q_at(0u, p), a, b, c, d);
                if GROUP > 1u {
                    s1 += dots(q_at(1u, p), a, b, c, d);
                }
                if GROUP > 2u {
                    s2 += dots(q_at(2u, p), a, b, c, d);
                }
                if GROUP > 3u {
                    s3 += dots(q_at(3u, p), a, b, c, d);
                }
            }
            // It does not count twice.
            let seen = vec4(key) + vec4(0u, 1u, 2u, 3u) < vec4(end);
            high.x = max(high.x, hold(lane, key - block, 0u, s0, seen));
            if GROUP > 1u {
                high.y = max(high.y, hold(lane, key - block, 1u, s1, seen));
            }
            if GROUP > 2u {
                high.z = max(high.z, hold(lane, key - block, 2u, s2, seen));
            }
            if GROUP > 3u {
                high.w = max(high.w, hold(lane, key - block, 3u, s3, seen));
            }
        }
        let fade = raise(high);
        for (var key = block; key < stop; key += 4u) {
            total.x += weigh(lane, key - block, 0u, largest.x);
            if GROUP > 1u {
                total.y += weigh(lane, key - block, 1u, largest.y);
            }
            if GROUP > 2u {
                total.z += weigh(lane, key - block, 2u, largest.z);
            }
            if GROUP > 3u {
                total.w += weigh(lane, key - block, 3u, largest.w);
            }
        }
        for (var p = 0u; p < d4; p++) {
            var s0 = vec4(0.0);
            var s1 = vec4(0.0);
            var s2 = vec4(0.0);
            var s3 = vec4(0.0);
            for (var key = block; key < stop; key += 4u) {
                let at = places[(key - block) / 4u * SIZE + lane] + vec4(p);
                let a = unpack(v_cache[at.x]);
                let b = unpack(v_cache[at.y]);
                let c = unpack(v_cache[at.z]);
                let d = unpack(v_cache[at.w]);
                s0 += weighted(weights[place_of(lane, key - block, 0u)], a, b, c, d);
                if GROUP > 1u {
                    s1 += weighted(weights[place_of(lane, key - block, 1u)], a, b, c, d);
                }
                if GROUP > 2u {
                    s2 += weighted(weights[place_of(lane, key - block, 2u)], a, b, c, d);
                }
                if GROUP > 3u {
                    s3 += weighted(weights[place_of(lane, key - block, 3u)], a, b, c, d);
                }
            }
            add_all(p, fade, s0, s1, s2, s3);
        }
    }
}

fn add_all(p: u32, fade: vec4<f32>, s0: vec4<f32>, s1: vec4<f32>, s2: vec4<f32>, s3: vec4<f32>) {
    add(0u, p, fade.x, s0);
    if GROUP > 1u {
        add(1u, p, fade.y, s1);
    }
    if GROUP > 2u {
        add(2u, p, fade.z, s2);
    }
    if GROUP > 3u {
        add(3u, p, fade.w, s3);
    }
}

// Raises each head's largest score to at least `score`: the factor that older sums then have, 0 if there are none.
fn raise(score: vec4<f32>) -> vec4<f32> {
    let high = max(largest, score);
    let fade = select(exp(largest - high), vec4(0.0), largest <= vec4(NEVER));
    largest = high;
    total *= fade;
    return fade;
}

// Where the weights of head g for the four keys from `at` on are.
fn place_of(lane: u32, at: u32, g: u32) -> u32 {
    return (at / 4u * GROUP + g) * SIZE + lane;
}

// Keeps four scores, and returns the highest.
fn hold(lane: u32, at: u32, g: u32, dots: vec4<f32>, seen: vec4<bool>) -> f32 {
    let scores = select(vec4(NEVER), capped4(dots), seen);
    weights[place_of(lane, at, g)] = scores;
    return max(max(scores.x, scores.y), max(scores.z, scores.w));
}

// Makes four scores weights, and returns their sum.
fn weigh(lane: u32, at: u32, g: u32, high: f32) -> f32 {
    let place = place_of(lane, at, g);
    let weight = exp(weights[place] - high);
    weights[place] = weight;
    return (weight.x + weight.y) + (weight.z + weight.w);
}

fn dots(x: vec4<f32>, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> vec4<f32> {
    return vec4(dot(x, a), dot(x, b), dot(x, c), dot(x, d));
}

fn weighted(x: vec4<f32>, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> vec4<f32> {
    return x.x * a + x.y * b + x.z * c + x.w * d;
}

fn capped4(score: vec4<f32>) -> vec4<f32> {
    return vec4(capped(score.x), capped(score.y), capped(score.z), capped(score.w));
}
