//! The model card: what the guide is, what it was made from and how, and how good it is.

use std::fmt::Write as _;

use super::Results;
use crate::objective::Objective;
use crate::run::{Evaluation, RunOptions, Stopped};

/// Markdown with the front matter of Hugging Face's model cards.
pub(super) fn card(results: &Results<'_>) -> String {
    let Results { name, base, options, reports, outcome, about, .. } = results;
    let lora = &outcome.lora;
    let mut text = String::from("---\n");
    // Writing to a string cannot fail.
    let mut line = |line: String| {
        let _ = writeln!(text, "{line}");
    };
    let license = about.license.as_ref().or(base.license.as_ref());
    if let Some(license) = license {
        line(format!("license: {}", license.to_lowercase()));
    }
    line(format!(
        "base_model: {}\nlibrary_name: peft\ntags: [pilotfish, lora, {}]\n---\n",
        about.base_name,
        kind(options)
    ));
    line(format!("# {name}\n"));
    if let Some(description) = &about.description {
        line(format!("{description}\n"));
    }
    let of = &about.base_name;
    line(match (options.objective, &options.parm) {
        (Objective::Arm { .. }, None) => format!(
            "An autoregressive reward model ([GenARM](https://arxiv.org/abs/2410.08193)): its log-probabilities are rewards that steer {of} token by token.\n"
        ),
        (Objective::Arm { .. }, Some(parm)) => format!(
            "A preference-aware autoregressive reward model ([PARM](https://arxiv.org/abs/2505.06274)) for {of}: it is set by a vector of the weights of {}, in this order, which add up to one.\n",
            parm.dimensions.join(", ")
        ),
        (Objective::Dpo { .. }, _) => {
            format!("An adapter of {of}, tuned by [DPO](https://arxiv.org/abs/2305.18290).\n")
        }
        (Objective::Sft, _) => format!("An adapter of {of}, fine-tuned on chosen answers.\n"),
    });
    let mut targets: Vec<&str> = lora.changes.iter().map(|change| change.place.1.peft_name()).collect();
    targets.sort_unstable();
    targets.dedup();
    let rank = match lora.turned_rank() {
        0 => lora.rank.to_string(),
        turned => format!("{} and, turning with the preference, {turned}", lora.rank - turned),
    };
    line(format!(
        "LoRA of rank {rank} (alpha {}{}) on {}: {} numbers, as PEFT (`adapter_config.json`, `adapter_model.safetensors`) and as GGUF (`{name}.gguf`).\n",
        options.lora.alpha,
        if options.lora.strength == 1.0 {
            String::new()
        } else {
            format!(" times {} once it was learned", options.lora.strength)
        },
        targets.join(", "),
        lora.parameters(),
    ));
    line("## Data\n".into());
    if let Some(data) = &about.data {
        line(format!("{data}\n"));
    }
    for (dimension, report) in *reports {
        let of = if dimension.is_empty() { String::new() } else { format!("{dimension}: ") };
        for sentence in report.sentences() {
            line(format!("- {of}{sentence}"));
        }
    }
    line("\n## Training\n".into());
    let stopped = match outcome.stopped {
        Stopped::Finished => "",
        Stopped::Early => ", stopped early: the best of the evaluations is kept",
        Stopped::Interrupted => ", interrupted",
    };
    let speed = outcome.tokens as f64 / outcome.seconds.max(f64::MIN_POSITIVE);
    line(format!(
        "{} of {} steps{stopped}; {} tokens in {:.0} s ({speed:.0} a second on a CPU). Everything that it was told:\n",
        outcome.step, options.steps, outcome.tokens, outcome.seconds
    ));
    line(format!("```json\n{}\n```\n", serde_json::to_string_pretty(options).unwrap_or_default()));
    line("## Held-out pairs\n".into());
    if outcome.before.is_none() && outcome.after.is_none() {
        line("None were held out: how good it is on others is not known.".into());
    } else {
        line(
            "| | loss | accuracy | over the base | margin (nats) | its sd | pairs |\n|---|---|---|---|---|---|---|"
                .into(),
        );
        for (when, evaluation) in [("before", outcome.before), ("after", outcome.after)] {
            if let Some(found) = evaluation {
                line(row(when, &found));
            }
        }
        for (name, (before, after)) in &outcome.dimensions {
            line(row(&format!("{name}, before"), before));
            line(row(&format!("{name}, after"), after));
        }
        line("\nAccuracy is the share of pairs whose chosen answer has the greater summed log-probability; \"over the base\" takes the base's own margin off first, so that .500 is what the base alone has; ± is one standard error.".into());
        if options.parm.is_some() {
            line("Each pair is judged with all weight on its own dimension.".into());
        }
    }
    text
}

fn kind(options: &RunOptions) -> &'static str {
    match options.objective {
        Objective::Arm { .. } if options.parm.is_some() => "reward-model, parm",
        Objective::Arm { .. } => "reward-model",
        Objective::Dpo { .. } => "dpo",
        Objective::Sft => "sft",
    }
}

fn row(when: &str, found: &Evaluation) -> String {
    let Evaluation { pairs, loss, accuracy, accuracy_over_base, margin, margin_deviation } = found;
    let error = (accuracy_over_base * (1.0 - accuracy_over_base) / *pairs as f64).sqrt();
    format!(
        "| {when} | {loss:.4} | {accuracy:.3} | {accuracy_over_base:.3} ± {error:.3} | {margin:+.1} | {margin_deviation:.1} | {pairs} |"
    )
}
