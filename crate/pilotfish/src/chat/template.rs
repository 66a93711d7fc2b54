//! A template and what it can render.

use minijinja::Environment;
use serde::Serialize;

use super::jinja;
use super::{ChatError, Date, KnownTemplate, Message, Role};
use crate::gguf::Metadata;
use crate::tokenizer::Tokenizer;

/// Turns a conversation into the text a model continues.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    bos: String,
    eos: String,
    known: Option<KnownTemplate>,
    supports_system: bool,
}

/// What a template sees, under the names of Hugging Face's `apply_chat_template`.
#[derive(Serialize)]
struct Context<'c> {
    messages: &'c [Message],
    add_generation_prompt: bool,
    bos_token: &'c str,
    eos_token: &'c str,
}

impl ChatTemplate {
    /// A template in Jinja; `bos` and `eos` are the texts of those tokens, empty where there are none.
    ///
    /// # Errors
    /// [`ChatError::Syntax`] if it is none.
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Self, ChatError> {
        let mut this = Self {
            environment: jinja::environment(source)?,
            source: source.to_owned(),
            bos: bos.to_owned(),
            eos: eos.to_owned(),
            known: None,
            supports_system: false,
        };
        this.supports_system = this.shows_system_messages();
        Ok(this)
    }

    /// The template of a model's file (`tokenizer.chat_template`), or what its vocabulary suggests where there is none.
    ///
    /// # Errors
    /// [`ChatError::Syntax`] if the file's template cannot be read; [`ChatTemplate::known`] makes one nevertheless.
    pub fn from_gguf(metadata: &Metadata, tokenizer: &Tokenizer) -> Result<Self, ChatError> {
        match metadata.opt_string("tokenizer.chat_template")? {
            Some(source) if !source.trim().is_empty() => {
                let name = |id: Option<u32>| id.and_then(|id| tokenizer.token_name(id)).unwrap_or_default();
                Self::new(source, name(tokenizer.bos()), name(tokenizer.eos()))
            }
            _ => Self::known(KnownTemplate::of(tokenizer), tokenizer),
        }
    }

    /// One of the well-known forms.
    ///
    /// # Errors
    /// None in practice: the sources are our own.
    pub fn known(known: KnownTemplate, tokenizer: &Tokenizer) -> Result<Self, ChatError> {
        let name = |id: Option<u32>| id.and_then(|id| tokenizer.token_name(id)).unwrap_or_default();
        let this = Self::new(known.source(), name(tokenizer.bos()), name(tokenizer.eos()))?;
        Ok(Self { known: Some(known), ..this })
    }

    /// The same with another day for `strftime_now`; without, it is 26 July 2024.
    #[must_use]
    pub fn with_date(mut self, date: Date) -> Self {
        jinja::set_date(&mut self.environment, date);
        self
    }

    /// The text of a conversation. With `add_generation_prompt` it ends where the assistant's next message begins.
    ///
    /// Where the template has no place for a system message, its text goes before the person's next message, with an
    /// empty line between.
    ///
    /// # Errors
    /// [`ChatError::Empty`] without messages, [`ChatError::Refused`] where the template says no (many want person and
    /// assistant to take turns), [`ChatError::Failed`] and [`ChatError::TooManySteps`] for faulty templates.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, ChatError> {
        if messages.is_empty() {
            return Err(ChatError::Empty);
        }
        if messages.iter().all(|message| message.role != Role::System) {
            return self.render_as_is(messages, add_generation_prompt);
        }
        if !self.supports_system {
            return self.render_as_is(&without_system(messages), add_generation_prompt);
        }
        let as_is = self.render_as_is(messages, add_generation_prompt);
        if !matches!(as_is, Err(ChatError::Refused { .. })) {
            return as_is;
        }
        // A template may take a system message first and refuse it later.
        let begun = messages.iter().take_while(|message| message.role == Role::System).count();
        let (first, rest) = messages.split_at(begun);
        let folded = [first, &without_system(rest)].concat();
        self.render_as_is(&folded, add_generation_prompt).or(as_is)
    }

    /// Whether the template has a place of its own for a system message. Gemma's, which puts it before the person's
    /// first message itself, counts as one.
    pub fn supports_system(&self) -> bool {
        self.supports_system
    }

    /// The template in Jinja.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The well-known form this is, unless the template came from elsewhere.
    pub fn known_template(&self) -> Option<KnownTemplate> {
        self.known
    }

    /// Texts at which an answer ends, where no token ends it.
    pub fn stop_texts(&self) -> &'static [&'static str] {
        self.known.map_or(&[], KnownTemplate::stop_texts)
    }

    fn render_as_is(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, ChatError> {
        let context = Context { messages, add_generation_prompt, bos_token: &self.bos, eos_token: &self.eos };
        jinja::render(&self.environment, context)
    }

    /// Templates raise, or drop the message without a word; so ask for one and look for it.
    fn shows_system_messages(&self) -> bool {
        const MARK: &str = "pilotfish-was-here";
        let messages = [Message::system(MARK), Message::user("?")];
        self.render_as_is(&messages, true).is_ok_and(|text| text.contains(MARK))
    }
}

/// Each system message before the person's next one; as the person's where none follows.
fn without_system(messages: &[Message]) -> Vec<Message> {
    let mut waiting: Vec<&str> = Vec::new();
    let mut folded = Vec::with_capacity(messages.len());
    for message in messages {
        match message.role {
            Role::System => waiting.push(&message.content),
            Role::User => {
                waiting.push(&message.content);
                folded.push(Message::user(waiting.join("\n\n")));
                waiting.clear();
            }
            Role::Assistant => folded.push(message.clone()),
        }
    }
    if !waiting.is_empty() {
        folded.push(Message::user(waiting.join("\n\n")));
    }
    folded
}
