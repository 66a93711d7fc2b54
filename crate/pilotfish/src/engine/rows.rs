//! From guides to rows: which streams of positions a session needs, on which weights, and what each guide weighs.
//!
//! Rows with the same weights and the same prompt are one row: a context guide against the base's own prompt costs one row
//! more, not two.

use std::rc::Rc;

use super::model::{Model, Prompt};
use super::options::{Guide, GuideKind};
use crate::chat::{Message, Role};
use crate::model::Sizes;
use crate::tokenizer::{TokenId, vocabulary_difference};
use crate::{Error, Result};

/// The most rows that one weight set takes: what a matrix-vector kernel multiplies in one read of the weights.
pub const MAX_ROWS: usize = 8;

/// A row: a prompt on one of the session's models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// For listings: `base`, `cheerful`, `cheerful against`.
    pub name: String,
    /// 0 is the base; `i + 1` is guide model `i`.
    pub model: usize,
    /// What it is given before the first token.
    pub ids: Vec<TokenId>,
}

/// What one guide adds to the mix: a term per row, with the sign its weight gets there.
#[derive(Debug, Clone, PartialEq)]
pub struct GuideRows {
    /// `(row, sign)`; the first is the one that is reported.
    pub terms: Vec<(usize, f32)>,
}

/// The rows of a session: the base first.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    /// All rows, those of one model beside each other.
    pub rows: Vec<Row>,
    /// For each guide, its rows.
    pub guides: Vec<GuideRows>,
}

impl Rows {
    /// Renders, tokenizes, and merges what is equal.
    pub fn plan(base: &Model, models: &[Rc<Model>], prompt: &Prompt, guides: &[Guide]) -> Result<Self> {
        let mut rows = Self { rows: Vec::new(), guides: Vec::new() };
        rows.row("base".into(), 0, base, prompt)?;
        for (at, guide) in guides.iter().enumerate() {
            let taken = guides[..at].iter().any(|other| other.name == guide.name);
            if taken || ["", "base", "mix"].contains(&guide.name.as_str()) {
                return Err(Error::GuideName { name: guide.name.clone() });
            }
            let mut terms = Vec::new();
            match &guide.kind {
                GuideKind::Context { context, against } => {
                    let with = rows.row(guide.name.clone(), 0, base, &with_context(prompt, context)?)?;
                    let against = match against {
                        Some(against) => {
                            rows.row(format!("{} against", guide.name), 0, base, &with_context(prompt, against)?)?
                        }
                        None => 0,
                    };
                    terms.extend([(with, 1.0), (against, -1.0)]);
                }
                GuideKind::Model { model, prompt: own } => {
                    let guide_model =
                        models.get(*model).ok_or(Error::GuideModel { index: *model, given: models.len() })?;
                    if let Some(difference) = vocabulary_difference(&base.tokenizer, &guide_model.tokenizer) {
                        return Err(Error::Vocabulary { guide: guide.name.clone(), difference: Box::new(difference) });
                    }
                    let prompt = own.as_ref().unwrap_or(prompt);
                    terms.push((rows.row(guide.name.clone(), model + 1, guide_model, prompt)?, 1.0));
                }
            }
            rows.guides.push(GuideRows { terms });
        }
        Ok(rows.by_model())
    }

    /// How large the parts of a model's forward pass are.
    pub(super) fn sizes(&self, model: usize, context: u32, chunk: u32) -> Sizes {
        let rows = self.rows.iter().filter(|row| row.model == model).count() as u32;
        Sizes { rows, context, chunk }
    }

    /// Puts the rows of one model beside each other: they are one batch. The base stays first.
    fn by_model(self) -> Self {
        let mut order: Vec<usize> = (0..self.rows.len()).collect();
        order.sort_by_key(|row| self.rows[*row].model);
        let place = |row: usize| order.iter().position(|from| *from == row).unwrap_or_default();
        let moved = |guide: &GuideRows| guide.terms.iter().map(|(row, sign)| (place(*row), *sign)).collect();
        Self {
            guides: self.guides.iter().map(|guide| GuideRows { terms: moved(guide) }).collect(),
            rows: order.iter().map(|row| self.rows[*row].clone()).collect(),
        }
    }

    /// The index of the row with this prompt on this model, made if there is none.
    fn row(&mut self, name: String, model: usize, weights: &Model, prompt: &Prompt) -> Result<usize> {
        let ids = weights.encode(prompt)?;
        if ids.is_empty() {
            return Err(Error::EmptyPrompt { row: name });
        }
        let rows = weights.spec.n_vocab;
        if let Some(found) = ids.iter().copied().find(|id| *id >= rows) {
            return Err(Error::TokenId { found, expected: rows });
        }
        if let Some(at) = self.rows.iter().position(|row| row.model == model && row.ids == ids) {
            return Ok(at);
        }
        if self.rows.iter().filter(|row| row.model == model).count() == MAX_ROWS {
            return Err(Error::TooManyRows { row: name, most: MAX_ROWS });
        }
        self.rows.push(Row { name, model, ids });
        Ok(self.rows.len() - 1)
    }
}

/// `prompt` with `context` before it: in front of a conversation's system message, or of a plain text.
fn with_context(prompt: &Prompt, context: &str) -> Result<Prompt> {
    match prompt {
        Prompt::Text(text) => Ok(Prompt::Text(join(context, text))),
        Prompt::Chat(messages) => {
            let mut messages = messages.clone();
            match messages.first_mut() {
                Some(first) if first.role == Role::System => {
                    first.content = join(context, &first.content);
                }
                _ => messages.insert(0, Message { role: Role::System, content: context.to_owned() }),
            }
            Ok(Prompt::Chat(messages))
        }
        Prompt::Ids(_) => Err(Error::ContextNeedsText),
    }
}

/// Two paragraphs, or the one that is there.
fn join(context: &str, text: &str) -> String {
    match (context, text) {
        ("", only) | (only, "") => only.to_owned(),
        _ => format!("{context}\n\n{text}"),
    }
}
