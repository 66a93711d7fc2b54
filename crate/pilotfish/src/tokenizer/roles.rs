//! Which tokens begin, end, pad: as the metadata says, and where it is silent as the names tell.

use super::TokenId;
use super::vocabulary::{TokenKind, Vocabulary};

/// Names that end a chat turn, the likeliest first.
const TURN_ENDS: [&str; 7] =
    ["<|eot_id|>", "<|im_end|>", "<end_of_turn>", "<turn|>", "<|end|>", "<end_of_utterance>", "<|END_OF_TURN_TOKEN|>"];

/// Names that end a message or a text, whatever `eos_token_id` is.
const OTHER_ENDS: [&str; 10] = [
    "<|eom_id|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|return|>",
    "<|call|>",
    "<｜end▁of▁sentence｜>",
    "[EOS]",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
];

/// Names that begin a text, for files that do not say.
const BEGINS: [&str; 5] = ["<s>", "<bos>", "<|begin_of_text|>", "<|startoftext|>", "<｜begin▁of▁sentence｜>"];

/// Names that end a text, for files that do not say.
const ENDS: [&str; 6] = ["</s>", "<eos>", "<|end_of_text|>", "<|endoftext|>", "<|im_end|>", "<｜end▁of▁sentence｜>"];

/// The tokens with a role.
#[derive(Debug, Clone, Default)]
pub(super) struct Roles {
    pub(super) bos: Option<TokenId>,
    pub(super) eos: Option<TokenId>,
    pub(super) eot: Option<TokenId>,
    pub(super) unk: Option<TokenId>,
    pub(super) pad: Option<TokenId>,
    /// A text begins with BOS unless the caller says otherwise.
    pub(super) adds_bos: bool,
    /// Ends of generation, ascending.
    pub(super) ends: Vec<TokenId>,
}

impl Roles {
    /// Fills in what is not said. `ends` holds the ends that the metadata names beyond eos and eot.
    pub(super) fn complete(mut self, vocabulary: &mut Vocabulary) -> Self {
        // Ordinary text may look like a role (Qwen has a token `</s>` that is none), so a guess needs a token set apart.
        let set_apart = |name: &&str, vocabulary: &Vocabulary| {
            let id = vocabulary.id(name)?;
            let certain = name.starts_with("<|") || name.starts_with("<end_of");
            (certain || vocabulary.kind(id) != Some(TokenKind::Normal)).then_some(id)
        };
        let first_of =
            |names: &[&str], vocabulary: &Vocabulary| names.iter().find_map(|name| set_apart(name, vocabulary));
        self.bos = self.bos.or_else(|| first_of(&BEGINS, vocabulary));
        self.eos = self.eos.or_else(|| first_of(&ENDS, vocabulary));
        self.eot = self.eot.or_else(|| first_of(&TURN_ENDS, vocabulary));
        self.unk = self.unk.or_else(|| first_of(&["<unk>"], vocabulary));

        // Where messages end by `<|return|>` (gpt-oss), `<|end|>` only ends one of several channels.
        let has_channels = vocabulary.id("<|return|>").is_some();
        let named = TURN_ENDS
            .iter()
            .chain(&OTHER_ENDS)
            .filter(|&&name| name != "<|end|>" || !has_channels)
            .filter_map(|name| set_apart(name, vocabulary));
        self.ends.extend(named.chain(self.eos).chain(self.eot));
        if has_channels {
            let end = vocabulary.id("<|end|>");
            self.ends.retain(|&id| Some(id) != end);
            self.eot = self.eot.filter(|&id| Some(id) != end);
        }
        self.ends.sort_unstable();
        self.ends.dedup();

        // Some converters write the type "normal" for these; as text they would be shown, and found in a user's text.
        for id in self.ends.iter().copied().chain(self.bos) {
            if vocabulary.kind(id) == Some(TokenKind::Normal) {
                vocabulary.set_kind(id, TokenKind::Control);
            }
        }
        self
    }
}
