//! Texts that share beginnings as one batch of tokens: prompt, chosen and rejected need the prompt only once, and pairs lie
//! behind each other without padding. Saves a third of the tokens of separate runs, and changes nothing.

use std::ops::Range;

use pilotfish::tokenizer::TokenId;

use crate::ops::Span;

/// A prompt and its answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// At least one token.
    pub prompt: Vec<TokenId>,
    /// Each at least one token.
    pub answers: Vec<Vec<TokenId>>,
}

impl Tree {
    /// Tokens that a model reads for it: the last of an answer predicts nothing and is left out.
    pub fn tokens(&self) -> usize {
        self.prompt.len() + self.answers.iter().map(|answer| answer.len().saturating_sub(1)).sum::<usize>()
    }
}

/// Trees as one batch.
#[derive(Debug, Clone, Default)]
pub(crate) struct Forest {
    /// The tokens.
    pub(crate) tokens: Vec<TokenId>,
    /// Their positions, each tree's from 0.
    pub(crate) positions: Vec<u32>,
    /// Who sees whom.
    pub(crate) spans: Vec<Span>,
    /// For each answer token: the row that predicts it.
    pub(crate) predictors: Vec<u32>,
    /// For each answer token: itself.
    pub(crate) targets: Vec<TokenId>,
    /// Each tree's answers, as ranges of `targets`.
    pub(crate) answers: Vec<Vec<Range<usize>>>,
}

impl Forest {
    pub(crate) fn new<'t>(trees: impl IntoIterator<Item = &'t Tree>) -> Self {
        let mut forest = Self::default();
        for tree in trees {
            let prompt = forest.push(&tree.prompt, 0..0, 0);
            let mut answers = Vec::with_capacity(tree.answers.len());
            for answer in &tree.answers {
                let from = forest.targets.len();
                let read = answer.len().saturating_sub(1);
                let rows = forest.push(&answer[..read], prompt.clone(), prompt.len());
                forest.predictors.push(prompt.end as u32 - 1);
                forest.predictors.extend(rows.map(|row| row as u32));
                forest.targets.extend(answer);
                answers.push(from..forest.targets.len());
            }
            forest.answers.push(answers);
        }
        forest
    }

    fn push(&mut self, tokens: &[TokenId], prefix: Range<usize>, position: usize) -> Range<usize> {
        let rows = self.tokens.len()..self.tokens.len() + tokens.len();
        self.tokens.extend(tokens);
        self.positions.extend((position..position + tokens.len()).map(|position| position as u32));
        if !rows.is_empty() {
            self.spans.push(Span { prefix, rows: rows.clone() });
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_share_their_prompt_and_do_not_see_each_other() {
        let tree = Tree { prompt: vec![1, 2], answers: vec![vec![3, 4, 5], vec![6]] };
        assert_eq!(tree.tokens(), 4);
        let forest = Forest::new([&tree, &tree]);
        assert_eq!(forest.tokens, [1, 2, 3, 4, 1, 2, 3, 4]);
        assert_eq!(forest.positions, [0, 1, 2, 3, 0, 1, 2, 3]);
        assert_eq!(forest.spans[1], Span { prefix: 0..2, rows: 2..4 });
        assert_eq!(forest.spans[3], Span { prefix: 4..6, rows: 6..8 });
        assert_eq!(forest.predictors, [1, 2, 3, 1, 5, 6, 7, 5]);
        assert_eq!(forest.targets, [3, 4, 5, 6, 3, 4, 5, 6]);
        assert_eq!(forest.answers, [vec![0..3, 3..4], vec![4..7, 7..8]]);
    }
}
