//! From texts to figures: what each row scores, what it costs, and how far it is from the base and from its control on the same prompts.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::bootstrap::{Estimate, Resamples, mean};
use super::log::{Identity, Log, Written};
use super::measure::{Measure, distinct_2};
use super::settings::{Part, Setting};
use super::spec::{Goal, Spec};
use super::write::speed_key;
use crate::error::Result;

/// A text's figures.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    /// What was written.
    pub(super) text: String,
    /// By measure.
    pub(super) scores: Vec<Option<f64>>,
    tokens: f64,
    base_log_prob: f64,
    kl: Option<f64>,
}

/// A row with its texts.
#[derive(Debug)]
pub(super) struct Row<'a> {
    /// What it is.
    pub(super) setting: &'a Setting,
    /// By prompt; `None` where the text is not made yet.
    pub(super) samples: Vec<Option<Sample>>,
    /// Where it was timed.
    pub(super) seconds_per_128_tokens: Option<f64>,
}

/// What can be told of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantity {
    /// A measure, by place.
    Score(usize),
    /// Different pairs of neighbouring words by all, over all texts. It has no interval: texts that are drawn twice say the same twice.
    Distinct,
    /// Of the base, a token's, over all texts: exp of the mean negative log-probability.
    Perplexity,
    /// From the base, a token's, in nats.
    Kl,
    /// Of a text.
    Tokens,
}

/// All rows.
#[derive(Debug)]
pub(super) struct Table<'a> {
    /// Their names.
    pub(super) measures: Vec<String>,
    /// In the report's order; those without any text are not among them.
    pub(super) rows: Vec<Row<'a>>,
    resamples: HashMap<usize, Resamples>,
}

/// A row of the report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct RowFigures {
    /// As in the specification's goals.
    pub(super) row: String,
    /// Prompts.
    pub(super) texts: usize,
    /// By measure, and `distinct-2`, `perplexity`, `kl`, `tokens`.
    pub(super) figures: BTreeMap<String, Estimate>,
    /// The same less the base's, prompt by prompt.
    pub(super) over_base: BTreeMap<String, Estimate>,
    /// The same less that of the base sharpened to the same temperature; of rows of the sum rule.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) over_sharpened: BTreeMap<String, Estimate>,
    /// Where it was timed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seconds_per_128_tokens: Option<f64>,
}

/// What came of a goal.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Outcome {
    /// In words.
    pub(super) says: String,
    /// `None` where its rows are not there.
    pub(super) found: Option<Estimate>,
    /// What is wanted at least.
    pub(super) at_least: Option<f64>,
    /// What is wanted at most.
    pub(super) at_most: Option<f64>,
    /// `None` where nothing was found.
    pub(super) met: Option<bool>,
}

impl<'a> Table<'a> {
    /// Scores what the log has.
    pub(super) fn new(
        spec: &Spec,
        settings: &'a [Setting],
        log: &Log,
        identity: &Identity,
        prompts: &[pilotfish::engine::Prompt],
    ) -> Result<Self> {
        let measures = spec.measures()?;
        let mut rows = Vec::new();
        for setting in settings {
            let mut samples = Vec::new();
            for (at, prompt) in prompts.iter().enumerate().take(setting.prompts) {
                let text = log.text(&identity.key(&setting.way, prompt, at));
                samples.push(text.map(|text| sample(text, &measures, setting)).transpose()?);
            }
            if samples.iter().any(Option::is_some) {
                let timed = setting.native.as_ref().and_then(|way| log.speed(&speed_key(identity, way)));
                rows.push(Row { setting, samples, seconds_per_128_tokens: timed });
            }
        }
        let names = measures.into_iter().map(|measure| measure.name).collect();
        Ok(Self::of(names, rows, spec.resamples, spec.seed))
    }

    fn of(measures: Vec<String>, rows: Vec<Row<'a>>, resamples: u32, seed: u64) -> Self {
        let made = |n: usize| (n, Resamples::new(n, resamples, seed));
        let resamples = rows.iter().map(|row| row.samples.len()).map(made).collect();
        Self { measures, rows, resamples }
    }

    /// The row of that name.
    pub(super) fn row(&self, name: &str) -> Option<&Row<'a>> {
        self.rows.iter().find(|row| row.setting.name == name)
    }

    /// The rows of a part.
    pub(super) fn part(&self, part: Part) -> impl Iterator<Item = &Row<'a>> {
        self.rows.iter().filter(move |row| row.setting.part == part)
    }

    /// By the name that goals and the report use.
    pub(super) fn quantity(&self, name: &str) -> Option<Quantity> {
        self.quantities().find(|(known, _)| *known == name).map(|(_, quantity)| quantity)
    }

    fn quantities(&self) -> impl Iterator<Item = (&str, Quantity)> {
        let scores = self.measures.iter().enumerate().map(|(at, name)| (name.as_str(), Quantity::Score(at)));
        scores.chain([
            ("distinct-2", Quantity::Distinct),
            ("perplexity", Quantity::Perplexity),
            ("kl", Quantity::Kl),
            ("tokens", Quantity::Tokens),
        ])
    }

    /// A row's figure.
    pub(super) fn figure(&self, row: &Row, of: Quantity) -> Option<Estimate> {
        self.estimate(row.samples.len(), of, |draw| statistic(row, draw, of))
    }

    /// A row's figure and another's on the prompts that both have, put together.
    pub(super) fn against(
        &self,
        row: &Row,
        other: &Row,
        of: Quantity,
        together: impl Fn(f64, f64) -> f64,
    ) -> Option<Estimate> {
        let both = |at: &usize| {
            let has = |row: &Row| row.samples.get(*at).and_then(Option::as_ref).is_some_and(|sample| sample.has(of));
            has(row) && has(other)
        };
        self.estimate(row.samples.len().min(other.samples.len()), of, |draw| {
            let draw: Vec<usize> = draw.iter().copied().filter(|at| both(at)).collect();
            Some(together(statistic(row, &draw, of)?, statistic(other, &draw, of)?))
        })
    }

    fn estimate(&self, n: usize, of: Quantity, statistic: impl Fn(&[usize]) -> Option<f64>) -> Option<Estimate> {
        if of == Quantity::Distinct {
            let all: Vec<usize> = (0..n).collect();
            return statistic(&all).map(|value| Estimate { value, low: value, high: value });
        }
        self.resamples[&n].estimate(statistic)
    }

    /// A row's figure less another's.
    pub(super) fn difference(&self, row: &Row, other: &Row, of: Quantity) -> Option<Estimate> {
        self.against(row, other, of, |own, other| own - other)
    }

    /// Everything about a row.
    pub(super) fn figures(&self, row: &Row) -> RowFigures {
        let less = |name: Option<&str>| {
            let other = name.and_then(|name| self.row(name)).filter(|other| other.setting.name != row.setting.name);
            let pairs = other.map(|other| {
                let each = |(name, of): (&str, Quantity)| Some((name.to_owned(), self.difference(row, other, of)?));
                self.quantities().filter_map(each).collect()
            });
            pairs.unwrap_or_default()
        };
        RowFigures {
            row: row.setting.name.clone(),
            texts: row.samples.iter().flatten().count(),
            figures: self
                .quantities()
                .filter_map(|(name, of)| Some((name.to_owned(), self.figure(row, of)?)))
                .collect(),
            over_base: less(Some("base")),
            over_sharpened: less(row.setting.control.as_deref()),
            seconds_per_128_tokens: row.seconds_per_128_tokens,
        }
    }

    /// Whether a goal is met; one that names what is not there, is neither.
    pub(super) fn outcome(&self, goal: &Goal) -> Outcome {
        let Goal { says, row, of, over, by, at_least, at_most } = goal.clone();
        let found = self.row(&row).zip(self.quantity(&of)).and_then(|(row, of)| match (over, by) {
            (Some(over), _) => self.difference(row, self.row(&over)?, of),
            (None, Some(by)) => self.against(row, self.row(&by)?, of, |own, other| own / other),
            (None, None) => self.figure(row, of),
        });
        let reached = |found: Estimate| {
            at_least.is_none_or(|least| found.value >= least) && at_most.is_none_or(|most| found.value <= most)
        };
        Outcome { says, found, at_least, at_most, met: found.map(reached) }
    }
}

impl Sample {
    fn has(&self, of: Quantity) -> bool {
        match of {
            Quantity::Score(at) => self.scores[at].is_some(),
            Quantity::Kl => self.kl.is_some(),
            Quantity::Distinct | Quantity::Perplexity | Quantity::Tokens => true,
        }
    }
}

fn sample(text: &Written, measures: &[Measure], setting: &Setting) -> Result<Sample> {
    Ok(Sample {
        text: text.text.clone(),
        scores: measures.iter().map(|measure| measure.score(&text.text)).collect::<Result<_>>()?,
        tokens: text.tokens.into(),
        base_log_prob: text.base_log_prob,
        kl: setting.way.draws().then_some(text.kl),
    })
}

/// Over the texts at these places.
fn statistic(row: &Row, places: &[usize], of: Quantity) -> Option<f64> {
    let samples = places.iter().filter_map(|at| row.samples.get(*at)?.as_ref());
    match of {
        Quantity::Score(at) => mean(samples.filter_map(|sample| sample.scores[at])),
        Quantity::Distinct => distinct_2(samples.map(|sample| sample.text.as_str())),
        Quantity::Kl => mean(samples.filter_map(|sample| sample.kl)),
        Quantity::Tokens => mean(samples.map(|sample| sample.tokens)),
        Quantity::Perplexity => {
            let (log_prob, tokens) =
                samples.fold((0.0, 0.0), |(sum, n), sample| (sum + sample.base_log_prob, n + sample.tokens));
            (tokens > 0.0).then(|| (-log_prob / tokens).exp())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::Way;
    use super::*;

    fn setting(name: &str, control: Option<&str>) -> Setting {
        let control = control.map(str::to_owned);
        Setting { name: name.into(), part: Part::Sweep, prompts: 3, way: Way::base(), native: None, control }
    }

    fn row<'a>(setting: &'a Setting, scores: &[Option<f64>]) -> Row<'a> {
        let sample = |score: &Option<f64>| {
            score.map(|score| Sample {
                text: String::new(),
                scores: vec![Some(score).filter(|score| *score < 90.0)],
                tokens: 2.0,
                base_log_prob: -score,
                kl: Some(0.5),
            })
        };
        Row { setting, samples: scores.iter().map(sample).collect(), seconds_per_128_tokens: None }
    }

    fn goal(row: &str, of: &str, over: Option<&str>, by: Option<&str>, at_least: f64) -> Goal {
        let [over, by] = [over, by].map(|name| name.map(str::to_owned));
        Goal { says: String::new(), row: row.into(), of: of.into(), over, by, at_least: Some(at_least), at_most: None }
    }

    #[test]
    fn differences_are_those_of_the_same_prompts() {
        let settings = [setting("base", None), setting("sharp/1", None), setting("up/sum/1", Some("sharp/1"))];
        let rows = vec![
            row(&settings[0], &[Some(1.0), Some(2.0), Some(6.0)]),
            row(&settings[1], &[Some(2.0), Some(3.0), Some(7.0)]),
            // The last text is missing: of the base, 1 and 2 alone are compared.
            row(&settings[2], &[Some(4.0), Some(5.0), None]),
        ];
        let table = Table::of(vec!["rule".into()], rows, 500, 1);
        let figures = table.figures(&table.rows[2]);
        assert_eq!((figures.texts, figures.figures["rule"].value), (2, 4.5));
        // Prompt by prompt the gain is always 3: no width, though the scores themselves differ.
        assert_eq!(figures.over_base["rule"], Estimate { value: 3.0, low: 3.0, high: 3.0 });
        assert_eq!(figures.over_sharpened["rule"].value, 2.0);
        assert!(figures.figures["rule"].low < figures.figures["rule"].high);
        assert_eq!(figures.figures["kl"].value, 0.5);
        assert!(table.figures(&table.rows[0]).over_base.is_empty());
    }

    #[test]
    fn perplexity_is_over_tokens() {
        let setting = setting("base", None);
        let table = Table::of(vec!["rule".into()], vec![row(&setting, &[Some(1.0), Some(3.0), None])], 10, 1);
        // Log-probabilities of -1 and -3 over two tokens each.
        let found = table.figure(&table.rows[0], Quantity::Perplexity).expect("there are texts").value;
        assert!((found - 1f64.exp()).abs() < 1e-12);
    }

    #[test]
    fn goals_are_met_missed_or_not_measured() {
        let settings = [setting("base", None), setting("up/sum/1", None)];
        let rows = vec![row(&settings[0], &[Some(1.0), Some(1.0)]), row(&settings[1], &[Some(3.0), Some(99.0)])];
        let table = Table::of(vec!["rule".into()], rows, 10, 1);
        let met = |goal: &Goal| table.outcome(goal).met;
        // The text that has no score counts on neither side.
        assert_eq!(met(&goal("up/sum/1", "rule", Some("base"), None, 2.0)), Some(true));
        assert_eq!(met(&goal("up/sum/1", "rule", Some("base"), None, 2.1)), Some(false));
        assert_eq!(met(&goal("up/sum/1", "rule", None, Some("base"), 3.0)), Some(true));
        assert_eq!(met(&goal("up/sum/1", "rule", None, None, 3.0)), Some(true));
        assert_eq!(met(&goal("up/sum/2", "rule", None, None, 3.0)), None);
        assert_eq!(met(&goal("up/sum/1", "beauty", None, None, 3.0)), None);
    }
}
