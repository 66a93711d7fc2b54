//! From guides to rows: which streams of positions a session needs, on which weights, and what each guide weighs.
//!
//! Rows with the same weights and the same prompt are one row: a context guide against the base's own prompt costs one row
//! more, not two.

use super::Models;
use super::model::{Model, Prompt};
use super::options::{AdapterUse, GuideKind, SessionOptions};
use crate::chat::{Message, Role};
use crate::model::{RowAdapter, Sizes};
use crate::ops::lora_down::SEGMENTS;
use crate::tokenizer::{TokenId, vocabulary_difference};
use crate::{Error, Result};

/// A row: a prompt on one of the session's models, under adapters or none.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// For listings: `base`, `cheerful`, `cheerful against`.
    pub name: String,
    /// 0 is the base; `i + 1` is guide model `i`.
    pub model: usize,
    /// What it is given before the first token.
    pub ids: Vec<TokenId>,
    /// What changes its model's weights.
    pub adapters: Vec<AdapterUse>,
    /// The guide whose adapters these are; the base's otherwise.
    pub owner: Option<usize>,
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
    pub fn plan(models: Models<'_>, options: &SessionOptions) -> Result<Self> {
        let SessionOptions { prompt, guides, adapters, .. } = options;
        let mut rows = Self { rows: Vec::new(), guides: Vec::new() };
        let on_base = Under { model: 0, adapters, owner: None };
        rows.row(models, "base".into(), on_base, prompt)?;
        for (at, guide) in guides.iter().enumerate() {
            let taken = guides[..at].iter().any(|other| other.name == guide.name);
            if taken || ["", "base", "mix"].contains(&guide.name.as_str()) {
                return Err(Error::GuideName { name: guide.name.clone() });
            }
            let name = guide.name.clone();
            let terms = match &guide.kind {
                GuideKind::Context { context, against } => {
                    let with = rows.row(models, name.clone(), on_base, &with_context(prompt, context)?)?;
                    let against = match against {
                        Some(against) => {
                            rows.row(models, format!("{name} against"), on_base, &with_context(prompt, against)?)?
                        }
                        None => 0,
                    };
                    vec![(with, 1.0), (against, -1.0)]
                }
                GuideKind::Adapter { adapters, relative, model, prompt: own } => {
                    if adapters.is_empty() {
                        return Err(Error::AdapterIndex { row: name, index: 0, given: models.adapters.len() });
                    }
                    let model = model.map_or(Ok(0), |model| shared_vocabulary(models, &name, model))?;
                    let prompt = own.as_ref().unwrap_or(prompt);
                    let under = Under { model, adapters, owner: Some(at) };
                    let mut terms = vec![(rows.row(models, name.clone(), under, prompt)?, 1.0)];
                    if *relative {
                        let plain = if model == 0 { on_base } else { Under { model, adapters: &[], owner: None } };
                        terms.push((rows.row(models, format!("{name} against"), plain, prompt)?, -1.0));
                    }
                    terms
                }
                GuideKind::Model { model, prompt: own } => {
                    let model = shared_vocabulary(models, &name, *model)?;
                    let under = Under { model, adapters: &[], owner: None };
                    vec![(rows.row(models, name, under, own.as_ref().unwrap_or(prompt))?, 1.0)]
                }
            };
            rows.guides.push(GuideRows { terms });
        }
        Ok(rows.by_model())
    }

    /// Rows that are reported: the base, each guide's first, and those of `more` that are not among them.
    pub(super) fn reported(&self, more: Vec<usize>) -> Vec<usize> {
        let mut reported: Vec<usize> =
            std::iter::once(0).chain(self.guides.iter().map(|guide| guide.terms[0].0)).collect();
        for row in more {
            if !reported.contains(&row) {
                reported.push(row);
            }
        }
        reported
    }

    /// Tokens of the longest prompt.
    pub(super) fn longest(&self) -> u32 {
        self.rows.iter().map(|row| row.ids.len()).max().unwrap_or_default() as u32
    }

    /// Refuses prompts that a context does not hold.
    pub(super) fn check_lengths(&self, context: u32) -> Result<()> {
        match self.rows.iter().max_by_key(|row| row.ids.len()) {
            Some(row) if row.ids.len() as u32 > context => {
                Err(Error::PromptTooLong { row: row.name.clone(), found: row.ids.len(), expected: context })
            }
            _ => Ok(()),
        }
    }

    /// Whether other prompts make the same rows.
    pub(super) fn alike(&self, other: &Self) -> bool {
        let row = |row: &Row| (row.model, row.owner);
        self.guides == other.guides && self.rows.iter().map(row).eq(other.rows.iter().map(row))
    }

    /// Takes the prompts of rows that are alike.
    pub(super) fn take_prompts(&mut self, other: Self) {
        self.rows.iter_mut().zip(other.rows).for_each(|(row, new)| row.ids = new.ids);
    }

    /// Gives rows other adapters.
    pub(super) fn set_adapters(
        &mut self,
        models: Models<'_>,
        changed: impl Fn(&Row) -> bool,
        used: &[AdapterUse],
    ) -> Result<()> {
        for row in &mut self.rows {
            if changed(row) {
                row.adapters = used.to_vec();
            }
            // The list is another one: what the others use must still fit.
            check_adapters(models, &row.name, models.pick(row.model), &row.adapters)?;
        }
        Ok(())
    }

    /// `base, cheerful, cheerful against`.
    pub(super) fn names(&self) -> String {
        self.rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// The rows of a model: a batch.
    pub fn of_model(&self, model: usize) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.model == model)
    }

    /// What the rows of a model add to its weights.
    pub(super) fn adapters<'a>(&'a self, models: Models<'a>, model: usize) -> Vec<Vec<RowAdapter<'a>>> {
        self.of_model(model).map(|row| row.adapters.iter().map(|used| models.used(used)).collect()).collect()
    }

    /// How large the parts of a model's forward pass are.
    pub(super) fn sizes(&self, model: usize, lanes: usize, context: u32, chunk: u32, slots: u32) -> Sizes {
        let rows = (self.of_model(model).count() * lanes) as u32;
        Sizes { rows, context, chunk, slots }
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

    /// The index of the row with this prompt on these weights, made if there is none. A guide's own adapters have live shares
    /// of their own, so that their row is never another's.
    fn row(&mut self, models: Models<'_>, name: String, under: Under<'_>, prompt: &Prompt) -> Result<usize> {
        let Under { model, adapters, owner } = under;
        let weights = models.pick(model);
        weights.check_language(&name)?;
        let ids = weights.encode(prompt)?;
        if ids.is_empty() {
            return Err(Error::EmptyPrompt { row: name });
        }
        let rows = weights.spec.n_vocab;
        if let Some(found) = ids.iter().copied().find(|id| *id >= rows) {
            return Err(Error::TokenId { found, expected: rows });
        }
        let same = |row: &Row| row.owner.is_none() && row.model == model && row.ids == ids;
        if let Some(at) = self.rows.iter().position(same).filter(|_| owner.is_none()) {
            return Ok(at);
        }
        check_adapters(models, &name, weights, adapters)?;
        self.rows.push(Row { name, model, ids, adapters: adapters.to_vec(), owner });
        Ok(self.rows.len() - 1)
    }
}

/// The weights of a row.
#[derive(Clone, Copy)]
struct Under<'a> {
    model: usize,
    adapters: &'a [AdapterUse],
    owner: Option<usize>,
}

/// The place of guide model `index` among all models, if it speaks the base's vocabulary.
fn shared_vocabulary(models: Models<'_>, guide: &str, index: usize) -> Result<usize> {
    let given = models.guides.len();
    let model = models.guides.get(index).ok_or(Error::GuideModel { index, given })?;
    match vocabulary_difference(&models.base.tokenizer, &model.tokenizer) {
        None => Ok(index + 1),
        Some(difference) => Err(Error::Vocabulary { guide: guide.to_owned(), difference: Box::new(difference) }),
    }
}

/// Refuses adapters that are not there, belong to another model, or are too many; shares and preferences out of range.
fn check_adapters(models: Models<'_>, row: &str, weights: &Model, adapters: &[AdapterUse]) -> Result<()> {
    let mut found = 0;
    for AdapterUse { adapter: index, share, preference } in adapters {
        let given = models.adapters.len();
        let Some(adapter) = models.adapters.get(*index) else {
            return Err(Error::AdapterIndex { row: row.to_owned(), index: *index, given });
        };
        adapter.check(&weights.spec)?;
        let used = RowAdapter { adapter, share: *share, preference };
        used.shares()?;
        found += used.segments() as usize;
    }
    let most = SEGMENTS as usize;
    if found > most { Err(Error::TooManyAdapters { row: row.to_owned(), found, most }) } else { Ok(()) }
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
