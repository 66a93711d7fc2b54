//! A mix file: what a generation is asked for, as JSON. The flags of the command line go before it.
//!
//! ```json
//! { "guides": [ { "name": "kind", "weight": 1.5, "context": "You are kind.", "against": "You are gruff." },
//!               { "name": "expert", "weight": [[0, 0], [20, -1]], "model": "expert.gguf", "prompt": { "text": "..." } },
//!               { "name": "soup", "adapters": [ { "path": "a.gguf", "share": 0.3 }, { "path": "b/", "share": 0.7 } ] } ],
//!   "adapters": [ { "path": "tuned.gguf" } ],
//!   "sampling": { "temperature": 0.8, "top_p": 0.95, "seed": 7, "penalties": { "repetition": 1.1 } },
//!   "tokens": { "logit_bias": { "42": -1.5 }, "banned": [7], "allowed": null }, "forced": [3, 4], "stop": ["\nUser:"],
//!   "filter": { "row": "base", "kind": "top_k", "k": 20 }, "normalize": false,
//!   "method": { "name": "args", "reward": "expert", "candidates": 10, "weight": 1.0 }, "samples": 1, "when_full": "stop",
//!   "prompt": { "chat": [ { "role": "user", "content": "..." } ] }, "max_tokens": 64 }
//! ```
//!
//! Every field may be left out; `adapters` outside the guides are the base's own. The names are those of
//! `pilotfish::engine::SessionOptions`, but that models and adapters are paths, from the folder of the mix file, and that a
//! guide's `weight` may be points, step and weight of each.
//!
//! A guide may name its `transform`: `logits`, `log_softmax`, or `log_softmax_candidates`. All three give the same mix, as
//! they differ by a constant per row (see `pilotfish::guidance::MixRule`).

use std::path::{Path, PathBuf};

use pilotfish::engine::{Method, NamedFilter, Prompt, WhenFull};
use pilotfish::guidance::{Sampling, TokenRules};
use serde::Deserialize;

use crate::error::{CliError, Result};
use crate::input;
use crate::spec::{AdapterSpec, GuideSource, GuideSpec};
use crate::weight::Weight;

/// What a mix file says.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Mix {
    /// What to continue.
    pub(crate) prompt: Option<Prompt>,
    guides: Vec<MixGuide>,
    adapters: Vec<AdapterSpec>,
    /// How a token is drawn.
    pub(crate) sampling: Option<Sampling>,
    /// Scores, bans, allowed tokens.
    pub(crate) tokens: TokenRules,
    /// The first tokens.
    pub(crate) forced: Vec<u32>,
    /// Texts that end the generation.
    pub(crate) stop: Vec<String>,
    /// Divide by the sum of all weights.
    pub(crate) normalize: bool,
    /// Restrict the candidates by one row.
    pub(crate) filter: Option<NamedFilter>,
    /// Positions per row.
    pub(crate) context_length: Option<u32>,
    /// Tokens to make.
    pub(crate) max_tokens: Option<u32>,
    /// Steps submitted ahead.
    pub(crate) in_flight: Option<u32>,
    /// Texts made at once.
    pub(crate) samples: Option<u32>,
    /// How tokens are chosen.
    pub(crate) method: Method,
    /// What happens when the context is full.
    pub(crate) when_full: WhenFull,
}

/// A guide in a mix file: `context` (and `against`), or `adapters` or `model` or both (and `prompt`).
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct MixGuide {
    name: String,
    #[serde(default)]
    weight: Weight,
    #[serde(default)]
    transform: Transform,
    context: Option<String>,
    against: Option<String>,
    #[serde(default)]
    adapters: Vec<AdapterSpec>,
    #[serde(default)]
    relative: bool,
    model: Option<PathBuf>,
    prompt: Option<Prompt>,
}

/// What is done to a row before it is weighted: by name only, as each gives the same mix.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Transform {
    #[default]
    #[serde(alias = "raw")]
    Logits,
    LogSoftmax,
    LogSoftmaxCandidates,
}

impl Mix {
    /// Reads a mix file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        input::json(
            path,
            "a mix: guides, sampling, tokens, forced, stop, filter, normalize, prompt, max_tokens, context_length, in_flight, samples, method, when_full",
        )
    }

    /// The base's own adapters; paths are taken from the folder of `file`.
    pub(crate) fn adapters(&self, file: &Path) -> Vec<AdapterSpec> {
        from_folder(file, &self.adapters)
    }

    /// Its guides; paths are taken from the folder of `file`.
    pub(crate) fn guides(&self, file: &Path) -> Result<Vec<GuideSpec>> {
        let folder = file.parent().unwrap_or(Path::new(""));
        let spec = |guide: &MixGuide| {
            let MixGuide { name, weight, transform: _, context, against, adapters, relative, model, prompt } =
                guide.clone();
            let model = model.map(|path| folder.join(path));
            let (weight, schedule) = weight.parts();
            let source = match (context, against, model, prompt) {
                (Some(context), against, None, None) if adapters.is_empty() => {
                    GuideSource::Context { context, against }
                }
                (None, None, model, prompt) if !adapters.is_empty() => {
                    GuideSource::Adapter { adapters: from_folder(file, &adapters), relative, model, prompt }
                }
                (None, None, Some(path), prompt) if !relative => GuideSource::Model { path, prompt },
                _ => {
                    return Err(CliError::Content {
                        path: file.to_owned(),
                        expected: "either `context` (and `against`) or `adapters`, `model` or both (and `prompt`)",
                        found: format!("guide `{name}` is unclear"),
                    });
                }
            };
            Ok(GuideSpec { name, weight, schedule, source })
        };
        self.guides.iter().map(spec).collect()
    }
}

/// Adapters whose paths begin at the folder of `file`.
fn from_folder(file: &Path, adapters: &[AdapterSpec]) -> Vec<AdapterSpec> {
    let folder = file.parent().unwrap_or(Path::new(""));
    adapters.iter().map(|adapter| AdapterSpec { path: folder.join(&adapter.path), ..adapter.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mix(json: &str) -> serde_json::Result<Mix> {
        serde_json::from_str(json)
    }

    #[test]
    fn paths_begin_at_the_mix_file() {
        let mix = mix(r#"{"guides": [{"name": "a", "model": "a.gguf", "prompt": {"text": "x"}},
                                     {"name": "b", "weight": -2, "model": "/b.gguf"},
                                     {"name": "c", "context": "C", "transform": "log_softmax"},
                                     {"name": "d", "context": "D", "weight": [[0, 0.5], [9, 2]]},
                                     {"name": "e", "adapters": [{"path": "e", "share": 0.5}]}]}"#);
        let guides = mix.expect("it parses").guides(Path::new("shelf/mix.json")).expect("they are clear");
        let model = |path: &str, prompt| GuideSource::Model { path: path.into(), prompt };
        assert_eq!(guides[0].source, model("shelf/a.gguf", Some(Prompt::Text("x".into()))));
        assert_eq!((guides[1].weight, &guides[1].source), (-2.0, &model("/b.gguf", None)));
        assert_eq!((guides[2].weight, guides[2].name.as_str()), (1.0, "c"));
        assert_eq!((guides[3].weight, guides[3].schedule.as_slice()), (0.5, &[(0, 0.5), (9, 2.0)][..]));
        let adapters = vec![AdapterSpec { path: "shelf/e".into(), share: 0.5, preference: Vec::new() }];
        assert_eq!(guides[4].source, GuideSource::Adapter { adapters, relative: false, model: None, prompt: None });
    }

    #[test]
    fn a_guide_is_of_one_kind() {
        for guide in [
            r#"{"name": "a"}"#,
            r#"{"name": "a", "context": "x", "model": "y"}"#,
            r#"{"name": "a", "against": "x"}"#,
            r#"{"name": "a", "context": "x", "adapters": [{"path": "y"}]}"#,
            r#"{"name": "a", "context": "x", "prompt": {"text": "y"}}"#,
        ] {
            let mix = mix(&format!(r#"{{"guides": [{guide}]}}"#)).expect("it parses");
            assert!(mix.guides(Path::new("m.json")).is_err(), "{guide}");
        }
    }

    #[test]
    fn unknown_fields_are_refused() {
        assert_eq!(mix("{}").expect("all is optional"), Mix::default());
        assert!(mix(r#"{"guide": []}"#).is_err());
        assert!(mix(r#"{"guides": [{"name": "a", "kontext": "x"}]}"#).is_err());
    }
}
