//! Rules that score a text, to tell preferred answers from others.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use fancy_regex::Regex;
use vader_sentimental::SentimentIntensityAnalyzer;

use crate::english::{syllables, words};
use crate::error::{Result, TrainError};

/// A rule: more is better, unless it is turned round.
#[derive(Debug)]
pub struct Rule {
    kind: Kind,
    /// Less is better.
    turned: bool,
}

#[derive(Debug)]
enum Kind {
    /// VADER's compound sentiment, -1 to 1 (Hutto and Gilbert, ICWSM 2014).
    Sentiment,
    /// Flesch's reading ease: about 100 for very easy texts, 0 for very hard ones (Flesch, J. Applied Psychology 1948).
    Readability,
    /// The Flesch-Kincaid grade: years of school that a text asks for (Kincaid et al., Research Branch Report 8-75, 1975).
    Grade,
    /// Words.
    Length,
    /// Matches of a regular expression.
    Matches(Box<Regex>),
    /// Share of the words that are in a list.
    Words(Vec<String>),
    /// A program that reads the text and prints a number.
    Program(String),
}

impl Rule {
    /// `sentiment`, `readability`, `grade`, `length`, `regex:PATTERN`, `words:FILE` (a word a line), `command:PROGRAM` (through the shell: the
    /// text on stdin, a number on stdout); a minus before it turns it round.
    pub fn parse(text: &str) -> Result<Self> {
        let (turned, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (name, argument) = rest.split_once(':').map_or((rest, None), |(name, argument)| (name, Some(argument)));
        let refuse = |message: String| Err(TrainError::Options { message });
        let kind = match (name, argument) {
            ("sentiment", None) => Kind::Sentiment,
            ("readability", None) => Kind::Readability,
            ("grade", None) => Kind::Grade,
            ("length", None) => Kind::Length,
            ("regex", Some(pattern)) => match Regex::new(pattern) {
                Ok(regex) => Kind::Matches(Box::new(regex)),
                Err(error) => return refuse(format!("{pattern:?} is no regular expression: {error}")),
            },
            ("words", Some(file)) => Kind::Words(read_words(Path::new(file))?),
            ("command", Some(program)) if !program.trim().is_empty() => Kind::Program(program.to_owned()),
            _ => {
                let known = "sentiment, readability, grade, length, regex:PATTERN, words:FILE or command:PROGRAM";
                return refuse(format!(
                    "no rule is {text:?}, expected {known}, with a minus before it to turn it round"
                ));
            }
        };
        Ok(Self { kind, turned })
    }

    /// What a text is worth.
    pub fn score(&self, text: &str) -> Result<f64> {
        let score = match &self.kind {
            Kind::Sentiment => SentimentIntensityAnalyzer::new().polarity_scores(text).compound,
            Kind::Readability => reading(text, 206.835, [-1.015, -84.6]),
            Kind::Grade => reading(text, -15.59, [0.39, 11.8]),
            Kind::Length => words(text).count() as f64,
            Kind::Matches(regex) => regex.find_iter(text).map_while(Result::ok).count() as f64,
            Kind::Words(list) => {
                let all = words(text).count().max(1);
                let found = words(text).filter(|word| list.binary_search(&word.to_lowercase()).is_ok()).count();
                found as f64 / all as f64
            }
            Kind::Program(program) => run(program, text)?,
        };
        Ok(if self.turned { -score } else { score })
    }
}

fn read_words(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).map_err(|source| TrainError::File { path: path.to_owned(), source })?;
    let mut words: Vec<String> =
        text.lines().map(|line| line.trim().to_lowercase()).filter(|word| !word.is_empty()).collect();
    if words.is_empty() {
        let message = format!("{} holds no word, expected one a line", path.display());
        return Err(TrainError::Options { message });
    }
    words.sort_unstable();
    words.dedup();
    Ok(words)
}

/// `constant + per_sentence * words/sentence + per_word * syllables/word`, as Flesch's formulas are; 0 for a text without words.
fn reading(text: &str, constant: f64, [per_sentence, per_word]: [f64; 2]) -> f64 {
    let count = words(text).count() as f64;
    if count == 0.0 {
        return 0.0;
    }
    let ends = |sentence: &&str| words(sentence).next().is_some();
    let sentences = text.split(['.', '!', '?', '\n']).filter(ends).count().max(1) as f64;
    let syllables: usize = words(text).map(syllables).sum();
    constant + per_sentence * count / sentences + per_word * syllables as f64 / count
}

fn run(program: &str, text: &str) -> Result<f64> {
    let failed = |message: String| TrainError::Options { message: format!("the rule's command {program:?} {message}") };
    let (shell, flag) = if cfg!(windows) { ("cmd", "/C") } else { ("sh", "-c") };
    let mut child = Command::new(shell)
        .args([flag, program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("does not start: {error}")))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program may know enough before it has read everything.
        let _ = stdin.write_all(text.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| failed(format!("was lost: {error}")))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(failed(format!("ended with {}", output.status)));
    }
    let score: Option<f64> = printed.trim().parse().ok().filter(|score: &f64| score.is_finite());
    score.ok_or_else(|| failed(format!("printed {:?}, expected a number", printed.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(rule: &str, text: &str) -> f64 {
        Rule::parse(rule).expect("it is a rule").score(text).expect("it is scored")
    }

    #[test]
    fn rules_prefer_what_they_are_named_after() {
        let (good, bad) = ("What a wonderful, happy day!", "This is a horrible, sad disaster.");
        assert!(score("sentiment", good) > 0.5 && score("sentiment", bad) < -0.5);
        assert_eq!(score("-sentiment", good), -score("sentiment", good));
        let hard = "Institutional considerations necessitate multidimensional administrative deliberation.";
        assert!(score("readability", "The cat sat on the mat. It was warm.") > 90.0);
        assert!(score("readability", hard) < 0.0);
        assert!(score("grade", hard) > 20.0);
        // Six words of one syllable a sentence, and three: 0.39 * 6 + 11.8 - 15.59, and 0.39 * 3 less.
        assert!((score("grade", "The cat sat on the mat.") + 1.45).abs() < 1e-9);
        assert!((score("-grade", "It was warm. He slept well.") - 2.62).abs() < 1e-9);
        assert_eq!(score("length", "one two, three!"), 3.0);
        assert_eq!(score("regex:o+", "foo boo o"), 3.0);
    }

    #[cfg(unix)]
    #[test]
    fn a_command_is_asked_and_its_failures_are_said() {
        assert_eq!(score("command:wc -c", "four"), 4.0);
        for (command, said) in [("echo many", "\"many\""), ("exit 3", "ended with"), ("echo nan", "a number")] {
            let error = Rule::parse(&format!("command:{command}")).expect("a rule").score("x").expect_err("it fails");
            assert!(error.to_string().contains(said), "{error}");
        }
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for text in ["", "beauty", "sentiment:x", "regex:(", "regex", "words:/nowhere", "command: "] {
            assert!(Rule::parse(text).is_err(), "{text}");
        }
    }
}
