//! How tokens are chosen, as flags: over what a mix file says; and where rewards come from.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use pilotfish::Error;
use pilotfish::engine::{Method, MethodName, Prompt, RewardHead, Scorer, Scoring, WhenFull};

use crate::error::Result;
use crate::host::Host;

/// Flags of the method.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct MethodArgs {
    /// How tokens are chosen; all but `genarm` need --reward.
    #[arg(long, value_name = "NAME")]
    method: Option<Name>,
    /// What rewards: a guide's NAME (give it weight=0 to reward only), head:PATH[,class=NAME] for a GGUF with a classifier head, or
    /// command:PROGRAM, which reads a JSON list of texts and writes a JSON list of as many numbers.
    #[arg(long, value_name = "WHAT")]
    reward: Option<RewardSpec>,
    /// args, transfer-q: tokens that are tried; best-of-n: texts; cards: segments that are drawn at most.
    #[arg(long, value_name = "N")]
    candidates: Option<u32>,
    /// args, transfer-q: what a reward is multiplied with before it is added to a log-probability.
    #[arg(long, value_name = "W", allow_negative_numbers = true)]
    reward_weight: Option<f32>,
    /// transfer-q: tokens of a roll-out.
    #[arg(long, value_name = "N")]
    rollout: Option<u32>,
    /// cards: the entropy, in nats, of a next token that ends a segment.
    #[arg(long, value_name = "H", allow_negative_numbers = true)]
    entropy: Option<f32>,
    /// cards: tokens of a segment at most.
    #[arg(long, value_name = "N")]
    segment: Option<u32>,
    /// cards: the reward that a text of --max-tokens should reach.
    #[arg(long, value_name = "R", allow_negative_numbers = true)]
    goal: Option<f32>,
    /// cards: how strict: a segment r below the goal is accepted with probability exp(-r / B).
    #[arg(long, value_name = "B", allow_negative_numbers = true)]
    beta: Option<f32>,
}

/// The methods as a command line has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    Genarm,
    Args,
    TransferQ,
    BestOfN,
    Cards,
}

/// Where rewards come from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RewardSpec {
    /// A guide, by name.
    Guide(String),
    /// A GGUF with a classifier head, and which of its scores.
    Head(PathBuf, Option<String>),
    /// A program.
    Command(String),
}

impl FromStr for RewardSpec {
    type Err = String;

    fn from_str(argument: &str) -> Result<Self, String> {
        match argument.split_once(':') {
            Some(("head", rest)) => {
                let (path, class) = match rest.split_once(",class=") {
                    Some((path, class)) => (path, Some(class.to_owned())),
                    None => (rest, None),
                };
                if path.is_empty() {
                    return Err("expected head:PATH or head:PATH,class=NAME".into());
                }
                Ok(Self::Head(path.into(), class))
            }
            Some(("command", program)) if !program.trim().is_empty() => Ok(Self::Command(program.to_owned())),
            None if !argument.is_empty() => Ok(Self::Guide(argument.to_owned())),
            _ => Err(format!("`{argument}`: expected a guide's name, head:PATH[,class=NAME] or command:PROGRAM")),
        }
    }
}

impl MethodArgs {
    /// These over `given`.
    pub(crate) fn over(&self, given: Method) -> Method {
        let reward = match &self.reward {
            None => given.reward,
            Some(RewardSpec::Guide(name)) => Some(name.clone()),
            Some(_) => None,
        };
        Method {
            name: self.method.map_or(given.name, |name| match name {
                Name::Genarm => MethodName::Genarm,
                Name::Args => MethodName::Args,
                Name::TransferQ => MethodName::TransferQ,
                Name::BestOfN => MethodName::BestOfN,
                Name::Cards => MethodName::Cards,
            }),
            reward,
            candidates: self.candidates.unwrap_or(given.candidates),
            weight: self.reward_weight.unwrap_or(given.weight),
            rollout: self.rollout.unwrap_or(given.rollout),
            entropy: self.entropy.unwrap_or(given.entropy),
            segment: self.segment.unwrap_or(given.segment),
            goal: self.goal.unwrap_or(given.goal),
            beta: self.beta.unwrap_or(given.beta),
        }
    }

    /// Refuses a method that nothing rewards, before anything is loaded.
    pub(crate) fn check(&self, method: &Method) -> Result<()> {
        let scored = matches!(self.reward, Some(RewardSpec::Head(..) | RewardSpec::Command(_)));
        if method.name != MethodName::Genarm && method.reward.is_none() && !scored {
            return Err(Error::NoReward { method: method.name.name() }.into());
        }
        Ok(())
    }

    /// The scorer that was asked for, if one was.
    pub(crate) async fn scorer(&self, host: &Host, prompt: &Prompt) -> Result<Option<Box<dyn Scorer>>> {
        Ok(match &self.reward {
            None | Some(RewardSpec::Guide(_)) => None,
            Some(RewardSpec::Head(path, class)) => Some(Box::new(head(host, path, class.as_deref(), prompt).await?)),
            Some(RewardSpec::Command(program)) => Some(Box::new(Program(program.clone()))),
        })
    }
}

async fn head(host: &Host, path: &Path, class: Option<&str>, prompt: &Prompt) -> Result<RewardHead> {
    let model = Rc::new(host.load(path).await?);
    Ok(RewardHead::new(&host.engine, &model, prompt, class, 0)?)
}

/// Rewards by a program, run by the shell once for every list of texts.
#[derive(Debug)]
struct Program(String);

impl Scorer for Program {
    fn score<'a>(&'a mut self, texts: &'a [String]) -> Scoring<'a> {
        Box::pin(async move { self.run(texts).map_err(|message| Error::Scorer { message }) })
    }
}

impl Program {
    fn run(&self, texts: &[String]) -> Result<Vec<f32>, String> {
        let Self(program) = self;
        let failed = |error: &dyn std::fmt::Display| format!("`{program}`: {error}");
        let mut child = Command::new("sh")
            .args(["-c", program])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| failed(&error))?;
        if let Some(stdin) = child.stdin.take() {
            // A program may answer without reading to the end.
            let _ = serde_json::to_writer(stdin, texts);
        }
        let output = child.wait_with_output().map_err(|error| failed(&error))?;
        if !output.status.success() {
            return Err(failed(&output.status));
        }
        let expected = |error| failed(&format!("expected a JSON list of {} numbers on stdout: {error}", texts.len()));
        serde_json::from_slice(&output.stdout).map_err(expected)
    }
}

/// `stop`, `shift` or `shift:KEEP`.
pub(crate) fn when_full(argument: &str) -> Result<WhenFull, String> {
    match argument.split_once(':') {
        None if argument == "stop" => Ok(WhenFull::Stop),
        None if argument == "shift" => Ok(WhenFull::Shift { keep: None }),
        Some(("shift", keep)) => {
            let keep = keep.parse().map_err(|_| format!("`{keep}` is not a number of tokens"))?;
            Ok(WhenFull::Shift { keep: Some(keep) })
        }
        _ => Err("expected stop, shift, or shift:KEEP".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewards_are_told_apart_by_their_prefix() {
        assert_eq!("arm".parse(), Ok(RewardSpec::Guide("arm".into())));
        assert_eq!("head:a/b.gguf".parse(), Ok(RewardSpec::Head("a/b.gguf".into(), None)));
        assert_eq!("head:b,c.gguf,class=yes".parse(), Ok(RewardSpec::Head("b,c.gguf".into(), Some("yes".into()))));
        assert_eq!("command:wc -c".parse(), Ok(RewardSpec::Command("wc -c".into())));
        for wrong in ["", "head:", "head:,class=x", "command: ", "other:x"] {
            assert!(wrong.parse::<RewardSpec>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_full_context_stops_or_shifts() {
        assert_eq!(when_full("stop"), Ok(WhenFull::Stop));
        assert_eq!(when_full("shift"), Ok(WhenFull::Shift { keep: None }));
        assert_eq!(when_full("shift:4"), Ok(WhenFull::Shift { keep: Some(4) }));
        assert!(when_full("shift:x").is_err() && when_full("go").is_err());
    }

    #[test]
    fn a_program_that_fails_or_answers_otherwise_is_told_by_name() {
        let score = |program: &str| Program(program.into()).run(&["a".into(), "bb".into()]);
        assert_eq!(score("cat > /dev/null; echo '[1, 2.5]'"), Ok(vec![1.0, 2.5]));
        assert_eq!(score("echo '[1, 2.5]'"), Ok(vec![1.0, 2.5]));
        for program in ["exit 3", "echo no", "no-such-program-anywhere"] {
            assert!(score(program).is_err_and(|message| message.contains(program)));
        }
    }
}
