//! What to evaluate: a TOML file with the base, the guides and what they are judged by, the methods to compare, and what is expected.
//! Paths begin at the file's folder, or at the home directory after `~/`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::measure::Measure;
use crate::error::{CliError, Result};
use crate::input;

/// The file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spec {
    /// The report's heading.
    #[serde(default = "default_title")]
    pub(super) title: String,
    /// The model that is steered: a GGUF file.
    pub(super) base: PathBuf,
    /// JSON lines; see [`super::prompts`].
    pub(super) prompts: PathBuf,
    /// Tokens of a text.
    #[serde(default = "default_tokens")]
    pub(super) tokens: u32,
    /// Of the draws and of the bootstrap.
    #[serde(default)]
    pub(super) seed: u64,
    /// Weights of the sweep, above 0: 0 is the base, which is there anyway.
    #[serde(default = "default_alphas")]
    pub(super) alphas: Vec<f32>,
    /// Resamples of the bootstrap.
    #[serde(default = "default_resamples")]
    pub(super) resamples: u32,
    /// Names for measures that are long to write: `first-person = "words:data/first-person.txt"`.
    #[serde(default, rename = "measures")]
    pub(super) named: BTreeMap<String, String>,
    /// What steers.
    pub(super) guides: Vec<GuideSpec>,
    /// The comparison of methods.
    pub(super) methods: Option<MethodsSpec>,
    /// Two guides at once.
    pub(super) frontier: Option<FrontierSpec>,
    /// A smaller model's guide on the base.
    pub(super) weak: Option<WeakSpec>,
    /// What is expected of the figures.
    #[serde(default)]
    pub(super) goals: Vec<Goal>,
}

/// A guide.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GuideSpec {
    /// Its name.
    pub(super) name: String,
    /// The adapter: GGUF, or a PEFT directory.
    pub(super) adapter: PathBuf,
    /// What it learnt: a measure of which it should make more.
    pub(super) rule: String,
    /// From what, where no program has what it learnt, and the rule stands in for it.
    pub(super) learnt_from: Option<String>,
    /// Measures that it did not learn from.
    #[serde(default)]
    pub(super) judges: Vec<String>,
    /// Asks for the same in words.
    pub(super) instruction: Option<String>,
    /// An adapter that DPO made of the same pairs, for the base itself.
    pub(super) dpo: Option<PathBuf>,
}

/// Which methods are compared, on which guide.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MethodsSpec {
    /// A guide's name.
    pub(super) guide: String,
    /// Prompts for methods that draw each token once; all if left out.
    pub(super) prompts: Option<usize>,
    /// Prompts for the searches.
    pub(super) search_prompts: Option<usize>,
    /// `GenARM`'s weight.
    #[serde(default = "one")]
    pub(super) alpha: f32,
    /// What ARGS and Transfer-Q multiply a reward with.
    #[serde(default = "one")]
    pub(super) reward_weight: f32,
    /// Tokens that ARGS and Transfer-Q try.
    #[serde(default = "ten")]
    pub(super) candidates: u32,
    /// Tokens of Transfer-Q's roll-outs.
    #[serde(default = "ten")]
    pub(super) rollout: u32,
    /// Texts of best of N.
    #[serde(default = "sixteen")]
    pub(super) best_of: u32,
    /// CARDS: the reward that a whole text should reach, and how strictly; left out without it.
    pub(super) cards_goal: Option<f32>,
    /// The share of this guide's adapter in a soup with `soup_with`.
    #[serde(default = "half")]
    pub(super) soup_share: f32,
    /// The other guide of the soup; no soup without it.
    pub(super) soup_with: Option<String>,
    /// A preference-conditioned adapter, and the preference it is asked for.
    pub(super) parm: Option<ParmSpec>,
}

/// PARM as one of the methods.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ParmSpec {
    /// The adapter.
    pub(super) adapter: PathBuf,
    /// As many parts as it has preferences.
    pub(super) preference: Vec<f32>,
}

/// Two guides, weighted against each other.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FrontierSpec {
    /// Their names.
    pub(super) guides: [String; 2],
    /// Their weights' sum.
    #[serde(default = "two")]
    pub(super) alpha: f32,
    /// Steps of the grid of weights.
    #[serde(default = "ten")]
    pub(super) steps: u32,
    /// Prompts; all if left out.
    pub(super) prompts: Option<usize>,
    /// An adapter with two preferences, in the guides' order.
    pub(super) parm: Option<PathBuf>,
}

/// A guide over a smaller model.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WeakSpec {
    /// The smaller model, of the base's vocabulary.
    pub(super) model: PathBuf,
    /// The guide's adapter over it; the model itself is the guide if left out.
    pub(super) adapter: Option<PathBuf>,
    /// Only what the adapter changes of the smaller model steers, which then need not write well itself.
    #[serde(default)]
    pub(super) relative: bool,
    /// The guide of the same rule, with whose figures these stand.
    pub(super) guide: String,
    /// Prompts; all if left out.
    pub(super) prompts: Option<usize>,
}

/// A figure that is expected.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Goal {
    /// In words.
    pub(super) says: String,
    /// A row, as the report names it: `upbeat/sum/1`.
    pub(super) row: String,
    /// A measure, or `distinct-2`, `perplexity`, `kl`, `tokens`.
    pub(super) of: String,
    /// Another row, whose figure is taken off.
    pub(super) over: Option<String>,
    /// Another row, by whose figure it is divided.
    pub(super) by: Option<String>,
    /// What is wanted at least.
    pub(super) at_least: Option<f64>,
    /// What is wanted at most.
    pub(super) at_most: Option<f64>,
}

fn default_title() -> String {
    "Do the guides steer?".into()
}

fn default_tokens() -> u32 {
    40
}

fn default_alphas() -> Vec<f32> {
    vec![0.25, 0.5, 1.0, 2.0, 4.0]
}

fn default_resamples() -> u32 {
    2000
}

fn half() -> f32 {
    0.5
}

fn one() -> f32 {
    1.0
}

fn two() -> f32 {
    2.0
}

fn ten() -> u32 {
    10
}

fn sixteen() -> u32 {
    16
}

impl Spec {
    /// Reads the file and makes its paths whole.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::parse(&input::text(path)?, folder).map_err(|found| CliError::Content {
            path: path.to_owned(),
            expected: "an evaluation in TOML, such as models/recipes/evaluation.toml",
            found,
        })
    }

    /// As [`Spec::read`], from a text in that folder.
    fn parse(text: &str, folder: &Path) -> Result<Self, String> {
        let mut spec: Self = toml::from_str(text).map_err(|error| error.to_string().trim().replace('\n', " "))?;
        let home = std::env::home_dir().unwrap_or_default();
        spec.each_path(|path| {
            *path = path.strip_prefix("~").map_or_else(|_| folder.join(&*path), |rest| home.join(rest));
        });
        for measure in spec.named.values_mut() {
            if let Some(file) = measure.strip_prefix("words:") {
                *measure = format!("words:{}", folder.join(file).display());
            }
        }
        spec.check()?;
        Ok(spec)
    }

    /// Leaves out what guides are compared with where it was not made here, and gives its paths: a tuned base, a preference-conditioned
    /// adapter, a smaller model's guide.
    pub(super) fn without_missing(&mut self) -> Vec<PathBuf> {
        let mut missing = Vec::new();
        let mut gone = |path: &Path| {
            let gone = !path.exists();
            if gone {
                missing.push(path.to_owned());
            }
            gone
        };
        for guide in &mut self.guides {
            guide.dpo.take_if(|dpo| gone(dpo));
        }
        if let Some(methods) = &mut self.methods {
            methods.parm.take_if(|parm| gone(&parm.adapter));
        }
        if let Some(frontier) = &mut self.frontier {
            frontier.parm.take_if(|parm| gone(parm));
        }
        self.weak.take_if(|weak| gone(&weak.model) || weak.adapter.as_ref().is_some_and(|adapter| gone(adapter)));
        missing.dedup();
        missing
    }

    fn check(&self) -> Result<(), String> {
        let range = |what: &str, good: bool| if good { Ok(()) } else { Err(format!("{what} is out of range")) };
        range("`tokens`, 1 to 4096,", (1..=4096).contains(&self.tokens))?;
        range("`resamples`, 1 to 100000,", (1..=100_000).contains(&self.resamples))?;
        range(
            "a weight in `alphas`, above 0 and at most 100,",
            self.alphas.iter().all(|alpha| *alpha > 0.0 && *alpha <= 100.0),
        )?;
        if self.guides.is_empty() {
            return Err("there are no `[[guides]]`".into());
        }
        for (at, guide) in self.guides.iter().enumerate() {
            let taken = self.guides[..at].iter().any(|other| other.name == guide.name);
            let bad = guide.name.contains(|c: char| !(c.is_alphanumeric() || c == '-' || c == '_'));
            if taken
                || bad
                || ["", "base", "mix", "sharp", "methods", "frontier", "weak"].contains(&guide.name.as_str())
            {
                return Err(format!(
                    "the guide's name {:?} is taken, or not made of letters, digits, - and _",
                    guide.name
                ));
            }
        }
        self.measures().map_err(|error| error.message())?;
        let mut named: Vec<&String> = Vec::new();
        if let Some(methods) = &self.methods {
            named.extend([&methods.guide].into_iter().chain(&methods.soup_with));
        }
        named.extend(self.frontier.iter().flat_map(|frontier| &frontier.guides));
        named.extend(self.weak.iter().map(|weak| &weak.guide));
        if let Some(name) = named.into_iter().find(|name| self.guide(name).is_none()) {
            return Err(format!("no guide is named {name:?}"));
        }
        if let Some(frontier) = &self.frontier {
            range("`frontier.steps`, 1 to 100,", (1..=100).contains(&frontier.steps))?;
            range("`frontier.alpha`, above 0 and at most 100,", frontier.alpha > 0.0 && frontier.alpha <= 100.0)?;
        }
        Ok(())
    }

    /// The guide of that name.
    pub(super) fn guide(&self, name: &str) -> Option<&GuideSpec> {
        self.guides.iter().find(|guide| guide.name == name)
    }

    /// Everything that texts are scored with, each once, `distinct-in-text` last.
    pub(super) fn measures(&self) -> Result<Vec<Measure>> {
        let named = self.guides.iter().flat_map(|guide| std::iter::once(&guide.rule).chain(&guide.judges));
        let mut names: Vec<&str> = named.map(String::as_str).filter(|name| *name != "distinct-in-text").collect();
        names.push("distinct-in-text");
        let mut seen = Vec::new();
        names.retain(|name| {
            !seen.contains(name) && {
                seen.push(*name);
                true
            }
        });
        names.into_iter().map(|name| self.measure(name)).collect()
    }

    /// A measure by the name that this file gives it, or by its own; a minus turns either round.
    fn measure(&self, name: &str) -> Result<Measure> {
        let (minus, plain) = name.strip_prefix('-').map_or(("", name), |rest| ("-", rest));
        let Some(named) = self.named.get(plain) else { return Measure::parse(name) };
        Ok(Measure::parse(&format!("{minus}{named}"))?.called(name))
    }

    fn each_path(&mut self, mut change: impl FnMut(&mut PathBuf)) {
        change(&mut self.base);
        change(&mut self.prompts);
        for guide in &mut self.guides {
            change(&mut guide.adapter);
            guide.dpo.iter_mut().for_each(&mut change);
        }
        let parm = self.methods.iter_mut().flat_map(|methods| &mut methods.parm);
        parm.for_each(|parm| change(&mut parm.adapter));
        self.frontier.iter_mut().flat_map(|frontier| &mut frontier.parm).for_each(&mut change);
        if let Some(weak) = &mut self.weak {
            change(&mut weak.model);
            weak.adapter.iter_mut().for_each(&mut change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = r#"
        base = "base.gguf"
        prompts = "prompts.jsonl"
        [[guides]]
        name = "upbeat"
        adapter = "upbeat.gguf"
        rule = "sentiment"
    "#;

    #[test]
    fn the_least_has_the_usual_settings() {
        let spec = Spec::parse(LEAST, Path::new("")).expect("it is a specification");
        assert_eq!((spec.tokens, spec.alphas.len(), spec.resamples), (40, 5, 2000));
        let names: Vec<String> = spec.measures().expect("they are").into_iter().map(|measure| measure.name).collect();
        assert_eq!(names, ["sentiment", "distinct-in-text"]);
        assert_eq!(spec.guide("upbeat").map(|guide| guide.rule.as_str()), Some("sentiment"));
    }

    #[test]
    fn paths_begin_at_the_file() {
        let folder = std::env::temp_dir().join(format!("pilotfish-spec-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("it is made");
        let file = folder.join("evaluation.toml");
        std::fs::write(&file, LEAST.replace("\"base.gguf\"", "\"~/base.gguf\"")).expect("it is written");
        let spec = Spec::read(&file).expect("it is read");
        let _ = std::fs::remove_dir_all(&folder);
        assert_eq!(spec.prompts, folder.join("prompts.jsonl"));
        assert_eq!(Some(spec.base), std::env::home_dir().map(|home| home.join("base.gguf")));
    }

    #[test]
    fn what_was_not_made_here_is_left_out_and_named() {
        let folder = std::env::temp_dir();
        let text = LEAST.to_owned()
            + "dpo = 'no-dpo'\n[weak]\nmodel = 'no-model'\nguide = 'upbeat'\n[methods]\nguide = 'upbeat'\nparm = { adapter = '.', preference = [1, 0] }";
        let mut spec = Spec::parse(&text, &folder).expect("it is a specification");
        assert_eq!(spec.without_missing(), [folder.join("no-dpo"), folder.join("no-model")]);
        assert!(spec.weak.is_none() && spec.guides[0].dpo.is_none());
        assert!(spec.methods.is_some_and(|methods| methods.parm.is_some()));
    }

    #[test]
    fn a_measure_may_have_a_name_and_a_minus() {
        let named = LEAST.replace("[[guides]]", "[measures]\nquestions = 'regex:\\?'\n[[guides]]");
        let judged = |judge: &str| {
            let text = format!("{named}\njudges = [{judge:?}]");
            let spec = Spec::parse(&text, Path::new("")).expect("it is a specification");
            let measures = spec.measures().expect("they are");
            (measures[1].name.clone(), measures[1].score("What? Who?").expect("it is scored"))
        };
        assert_eq!(judged("questions"), ("questions".to_owned(), Some(2.0)));
        assert_eq!(judged("-questions"), ("-questions".to_owned(), Some(-2.0)));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let refused = |more: &str, said: &str| {
            let error = Spec::parse(&format!("{more}\n{LEAST}"), Path::new("")).expect_err(more);
            assert!(error.contains(said), "{more}: {error}");
        };
        refused("bass = 1", "bass");
        refused("tokens = 0", "`tokens`");
        refused("alphas = [0.5, 0.0]", "`alphas`");
        refused("alphas = [nan]", "`alphas`");
        refused("weak = { model = 'm', guide = 'other' }", "\"other\"");
        refused("frontier = { guides = ['upbeat', 'plain'] }", "\"plain\"");
        let error = Spec::parse(&LEAST.replace("\"sentiment\"", "\"beauty\""), Path::new("")).expect_err("no rule");
        assert!(error.contains("beauty"), "{error}");
        let error = Spec::parse(&LEAST.replace("\"upbeat\"", "\"base\""), Path::new("")).expect_err("no name");
        assert!(error.contains("taken"), "{error}");
        assert!(Spec::parse("base = ", Path::new("")).is_err());
    }
}
