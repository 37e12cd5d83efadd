//! Charts as SVG, side by side: axes, curves, vertical marks, a legend. Knows nothing of what the
//! values mean.

use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::ops::Range;

/// Size of one chart in SVG pixels.
const SIZE: (u32, u32) = (454, 466);
const FONT: &str = "sans-serif";
/// Colour and dash of each curve: readers who see no red and green tell them apart by the dash.
const STROKES: [(RGBColor, Option<i32>); 2] =
    [(RGBColor(0, 114, 178), None), (RGBColor(213, 94, 0), Some(7))];
const MARK: RGBColor = RGBColor(85, 85, 85);
const GRID: RGBColor = RGBColor(221, 221, 221);
/// Distance of the ticks of a linear axis: the smallest with at most ten ticks.
const STEPS: [f64; 10] = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0];

/// Why there is no chart.
#[derive(Debug, thiserror::Error)]
#[error("the chart cannot be drawn: {0}")]
pub struct ChartError(#[from] DrawingAreaErrorKind<std::io::Error>);

/// An axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// From the first to the second value.
    Linear(f64, f64),
    /// From 10 to the first to 10 to the second power. Smaller values, and 0, lie on the border.
    Log(i32, i32),
}

impl Scale {
    /// A value's place along the axis, 0–1; values outside are on the border.
    fn place(self, value: f64) -> f64 {
        let (value, from, to) = match self {
            Self::Linear(from, to) => (value, from, to),
            Self::Log(from, to) => {
                (value.max(f64::MIN_POSITIVE).log10(), f64::from(from), f64::from(to))
            }
        };
        ((value - from) / (to - from)).clamp(0.0, 1.0)
    }

    fn ticks(self) -> Vec<f64> {
        match self {
            Self::Linear(from, to) => {
                let fits = |step: &f64| (to - from) / step <= 10.0;
                let step = STEPS.into_iter().find(fits).unwrap_or((to - from) / 10.0);
                let (first, last) = ((from / step).ceil(), (to / step + 1e-6).floor());
                (first as i64..=last as i64).map(|i| i as f64 * step).collect()
            }
            Self::Log(from, to) => (from..=to).map(|exponent| 10f64.powi(exponent)).collect(),
        }
    }
}

impl Ranged for Scale {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (first, last): (i32, i32)) -> i32 {
        first + (f64::from(last - first) * self.place(*value)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks()
    }

    fn range(&self) -> Range<f64> {
        match *self {
            Self::Linear(from, to) => from..to,
            Self::Log(from, to) => 10f64.powi(from)..10f64.powi(to),
        }
    }
}

impl ValueFormatter<f64> for Scale {
    fn format_ext(&self, tick: &f64) -> String {
        match self {
            Self::Linear(..) => format!("{}", (tick * 10.0).round() / 10.0),
            Self::Log(..) if *tick < 5e-4 => format!("1e{:.0}", tick.log10()),
            Self::Log(..) => format!("{} %", (tick * 1000.0).round() / 10.0),
        }
    }
}

/// One chart.
pub struct Chart {
    /// Above it.
    pub title: &'static str,
    /// Name and scale of the horizontal axis.
    pub x: (&'static str, Scale),
    /// Name and scale of the vertical axis.
    pub y: (&'static str, Scale),
    /// Name and points of each curve, at most two; straight lines join the points.
    pub curves: Vec<(&'static str, Vec<(f64, f64)>)>,
    /// Vertical lines with their names.
    pub marks: Vec<(f64, String)>,
}

/// A file with the charts side by side.
///
/// # Errors
/// A chart that has no room for its axes.
pub fn svg(charts: &[Chart]) -> Result<String, ChartError> {
    let mut out = String::new();
    let size = (SIZE.0 * charts.len() as u32, SIZE.1);
    let root = SVGBackend::with_string(&mut out, size).into_drawing_area();
    root.fill(&WHITE)?;
    for (area, chart) in root.split_evenly((1, charts.len())).iter().zip(charts) {
        draw(area, chart)?;
    }
    root.present()?;
    drop(root);
    Ok(out)
}

fn draw<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    chart: &Chart,
) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
    let ((x_name, x), (y_name, y)) = (chart.x, chart.y);
    let mut canvas = ChartBuilder::on(area)
        .caption(chart.title, (FONT, 15))
        .margin(10)
        .margin_right(24)
        .x_label_area_size(48)
        .y_label_area_size(62)
        .build_cartesian_2d(x, y)?;
    canvas
        .configure_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .label_style((FONT, 12))
        .x_desc(x_name)
        .y_desc(y_name)
        .draw()?;
    let Range { start: bottom, end: top } = y.range();
    for (index, (value, name)) in chart.marks.iter().enumerate() {
        let line = [(*value, bottom), (*value, top)];
        canvas.draw_series(DashedLineSeries::new(line, 2, 3, MARK.into()))?;
        // Names on the side with more room, one below the other: marks may be close together.
        let (side, gap) = if x.place(*value) > 0.6 { (HPos::Right, -4) } else { (HPos::Left, 4) };
        let style = (FONT, 12).into_text_style(area).color(&MARK).pos(Pos::new(side, VPos::Top));
        let place = (gap, 4 + 14 * index as i32);
        let text = Text::new(name.clone(), place, style);
        canvas.draw_series([EmptyElement::at((*value, top)) + text])?;
    }
    for ((name, points), (colour, dash)) in chart.curves.iter().zip(STROKES) {
        let points = points.iter().copied();
        let style = colour.stroke_width(2);
        let drawn = match dash {
            None => canvas.draw_series(LineSeries::new(points, style))?,
            Some(length) => canvas.draw_series(DashedLineSeries::new(points, length, 3, style))?,
        };
        let symbol = move |(x, y)| {
            let line = [(x, y), (x + 20, y)];
            match dash {
                None => PathElement::new(line, style).into_dyn(),
                Some(length) => DashedPathElement::new(line, length, 3, style).into_dyn(),
            }
        };
        drawn.label(*name).legend(symbol);
    }
    canvas
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerLeft)
        .background_style(WHITE.mix(0.8))
        .label_font((FONT, 12))
        .draw()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_place() {
        assert_eq!(Scale::Linear(-2.0, 2.0).place(0.0), 0.5);
        assert_eq!(Scale::Linear(0.0, 1.0).place(7.0), 1.0);
        assert_eq!(Scale::Log(-4, 0).place(1e-2), 0.5);
        assert_eq!(Scale::Log(-4, 0).place(0.0), 0.0);
    }

    #[test]
    fn ticks_are_round_numbers() {
        let ticks = |scale: Scale| {
            scale.ticks().iter().map(|tick| scale.format_ext(tick)).collect::<Vec<_>>()
        };
        assert_eq!(ticks(Scale::Linear(40.0, 100.0)), ["40", "50", "60", "70", "80", "90", "100"]);
        assert_eq!(ticks(Scale::Linear(0.0, 0.3)), ["0", "0.1", "0.2", "0.3"]);
        assert_eq!(ticks(Scale::Log(-4, 0)), ["1e-4", "0.1 %", "1 %", "10 %", "100 %"]);
    }

    #[test]
    fn names_are_escaped_and_every_curve_is_drawn() {
        let chart = Chart {
            title: "a < b & c",
            x: ("x", Scale::Linear(0.0, 1.0)),
            y: ("y", Scale::Log(-4, 0)),
            curves: vec![
                ("one", vec![(0.0, 0.0), (1.0, 1.0)]),
                ("two", vec![(0.0, 1.0), (1.0, 0.0)]),
            ],
            marks: vec![(0.5, "half".into())],
        };
        let file = svg(&[chart]).unwrap();
        assert!(file.contains("a &lt; b &amp; c"), "{file}");
        for name in ["half", "one", "two", "0.1 %"] {
            assert!(file.contains(&format!("\n{name}\n")), "{name}: {file}");
        }
        assert!(file.contains("#0072B2") && file.contains("#D55E00"), "{file}");
    }
}
