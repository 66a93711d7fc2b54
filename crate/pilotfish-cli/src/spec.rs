//! `NAME=SPEC`: a guide in one argument.
//!
//! ```text
//! spec   = field ("," field)*
//! field  = key (":" | "=") value           keys: adapter, share, preference, relative, model, weight | model, weight
//!                                                | context, against, weight
//! value  = '"' ... '"'                     in quotes, \" is a quote and \\ a backslash
//!        | text up to the next comma       outside, \, is a comma
//! ```
//!
//! A backslash before anything else stands for itself, so that Windows paths need no care. Examples:
//!
//! ```text
//! expert=model:guides/expert.gguf,weight=1.5
//! kind=context:"You are kind, and brief.",against:You are gruff.,weight=-0.5
//! upbeat=adapter:guides/upbeat.gguf,weight=1
//! soup=adapter:a.gguf,share=0.3,adapter:b.gguf,share=0.7
//! helpful=adapter:parm/,preference=0.8;0.2
//! slow=context:You are kind.,weight=0@0;2@20
//! ```
//!
//! `share` and `preference` belong to the adapter before them; several adapters are a soup.

use std::path::PathBuf;
use std::str::FromStr;

use crate::weight::Weight;

/// A guide as the command line or a mix file gives it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GuideSpec {
    /// Its name.
    pub(crate) name: String,
    /// How much it steers.
    pub(crate) weight: f32,
    /// How that changes by step; empty if it does not.
    pub(crate) schedule: Vec<(u32, f32)>,
    /// What it is made of.
    pub(crate) source: GuideSource,
}

/// What a guide is made of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum GuideSource {
    /// The base under another context.
    Context {
        /// What is put before the prompt.
        context: String,
        /// What is put before it in the row that is subtracted.
        against: Option<String>,
    },
    /// The base, or another model, under adapters.
    Adapter {
        /// At least one.
        adapters: Vec<AdapterSpec>,
        /// Only what they change.
        relative: bool,
        /// The other model's file.
        model: Option<PathBuf>,
        /// Its own prompt; only a mix file can give one.
        prompt: Option<pilotfish::engine::Prompt>,
    },
    /// Another model.
    Model {
        /// Its file.
        path: PathBuf,
        /// Its own prompt; only a mix file can give one.
        prompt: Option<pilotfish::engine::Prompt>,
    },
}

/// An adapter as a row uses it.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdapterSpec {
    /// A GGUF file, or a directory as PEFT writes it.
    pub(crate) path: PathBuf,
    /// What it is multiplied with.
    #[serde(default = "one")]
    pub(crate) share: f32,
    /// The preference vector, where it has preferences.
    #[serde(default)]
    pub(crate) preference: Vec<f32>,
}

fn one() -> f32 {
    1.0
}

/// `PATH`, `PATH,share=0.5`, `PATH,preference=0.8;0.2`.
impl FromStr for AdapterSpec {
    type Err = String;

    fn from_str(argument: &str) -> Result<Self, String> {
        let mut adapters = Vec::new();
        for (key, value) in fields(&format!("adapter:{argument}"))? {
            if !AdapterSpec::field(&mut adapters, &key, &value)? {
                return Err(format!("`{key}` is none of share, preference"));
            }
        }
        match <[Self; 1]>::try_from(adapters) {
            Ok([adapter]) => Ok(adapter),
            Err(_) => Err("one adapter is expected".into()),
        }
    }
}

impl AdapterSpec {
    /// Takes a field that is about adapters: a new one, or something of the last. False where it is about something else.
    fn field(adapters: &mut Vec<Self>, key: &str, value: &str) -> Result<bool, String> {
        if key == "adapter" {
            if value.is_empty() {
                return Err("the path after `adapter:` is empty".into());
            }
            adapters.push(Self { path: value.into(), share: 1.0, preference: Vec::new() });
            return Ok(true);
        }
        if key != "share" && key != "preference" {
            return Ok(false);
        }
        let Some(last) = adapters.last_mut() else { return Err(format!("`{key}` belongs after an adapter")) };
        let number =
            |text: &str| text.trim().parse().map_err(|_| format!("`{}` of `{key}` is not a number", text.trim()));
        if key == "share" {
            last.share = number(value)?;
        } else {
            last.preference = value.split(';').map(number).collect::<Result<_, _>>()?;
        }
        Ok(true)
    }
}

impl FromStr for GuideSpec {
    type Err = String;

    fn from_str(argument: &str) -> Result<Self, String> {
        let (name, spec) = argument.split_once('=').unwrap_or_default();
        if name.is_empty() || name.contains([':', ',', '"']) {
            return Err("expected NAME=SPEC, such as kind=context:You are kind.,weight=1".into());
        }
        let [mut model, mut context, mut against, mut weight, mut relative] = [const { None }; 5];
        let mut adapters = Vec::new();
        for (key, value) in fields(spec)? {
            if AdapterSpec::field(&mut adapters, &key, &value)? {
                continue;
            }
            let place = match key.as_str() {
                "model" => &mut model,
                "context" => &mut context,
                "against" => &mut against,
                "relative" => &mut relative,
                "weight" => &mut weight,
                _ => {
                    let known = "adapter, share, preference, relative, model, context, against, weight";
                    let hint = "a comma inside a text is written \\, or the text is put in double quotes";
                    return Err(format!("`{key}` is none of {known} ({hint})"));
                }
            };
            if place.replace(value).is_some() {
                return Err(format!("`{key}` is given twice"));
            }
        }
        let relative = match relative.as_deref() {
            None => None,
            Some("true") => Some(true),
            Some("false") => Some(false),
            Some(found) => return Err(format!("`relative` is `{found}`, expected true or false")),
        };
        if adapters.is_empty() && relative.is_some() {
            return Err("`relative` belongs to an adapter".into());
        }
        if model.as_deref() == Some("") {
            return Err("the path after `model:` is empty".into());
        }
        let source = match (model, context, against) {
            (Some(path), None, None) if adapters.is_empty() => GuideSource::Model { path: path.into(), prompt: None },
            (model, None, None) if !adapters.is_empty() => {
                let relative = relative.unwrap_or_default();
                GuideSource::Adapter { adapters, relative, model: model.map(PathBuf::from), prompt: None }
            }
            (None, Some(context), against) if adapters.is_empty() => GuideSource::Context { context, against },
            (None, None, _) => return Err("expected `adapter:PATH`, `model:PATH` or `context:TEXT`".into()),
            _ => {
                let together = "`adapter` may go with `model`; `context` and `against` belong together, alone";
                return Err(together.into());
            }
        };
        let (weight, schedule) = weight.map_or(Ok(Weight::default()), |weight| weight.parse())?.parts();
        Ok(Self { name: name.to_owned(), weight, schedule, source })
    }
}

/// The fields of a spec, unquoted, in order.
fn fields(spec: &str) -> Result<Vec<(String, String)>, String> {
    let mut fields = Vec::new();
    let mut rest = spec;
    loop {
        let Some(end) = rest.find([':', '=']).filter(|end| !rest[..*end].contains([',', '"'])) else {
            let found = rest.split(',').next().unwrap_or_default().trim();
            return Err(format!(
                "`{found}` is not KEY:VALUE (a comma inside a text is written \\, or the text is put in double quotes)"
            ));
        };
        let key = rest[..end].trim().to_owned();
        let (value, after) = value(&rest[end + 1..])?;
        fields.push((key, value));
        match after {
            None => return Ok(fields),
            Some(after) => rest = after,
        }
    }
}

/// The value that `text` begins with, and what follows the comma after it.
fn value(text: &str) -> Result<(String, Option<&str>), String> {
    let (quoted, body) = text.strip_prefix('"').map_or((false, text), |body| (true, body));
    let escapable: &[char] = if quoted { &['"', '\\'] } else { &[','] };
    let mut value = String::new();
    let mut chars = body.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => match chars.next_if(|(_, next)| escapable.contains(next)) {
                Some((_, escaped)) => value.push(escaped),
                None => value.push('\\'),
            },
            '"' if quoted => {
                let rest = &body[at + 1..];
                return match rest.strip_prefix(',') {
                    Some(after) => Ok((value, Some(after))),
                    None if rest.is_empty() => Ok((value, None)),
                    None => Err(format!("expected a comma after the closing quote, found `{rest}`")),
                };
            }
            ',' if !quoted => return Ok((value, Some(&body[at + 1..]))),
            c => value.push(c),
        }
    }
    if quoted { Err(format!("the quote before `{body}` is never closed")) } else { Ok((value, None)) }
}

/// `STEP:GUIDE=WEIGHT`: a slider moved when that step is submitted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SliderWrite {
    /// Counts from 0.
    pub(crate) step: u32,
    /// The guide's name.
    pub(crate) guide: String,
    /// Its new weight.
    pub(crate) weight: f32,
}

impl FromStr for SliderWrite {
    type Err = String;

    fn from_str(argument: &str) -> Result<Self, String> {
        let parts = argument.split_once(':').and_then(|(step, rest)| Some((step, rest.rsplit_once('=')?)));
        let Some((step, (guide, weight))) = parts else {
            return Err("expected STEP:GUIDE=WEIGHT, such as 12:kind=0.5".into());
        };
        Ok(Self {
            step: step.trim().parse().map_err(|_| format!("the step `{step}` is not a number from 0 on"))?,
            guide: guide.to_owned(),
            weight: weight.trim().parse().map_err(|_| format!("the weight `{weight}` is not a number"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(context: &str, against: Option<&str>) -> GuideSource {
        GuideSource::Context { context: context.into(), against: against.map(Into::into) }
    }

    fn model(path: &str) -> GuideSource {
        GuideSource::Model { path: path.into(), prompt: None }
    }

    #[track_caller]
    fn parses(argument: &str, name: &str, weight: f32, source: &GuideSource) {
        let spec: GuideSpec = argument.parse().unwrap_or_else(|error| panic!("{argument}: {error}"));
        assert_eq!((spec.name.as_str(), spec.weight, &spec.source), (name, weight, source), "{argument}");
    }

    #[track_caller]
    fn fails(argument: &str, part: &str) {
        let error = argument.parse::<GuideSpec>().expect_err(argument);
        assert!(error.contains(part), "{argument}: {error}");
    }

    #[test]
    fn the_two_kinds_with_and_without_a_weight() {
        parses("e=model:a/b.gguf", "e", 1.0, &model("a/b.gguf"));
        parses("e=model:a/b.gguf,weight=-1.5e0", "e", -1.5, &model("a/b.gguf"));
        parses("e=weight=2,model=b.gguf", "e", 2.0, &model("b.gguf"));
        parses("k=context:You are kind.", "k", 1.0, &context("You are kind.", None));
        parses("k=context:A.,against:B.,weight=0", "k", 0.0, &context("A.", Some("B.")));
        parses("k=context:A, against:B, weight: 3", "k", 3.0, &context("A", Some("B")));
        parses("k=context:,against:", "k", 1.0, &context("", Some("")));
    }

    #[test]
    fn adapters_alone_in_soups_and_on_another_model() {
        let adapter = |path: &str, share, preference: &[f32]| AdapterSpec {
            path: path.into(),
            share,
            preference: preference.to_vec(),
        };
        let source = |adapters, model: Option<&str>| GuideSource::Adapter {
            adapters,
            relative: false,
            model: model.map(Into::into),
            prompt: None,
        };
        parses("a=adapter:x.gguf", "a", 1.0, &source(vec![adapter("x.gguf", 1.0, &[])], None));
        let both = vec![adapter("x", 0.25, &[]), adapter("y", 0.75, &[])];
        parses("a=adapter:x,share=0.25,weight=2,adapter:y,share=0.75", "a", 2.0, &source(both, None));
        let parm = vec![adapter("p/", 1.0, &[0.8, 0.2])];
        parses("a=adapter:p/,preference=0.8;0.2,model:m.gguf", "a", 1.0, &source(parm, Some("m.gguf")));
        assert_eq!("x.gguf,share=0.5".parse(), Ok(adapter("x.gguf", 0.5, &[])));
        assert!("x.gguf,weight=1".parse::<AdapterSpec>().is_err());
    }

    #[test]
    fn commas_in_texts_are_quoted_or_escaped() {
        parses(r#"k=context:"Kind, and brief.",weight=2"#, "k", 2.0, &context("Kind, and brief.", None));
        parses(r"k=context:Kind\, and brief.,weight=2", "k", 2.0, &context("Kind, and brief.", None));
        parses(r#"k=context:"Say \"hi\" \\ bye",against:"""#, "k", 1.0, &context(r#"Say "hi" \ bye"#, Some("")));
        parses("k=context:\"two\nlines, ä 日本\"", "k", 1.0, &context("two\nlines, ä 日本", None));
    }

    #[test]
    fn other_backslashes_quotes_and_colons_stand_for_themselves() {
        parses(r"e=model:C:\models\x.gguf,weight=1", "e", 1.0, &model(r"C:\models\x.gguf"));
        parses(r#"e=model:"C:\my, models\x.gguf""#, "e", 1.0, &model(r"C:\my, models\x.gguf"));
        parses(r#"k=context:Say "hi": a=b\"#, "k", 1.0, &context(r#"Say "hi": a=b\"#, None));
    }

    #[test]
    fn what_is_wrong_is_said() {
        fails("kind", "NAME=SPEC");
        fails("=model:a", "NAME=SPEC");
        fails("context:a=b", "NAME=SPEC");
        fails("k=", "is not KEY:VALUE");
        fails("k=context:Kind, and brief.,weight=1", "`and brief.` is not KEY:VALUE");
        fails("k=context:Kind, see: me", "`see` is none of");
        fails("k=context:a,context:b", "`context` is given twice");
        fails("k=model:a,against:b", "belong together, alone");
        fails("k=adapter:a,context:b", "belong together, alone");
        fails("k=against:b", "expected `adapter:PATH`, `model:PATH` or");
        fails("k=adapter:,weight=1", "is empty");
        fails("k=adapter:a,relative=yes", "expected true or false");
        fails("k=model:a,relative=true", "belongs to an adapter");
        fails("k=share=1,adapter:a", "`share` belongs after an adapter");
        fails("k=adapter:a,preference=1;x", "`x` of `preference` is not a number");
        fails("k=model:,weight=1", "is empty");
        fails("k=context:a,weight=heavy", "`heavy` is not a number");
        fails(r#"k=context:"never closed"#, "never closed");
        fails(r#"k=context:"a"b"#, "after the closing quote");
        fails("k=context:a,", "is not KEY:VALUE");
    }

    #[test]
    fn a_weight_that_is_no_finite_number_is_left_to_the_engine_to_refuse() {
        let spec: GuideSpec = "e=model:a,weight=NaN".parse().expect("it parses");
        assert!(spec.weight.is_nan());
    }

    #[test]
    fn a_weight_may_move_along_points() {
        let spec: GuideSpec = "e=model:a,weight=0@0;2@20".parse().expect("it parses");
        assert_eq!((spec.weight, spec.schedule), (0.0, vec![(0, 0.0), (20, 2.0)]));
    }

    #[test]
    fn slider_writes() {
        let write = |text: &str| text.parse::<SliderWrite>();
        assert_eq!(write("12:kind=-0.5"), Ok(SliderWrite { step: 12, guide: "kind".into(), weight: -0.5 }));
        assert_eq!(write("0:a:b=c=1"), Ok(SliderWrite { step: 0, guide: "a:b=c".into(), weight: 1.0 }));
        for wrong in ["", "1", "1:a", "a=1", "-1:a=1", "1.5:a=1", "1:a=x"] {
            assert!(write(wrong).is_err(), "{wrong}");
        }
    }
}
