//! Whole runs on a tiny model: learning, interruptions, refusals.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use pilotfish::adapter::Adapter;
use pilotfish::arch::ModelSpec;
use pilotfish::gguf::Header;
use pilotfish::model::twin::{Cache, CpuModel};
use pilotfish::model::{RowAdapter, merge};
use pilotfish_train::output::{About, Results, write_results};
use pilotfish_train::pairs::{EncodeOptions, Pair, PairReport, Reason, encode, read};
use pilotfish_train::run::{self, Event, Outcome, RunFolder, RunOptions, Stopped};
use pilotfish_train::{Base, LoraOptions, Objective, OptimizerOptions, ParmOptions, TrainError, Tree};

const MODEL: &str = "tiny-llama-q4_1.gguf";

fn model_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tiny").join(MODEL)
}

fn base() -> Base {
    Base::read(&model_path()).expect("the fixture is a model")
}

/// A folder of this test's own, empty.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("it can be made");
    folder
}

/// Pairs with answers that have nothing to do with their prompts: what can be learned is only by heart.
fn pairs(count: usize) -> Vec<Pair> {
    let mut state = 12345u32;
    let mut token = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % 256
    };
    let mut tokens = |count: usize| (0..count).map(|_| token()).collect::<Vec<u32>>();
    (0..count)
        .map(|line| Pair {
            line: line + 1,
            tree: Tree { prompt: tokens(3), answers: vec![tokens(4 + line % 3), tokens(5)] },
            dimension: 0,
        })
        .collect()
}

fn options(steps: usize) -> RunOptions {
    RunOptions {
        objective: Objective::Arm { beta: 0.2, length_normalised: false, margin: 0.0, label_smoothing: 0.0 },
        lora: LoraOptions { rank: 8, alpha: 16.0, ..LoraOptions::default() },
        optimizer: OptimizerOptions { learning_rate: 1e-2, ..OptimizerOptions::default() },
        parm: None,
        batch: 8,
        steps,
        eval_every: 0,
        patience: 0,
        save_every: 0,
        seed: 1,
    }
}

/// A run in `folder`.
fn train(
    base: &Base,
    train: &[Pair],
    held_out: &[Pair],
    options: &RunOptions,
    (path, resume): (&Path, bool),
    threads: usize,
    observe: &(dyn Fn(Event<'_>) -> bool + Sync),
) -> Result<Outcome, TrainError> {
    run::train(base, train, held_out, options, &RunFolder { path, resume }, threads, observe)
}

fn quietly(_: Event<'_>) -> bool {
    true
}

/// That two runs took the same steps. Those of a run that went on were read from decimal digits, which may cost a double's last bit.
fn same_curve(one: &Outcome, other: &Outcome) {
    assert_eq!(one.steps.len(), other.steps.len());
    for (one, other) in one.steps.iter().zip(&other.steps) {
        assert!((one.loss - other.loss).abs() <= 2.0 * f64::EPSILON * one.loss.abs(), "{one:?} {other:?}");
    }
}

#[test]
fn sixteen_pairs_are_learned_by_heart_in_200_steps() {
    let (base, pairs) = (base(), pairs(16));
    for (name, objective) in
        [("arm", options(1).objective), ("dpo", Objective::Dpo { beta: 0.2, label_smoothing: 0.0 })]
    {
        let options = RunOptions { objective, ..options(200) };
        let outcome = train(&base, &pairs, &pairs, &options, (&folder(name), false), 2, &quietly).expect("it runs");
        let (before, after) = (outcome.before.expect("judged"), outcome.after.expect("judged"));
        assert!(before.accuracy < 0.9, "{name}: {before:?}");
        assert_eq!(after.accuracy, 1.0, "{name}: {after:?}");
        assert!(after.loss < 0.1 * before.loss, "{name}: {before:?}, {after:?}");
    }
}

#[test]
fn fine_tuning_makes_chosen_answers_likely() {
    let (base, pairs) = (base(), pairs(4));
    let options = RunOptions { objective: Objective::Sft, batch: 4, ..options(150) };
    let outcome = train(&base, &pairs, &[], &options, (&folder("sft"), false), 1, &quietly).expect("it runs");
    let (first, last) = (&outcome.steps[0], &outcome.steps[149]);
    assert!(last.loss < 0.5 * first.loss, "{first:?} {last:?}");
    assert_eq!((first.accuracy, outcome.before), (None, None));
}

#[test]
fn an_interrupted_run_goes_on_as_if_it_had_not_been() {
    let (base, pairs) = (base(), pairs(20));
    let options = RunOptions {
        lora: LoraOptions { dropout: 0.2, strength: 0.5, ..LoraOptions::default() },
        eval_every: 4,
        patience: 50,
        ..options(12)
    };
    let (train_pairs, held_out) = pairs.split_at(14);
    let whole = train(&base, train_pairs, held_out, &options, (&folder("whole"), false), 2, &quietly).expect("it runs");
    // Every event of the run is a place to be interrupted at, evaluations among them.
    let events = AtomicUsize::new(0);
    let folder = folder("parts");
    let mut parts = 0;
    let outcome = loop {
        let stop_at = events.load(Ordering::Relaxed) + 7 + parts;
        let observe = |event: Event<'_>| match event {
            Event::Step { .. } | Event::Scoring { .. } | Event::Evaluated { .. } => {
                events.fetch_add(1, Ordering::Relaxed) + 1 < stop_at
            }
            _ => true,
        };
        let resume = folder.join("checkpoint.safetensors").exists();
        let outcome = train(&base, train_pairs, held_out, &options, (&folder, resume), 1, &observe).expect("it runs");
        parts += 1;
        assert!(parts < 40, "it never ends");
        if outcome.stopped != Stopped::Interrupted {
            break outcome;
        }
    };
    assert!(parts > 2, "it was interrupted");
    same_curve(&outcome, &whole);
    assert_eq!(outcome.lora, whole.lora);
    assert_eq!(outcome.evaluations.len(), whole.evaluations.len());
    for ((step, found), (whole_step, whole)) in outcome.evaluations.iter().zip(&whole.evaluations) {
        // They went through decimal digits.
        assert!(step == whole_step && (found.loss - whole.loss).abs() < 1e-12, "{found:?} {whole:?}");
    }
}

/// Every pair twice, with opposite preferences in two dimensions.
fn two_dimensions(count: usize) -> Vec<Pair> {
    let mut both = pairs(count);
    let turned = |pair: &Pair| {
        let mut tree = pair.tree.clone();
        tree.answers.reverse();
        Pair { line: pair.line, tree, dimension: 1 }
    };
    both.extend(both.iter().map(turned).collect::<Vec<_>>());
    both
}

fn parm(steps: usize) -> RunOptions {
    let parm = ParmOptions { dimensions: vec!["one".into(), "other".into()], rank: 4 };
    RunOptions { lora: LoraOptions { rank: 4, ..LoraOptions::default() }, parm: Some(parm), ..options(steps) }
}

#[test]
fn one_adapter_learns_opposite_preferences_and_the_vector_chooses() {
    let (base, pairs) = (base(), two_dimensions(8));
    let folder = folder("parm");
    let options = parm(300);
    let outcome = train(&base, &pairs, &pairs, &options, (&folder, false), 2, &quietly).expect("it runs");
    let after = outcome.after.expect("judged");
    assert_eq!((after.pairs, after.accuracy), (16, 1.0), "each pair under its own dimension: {after:?}");
    for (name, (before, after)) in &outcome.dimensions {
        assert!(before.accuracy < 0.9 && after.accuracy == 1.0, "{name}: {before:?}, {after:?}");
    }
    // What is written does the same in the engine.
    let about = About { base_name: "x/Tiny".into(), ..About::default() };
    let reports = [("one".to_owned(), PairReport::default()), ("other".to_owned(), PairReport::default())];
    let results =
        Results { name: "both", about: &about, base: &base, options: &options, reports: &reports, outcome: &outcome };
    write_results(&folder, &results).expect("it is written");
    let file = |name: &str| fs::read(folder.join(name)).expect("it is there");
    let config = String::from_utf8(file("adapter_config.json")).expect("text");
    let peft = Adapter::from_peft(&config, &file("adapter_model.safetensors")).expect("it is PARM's format");
    let gguf = Adapter::from_gguf(&file("both.gguf")).expect("it is ours");
    let model = fs::read(model_path()).expect("it is there");
    let header = Header::parse(&model, model.len() as u64).expect("a GGUF");
    let spec = ModelSpec::from_header(&header).expect("a model");
    for (name, adapter, bound) in [("peft", peft, 1e-3), ("gguf", gguf, 0.1)] {
        let adapter = adapter.fitted(&spec).expect("it fits");
        assert_eq!(adapter.preferences.len(), 2, "{name}");
        for (dimension, (_, (_, after))) in outcome.dimensions.iter().enumerate() {
            let preference = [1.0 - dimension as f32, dimension as f32];
            let used = RowAdapter { adapter: &adapter, share: 1.0, preference: &preference };
            let merged = merge(&model, &spec, &used).expect("it merges");
            let of: Vec<&Pair> = pairs.iter().filter(|pair| pair.dimension == dimension).collect();
            let margin = |pair: &&Pair| {
                let sums = [0, 1].map(|answer| sum(&merged, &pair.tree.prompt, &pair.tree.answers[answer]));
                sums[0] - sums[1]
            };
            let margins: Vec<f64> = of.iter().map(margin).collect();
            assert!(margins.iter().all(|margin| *margin > 0.0), "{name} {dimension}: {margins:?}");
            let mean = margins.iter().sum::<f64>() / margins.len() as f64;
            assert!((mean - after.margin).abs() < bound, "{name} {dimension}: {mean} of {}", after.margin);
        }
    }
    let card = String::from_utf8(file("README.md")).expect("text");
    assert!(card.contains("weights of one, other") && card.contains("| other, after |"), "{card}");
}

#[test]
fn an_interrupted_parm_run_goes_on_exactly() {
    let (base, pairs) = (base(), two_dimensions(6));
    let options = RunOptions { batch: 4, eval_every: 5, ..parm(12) };
    let whole = train(&base, &pairs, &pairs, &options, (&folder("parm-whole"), false), 2, &quietly).expect("it runs");
    let folder = folder("parm-parts");
    let first = train(
        &base,
        &pairs,
        &pairs,
        &options,
        (&folder, false),
        1,
        &|event| !matches!(event, Event::Step { metrics, .. } if metrics.step == 7),
    );
    assert_eq!(first.expect("it runs").stopped, Stopped::Interrupted);
    let outcome = train(&base, &pairs, &pairs, &options, (&folder, true), 2, &quietly).expect("it runs");
    same_curve(&outcome, &whole);
    assert_eq!(outcome.lora, whole.lora);
    assert_eq!(outcome.dimensions.len(), 2);
}

#[test]
fn evaluations_that_get_no_better_end_a_run_with_the_best() {
    let (base, pairs) = (base(), pairs(24));
    let options = RunOptions { eval_every: 5, patience: 3, ..options(400) };
    let (train_pairs, held_out) = pairs.split_at(16);
    let outcome =
        train(&base, train_pairs, held_out, &options, (&folder("early"), false), 2, &quietly).expect("it runs");
    assert_eq!(outcome.stopped, Stopped::Early);
    let best = outcome.evaluations.iter().min_by(|one, other| one.1.loss.total_cmp(&other.1.loss)).expect("some");
    assert_eq!((outcome.step, outcome.after), (best.0, Some(best.1)));
    let again = RunOptions { eval_every: 0, patience: 0, steps: options.steps, ..options };
    assert!(outcome.step < again.steps);
}

#[test]
fn what_is_written_gives_the_trainers_own_log_probabilities() {
    let (base, pairs) = (base(), pairs(6));
    let targets = ["q", "k", "v", "o", "gate", "up", "down"].map(|name| name.parse().expect("it is one"));
    let lora = LoraOptions { rank: 3, strength: 0.5, targets: targets.to_vec(), ..LoraOptions::default() };
    let options = RunOptions { lora, ..options(20) };
    let folder = folder("written");
    let outcome = train(&base, &pairs, &pairs, &options, (&folder, false), 2, &quietly).expect("it runs");
    assert_eq!(outcome.lora.scale, 0.5 * 16.0 / 3.0, "what is judged and written is turned down");
    let about = About { base_name: "tiny".into(), ..About::default() };
    let reports = [(String::new(), PairReport::default())];
    let results =
        Results { name: "heart", about: &about, base: &base, options: &options, reports: &reports, outcome: &outcome };
    write_results(&folder, &results).expect("it is written");
    let file = |name: &str| fs::read(folder.join(name)).expect("it is there");
    let config = String::from_utf8(file("adapter_config.json")).expect("text");
    let peft = Adapter::from_peft(&config, &file("adapter_model.safetensors")).expect("it is PEFT's format");
    let gguf = Adapter::from_gguf(&file("heart.gguf")).expect("it is llama.cpp's format");
    let model = fs::read(model_path()).expect("it is there");
    let header = Header::parse(&model, model.len() as u64).expect("a GGUF");
    let spec = ModelSpec::from_header(&header).expect("a model");
    let expected = outcome.after.expect("judged").margin;
    // The GGUF holds half precision.
    for (name, adapter, bound) in [("peft", peft, 1e-3), ("gguf", gguf, 0.05)] {
        let adapter = adapter.fitted(&spec).expect("it fits");
        let merged =
            merge(&model, &spec, &RowAdapter { adapter: &adapter, share: 1.0, preference: &[] }).expect("it merges");
        let margin = pairs.iter().map(|pair| {
            let sums: Vec<f64> =
                pair.tree.answers.iter().map(|answer| sum(&merged, &pair.tree.prompt, answer)).collect();
            sums[0] - sums[1]
        });
        let margin = margin.sum::<f64>() / pairs.len() as f64;
        assert!((margin - expected).abs() < bound, "{name}: {margin} of {expected}");
    }
    assert!(String::from_utf8(file("README.md")).expect("text").contains("| after |"));
    assert!(file("training.png").starts_with(b"\x89PNG"));
}

/// Summed log-probabilities of an answer by the engine's own CPU forward pass.
fn sum(model: &[u8], prompt: &[u32], answer: &[u32]) -> f64 {
    let header = Header::parse(model, model.len() as u64).expect("a GGUF");
    let spec = ModelSpec::from_header(&header).expect("a model");
    let mut source = model;
    let model = pollster::block_on(CpuModel::read(spec, &mut source)).expect("it is read");
    let ids = [prompt, answer].concat();
    let logits = model.logits(&ids, Cache::Exact);
    let at = |position: usize| {
        let row = &logits[position - 1];
        f64::from(row[ids[position] as usize]) - pilotfish::engine::logsumexp(row)
    };
    (prompt.len()..ids.len()).map(at).sum()
}

#[test]
fn a_loss_that_is_no_number_ends_a_run_and_keeps_what_was_learned() {
    let (base, pairs) = (base(), pairs(8));
    let mut options = options(30);
    // Each step moves every number by about a thousand: a few of them overflow f32 inside the model.
    options.optimizer.learning_rate = 1e37;
    options.optimizer.warmup = 0.0;
    let folder = folder("diverged");
    let error = train(&base, &pairs, &[], &options, (&folder, false), 1, &quietly).expect_err("it cannot go on");
    let TrainError::Diverged { step, lines, kept, .. } = &error else { panic!("{error}") };
    assert!(*step > 1 && lines.len() == 8 && kept.contains("checkpoint"), "{error}");
    assert_eq!(error.code(), "train.diverged");
    assert!(folder.join("checkpoint.safetensors").exists());
}

#[test]
fn a_folder_with_a_run_is_not_overwritten_and_not_continued_as_another() {
    let (base, pairs) = (base(), pairs(8));
    let folder = folder("refused");
    let go = |options: &RunOptions, pairs: &[Pair], resume| {
        train(&base, pairs, &[], options, (&folder, resume), 1, &quietly).map_err(|error| error.to_string())
    };
    let nothing = go(&options(2), &pairs, true).expect_err("there is nothing");
    assert!(nothing.contains("no checkpoint"), "{nothing}");
    go(&options(2), &pairs, false).expect("it runs");
    for (options, pairs, resume, said) in [
        (options(2), &pairs[..], false, "resume it"),
        (options(3), &pairs[..], true, "other options"),
        (options(2), &pairs[1..], true, "other pairs"),
    ] {
        let error = go(&options, pairs, resume).expect_err("it is refused");
        assert!(error.contains(said), "{error}");
    }
    fs::write(folder.join("checkpoint.safetensors"), b"rubbish").expect("it is written");
    let damaged = go(&options(2), &pairs, true).expect_err("it is refused");
    assert!(damaged.contains("damaged"), "{damaged}");
}

/// A device that is always full, where the system has one.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said_and_leaves_what_was_there() {
    let (base, pairs) = (base(), pairs(8));
    let folder = folder("full");
    std::os::unix::fs::symlink("/dev/full", folder.join("metrics.jsonl")).expect("it is made");
    let error = train(&base, &pairs, &[], &options(2), (&folder, false), 1, &quietly).expect_err("there is no room");
    assert_eq!(error.code(), "file.write");
    assert!(error.to_string().contains("make room"), "{error}");
}

#[test]
fn options_that_mean_nothing_are_refused() {
    let (base, pairs) = (base(), pairs(2));
    let refused = |change: &dyn Fn(&mut RunOptions), said: &str| {
        let mut options = options(2);
        change(&mut options);
        let error = train(&base, &pairs, &[], &options, (&folder("options"), false), 1, &quietly).expect_err(said);
        assert!(error.to_string().contains(said) && error.code() == "train.options", "{error}");
    };
    refused(&|options| options.lora.rank = 0, "rank is 0");
    refused(&|options| options.lora.rank = 513, "rank is 513");
    refused(&|options| options.lora.alpha = f32::NAN, "alpha is NaN");
    refused(&|options| options.lora.strength = 0.0, "strength is 0");
    refused(&|options| options.lora.dropout = 1.0, "dropout is 1");
    refused(&|options| options.lora.targets.clear(), "no matrix");
    refused(&|options| options.batch = 0, "0 pairs a step");
    refused(&|options| (options.parm, options.objective) = (parm(1).parm, Objective::Sft), "objective arm");
    refused(&|options| options.parm = Some(ParmOptions { dimensions: vec![], rank: 4 }), "two at least");
    refused(&|options| options.patience = 1, "needs evaluations");
    refused(&|options| options.optimizer.learning_rate = f64::INFINITY, "learning rate");
    refused(&|options| options.objective = Objective::Dpo { beta: 0.0, label_smoothing: 0.0 }, "beta is 0");
}

#[test]
fn lines_become_pairs_or_are_counted() {
    let base = base();
    let path = folder("lines").join("pairs.jsonl");
    let lines = [
        r#"{"prompt":"hello","chosen":" world","rejected":" the and"}"#,
        r#"{"prompt":"hello","chosen":" world","rejected":" the and"}"#,
        r#"{"prompt":"hello","chosen":" the and","rejected":" world"}"#,
        r#"{"prompt":"hello","chosen":" same","rejected":" same"}"#,
        r#"{"prompt":"hello","chosen":" scored","rejected":" alike","score_chosen":1,"score_rejected":1}"#,
        r#"{"prompt":"","chosen":"a","rejected":"b"}"#,
        r#"{"prompt":"hello","chosen":"","rejected":"b"}"#,
        "",
        r#"{"prompt":"hello","chosen":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx","rejected":"b","split":"train"}"#,
        r#"{"chosen":"\n\nHuman: hello\n\nAssistant: world","rejected":"\n\nHuman: hello\n\nAssistant: the","split":"test"}"#,
    ];
    fs::write(&path, lines.join("\n")).expect("it is written");
    let records = read(&path, Err).expect("all can be read");
    let mut report = PairReport::default();
    let options = EncodeOptions { max_tokens: 36, held_out: 0.0, ..EncodeOptions::default() };
    let (train, held_out) = encode(&base, &records, &options, &mut report).expect("they are encoded");
    assert_eq!((report.lines, train.len(), held_out.len()), (9, 1, 1));
    assert_eq!((train[0].line, held_out[0].line), (1, 10));
    let said = report.sentences().join("\n");
    for part in [
        "1 are duplicates and left out (line 2)",
        "contradict an earlier line and left out (line 3)",
        "2 are ties and left out (line 4, 5)",
        "empty prompt and left out (line 6)",
        "empty answer and left out (line 7)",
        "too long and left out (line 9)",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // The transcript went through the chat template, and its answers end.
    let tree = &held_out[0].tree;
    let prompt = base.tokenizer.decode_with_special(&tree.prompt);
    assert_eq!(prompt, "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n");
    assert!(base.tokenizer.is_end(*tree.answers[0].last().expect("some")));
    assert!(!base.tokenizer.is_end(*train[0].tree.answers[0].last().expect("some")));
}

#[test]
fn long_pairs_lose_old_turns_then_the_ends_of_answers() {
    let base = base();
    let path = folder("long").join("pairs.jsonl");
    let old = "\\n\\nHuman: the first of all, and some more\\n\\nAssistant: the answer to that, which is long\\n\\nHuman: hello\\n\\nAssistant: ";
    let lines = [
        format!(r#"{{"chosen":"{old}world","rejected":"{old}the"}}"#),
        format!(r#"{{"chosen":"{old}{}","rejected":"{old}the"}}"#, "xy".repeat(60)),
        format!(r#"{{"prompt":"{}","chosen":" world","rejected":" the"}}"#, "xy".repeat(60)),
    ];
    fs::write(&path, lines.join("\n")).expect("it is written");
    let records = read(&path, Err).expect("all can be read");
    let mut report = PairReport::default();
    let options = EncodeOptions { max_tokens: 70, shorten: true, held_out: 0.0, ..EncodeOptions::default() };
    let (pairs, _) = encode(&base, &records, &options, &mut report).expect("they are encoded");
    assert_eq!((pairs.len(), report.shortened), (2, 2));
    for pair in &pairs {
        let prompt = base.tokenizer.decode_with_special(&pair.tree.prompt);
        assert_eq!(prompt, "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n");
    }
    let ends = |ids: &[u32]| base.tokenizer.is_end(*ids.last().expect("some"));
    assert!(ends(&pairs[0].tree.answers[0]) && ends(&pairs[1].tree.answers[1]));
    assert!(!ends(&pairs[1].tree.answers[0]), "its end was cut off");
    assert_eq!(pairs[1].tree.prompt.len() + pairs[1].tree.answers[0].len(), 70);
    // A prompt that is one text has no turns to lose.
    assert_eq!(report.dropped[&Reason::TooLong].lines, [3]);
}

#[test]
fn a_bad_line_is_named_and_gzip_is_read() {
    let folder = folder("bad");
    let path = folder.join("pairs.jsonl");
    fs::write(&path, "{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"c\"}\n{\"prompt\":\"a\",\"chosen\"\n")
        .expect("it is written");
    let error = read(&path, Err).expect_err("line 2 is bad");
    assert!(error.to_string().contains("pairs.jsonl line 2:") && error.code() == "pairs.line", "{error}");
    let mut bad = 0;
    let records = read(&path, |_| {
        bad += 1;
        Ok(())
    });
    assert_eq!((records.expect("bad lines are passed over").len(), bad), (1, 1));
    let gzipped = folder.join("pairs.jsonl.gz");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, b"{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"c\"}\n")
        .expect("in memory");
    let bytes = encoder.finish().expect("in memory");
    fs::write(&gzipped, &bytes).expect("it is written");
    assert_eq!(read(&gzipped, Err).expect("it is gzip").len(), 1);
    fs::write(&gzipped, &bytes[..bytes.len() / 2]).expect("it is written");
    assert_eq!(read(&gzipped, Err).expect_err("it is cut").code(), "file.read");
}
