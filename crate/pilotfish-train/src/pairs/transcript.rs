//! Transcripts of Anthropic's HH-RLHF: turns that begin with `\n\nHuman:` or `\n\nAssistant:`.

use pilotfish::chat::{Message, Role};

const SPEAKERS: [(&str, Role); 2] = [("\n\nHuman:", Role::User), ("\n\nAssistant:", Role::Assistant)];

/// The turns of a transcript; nothing where the text is none.
pub(super) fn read(text: &str) -> Option<Vec<Message>> {
    let mut turns: Vec<Message> = Vec::new();
    let mut rest = text;
    loop {
        let (mark, role) = SPEAKERS.into_iter().find(|(mark, _)| rest.starts_with(mark))?;
        let after = &rest[mark.len()..];
        let end = SPEAKERS.iter().filter_map(|(mark, _)| after.find(mark)).min().unwrap_or(after.len());
        let content = after[..end].trim();
        match turns.last_mut() {
            // Some transcripts give one speaker two turns in a row, which templates refuse.
            Some(last) if last.role == role => last.content = format!("{}\n\n{content}", last.content),
            _ => turns.push(Message { role, content: content.to_owned() }),
        }
        rest = &after[end..];
        if rest.is_empty() {
            return Some(turns);
        }
    }
}
