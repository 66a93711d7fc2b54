//! Plots as SVG, in colours that can be read on light and dark pages: text and lines in a middle grey, no background.

use std::fmt::Write as _;

/// Of a panel, in pixels: the plot and the room around it.
const PLOT: (f64, f64) = (330.0, 230.0);
const MARGIN: (f64, f64, f64) = (62.0, 30.0, 48.0);
/// Room right of the plot.
const RIGHT: f64 = 18.0;
/// Of a line of the legend.
const LEGEND: f64 = 18.0;
/// Contrast of at least 3 to white and to near-black.
const GREY: &str = "#7d8590";
/// Told apart by people with the usual kinds of colour blindness (after Okabe and Ito), and by light and dark.
pub(super) const COLORS: [&str; 6] = ["#0a84d6", "#d9730d", "#159a70", "#b5589a", "#8f7d1a", "#7d8590"];

/// An axis.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    /// Beside it.
    pub(super) label: String,
    /// Distances are those of logarithms; values are above 0.
    pub(super) log: bool,
    /// Marks with names instead of numbers, at these values.
    pub(super) names: Vec<(f64, String)>,
}

impl Axis {
    /// With numbers.
    pub(super) fn linear(label: &str) -> Self {
        Self { label: label.into(), log: false, names: Vec::new() }
    }

    /// With numbers, by their logarithms.
    pub(super) fn logarithmic(label: &str) -> Self {
        Self { log: true, ..Self::linear(label) }
    }

    fn place(&self, value: f64) -> f64 {
        if self.log { value.max(f64::MIN_POSITIVE).ln() } else { value }
    }
}

/// A point, with the interval that it may lie in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Mark {
    /// Across.
    pub(super) x: f64,
    /// Up.
    pub(super) y: f64,
    /// From where to where, across.
    pub(super) across: Option<(f64, f64)>,
    /// From where to where, up.
    pub(super) up: Option<(f64, f64)>,
}

impl Mark {
    /// Without intervals.
    pub(super) fn at(x: f64, y: f64) -> Self {
        Self { x, y, across: None, up: None }
    }
}

/// Points of one colour.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    /// In the legend; not there if empty.
    pub(super) name: String,
    /// One of [`COLORS`].
    pub(super) color: &'static str,
    /// In the order that lines connect them.
    pub(super) marks: Vec<Mark>,
    /// Whether lines do.
    pub(super) line: bool,
}

/// One plot.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Panel {
    /// Above it.
    pub(super) title: String,
    /// Across.
    pub(super) x: Axis,
    /// Up.
    pub(super) y: Axis,
    /// What is drawn, the first lowest.
    pub(super) series: Vec<Series>,
}

/// Panels beside each other over one legend: the names of all series, each once.
pub(super) fn draw(panels: &[Panel]) -> String {
    let mut names: Vec<(&str, &str)> = Vec::new();
    for series in panels.iter().flat_map(|panel| &panel.series) {
        let entry = (series.name.as_str(), series.color);
        if !entry.0.is_empty() && !names.contains(&entry) {
            names.push(entry);
        }
    }
    let left = panels.iter().map(Panel::left).fold(MARGIN.0, f64::max);
    let width = panels.len() as f64 * (left + PLOT.0 + RIGHT);
    let plots = panels.iter().map(Panel::height).fold(PLOT.1, f64::max);
    let foot = MARGIN.1 + plots + MARGIN.2;
    let height = foot + LEGEND * names.len() as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\" font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"{GREY}\">\n"
    );
    for (at, panel) in panels.iter().enumerate() {
        let x = at as f64 * (left + PLOT.0 + RIGHT) + left;
        let _ = writeln!(out, "<g transform=\"translate({x:.1} {:.1})\">", MARGIN.1);
        panel.draw(&mut out, left);
        out += "</g>\n";
    }
    for (at, (name, color)) in names.iter().enumerate() {
        let y = foot + LEGEND * (at as f64 + 0.5);
        let _ = writeln!(out, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\" fill=\"{color}\"/>", left + 6.0, y - 4.0);
        let _ = writeln!(out, "<text x=\"{:.1}\" y=\"{y:.1}\">{}</text>", left + 18.0, escaped(name));
    }
    out + "</svg>\n"
}

impl Panel {
    /// Room for the names beside the vertical axis.
    fn left(&self) -> f64 {
        let longest = self.y.names.iter().map(|(_, name)| name.chars().count()).max().unwrap_or_default();
        if longest == 0 { MARGIN.0 } else { 14.0 + 7.0 * longest as f64 }
    }

    fn height(&self) -> f64 {
        if self.y.names.is_empty() { PLOT.1 } else { 22.0 * self.y.names.len() as f64 + 12.0 }
    }

    fn draw(&self, out: &mut String, left: f64) {
        let (width, height) = (PLOT.0, self.height());
        let all = || self.series.iter().flat_map(|series| &series.marks);
        let across = all().flat_map(|mark| [Some(mark.x), mark.across.map(|to| to.0), mark.across.map(|to| to.1)]);
        let up = all().flat_map(|mark| [Some(mark.y), mark.up.map(|to| to.0), mark.up.map(|to| to.1)]);
        let horizontal = Scale::new(&self.x, across.flatten(), width, false);
        let vertical = Scale::new(&self.y, up.flatten(), height, true);
        let _ = writeln!(out, "<text x=\"0\" y=\"-12\" font-weight=\"600\">{}</text>", escaped(&self.title));
        for (value, name) in horizontal.ticks(&self.x) {
            let x = horizontal.at(value);
            let _ = writeln!(out, "<path d=\"M{x:.1} 0V{height:.1}\" stroke=\"{GREY}\" stroke-opacity=\"0.25\"/>");
            let y = height + 16.0;
            let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{}</text>", escaped(&name));
        }
        for (value, name) in vertical.ticks(&self.y) {
            let y = vertical.at(value);
            let _ = writeln!(out, "<path d=\"M0 {y:.1}H{width:.1}\" stroke=\"{GREY}\" stroke-opacity=\"0.25\"/>");
            let name = escaped(&name);
            let _ = writeln!(out, "<text x=\"-8\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>", y + 4.0);
        }
        let (x, y) = (width / 2.0, height + 36.0);
        let label = escaped(&self.x.label);
        let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{label}</text>");
        if !self.y.label.is_empty() {
            let (x, y) = (-height / 2.0, 16.0 - left);
            let label = escaped(&self.y.label);
            let turned = "transform=\"rotate(-90)\" text-anchor=\"middle\"";
            let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" {turned}>{label}</text>");
        }
        for Series { color, marks, line, .. } in &self.series {
            let place = |mark: &Mark| (horizontal.at(mark.x), vertical.at(mark.y));
            if *line && marks.len() > 1 {
                let points: Vec<String> = marks.iter().map(place).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
                let points = points.join(" ");
                let _ = writeln!(
                    out,
                    "<polyline points=\"{points}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.5\"/>"
                );
            }
            for mark in marks {
                let (x, y) = place(mark);
                let stroke = format!("stroke=\"{color}\" stroke-opacity=\"0.6\" stroke-width=\"1.5\"");
                if let Some((low, high)) = mark.up {
                    let (low, high) = (vertical.at(low), vertical.at(high));
                    let _ = writeln!(out, "<path d=\"M{x:.1} {low:.1}V{high:.1}\" {stroke}/>");
                }
                if let Some((low, high)) = mark.across {
                    let (low, high) = (horizontal.at(low), horizontal.at(high));
                    let _ = writeln!(out, "<path d=\"M{low:.1} {y:.1}H{high:.1}\" {stroke}/>");
                }
                let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{color}\"/>");
            }
        }
    }
}

/// Values to pixels.
#[derive(Debug)]
struct Scale<'a> {
    axis: &'a Axis,
    low: f64,
    high: f64,
    pixels: f64,
    /// The low end is at the far pixel.
    turned: bool,
}

impl<'a> Scale<'a> {
    fn new(axis: &'a Axis, values: impl Iterator<Item = f64>, pixels: f64, turned: bool) -> Self {
        let named = axis.names.iter().map(|(value, _)| *value);
        let (low, high) = values
            .chain(named)
            .filter(|value| value.is_finite())
            .map(|value| axis.place(value))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
        let room = if high > low { 0.06 * (high - low) } else { 0.5 };
        Self { axis, low: low - room, high: high + room, pixels, turned }
    }

    fn at(&self, value: f64) -> f64 {
        let share = (self.axis.place(value) - self.low) / (self.high - self.low);
        self.pixels * if self.turned { 1.0 - share } else { share }
    }

    /// The names, or four to eight round numbers.
    fn ticks(&self, axis: &Axis) -> Vec<(f64, String)> {
        if !axis.names.is_empty() {
            return axis.names.clone();
        }
        if axis.log {
            let rounds = (-3..6).flat_map(|power| [1.0, 2.0, 3.0, 5.0, 7.0].map(|digit| digit * 10f64.powi(power)));
            return rounds
                .filter(|value| (self.low..=self.high).contains(&value.ln()))
                .map(|value| (value, format!("{value}")))
                .collect();
        }
        let step = round_step((self.high - self.low) / 8.0);
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        let name = |value: f64| format!("{:.decimals$}", if value == 0.0 { 0.0 } else { value });
        (first..=last).map(|at| at as f64 * step).map(|value| (value, name(value))).collect()
    }
}

/// The next of 1, 2, 5, 10... from `about` on.
fn round_step(about: f64) -> f64 {
    let power = 10f64.powf(about.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|digit| digit * power).find(|step| *step >= about).unwrap_or(10.0 * power)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(x: Axis, marks: Vec<Mark>) -> Panel {
        let series = Series { name: "a < b".into(), color: COLORS[0], marks, line: true };
        Panel { title: "T & U".into(), x, y: Axis::linear("score"), series: vec![series] }
    }

    #[test]
    fn values_lie_between_the_edges_in_order() {
        let axis = Axis::logarithmic("x");
        let scale = Scale::new(&axis, [1.0, 10.0, 100.0].into_iter(), 100.0, false);
        let [one, ten, hundred] = [1.0, 10.0, 100.0].map(|value| scale.at(value));
        assert!((ten - 50.0).abs() < 1e-9 && (one + hundred - 100.0).abs() < 1e-9 && one > 0.0);
        let axis = Axis::linear("y");
        let up = Scale::new(&axis, [0.0, 1.0].into_iter(), 100.0, true);
        assert!(up.at(1.0) < up.at(0.0));
    }

    #[test]
    fn ticks_are_round_numbers() {
        let axis = Axis::linear("y");
        let names = |low: f64, high: f64| {
            let ticks = Scale::new(&axis, [low, high].into_iter(), 100.0, false).ticks(&axis);
            ticks.into_iter().map(|(_, name)| name).collect::<Vec<_>>()
        };
        assert_eq!(names(0.0, 1.0), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(names(-0.3, 0.3), ["-0.3", "-0.2", "-0.1", "0.0", "0.1", "0.2", "0.3"]);
        assert_eq!(names(3.0, 28.0), ["5", "10", "15", "20", "25"]);
        assert_eq!([0.03, 0.5, 1.2, 7.0].map(round_step), [0.05, 0.5, 2.0, 10.0]);
    }

    #[test]
    fn a_plot_is_whole_and_says_what_it_is_of() {
        let marks = vec![Mark { up: Some((0.5, 1.5)), ..Mark::at(1.0, 1.0) }, Mark::at(4.0, 2.0)];
        let svg = draw(&[panel(Axis::linear("α"), marks.clone()), panel(Axis::logarithmic("ppl"), marks)]);
        assert_eq!(svg.matches("<circle").count(), 2 * 2 + 1, "a legend names a series once");
        assert!(svg.contains("a &lt; b") && svg.contains("T &amp; U") && svg.ends_with("</svg>\n"));
        for tag in ["svg", "g", "text"] {
            assert_eq!(svg.matches(&format!("<{tag} ")).count(), svg.matches(&format!("</{tag}>")).count(), "{tag}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn nothing_and_one_value_can_be_drawn() {
        for marks in [Vec::new(), vec![Mark::at(2.0, 2.0)]] {
            assert!(!draw(&[panel(Axis::linear("x"), marks)]).contains("NaN"));
        }
    }
}
