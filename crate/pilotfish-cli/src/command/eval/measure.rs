//! What a text is scored with: the trainer's rules, which made the pairs that guides learnt from, and judges that no guide was shown.

use pilotfish_train::english::words;
use pilotfish_train::rules::Rule;

use super::{grades, pattern};
use crate::error::{CliError, Result};

/// A score of a text.
#[derive(Debug)]
pub(super) struct Measure {
    /// As the specification writes it.
    pub(super) name: String,
    kind: Kind,
    /// Its sign is changed.
    turned: bool,
}

#[derive(Debug)]
enum Kind {
    Rule(Rule),
    Pattern,
    /// A number of texts that have words.
    OfWords(fn(&str) -> Option<f64>),
}

impl Measure {
    /// `pattern`, `flesch-kincaid`, `coleman-liau`, `automated-readability`, `word-length`, `distinct-in-text`, or a rule as `pilotfish pairs`
    /// takes them; a minus before it turns it round.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let (turned, plain) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let kind = match plain {
            "pattern" => Kind::Pattern,
            "flesch-kincaid" => Kind::OfWords(grades::flesch_kincaid),
            "coleman-liau" => Kind::OfWords(grades::coleman_liau),
            "automated-readability" => Kind::OfWords(grades::automated_readability),
            "word-length" => Kind::OfWords(grades::word_length),
            "distinct-in-text" => Kind::OfWords(distinct_in_text),
            rule => Kind::Rule(Rule::parse(rule).map_err(|error| refuse(text, &error))?),
        };
        Ok(Self { name: text.to_owned(), kind, turned })
    }

    /// The same by another name.
    pub(super) fn called(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    /// `None` of a text without words, of which neither sentiment nor grade can be told.
    pub(super) fn score(&self, text: &str) -> Result<Option<f64>> {
        if words(text).next().is_none() {
            return Ok(None);
        }
        let score = match &self.kind {
            Kind::Rule(rule) => Some(rule.score(text).map_err(CliError::Train)?),
            Kind::Pattern => Some(pattern::polarity(text)),
            Kind::OfWords(count) => count(text),
        };
        Ok(score.map(|score| if self.turned { -score } else { score }))
    }
}

fn refuse(text: &str, error: &pilotfish_train::TrainError) -> CliError {
    let judges = "pattern, flesch-kincaid, coleman-liau, automated-readability, word-length or distinct-in-text";
    CliError::Usage(format!("no measure is {text:?}: it is none of {judges}, and as a rule: {error}"))
}

fn distinct_in_text(text: &str) -> Option<f64> {
    distinct_2([text])
}

/// Different pairs of neighbouring words by all of them (Li and others, NAACL 2016), over all texts: 1 says nothing twice. More texts
/// have fewer. `None` where there is no pair.
pub(super) fn distinct_2<'a>(texts: impl IntoIterator<Item = &'a str>) -> Option<f64> {
    let mut pairs: Vec<[String; 2]> = Vec::new();
    for text in texts {
        let words: Vec<String> = words(text).map(str::to_lowercase).collect();
        pairs.extend(words.windows(2).map(|pair| [pair[0].clone(), pair[1].clone()]));
    }
    let all = pairs.len();
    pairs.sort_unstable();
    pairs.dedup();
    (all > 0).then(|| pairs.len() as f64 / all as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(measure: &str, text: &str) -> Option<f64> {
        Measure::parse(measure).expect("it is a measure").score(text).expect("it is scored")
    }

    #[test]
    fn pairs_of_words_are_counted_once_in_any_case() {
        // the cat, cat the, the cat, cat sat: three of four.
        assert_eq!(score("distinct-in-text", "The cat. THE cat sat"), Some(0.75));
        assert_eq!(score("distinct-in-text", "one"), None);
        // Over two texts, which share no pair across their border.
        assert_eq!(distinct_2(["the cat sat", "The cat ran"]), Some(0.75));
    }

    #[test]
    fn rules_and_judges_go_by_name_and_either_sign() {
        assert_eq!(score("length", "one two three"), Some(3.0));
        assert_eq!(score("-length", "one two three"), Some(-3.0));
        assert_eq!(score("-pattern", "good"), Some(-0.7));
        assert!(score("sentiment", "a wonderful day") > Some(0.5));
        assert_eq!(score("sentiment", "!"), None);
        let refused = Measure::parse("beauty").expect_err("it is none");
        assert_eq!(refused.code(), "usage");
        assert!(refused.message().contains("coleman-liau"), "{}", refused.message());
    }
}
