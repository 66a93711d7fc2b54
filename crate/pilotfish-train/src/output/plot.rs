//! A picture of a run: the loss of each step and of the held-out pairs, and accuracies.

use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::mono_font::ascii::FONT_8X13;
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{Circle, Line, PrimitiveStyle};
use embedded_graphics::text::{Alignment, Text};

use crate::run::Outcome;

const WIDTH: u32 = 960;
const HEIGHT: u32 = 420;
/// Room around a panel: left, right, top, bottom.
const ROOM: [i32; 4] = [64, 16, 40, 44];
const INK: Rgb888 = Rgb888::new(0x22, 0x2a, 0x35);
const FAINT: Rgb888 = Rgb888::new(0xd5, 0xda, 0xe1);
const PALE: Rgb888 = Rgb888::new(0xa9, 0xc4, 0xe8);
const BLUE: Rgb888 = Rgb888::new(0x1f, 0x5f, 0xbf);
const RED: Rgb888 = Rgb888::new(0xc2, 0x41, 0x2d);

/// Points of one kind, in the order of steps.
struct Curve {
    name: &'static str,
    color: Rgb888,
    points: Vec<(f64, f64)>,
    dots: bool,
}

/// The run as a PNG file; nothing where no step was taken.
pub(super) fn png(outcome: &Outcome) -> Option<Vec<u8>> {
    let steps = |of: &dyn Fn(&crate::run::StepMetrics) -> Option<f64>| -> Vec<(f64, f64)> {
        outcome.steps.iter().filter_map(|step| Some((step.step as f64, of(step)?))).collect()
    };
    let judged = |of: &dyn Fn(&crate::run::Evaluation) -> f64| -> Vec<(f64, f64)> {
        outcome.evaluations.iter().map(|(step, evaluation)| (*step as f64, of(evaluation))).collect()
    };
    let loss = steps(&|step| Some(step.loss));
    let accuracy = steps(&|step| step.accuracy);
    if loss.is_empty() {
        return None;
    }
    let curve = |name, color, points, dots| Curve { name, color, points, dots };
    let losses = [
        curve("", PALE, loss.clone(), false),
        curve("batches, smoothed", BLUE, smoothed(&loss), false),
        curve("held out", RED, judged(&|evaluation| evaluation.loss), true),
    ];
    let accuracies = [
        curve("batches, smoothed", BLUE, smoothed(&accuracy), false),
        curve("held out", RED, judged(&|evaluation| evaluation.accuracy), true),
        curve("held out, over the base", INK, judged(&|evaluation| evaluation.accuracy_over_base), true),
    ];
    let mut canvas = Canvas { pixels: vec![0xff; (WIDTH * HEIGHT * 3) as usize] };
    let half = WIDTH as i32 / 2;
    panel(&mut canvas, 0, half, "loss", &losses, None);
    panel(&mut canvas, half, half, "accuracy", &accuracies, Some((0.0, 1.0)));
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, WIDTH, HEIGHT);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header().ok()?.write_image_data(&canvas.pixels).ok()?;
    Some(bytes)
}

/// The running mean over a tenth of the points.
fn smoothed(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let reach = points.len() / 20;
    let around = |at: usize| &points[at.saturating_sub(reach)..(at + reach + 1).min(points.len())];
    let mean = |points: &[(f64, f64)]| points.iter().map(|(_, y)| y).sum::<f64>() / points.len() as f64;
    points.iter().enumerate().map(|(at, (x, _))| (*x, mean(around(at)))).collect()
}

fn panel(canvas: &mut Canvas, left: i32, width: i32, title: &str, curves: &[Curve], range: Option<(f64, f64)>) {
    let [room_left, room_right, top, room_bottom] = ROOM;
    let (x0, x1, y0, y1) = (left + room_left, left + width - room_right, HEIGHT as i32 - room_bottom, top);
    let all = || curves.iter().flat_map(|curve| &curve.points).filter(|(_, y)| y.is_finite());
    let most_x = all().map(|(x, _)| *x).fold(1.0, f64::max);
    let (least, most) = range.unwrap_or_else(|| {
        let least = all().map(|(_, y)| *y).fold(f64::INFINITY, f64::min);
        let most = all().map(|(_, y)| *y).fold(f64::NEG_INFINITY, f64::max);
        let pad = ((most - least) * 0.05).max(1e-6);
        (least - pad, most + pad)
    });
    let at = |(x, y): (f64, f64)| {
        let share = ((y - least) / (most - least)).clamp(0.0, 1.0);
        Point::new(x0 + (x / most_x * f64::from(x1 - x0)) as i32, y0 - (share * f64::from(y0 - y1)) as i32)
    };
    for part in 0..=4 {
        let share = f64::from(part) / 4.0;
        let (x, y) = (share * most_x, least + share * (most - least));
        let line = Line::new(at((0.0, y)), at((most_x, y))).into_styled(PrimitiveStyle::with_stroke(FAINT, 1));
        // A canvas in memory takes every pixel.
        let Ok(()) = line.draw(canvas);
        let label = if most - least < 0.1 { format!("{y:.4}") } else { format!("{y:.2}") };
        canvas.text(&label, at((0.0, y)) + Point::new(-8, 4), Alignment::Right, INK);
        canvas.text(&format!("{x:.0}"), at((x, least)) + Point::new(0, 18), Alignment::Center, INK);
    }
    canvas.text(title, Point::new(x0, y1 - 22), Alignment::Left, INK);
    canvas.text("step", Point::new(i32::midpoint(x0, x1), y0 + 34), Alignment::Center, INK);
    let named = curves.iter().filter(|curve| !curve.name.is_empty() && !curve.points.is_empty());
    for (row, curve) in named.enumerate() {
        canvas.text(curve.name, Point::new(x1, y1 - 22 + 14 * row as i32), Alignment::Right, curve.color);
    }
    for curve in curves {
        for two in curve.points.windows(2).filter(|two| two.iter().all(|(_, y)| y.is_finite())) {
            let stroke = PrimitiveStyle::with_stroke(curve.color, 2);
            let Ok(()) = Line::new(at(two[0]), at(two[1])).into_styled(stroke).draw(canvas);
        }
        for point in curve.points.iter().filter(|_| curve.dots) {
            let dot = Circle::with_center(at(*point), 7).into_styled(PrimitiveStyle::with_fill(curve.color));
            let Ok(()) = dot.draw(canvas);
        }
    }
}

/// `[HEIGHT, WIDTH, 3]` bytes.
struct Canvas {
    pixels: Vec<u8>,
}

impl Canvas {
    fn text(&mut self, text: &str, at: Point, alignment: Alignment, color: Rgb888) {
        let style = MonoTextStyle::new(&FONT_8X13, color);
        let Ok(_) = Text::with_alignment(text, at, style, alignment).draw(self);
    }
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        Size::new(WIDTH, HEIGHT)
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = std::convert::Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Self::Error> {
        for Pixel(at, color) in pixels {
            let inside = (0..WIDTH as i32).contains(&at.x) && (0..HEIGHT as i32).contains(&at.y);
            if inside {
                let from = (at.y as usize * WIDTH as usize + at.x as usize) * 3;
                self.pixels[from..from + 3].copy_from_slice(&[color.r(), color.g(), color.b()]);
            }
        }
        Ok(())
    }
}
