//! Prompts to evaluate on: JSON lines, of which those that guides were trained on are left out.

use std::path::Path;

use pilotfish::chat::{Message, Role};
use pilotfish::engine::Prompt;
use serde::Deserialize;

use crate::error::{CliError, Result};
use crate::input;

const EXPECTED: &str = "lines of {\"prompt\": a text or a list of messages}, with \"split\": \"heldout\" or none";

#[derive(Debug, Deserialize)]
struct Line {
    prompt: Asked,
    split: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a string or a list of {role, content}")]
enum Asked {
    Text(String),
    Chat(Vec<Message>),
}

/// What was read.
#[derive(Debug, PartialEq)]
pub(super) struct Prompts {
    /// In the file's order.
    pub(super) held_out: Vec<Prompt>,
    /// Lines of another split.
    pub(super) left_out: usize,
}

impl Prompts {
    /// The prompts whose split is `heldout`, or that have none; at most `most`. A prompt of a line with another split is left out even
    /// where it is there a second time without one.
    pub(super) fn read(path: &Path, most: Option<usize>) -> Result<Self> {
        let wrong = |found: String| CliError::Content { path: path.to_owned(), expected: EXPECTED, found };
        let (mut held_out, mut trained): (Vec<Prompt>, Vec<Prompt>) = (Vec::new(), Vec::new());
        for (at, line) in input::text(path)?.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let Line { prompt, split } =
                serde_json::from_str(line).map_err(|error| wrong(format!("line {}: {error}", at + 1)))?;
            let prompt = match prompt {
                Asked::Text(text) => Prompt::Text(text),
                Asked::Chat(messages) => Prompt::Chat(messages),
            };
            let kept = split.is_none_or(|split| split == "heldout");
            let list = if kept { &mut held_out } else { &mut trained };
            list.push(prompt);
        }
        held_out.retain(|prompt| !trained.contains(prompt));
        let mut seen: Vec<Prompt> = Vec::new();
        held_out.retain(|prompt| {
            !seen.contains(prompt) && {
                seen.push(prompt.clone());
                true
            }
        });
        held_out.truncate(most.unwrap_or(usize::MAX));
        if held_out.is_empty() {
            return Err(wrong(format!("no prompt is held out ({} are of another split)", trained.len())));
        }
        Ok(Self { held_out, left_out: trained.len() })
    }
}

/// A prompt on one line, for people.
pub(super) fn shown(prompt: &Prompt) -> String {
    let text = match prompt {
        Prompt::Text(text) => text.clone(),
        Prompt::Chat(messages) => messages.last().map_or_else(String::new, |message| message.content.clone()),
        Prompt::Ids(ids) => format!("{ids:?}"),
    };
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The prompt with an instruction before it: a system message, or a paragraph before a text.
pub(super) fn instructed(prompt: &Prompt, instruction: &str) -> Prompt {
    match prompt {
        Prompt::Chat(messages) => {
            let system = Message { role: Role::System, content: instruction.to_owned() };
            Prompt::Chat(std::iter::once(system).chain(messages.iter().cloned()).collect())
        }
        Prompt::Text(text) => Prompt::Text(format!("{instruction}\n\n{text}")),
        Prompt::Ids(ids) => Prompt::Ids(ids.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, content: &str) -> Result<Prompts> {
        let path = std::env::temp_dir().join(format!("pilotfish-{}-{name}", std::process::id()));
        std::fs::write(&path, content).expect("it is written");
        let made = Prompts::read(&path, Some(3));
        let _ = std::fs::remove_file(&path);
        made
    }

    #[test]
    fn what_was_trained_on_is_left_out() {
        let lines = r#"
            {"prompt": "a", "split": "heldout"}
            {"prompt": "b", "split": "train"}
            {"prompt": "b"}
            {"prompt": [{"role": "user", "content": "c"}]}
            {"prompt": "a"}
            {"prompt": "d"}
            {"prompt": "e"}"#;
        let made = read("split", lines).expect("there are some");
        let text = |text: &str| Prompt::Text(text.into());
        let chat = Prompt::Chat(vec![Message { role: Role::User, content: "c".into() }]);
        assert_eq!(made, Prompts { held_out: vec![text("a"), chat, text("d")], left_out: 1 });
    }

    #[test]
    fn a_file_without_prompts_and_a_bad_line_are_refused() {
        for (name, content, said) in [
            ("empty", "", "no prompt is held out"),
            ("trained", r#"{"prompt": "a", "split": "train"}"#, "1 are of another split"),
            ("bad", "{\"prompt\": \"a\"}\n{\"prompt\": 3}", "line 2"),
        ] {
            let refused = read(name, content).expect_err("it is refused");
            assert_eq!(refused.code(), "file.content");
            assert!(refused.message().contains(said), "{}", refused.message());
        }
    }

    #[test]
    fn an_instruction_goes_first() {
        let text = instructed(&Prompt::Text("One.".into()), "Be kind.");
        assert_eq!(text, Prompt::Text("Be kind.\n\nOne.".into()));
        let chat = Prompt::Chat(vec![Message { role: Role::User, content: "Hi".into() }]);
        let Prompt::Chat(messages) = instructed(&chat, "Be kind.") else { panic!("it stays a conversation") };
        assert_eq!((messages.len(), messages[0].role), (2, Role::System));
    }
}
