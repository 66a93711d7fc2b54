//! The report's plots.

use super::bootstrap::Estimate;
use super::report::two_objectives;
use super::settings::{Family, Part};
use super::spec::{FrontierSpec, GuideSpec, MethodsSpec, Spec};
use super::summary::{Quantity, Row, Table};
use super::svg::{Axis, COLORS, Mark, Panel, Series, draw};

/// A guide's rule against its weight, and against what the text costs in fluency; with the base sharpened. `None` without rows.
pub(super) fn sweep(table: &Table, spec: &Spec, guide: &GuideSpec) -> Option<String> {
    let rule = table.quantity(&guide.rule)?;
    let named: Vec<(f64, String)> = (0..)
        .map(f64::from)
        .zip(std::iter::once("0".to_owned()).chain(spec.alphas.iter().map(f32::to_string)))
        .collect();
    let kinds = [
        ("the base sharpened to T = 1/(1+α): the control", "sharp".to_owned(), COLORS[5]),
        ("sum rule, log π_base + α · log π_guide", format!("{}/sum", guide.name), COLORS[1]),
        ("normalised, the same divided by 1 + α", format!("{}/normalized", guide.name), COLORS[0]),
    ];
    let series = |across: &dyn Fn(&Row, usize) -> Option<Mark>| {
        let of = |(name, prefix, color): &(&str, String, &'static str)| {
            let rows =
                std::iter::once("base".to_owned()).chain(spec.alphas.iter().map(|alpha| format!("{prefix}/{alpha}")));
            let marks: Vec<Mark> = rows.enumerate().filter_map(|(at, name)| across(table.row(&name)?, at)).collect();
            Series { name: (*name).to_owned(), color, marks, line: true }
        };
        kinds.iter().map(of).filter(|series| series.marks.len() > 1).collect::<Vec<_>>()
    };
    let by_weight = series(&|row, at| {
        let Estimate { value, low, high } = table.figure(row, rule)?;
        Some(Mark { up: Some((low, high)), ..Mark::at(at as f64, value) })
    });
    let by_cost = series(&|row, _| {
        let Estimate { value, low, high } = table.figure(row, rule)?;
        let cost = table.figure(row, Quantity::Perplexity)?;
        Some(Mark { up: Some((low, high)), across: Some((cost.low, cost.high)), ..Mark::at(cost.value, value) })
    });
    if by_weight.is_empty() {
        return None;
    }
    let weights = Axis { names: named, ..Axis::linear("α, the guide's weight") };
    let panel = |title: String, x, series| Panel { title, x, y: Axis::linear(&guide.rule), series };
    Some(draw(&[
        panel(format!("{}: what the weight does", guide.name), weights, by_weight),
        panel(
            "what it costs: right is less like the base".into(),
            Axis::logarithmic("perplexity under the base"),
            by_cost,
        ),
    ]))
}

/// Each method's score with its interval. `None` without rows.
pub(super) fn methods(table: &Table, spec: &Spec, asked: &MethodsSpec) -> Option<String> {
    let rule = &spec.guide(&asked.guide)?.rule;
    let quantity = table.quantity(rule)?;
    let rows: Vec<&Row> = table.part(Part::Methods).collect();
    let place = |at: usize| (rows.len() - at) as f64;
    let marks = |of: Quantity| {
        let mark = |(at, row): (usize, &&Row)| {
            let Estimate { value, low, high } = table.figure(row, of)?;
            Some(Mark { across: Some((low, high)), ..Mark::at(value, place(at)) })
        };
        rows.iter().enumerate().filter_map(mark).collect::<Vec<_>>()
    };
    let short = |row: &Row| row.setting.name.trim_start_matches("methods/").to_owned();
    let names: Vec<(f64, String)> = rows.iter().enumerate().map(|(at, row)| (place(at), short(row))).collect();
    let panel = |title: &str, x: Axis, of: Quantity, color| Panel {
        title: title.into(),
        x,
        y: Axis { names: names.clone(), ..Axis::linear("") },
        series: vec![Series { name: String::new(), color, marks: marks(of), line: false }],
    };
    let cost = panel("fluency", Axis::logarithmic("perplexity under the base"), Quantity::Perplexity, COLORS[1]);
    (!rows.is_empty()).then(|| draw(&[panel(&asked.guide, Axis::linear(rule), quantity, COLORS[0]), cost]))
}

/// The plane of two rules. `None` without rows.
pub(super) fn frontier(table: &Table, spec: &Spec, asked: &FrontierSpec) -> Option<String> {
    let rules = asked.guides.each_ref().map(|name| spec.guide(name).map(|guide| guide.rule.as_str()));
    let [Some(one), Some(other)] = rules else { return None };
    let scores = two_objectives(table, spec, asked);
    let names = ["a row for each guide", "one guide with both adapters", "the base under both adapters", "PARM"];
    let mut series: Vec<Series> = Family::ALL
        .into_iter()
        .zip(names)
        .zip(COLORS)
        .map(|((family, name), color)| {
            let marks = scores
                .iter()
                .filter(|point| point.family == Some(family))
                .map(|point| Mark::at(point.raw[0], point.raw[1]));
            Series { name: name.to_owned(), color, marks: marks.collect(), line: true }
        })
        .filter(|series| !series.marks.is_empty())
        .collect();
    if series.is_empty() {
        return None;
    }
    let base = scores.iter().filter(|point| point.family.is_none()).map(|point| Mark::at(point.raw[0], point.raw[1]));
    series.push(Series { name: "the base".into(), color: COLORS[5], marks: base.collect(), line: false });
    let title = format!("{} against {}: up and right is better", asked.guides[0], asked.guides[1]);
    Some(draw(&[Panel { title, x: Axis::linear(one), y: Axis::linear(other), series }]))
}
