//! Lines of JSON, plain or gzipped: `{prompt, chosen, rejected}` with strings or message lists (the preference format of
//! Hugging Face's TRL), or `{chosen, rejected}` alone as whole conversations or HH-RLHF transcripts.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use pilotfish::chat::{Message, Role};
use serde::Deserialize;

use super::transcript;
use crate::error::{Result, TrainError};

/// The first bytes of a gzip file.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What two answers are given to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Prompt {
    /// A text to continue.
    Text(String),
    /// A conversation that the assistant answers.
    Chat(Vec<Message>),
}

/// An answer's text, and whether the line says that it is whole (the end of a conversation) or may be cut anywhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Answer {
    /// The text.
    pub text: String,
    /// It ends where the assistant's turn ends.
    pub whole: bool,
}

/// Which part of the pairs a line says it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// To learn from.
    Train,
    /// To judge by.
    HeldOut,
}

/// A line, understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its number, from 1.
    pub line: usize,
    /// The prompt.
    pub prompt: Prompt,
    /// The answer that is preferred.
    pub chosen: Answer,
    /// The other.
    pub rejected: Answer,
    /// Where it says it belongs.
    pub split: Option<Split>,
    /// What a rule gave the two, if it says.
    pub scores: Option<(f64, f64)>,
}

/// The fields of a line. Others are passed over.
#[derive(Debug, Deserialize)]
struct Line {
    prompt: Option<Text>,
    chosen: Text,
    rejected: Text,
    split: Option<String>,
    score_chosen: Option<f64>,
    score_rejected: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a string or a list of {role, content}")]
enum Text {
    Plain(String),
    Messages(Vec<Message>),
}

/// Reads the lines of a file; `bad` decides what becomes of a line that is wrong: an error ends the reading.
///
/// # Errors
/// [`TrainError::File`] where the file cannot be read or is no gzip although it begins as one, and what `bad` gives.
pub fn read(path: &Path, mut bad: impl FnMut(TrainError) -> Result<()>) -> Result<Vec<Record>> {
    let failed = |source| TrainError::File { path: path.to_owned(), source };
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    let gzipped = file.fill_buf().map_err(failed)?.starts_with(&GZIP);
    let lines: Box<dyn Read> = if gzipped { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let mut records = Vec::new();
    for (index, line) in BufReader::new(lines).split(b'\n').enumerate() {
        let line = line.map_err(failed)?;
        if line.trim_ascii().is_empty() {
            continue;
        }
        match parse(index + 1, &line) {
            Ok(record) => records.push(record),
            Err(message) => bad(TrainError::Line { path: path.to_owned(), line: index + 1, message })?,
        }
    }
    Ok(records)
}

fn parse(number: usize, line: &[u8]) -> Result<Record, String> {
    let expected = "expected {\"prompt\", \"chosen\", \"rejected\"} with strings or lists of {\"role\", \"content\"}";
    let line: Line = serde_json::from_slice(line).map_err(|error| {
        // serde's own "at line 1" would be read as the file's.
        let message = error.to_string();
        let reason = message.split(" at line ").next().unwrap_or_default().to_owned();
        format!("{reason} at byte {}; {expected}", error.column())
    })?;
    let (prompt, chosen, rejected) = match (line.prompt, line.chosen, line.rejected) {
        (Some(prompt), chosen, rejected) => (self::prompt(prompt)?, answer(chosen)?, answer(rejected)?),
        (None, Text::Messages(chosen), Text::Messages(rejected)) => conversations(chosen, rejected)?,
        (None, Text::Plain(chosen), Text::Plain(rejected)) => {
            let read = |text: &str| {
                transcript::read(text).ok_or("it has no prompt, and is no transcript of Human and Assistant")
            };
            conversations(read(&chosen)?, read(&rejected)?)?
        }
        (None, ..) => {
            return Err("one answer is a text and the other a list of messages, and there is no prompt".into());
        }
    };
    let split = match line.split.as_deref() {
        None => None,
        Some("train") => Some(Split::Train),
        Some("heldout" | "held_out" | "held-out" | "test" | "eval" | "validation" | "valid" | "dev") => {
            Some(Split::HeldOut)
        }
        Some(other) => return Err(format!("split is {other:?}, expected \"train\" or \"heldout\"")),
    };
    Ok(Record { line: number, prompt, chosen, rejected, split, scores: line.score_chosen.zip(line.score_rejected) })
}

fn prompt(prompt: Text) -> Result<Prompt, String> {
    match prompt {
        Text::Plain(text) => Ok(Prompt::Text(text)),
        Text::Messages(messages) if messages.is_empty() => Err("the prompt is an empty list".into()),
        Text::Messages(messages) => Ok(Prompt::Chat(messages)),
    }
}

/// An answer beside a prompt: its text, or the one message of the assistant.
fn answer(answer: Text) -> Result<Answer, String> {
    match answer {
        Text::Plain(text) => Ok(Answer { text, whole: false }),
        Text::Messages(mut messages) => match (messages.pop(), messages.is_empty()) {
            (Some(Message { role: Role::Assistant, content }), true) => Ok(Answer { text: content, whole: true }),
            _ => Err("an answer beside a prompt is not one message of the assistant".into()),
        },
    }
}

/// Two whole conversations: what comes before the last answer is the prompt, and must be the same.
fn conversations(mut chosen: Vec<Message>, mut rejected: Vec<Message>) -> Result<(Prompt, Answer, Answer), String> {
    let last = |messages: &mut Vec<Message>| match messages.pop() {
        Some(Message { role: Role::Assistant, content }) => Ok(Answer { text: content, whole: true }),
        _ => Err("a conversation does not end with an answer of the assistant".to_owned()),
    };
    let answers = (last(&mut chosen)?, last(&mut rejected)?);
    if chosen.is_empty() {
        return Err("a conversation holds nothing before its answer".into());
    }
    if chosen != rejected {
        return Err("the two conversations differ before their last answers".into());
    }
    Ok((Prompt::Chat(chosen), answers.0, answers.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<Record, String> {
        parse(7, text.as_bytes())
    }

    #[test]
    fn strings_and_message_lists_are_read() {
        let record = line(
            r#"{"prompt":"a","chosen":" b","rejected":" c","split":"test","score_chosen":1,"score_rejected":0.5}"#,
        );
        let record = record.expect("it is right");
        assert_eq!((record.line, record.prompt, record.split), (7, Prompt::Text("a".into()), Some(Split::HeldOut)));
        assert_eq!(record.chosen, Answer { text: " b".into(), whole: false });
        assert_eq!(record.scores, Some((1.0, 0.5)));
        let chat = r#"{"prompt":[{"role":"user","content":"q"}],"chosen":[{"role":"assistant","content":"b"}],"rejected":"c"}"#;
        let record = line(chat).expect("it is right");
        assert_eq!(record.prompt, Prompt::Chat(vec![Message::user("q")]));
        assert!(record.chosen.whole && !record.rejected.whole);
    }

    #[test]
    fn conversations_share_all_but_their_last_answer() {
        let with = |other: &str| {
            line(&format!(
                r#"{{"chosen":[{{"role":"user","content":"q"}},{{"role":"assistant","content":"b"}}],"rejected":[{{"role":"user","content":"{other}"}},{{"role":"assistant","content":"c"}}]}}"#
            ))
        };
        assert_eq!(with("q").expect("it is right").rejected.text, "c");
        assert!(with("p").expect_err("it is wrong").contains("differ"));
    }

    #[test]
    fn hh_rlhf_transcripts_are_read() {
        let text = r#"{"chosen":"\n\nHuman: q\n\nAssistant: a\n\nHuman: r\n\nAssistant: b","rejected":"\n\nHuman: q\n\nAssistant: a\n\nHuman: r\n\nAssistant: c"}"#;
        let record = line(text).expect("it is right");
        let turns = vec![Message::user("q"), Message::assistant("a"), Message::user("r")];
        assert_eq!(record.prompt, Prompt::Chat(turns));
        assert_eq!((record.chosen.text.as_str(), record.rejected.text.as_str()), ("b", "c"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, said) in [
            ("{", "EOF"),
            (r#"{"prompt":"a","chosen":"b"}"#, "rejected"),
            (r#"{"prompt":"a","chosen":"b","rejected":3}"#, "a string or a list"),
            (r#"{"chosen":"b","rejected":"c"}"#, "no prompt"),
            (r#"{"prompt":[],"chosen":"b","rejected":"c"}"#, "empty list"),
            (r#"{"prompt":"a","chosen":[{"role":"user","content":"x"}],"rejected":"c"}"#, "assistant"),
            (r#"{"prompt":"a","chosen":"b","rejected":"c","split":"both"}"#, "\"both\""),
        ] {
            let error = line(text).expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
