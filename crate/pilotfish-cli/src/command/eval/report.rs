//! The report: figures as JSON, the same as Markdown for people, plots beside it.

use std::fmt::Write as _;
use std::path::Path;

use pilotfish::engine::Prompt;
use serde::Serialize;

use super::bootstrap::{Estimate, mean};
use super::frontier::{Point, hypervolume, mean_inner_product, non_dominated};
use super::machine::{Machine, today};
use super::settings::{Family, Part};
use super::spec::{FrontierSpec, GuideSpec, Spec};
use super::summary::{Outcome, Quantity, Row, RowFigures, Table};
use super::{plots, prompts};
use crate::error::{CliError, Result};

/// Everything that was found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    title: String,
    date: String,
    machine: Machine,
    base: String,
    prompts: usize,
    tokens: u32,
    seed: u64,
    resamples: u32,
    /// What was expected.
    pub(super) goals: Vec<Outcome>,
    rows: Vec<RowFigures>,
    frontier: Vec<FrontierFigures>,
}

/// How well a family covers the plane of two rules.
#[derive(Debug, Serialize)]
struct FrontierFigures {
    family: &'static str,
    points: usize,
    hypervolume: f64,
    mean_inner_product: Option<f64>,
}

/// A point of the plane of two rules.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scored {
    /// Of what; `None` is the base.
    pub(super) family: Option<Family>,
    /// What it was asked for.
    preference: Point,
    /// The rules' means.
    pub(super) raw: Point,
    /// The same less the base's, in standard deviations of the base's texts.
    scaled: Point,
}

impl Report {
    /// Of what the table has.
    pub(super) fn new(spec: &Spec, table: &Table, prompts: usize, machine: Machine) -> Self {
        let frontier = spec.frontier.iter().flat_map(|asked| covered(&two_objectives(table, spec, asked)));
        Self {
            title: spec.title.clone(),
            date: today(),
            machine,
            base: spec.base.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
            prompts,
            tokens: spec.tokens,
            seed: spec.seed,
            resamples: spec.resamples,
            goals: spec.goals.iter().map(|goal| table.outcome(goal)).collect(),
            rows: table.rows.iter().map(|row| table.figures(row)).collect(),
            frontier: frontier.collect(),
        }
    }

    /// Writes `README.md`, `report.json` and the plots.
    pub(super) fn write(&self, folder: &Path, spec: &Spec, table: &Table, prompts: &[Prompt]) -> Result<()> {
        let file = |name: &str, content: &str| {
            let path = folder.join(name);
            std::fs::write(&path, content).map_err(|source| CliError::Write { path, source })
        };
        let mut page = self.head();
        for guide in &spec.guides {
            if let Some(plot) = plots::sweep(table, spec, guide) {
                let name = format!("sweep-{}.svg", guide.name);
                file(&name, &plot)?;
                page += &self.sweep(spec, table, guide, &name);
                page += &samples(table, spec, guide, prompts);
            }
        }
        if let Some((asked, plot)) =
            spec.methods.as_ref().and_then(|asked| Some((asked, plots::methods(table, spec, asked)?)))
        {
            file("methods.svg", &plot)?;
            let _ = writeln!(
                page,
                "## Methods, on {}\n\n![Each method's score and perplexity](methods.svg)\n",
                asked.guide
            );
            page += METHODS;
            let guide = spec.guide(&asked.guide);
            page += &self.rows(table, guide, |row| row.setting.part == Part::Methods);
        }
        if let Some((asked, plot)) =
            spec.frontier.as_ref().and_then(|asked| Some((asked, plots::frontier(table, spec, asked)?)))
        {
            file("frontier.svg", &plot)?;
            page += &self.frontier(asked);
        }
        if let Some(weak) = spec.weak.as_ref().filter(|_| table.part(Part::Weak).next().is_some()) {
            page += "## Weak to strong\n\nThe guide is made over a smaller model of the same vocabulary, and steers the base.\n\n";
            page += &self.rows(table, spec.guide(&weak.guide), in_weak);
        }
        page += HOW;
        let json = serde_json::to_string_pretty(self).unwrap_or_default();
        file("report.json", &format!("{json}\n"))?;
        file("README.md", &page)
    }

    fn head(&self) -> String {
        let Self { title, date, machine, base, prompts, tokens, seed, resamples, .. } = self;
        let Machine { processor, threads, .. } = machine;
        let mut page = format!(
            "# {title}\n\n{date}, `{base}`, {prompts} held-out prompts, {tokens} tokens a text, seed {seed}; {processor}, {threads} threads. \
             Written by `pilotfish eval`; the figures are in [report.json](report.json). Brackets are 95 % intervals from {resamples} \
             resamples of the prompts.\n\n"
        );
        if !self.goals.is_empty() {
            page += "## What was expected\n\n| expected | found | |\n| --- | --- | --- |\n";
            for Outcome { says, found, met, .. } in &self.goals {
                let verdict = met.map_or("not measured", |met| if met { "met" } else { "**missed**" });
                let found = found.map_or("-".to_owned(), shown);
                let _ = writeln!(page, "| {says} | {found} | {verdict} |");
            }
            page.push('\n');
        }
        page
    }

    fn sweep(&self, spec: &Spec, table: &Table, guide: &GuideSpec, plot: &str) -> String {
        let name = &guide.name;
        let learnt = guide.learnt_from.as_ref().map_or_else(
            || format!("It learnt from {:?}.", guide.rule),
            |from| format!("It learnt from {from}, for which {:?} stands in here.", guide.rule),
        );
        let mut page =
            format!("## {name}\n\n{learnt}\n\n![{name}: its rule against weight and perplexity]({plot})\n\n");
        let of_guide = format!("{name}/");
        page += &self.rows(table, Some(guide), |row| {
            row.setting.part == Part::Sweep && (row.setting.name.starts_with(&of_guide) || !named_by(spec, row))
        });
        page += &self.shortcomings(table, guide);
        page
    }

    /// Where a guide does not do what it is for, in plain words.
    fn shortcomings(&self, table: &Table, guide: &GuideSpec) -> String {
        let base = table.row("base").and_then(|row| table.figure(row, Quantity::Perplexity)).map(|found| found.value);
        let of_guide = format!("{}/", guide.name);
        let mut said = String::new();
        for row in self.rows.iter().filter(|row| row.row.starts_with(&of_guide)) {
            let (against, control) = if row.over_sharpened.is_empty() {
                (&row.over_base, "the base")
            } else {
                (&row.over_sharpened, "the sharpened base")
            };
            let mut lacks: Vec<String> = Vec::new();
            for (measure, role) in
                std::iter::once((&guide.rule, "rule")).chain(guide.judges.iter().map(|name| (name, "judge")))
            {
                if let Some(gain) = against.get(measure).filter(|gain| gain.low <= 0.0) {
                    let how = if gain.high < 0.0 { "is lower than" } else { "cannot be told from" };
                    lacks.push(format!("the {role} `{measure}` {how} that of {control} ({})", shown(*gain)));
                }
            }
            if let Some((base, found)) =
                base.zip(row.figures.get("perplexity")).filter(|(base, found)| found.value > 1.3 * base)
            {
                lacks.push(format!("perplexity is {:.1} times the base's", found.value / base));
            }
            if let Some(found) = row.figures.get("distinct-2").filter(|found| found.value < 0.7) {
                lacks.push(format!("texts repeat themselves (distinct-2 {:.2})", found.value));
            }
            if !lacks.is_empty() {
                let _ = writeln!(said, "- `{}`: {}", row.row, lacks.join("; "));
            }
        }
        if said.is_empty() { said } else { format!("### Where {} does not help\n\n{said}\n", guide.name) }
    }

    /// A table of rows: the guide's rule and judges, fluency, distance and length.
    fn rows(&self, table: &Table, guide: Option<&GuideSpec>, wanted: impl Fn(&Row) -> bool) -> String {
        let Some(guide) = guide else { return String::new() };
        let rows: Vec<&RowFigures> =
            table.rows.iter().zip(&self.rows).filter(|(row, _)| wanted(row)).map(|(_, figures)| figures).collect();
        let timed = rows.iter().any(|row| row.seconds_per_128_tokens.is_some());
        let judges: Vec<&String> = guide.judges.iter().filter(|name| *name != "distinct-in-text").collect();
        let mut heads = vec![
            String::new(),
            "texts".into(),
            guide.rule.clone(),
            "gain over the base".into(),
            "over the sharpened base".into(),
        ];
        heads.extend(judges.iter().flat_map(|name| [(*name).clone(), "gain".into()]));
        heads.extend(["distinct-2", "in a text", "perplexity", "KL / token", "tokens"].map(str::to_owned));
        heads.extend(timed.then(|| "s / 128 tokens".to_owned()));
        let mut page = line(&heads);
        page += &line(
            &heads.iter().enumerate().map(|(at, _)| if at == 0 { "---" } else { "--:" }.to_owned()).collect::<Vec<_>>(),
        );
        for row in rows {
            let of = |name: &str| row.figures.get(name).copied();
            let plain = |found: Option<Estimate>, decimals: usize| {
                found.map_or("-".to_owned(), |found| format!("{:.decimals$}", found.value))
            };
            let gain = |found: Option<&Estimate>| found.map_or("-".to_owned(), |found| shown(*found));
            let mut cells = vec![
                format!("`{}`", row.row),
                row.texts.to_string(),
                of(&guide.rule).map_or("-".into(), shown),
                gain(row.over_base.get(&guide.rule)),
                gain(row.over_sharpened.get(&guide.rule)),
            ];
            cells.extend(judges.iter().flat_map(|name| [plain(of(name), 3), gain(row.over_base.get(*name))]));
            cells.extend([
                plain(of("distinct-2"), 2),
                plain(of("distinct-in-text"), 2),
                plain(of("perplexity"), 1),
                plain(of("kl"), 2),
                plain(of("tokens"), 1),
            ]);
            cells.extend(timed.then(|| row.seconds_per_128_tokens.map_or("-".to_owned(), crate::units::rate)));
            page += &line(&cells);
        }
        page + "\n"
    }

    fn frontier(&self, asked: &FrontierSpec) -> String {
        let [one, other] = &asked.guides;
        let mut page = format!(
            "## Two guides at once: {one} and {other}\n\n![The plane of both rules](frontier.svg)\n\n\
             Weights w and 1 - w on a grid of {} steps, normalised, {} in all. Both rules are measured from the base's mean in standard \
             deviations of the base's texts; the hypervolume's reference is the worst of all points in each.\n\n\
             | | points | hypervolume | mean inner product |\n| --- | --: | --: | --: |\n",
            asked.steps, asked.alpha
        );
        for FrontierFigures { family, points, hypervolume, mean_inner_product } in &self.frontier {
            let product = mean_inner_product.map_or("-".to_owned(), |product| format!("{product:.3}"));
            let _ = writeln!(page, "| {family} | {points} | {hypervolume:.3} | {product} |");
        }
        page + "\n"
    }
}

fn in_weak(row: &Row) -> bool {
    row.setting.part == Part::Weak || row.setting.name == "base" || row.setting.name.starts_with("sharp/")
}

fn named_by(spec: &Spec, row: &Row) -> bool {
    spec.guides.iter().any(|guide| row.setting.name.starts_with(&format!("{}/", guide.name)))
}

/// The points of all families, and the base.
pub(super) fn two_objectives(table: &Table, spec: &Spec, asked: &FrontierSpec) -> Vec<Scored> {
    let rules = asked.guides.each_ref().map(|name| table.quantity(&spec.guide(name)?.rule));
    let ([Some(one), Some(other)], Some(base)) = (rules, table.row("base")) else { return Vec::new() };
    let rules = [one, other];
    let most = table.part(Part::Frontier).map(|row| row.samples.len()).max().unwrap_or_default();
    // On the prompts that the frontier was made on.
    let spreads = rules.map(|rule| spread(base, rule, most));
    let mut scored = Vec::new();
    let mut add = |family, preference, row: &Row| {
        let found = rules.map(|rule| Some((table.figure(row, rule)?.value, table.difference(row, base, rule)?.value)));
        if let [Some((x, dx)), Some((y, dy))] = found {
            scored.push(Scored { family, preference, raw: [x, y], scaled: [dx / spreads[0], dy / spreads[1]] });
        }
    };
    for family in Family::ALL {
        for step in 0..=asked.steps {
            if let Some(row) = table.row(&family.row(step, asked.steps)) {
                let share = f64::from(step) / f64::from(asked.steps);
                add(Some(family), [share, 1.0 - share], row);
            }
        }
    }
    add(None, [0.5, 0.5], base);
    scored
}

/// Standard deviation of a row's scores.
fn spread(row: &Row, rule: Quantity, most: usize) -> f64 {
    let Quantity::Score(at) = rule else { return 1.0 };
    let scores: Vec<f64> = row.samples.iter().take(most).flatten().filter_map(|sample| sample.scores[at]).collect();
    let middle = mean(scores.iter().copied()).unwrap_or_default();
    let variance = mean(scores.iter().map(|score| (score - middle).powi(2))).unwrap_or_default();
    if variance > 0.0 { variance.sqrt() } else { 1.0 }
}

fn covered(scored: &[Scored]) -> Vec<FrontierFigures> {
    let worst = |at: usize| scored.iter().map(|point| point.scaled[at]).fold(f64::INFINITY, f64::min);
    let reference = [worst(0), worst(1)];
    let of = |family: Family| {
        let own: Vec<&Scored> = scored.iter().filter(|point| point.family == Some(family)).collect();
        let points: Vec<Point> = own.iter().map(|point| point.scaled).collect();
        let pairs: Vec<(Point, Point)> = own.iter().map(|point| (point.preference, point.scaled)).collect();
        (!points.is_empty()).then(|| FrontierFigures {
            family: family.name(),
            points: (0..points.len()).filter(|at| non_dominated(&points, *at)).count(),
            hypervolume: hypervolume(&points, reference),
            mean_inner_product: mean_inner_product(&pairs),
        })
    };
    Family::ALL.into_iter().filter_map(of).collect()
}

/// Texts to read: what a guide made much better by its rule, about as it usually does, and worse.
fn samples(table: &Table, spec: &Spec, guide: &GuideSpec, asked: &[Prompt]) -> String {
    let strongest = |rule: &str, about: f32| {
        let near =
            spec.alphas.iter().copied().min_by(|one, other| (one - about).abs().total_cmp(&(other - about).abs()))?;
        table.row(&format!("{}/{rule}/{near}", guide.name))
    };
    let mut page = String::new();
    let Some((base, Some(Quantity::Score(at)))) = table.row("base").zip(Some(table.quantity(&guide.rule))) else {
        return page;
    };
    for row in [strongest("sum", 1.0), strongest("normalized", 2.0)].into_iter().flatten() {
        let score = |row: &Row, prompt: usize| row.samples.get(prompt)?.as_ref()?.scores[at];
        let mut gains: Vec<(usize, f64)> = (0..row.samples.len())
            .filter_map(|prompt| Some((prompt, score(row, prompt)? - score(base, prompt)?)))
            .collect();
        gains.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));
        let Some(last) = gains.len().checked_sub(1) else { continue };
        let _ = write!(
            page,
            "### Texts of `{}`\n\nThe largest gain, the median and the largest loss by its own rule:\n\n",
            row.setting.name
        );
        for place in [0, last / 2, last] {
            let (prompt, gain) = gains[place];
            let text = |row: &Row| row.samples[prompt].as_ref().map(|sample| quoted(&sample.text)).unwrap_or_default();
            let _ = writeln!(page, "- {} ({gain:+.2})", quoted(&prompts::shown(&asked[prompt])));
            let _ = writeln!(page, "  - base: {}", text(base));
            let _ = writeln!(page, "  - {}: {}", guide.name, text(row));
        }
        page.push('\n');
    }
    page
}

/// On one line, as it is: nothing in it is Markdown.
fn quoted(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut quoted = String::from("“");
    for c in line.chars() {
        if "\\`*_{}[]<>|~#$&".contains(c) {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted + "”"
}

fn shown(Estimate { value, low, high }: Estimate) -> String {
    let decimals = if value.abs() < 10.0 { 2 } else { 1 };
    format!("{value:.decimals$} [{low:.decimals$}, {high:.decimals$}]")
}

fn line(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | "))
}

const METHODS: &str = "\
Texts of every method begin with the same prompts and, where a token is drawn, with the same seeds. The searches (ARGS, Transfer-Q, best \
of N, CARDS) are rewarded by what the adapter adds to a token's log-probability under the base; no KL is told of them, as they do not \
draw from a mix. Seconds are for the cheapest way: one row where the base itself is tuned or asked in words.

";

const HOW: &str = "\
## How it was measured

- Prompts were in nobody's training pairs. Each has one seed for all rows, so that rows draw with the same random numbers and differ by \
  what they draw from; gains are prompt by prompt.
- `sum` is log π_base + Σ α · log π_guide, `normalized` the same divided by 1 + Σ α; temperature 1. The sum rule sharpens too: two rows that \
  agree count twice. `sharp/α` is therefore the base alone at the temperature 1/(1+α), and what a guide of the sum rule gains over that is its own.
- The rule is what the guide's pairs were chosen by, where nothing else is said, so that it tells whether training worked; the judges are others. A \
  measure with a minus has its sign changed, so that more is better everywhere.
- distinct-2: different pairs of neighbouring words by all, over all texts of the row (so that more texts have fewer), and in a text, \
  the mean. perplexity: of all texts' tokens under the base with the same prompt. \
  KL / token: in nats, of the distribution that tokens are drawn from, from the base's; of the whole distributions at temperature 1, \
  estimated by the drawn tokens at another.
- Forty tokens are a few sentences, the last one cut off; a model of this size writes much that makes no sense with or without a guide.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_cannot_write_markdown() {
        assert_eq!(quoted("a |b|\n<i>*x*</i>"), "“a \\|b\\| \\<i\\>\\*x\\*\\</i\\>”");
    }

    #[test]
    fn figures_have_as_many_digits_as_they_can_bear() {
        let estimate = |value, low, high| shown(Estimate { value, low, high });
        assert_eq!(estimate(0.256, 0.2, 0.31), "0.26 [0.20, 0.31]");
        assert_eq!(estimate(28.04, 25.0, 31.0), "28.0 [25.0, 31.0]");
    }

    #[test]
    fn a_family_is_covered_from_the_worst_point_on() {
        let point = |family, x: f64, y: f64| Scored { family, preference: [x, 1.0 - x], raw: [x, y], scaled: [x, y] };
        let soup = Some(Family::RewardedSoup);
        let genarm = Some(Family::Genarm);
        let scored = [
            point(None, 0.0, 0.0),
            point(genarm, 1.0, 0.0),
            point(genarm, 0.0, 1.0),
            point(genarm, 0.75, 0.75),
            point(soup, 0.5, 0.5),
        ];
        let figures = covered(&scored);
        let [genarm, soup] = &figures[..] else { panic!("two families") };
        assert_eq!((genarm.points, genarm.hypervolume), (3, 0.5625));
        assert_eq!((soup.points, soup.hypervolume, soup.mean_inner_product), (1, 0.25, Some(0.5)));
    }
}
