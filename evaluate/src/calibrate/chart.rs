//! Draws curves as SVG: two charts side by side, axes with ticks and names, a legend. Knows nothing
//! about the data.

use std::fmt::Write;

/// Side of one chart's frame and the space around it, in SVG pixels.
const FRAME: f64 = 360.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 46.0;
const BELOW: f64 = 60.0;
const RIGHT: f64 = 24.0;
/// Distinguishable also for people with red-green colour blindness; each has its own dash as well.
const STROKES: [(&str, &str); 2] = [("#0072b2", "none"), ("#d55e00", "7 3")];

/// Maps values to positions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// From the first to the second.
    Linear(f64, f64),
    /// From 10 to the power of the first to 10 to the power of the second; smaller values, 0
    /// included, are on the lower border.
    Log(i32, i32),
}

impl Scale {
    /// Returns the position 0–1 along the axis; values outside are on the border.
    fn place(self, value: f64) -> f64 {
        let (value, from, to) = match self {
            Self::Linear(from, to) => (value, from, to),
            Self::Log(from, to) => (value.max(1e-300).log10(), f64::from(from), f64::from(to)),
        };
        ((value - from) / (to - from)).clamp(0.0, 1.0)
    }

    fn ticks(self) -> Vec<(f64, String)> {
        match self {
            Self::Linear(from, to) => {
                let step = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0]
                    .into_iter()
                    .find(|step| (to - from) / step <= 10.0)
                    .unwrap_or((to - from) / 10.0);
                let first = (from / step).ceil() as i64;
                (first..)
                    .map(|i| i as f64 * step)
                    .take_while(|value| *value <= to + step * 1e-6)
                    .map(|value| (value, format!("{}", (value * 10.0).round() / 10.0)))
                    .collect()
            }
            Self::Log(from, to) => (from..=to).map(|e| (10f64.powi(e), log_label(e))).collect(),
        }
    }
}

fn log_label(exponent: i32) -> String {
    match exponent {
        0 => "100 %".into(),
        -1 => "10 %".into(),
        -2 => "1 %".into(),
        -3 => "0.1 %".into(),
        e => format!("1e{e}"),
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
    /// Name and points of each curve, at most two; steps between points are drawn as lines.
    pub curves: Vec<(&'static str, Vec<(f64, f64)>)>,
    /// Upright lines with their names.
    pub marks: Vec<(f64, String)>,
}

/// Returns an SVG file with the charts side by side.
pub fn svg(charts: &[Chart]) -> String {
    let width = (LEFT + FRAME + RIGHT) * charts.len() as f64;
    let height = TOP + FRAME + BELOW;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (index, chart) in charts.iter().enumerate() {
        let left = LEFT + (LEFT + FRAME + RIGHT) * index as f64;
        // Writing to a string cannot fail.
        let _ = draw(&mut out, chart, left);
    }
    out.push_str("</svg>\n");
    out
}

fn draw(out: &mut String, chart: &Chart, left: f64) -> std::fmt::Result {
    let x = |value: f64| left + chart.x.1.place(value) * FRAME;
    let y = |value: f64| TOP + FRAME - chart.y.1.place(value) * FRAME;
    let (right, bottom, middle) = (left + FRAME, TOP + FRAME, left + FRAME / 2.0);
    text(out, (middle, 20.0), "middle", "font-size=\"14\" font-weight=\"bold\"", chart.title)?;
    for (value, name) in chart.x.1.ticks() {
        line(out, (x(value), TOP), (x(value), bottom), "stroke=\"#ddd\"")?;
        text(out, (x(value), bottom + 17.0), "middle", "", &name)?;
    }
    for (value, name) in chart.y.1.ticks() {
        line(out, (left, y(value)), (right, y(value)), "stroke=\"#ddd\"")?;
        text(out, (left - 6.0, y(value) + 4.0), "end", "", &name)?;
    }
    text(out, (middle, bottom + 40.0), "middle", "", chart.x.0)?;
    let (at_x, at_y) = (left - 54.0, TOP + FRAME / 2.0);
    let turned = format!("transform=\"rotate(-90 {at_x} {at_y})\"");
    text(out, (at_x, at_y), "middle", &turned, chart.y.0)?;
    for (index, (value, name)) in chart.marks.iter().enumerate() {
        line(
            out,
            (x(*value), TOP),
            (x(*value), bottom),
            "stroke=\"#555\" stroke-dasharray=\"2 3\"",
        )?;
        // One below the other: marks may be close together.
        let row = TOP + 14.0 + 14.0 * index as f64;
        let (at, anchor) = match chart.x.1.place(*value) > 0.6 {
            true => (x(*value) - 4.0, "end"),
            false => (x(*value) + 4.0, "start"),
        };
        text(out, (at, row), anchor, "fill=\"#555\"", name)?;
    }
    for ((name, points), (index, (colour, dash))) in
        chart.curves.iter().zip(STROKES.iter().enumerate())
    {
        let style = format!("stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\"");
        let places: Vec<String> =
            points.iter().map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value))).collect();
        writeln!(out, "<polyline fill=\"none\" {style} points=\"{}\"/>", places.join(" "))?;
        // Above the frame, where no curve hides them.
        let at = left + FRAME / 2.0 * index as f64;
        line(out, (at, TOP - 10.0), (at + 28.0, TOP - 10.0), &style)?;
        text(out, (at + 34.0, TOP - 6.0), "start", "", name)?;
    }
    writeln!(
        out,
        "<rect x=\"{left}\" y=\"{TOP}\" width=\"{FRAME}\" height=\"{FRAME}\" fill=\"none\" \
         stroke=\"black\"/>"
    )
}

fn line(out: &mut String, from: (f64, f64), to: (f64, f64), style: &str) -> std::fmt::Result {
    let ((x1, y1), (x2, y2)) = (from, to);
    writeln!(out, "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" {style}/>")
}

fn text(
    out: &mut String,
    at: (f64, f64),
    anchor: &str,
    style: &str,
    words: &str,
) -> std::fmt::Result {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" {style}>{words}</text>",
        at.0, at.1
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_map_to_positions_and_ticks() {
        assert_eq!(Scale::Linear(-2.0, 2.0).place(0.0), 0.5);
        assert_eq!(Scale::Linear(0.0, 1.0).place(7.0), 1.0);
        assert_eq!(Scale::Log(-4, 0).place(1e-2), 0.5);
        assert_eq!(Scale::Log(-4, 0).place(0.0), 0.0);
        let ticks = |scale: Scale| scale.ticks().into_iter().map(|t| t.1).collect::<Vec<_>>();
        assert_eq!(ticks(Scale::Linear(40.0, 100.0)), ["40", "50", "60", "70", "80", "90", "100"]);
        assert_eq!(ticks(Scale::Linear(0.0, 0.3)), ["0", "0.1", "0.2", "0.3"]);
        assert_eq!(ticks(Scale::Log(-4, 0)), ["1e-4", "0.1 %", "1 %", "10 %", "100 %"]);
    }

    #[test]
    fn names_are_escaped_and_every_curve_is_drawn() {
        let chart = Chart {
            title: "a < b & c",
            x: ("x", Scale::Linear(0.0, 1.0)),
            y: ("y", Scale::Linear(0.0, 1.0)),
            curves: vec![("one", vec![(0.0, 0.0), (1.0, 1.0)]), ("two", vec![(0.0, 1.0)])],
            marks: vec![(0.5, "half".into())],
        };
        let file = svg(&[chart]);
        assert!(file.contains("a &lt; b &amp; c") && file.contains(">half<"));
        assert_eq!(file.matches("<polyline").count(), 2);
        assert!(file.contains("points=\"70.0,406.0 430.0,46.0\""), "{file}");
    }
}
