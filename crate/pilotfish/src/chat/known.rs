//! The well-known forms of a chat, for files that carry no template: the vocabulary's control tokens tell which.
//!
//! None begins with BOS: [`Bos::Auto`](crate::tokenizer::Bos) puts it there where the model wants it. What a form has no
//! place for, the system's words, goes into the person's first message as everywhere.

use crate::tokenizer::Tokenizer;

/// A form that needs no template in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KnownTemplate {
    /// `<|im_start|>user ... <|im_end|>`: Qwen, `SmolLM` and many more.
    ChatMl,
    /// `<start_of_turn>user ... <end_of_turn>`: Gemma 1 to 3.
    Gemma,
    /// `<|start_header_id|>user<|end_header_id|> ... <|eot_id|>`: Llama 3.
    Llama3,
    /// `<|user|> ... <|end|>`: Phi-3.
    Phi3,
    /// `[INST] ... [/INST]`: Mistral.
    Mistral,
    /// `User: ...` and `Assistant: ...`: what a model without chat tokens has at least read.
    Plain,
}

impl KnownTemplate {
    /// The form whose tokens the vocabulary has.
    pub fn of(tokenizer: &Tokenizer) -> Self {
        let has = |names: &[&str]| {
            let is_special = |name: &&str| tokenizer.token_id(name).is_some_and(|id| !is_text(tokenizer, id));
            names.iter().all(is_special)
        };
        if has(&["<|im_start|>", "<|im_end|>"]) {
            Self::ChatMl
        } else if has(&["<start_of_turn>", "<end_of_turn>"]) {
            Self::Gemma
        } else if has(&["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]) {
            Self::Llama3
        } else if has(&["<|user|>", "<|assistant|>", "<|end|>"]) {
            Self::Phi3
        } else if has(&["[INST]", "[/INST]"]) {
            Self::Mistral
        } else {
            Self::Plain
        }
    }

    /// Its template in Jinja.
    pub fn source(self) -> &'static str {
        match self {
            Self::ChatMl => {
                r"{%- for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
            }
            Self::Gemma => {
                r"{%- for m in messages if m.role != 'system' %}{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' + m.content|trim + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
            }
            Self::Llama3 => {
                r"{%- for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content|trim + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
            }
            Self::Phi3 => {
                r"{%- for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
            }
            Self::Mistral => {
                r"{%- for m in messages if m.role != 'system' %}{{ '[INST] ' + m.content + '[/INST]' if m.role == 'user' else ' ' + m.content|trim + eos_token }}{% endfor %}"
            }
            Self::Plain => {
                r"{%- for m in messages %}{{ {'system': '', 'user': 'User: ', 'assistant': 'Assistant: '}[m.role] + m.content|trim + ('\n\n' if m.role == 'system' else '\n') }}{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
            }
        }
    }

    /// Texts at which an answer ends, where no token ends it.
    pub fn stop_texts(self) -> &'static [&'static str] {
        match self {
            Self::Plain => &["\nUser:"],
            _ => &[],
        }
    }
}

/// A token that stands among words; vocabularies with chat tokens set them apart.
fn is_text(tokenizer: &Tokenizer, id: u32) -> bool {
    tokenizer.token_kind(id) == Some(crate::tokenizer::TokenKind::Normal)
}
