// The past and what is said about single tokens: one buffer, written by the CPU (scores, ends, the prompt), by `prepare`
// (counts, n-grams) and by `finish` (the drawn token). A word per token of the vocabulary is 4 bytes beside the 4 bytes per
// row that the mix reads anyway, and needs no search.
//
// past: [0, 1] the part of the ids that the counts hold; [2] tokens of the prompt, which the ids begin with; scores [vocab] f32, counts [vocab], marks [vocab]; ids [room]
const PAST_HEADER = 4u;
const PROMPT = 2u;
// A mark: this bit for a token that ends the text, and below it 1 + the step in which an n-gram forbids the token.
const ENDS = 0x80000000u;

// Added to z; MASKED bans.
fn score_at(id: u32) -> u32 {
    return PAST_HEADER + id;
}

fn count_at(id: u32) -> u32 {
    return PAST_HEADER + params.vocab + id;
}

fn mark_at(id: u32) -> u32 {
    return PAST_HEADER + 2u * params.vocab + id;
}

// Where the token at `position` of the past stands.
fn past_id(position: u32) -> u32 {
    return PAST_HEADER + 3u * params.vocab + position;
}
