//! What is done already: a line of JSON for each text and each time, kept as soon as it is made. A text is known by everything that it
//! depends on, so that a run that was killed goes on, and one whose guide has changed makes that guide's texts anew and no others.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use pilotfish::engine::{AdapterUse, Guide, GuideKind, Prompt, Stop};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::settings::{Files, Way};
use crate::error::{CliError, Result};
use crate::input;

/// A text that was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Written {
    /// What it depends on.
    pub(super) key: String,
    /// What was written.
    pub(super) text: String,
    /// Tokens, an end among them.
    pub(super) tokens: u32,
    /// The model ended it.
    pub(super) ended: bool,
    /// Sum of its tokens' log-probabilities under the base.
    pub(super) base_log_prob: f64,
    /// KL(drawn from || base), a token's mean in nats: of the whole distributions at temperature 1, of the tokens that were drawn at
    /// another. Means nothing of a search.
    pub(super) kl: f64,
}

/// A time that was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Speed {
    /// What it depends on.
    pub(super) key: String,
    /// After the prompt.
    pub(super) seconds_per_128_tokens: f64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Text(Written),
    Speed(Speed),
}

/// The file, and what it holds.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: File,
    texts: HashMap<String, Written>,
    speeds: HashMap<String, f64>,
}

impl Log {
    /// Reads what there is, and opens the file for more. A last line that was cut off is forgotten.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let failed = |source| CliError::Write { path: path.to_owned(), source };
        let held = if path.exists() { input::text(path)? } else { String::new() };
        let whole = held.rfind('\n').map_or(0, |end| end + 1);
        let (mut texts, mut speeds) = (HashMap::new(), HashMap::new());
        for (at, line) in held[..whole].lines().enumerate() {
            match serde_json::from_str(line) {
                Ok(Line::Text(text)) => drop(texts.insert(text.key.clone(), text)),
                Ok(Line::Speed(speed)) => drop(speeds.insert(speed.key, speed.seconds_per_128_tokens)),
                Err(error) => {
                    let found = format!("line {}: {error}", at + 1);
                    let expected = "texts that an evaluation has made; remove the file to begin anew";
                    return Err(CliError::Content { path: path.to_owned(), expected, found });
                }
            }
        }
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
        file.set_len(whole as u64).map_err(failed)?;
        Ok(Self { path: path.to_owned(), file, texts, speeds })
    }

    /// The text of a key.
    pub(super) fn text(&self, key: &str) -> Option<&Written> {
        self.texts.get(key)
    }

    /// Seconds for 128 tokens.
    pub(super) fn speed(&self, key: &str) -> Option<f64> {
        self.speeds.get(key).copied()
    }

    /// Keeps a text.
    pub(super) fn keep(&mut self, text: Written) -> Result<()> {
        self.write(Line::Text(text))
    }

    /// Keeps a time.
    pub(super) fn keep_speed(&mut self, speed: Speed) -> Result<()> {
        self.write(Line::Speed(speed))
    }

    /// What counts from now on is what the file says: a number read again may differ in its last bit.
    fn write(&mut self, line: Line) -> Result<()> {
        let failed = |source| CliError::Write { path: self.path.clone(), source };
        let text = serde_json::to_string(&line).map_err(|error| failed(error.into()))?;
        // At once: half a line is what is forgotten above.
        self.file.write_all(format!("{text}\n").as_bytes()).map_err(failed)?;
        match serde_json::from_str(&text).unwrap_or(line) {
            Line::Text(text) => drop(self.texts.insert(text.key.clone(), text)),
            Line::Speed(speed) => drop(self.speeds.insert(speed.key, speed.seconds_per_128_tokens)),
        }
        Ok(())
    }
}

/// What texts depend on besides their way and prompt.
#[derive(Debug)]
pub(super) struct Identity {
    base: u64,
    adapters: Vec<u64>,
    models: Vec<u64>,
    tokens: u32,
    seed: u64,
}

impl Identity {
    /// Reads every file once.
    pub(super) fn new(base: &Path, files: &Files, tokens: u32, seed: u64) -> Result<Self> {
        let adapter = |(path, _): &(PathBuf, Option<usize>)| -> Result<u64> {
            if path.is_dir() {
                let parts = ["adapter_config.json", "adapter_model.safetensors"].map(|name| path.join(name));
                return Ok(fnv(&[input::bytes(&parts[0])?, input::bytes(&parts[1])?].concat()));
            }
            Ok(fnv(&input::bytes(path)?))
        };
        let model = |path: &Path| Ok::<_, CliError>(fnv(&input::bytes(path)?));
        Ok(Self {
            base: model(base)?,
            adapters: files.adapters.iter().map(adapter).collect::<Result<_>>()?,
            models: files.models.iter().map(|path| model(path)).collect::<Result<_>>()?,
            tokens,
            seed,
        })
    }

    /// Of a prompt's draw: 64 for the texts of best of N, say, before the next prompt's begin.
    pub(super) fn seed(&self, prompt: usize) -> u64 {
        self.seed.wrapping_mul(1 << 32).wrapping_add(prompt as u64 * 64)
    }

    /// Of the text that a way makes of a prompt: neither the row's name nor the places of files are in it.
    pub(super) fn key(&self, way: &Way, prompt: &Prompt, place: usize) -> String {
        let mut way = way.clone();
        let (mut used, mut models) = (Vec::new(), Vec::new());
        let mut take = |adapter: &mut AdapterUse| {
            used.push(self.adapters[adapter.adapter]);
            adapter.adapter = 0;
        };
        way.adapters.iter_mut().for_each(&mut take);
        for Guide { kind, .. } in &mut way.guides {
            match kind {
                GuideKind::Adapter { adapters, model, .. } => {
                    adapters.iter_mut().for_each(&mut take);
                    models.extend(model.take().map(|model| self.models[model]));
                }
                GuideKind::Model { model, .. } => models.push(self.models[std::mem::take(model)]),
                GuideKind::Context { .. } => {}
            }
        }
        let all = json!([self.base, way, used, models, self.tokens, self.seed(place), prompt]);
        format!("{:016x}", fnv(all.to_string().as_bytes()))
    }
}

/// FNV-1a, 64 bits (Fowler, Noll and Vo): the same on every machine.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Whether a text ended by itself.
pub(super) fn ended(stop: Option<Stop>) -> bool {
    stop == Some(Stop::End)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(key: &str) -> Written {
        Written { key: key.into(), text: "a\nb".into(), tokens: 2, ended: true, base_log_prob: -3.5, kl: 0.25 }
    }

    fn path(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("pilotfish-log-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    #[test]
    fn what_was_kept_is_there_after_a_kill_in_the_middle_of_a_line() {
        let path = path("kill");
        let mut log = Log::open(&path).expect("it is made");
        log.keep(text("one")).expect("it is kept");
        log.keep_speed(Speed { key: "two".into(), seconds_per_128_tokens: 3.0 }).expect("it is kept");
        drop(log);
        let whole = std::fs::read_to_string(&path).expect("it is there");
        std::fs::write(&path, format!("{whole}{{\"text\": {{\"key\": \"thr")).expect("it is written");
        let mut log = Log::open(&path).expect("it is read");
        assert_eq!((log.text("one"), log.speed("two")), (Some(&text("one")), Some(3.0)));
        log.keep(text("three")).expect("it is kept");
        drop(log);
        let log = Log::open(&path).expect("every line is whole");
        assert!(log.text("three").is_some() && log.text("thr").is_none());
        let _ = std::fs::remove_file(&path);
    }

    #[test]
    fn another_file_is_refused_and_left_as_it_is() {
        let path = path("other");
        std::fs::write(&path, "{}\nwhat somebody else wrote").expect("it is written");
        assert_eq!(Log::open(&path).expect_err("it is no log").code(), "file.content");
        assert_eq!(std::fs::read_to_string(&path).expect("it is there"), "{}\nwhat somebody else wrote");
        let _ = std::fs::remove_file(&path);
    }

    #[test]
    fn a_key_is_that_of_content_and_not_of_places() {
        let identity =
            |adapters: &[u64]| Identity { base: 1, adapters: adapters.to_vec(), models: vec![], tokens: 8, seed: 0 };
        let way = |adapter: usize, weight: f32| {
            let adapters = vec![AdapterUse::whole(adapter)];
            let kind = GuideKind::Adapter { adapters, relative: false, model: None, prompt: None };
            Way { guides: vec![Guide { name: "up".into(), weight, kind }], ..Way::base() }
        };
        let prompt = Prompt::Text("a".into());
        let key = identity(&[5]).key(&way(0, 1.0), &prompt, 3);
        assert_eq!(identity(&[9, 5]).key(&way(1, 1.0), &prompt, 3), key);
        for other in [
            identity(&[6]).key(&way(0, 1.0), &prompt, 3),
            identity(&[5]).key(&way(0, 2.0), &prompt, 3),
            identity(&[5]).key(&way(0, 1.0), &prompt, 4),
            identity(&[5]).key(&way(0, 1.0), &Prompt::Text("b".into()), 3),
        ] {
            assert_ne!(other, key);
        }
    }

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(
            [fnv(b""), fnv(b"a"), fnv(b"foobar")],
            [0xcbf2_9ce4_8422_2325, 0xaf63_dc4c_8601_ec8c, 0x8594_4171_f739_67e8]
        );
    }
}
