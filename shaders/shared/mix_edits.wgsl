// What happens to z between the mix and the temperature, in this order: scores are added, what was said is penalised, and what
// may not be said is left out. The twin is in `guidance/twin.rs`.
#import mix_past

// [0, 1] .. ids, as in mix_past
@group(0) @binding(7) var<storage, read> past: array<u32>;

// Bits of EDITS.
const SCORES = 1u;
const PENALTIES = 2u;
const NGRAMS = 4u;
const LATE_ENDS = 8u;

// z of a token that the rows and the row filter keep; MASKED if an edit leaves it out.
fn edited(z: f32, id: u32, edits: u32, step: u32) -> f32 {
    var out = z;
    if (edits & SCORES) != 0u {
        let score = bitcast<f32>(past[score_at(id)]);
        if is_masked(score) {
            return MASKED;
        }
        out += score;
    }
    if (edits & PENALTIES) != 0u {
        let count = past[count_at(id)];
        if count != 0u {
            let penalty = control(REPETITION);
            out = select(out * penalty, out / penalty, out > 0.0);
            out -= f32(count) * control(FREQUENCY) + control(PRESENCE);
        }
    }
    if (edits & (NGRAMS | LATE_ENDS)) != 0u {
        let mark = past[mark_at(id)];
        let repeats = (edits & NGRAMS) != 0u && (mark & ~ENDS) == step + 1u;
        let ends = (edits & LATE_ENDS) != 0u && (mark & ENDS) != 0u && step < controls[MIN_TOKENS];
        if repeats || ends {
            return MASKED;
        }
    }
    return clamp(out, IMPOSSIBLE, -IMPOSSIBLE);
}

// The token that is given for this step, or NO_ID.
fn forced(step: u32) -> u32 {
    let at = step - controls[FORCED_FROM];
    if at < controls[FORCED_COUNT] {
        return controls[FORCED + at];
    }
    return NO_ID;
}
