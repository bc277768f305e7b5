//! A plot as HTML: lines in an SVG that stretches with the page, words as text that does not.

use std::fmt::Write as _;

use super::escape;

/// A line of a plot. Where its value is absent it has a hole.
pub(super) struct Line {
    /// Its name in the legend.
    pub(super) name: &'static str,
    /// Which of the page's colours, `a`, `b` or `c`.
    pub(super) colour: &'static str,
    /// One value for each place.
    pub(super) values: Vec<Option<f64>>,
}

/// A plot over places from 0 to 1.
pub(super) struct Plot<'a> {
    /// What is shown.
    pub(super) title: &'a str,
    /// Where the values stand.
    pub(super) places: Vec<f64>,
    /// Words under the plot.
    pub(super) below: Vec<(f64, String)>,
    /// What is told of a place besides its values.
    pub(super) names: Vec<String>,
    /// The lines.
    pub(super) lines: Vec<Line>,
    /// From and to of what does not count.
    pub(super) shades: Vec<(f64, f64)>,
    /// Large and small values both matter.
    pub(super) logarithmic: bool,
    /// Ticks are at round multiples of this.
    pub(super) unit: f64,
    /// A value with its unit.
    pub(super) words: fn(f64) -> String,
}

/// From values to heights, 0 to 1.
struct Scale {
    low: f64,
    high: f64,
    logarithmic: bool,
    step: f64,
}

impl Scale {
    fn of(values: impl Iterator<Item = f64> + Clone, logarithmic: bool, unit: f64) -> Self {
        let high = values.clone().fold(0.0, f64::max);
        let least = values.filter(|value| *value > 0.0).fold(f64::MAX, f64::min);
        if logarithmic && least < high / 20.0 {
            let (low, high) = (least.log10().floor(), high.log10().ceil());
            return Self { low: 10_f64.powf(low), high: 10_f64.powf(high), logarithmic: true, step: 0.0 };
        }
        let step = step(high / unit) * unit;
        let high = if high > 0.0 { (high / step).ceil() * step } else { unit };
        Self { low: 0.0, high, logarithmic: false, step }
    }

    fn at(&self, value: f64) -> f64 {
        if self.logarithmic {
            let part = value.max(self.low).log10() - self.low.log10();
            return part / (self.high.log10() - self.low.log10());
        }
        (value - self.low) / (self.high - self.low)
    }

    fn ticks(&self) -> Vec<f64> {
        if self.logarithmic {
            let (low, high) = (self.low.log10().round() as i32, self.high.log10().round() as i32);
            return (low..=high).map(|power| 10_f64.powi(power)).collect();
        }
        let count = (self.high / self.step).round() as usize;
        (0..=count).map(|n| n as f64 * self.step).collect()
    }
}

/// The smallest round step of which six reach this height.
fn step(high: f64) -> f64 {
    if high <= 0.0 {
        return 0.5;
    }
    let power = 10_f64.powf((high / 6.0).log10().floor());
    let parts = [1.0, 2.0, 5.0].map(|part| part * power);
    parts.into_iter().find(|step| high / step <= 6.0).unwrap_or(power * 10.0)
}

impl Plot<'_> {
    /// The figure; nothing where no line has a value.
    pub(super) fn render(&self, out: &mut String) {
        let values = self.lines.iter().flat_map(|line| line.values.iter().copied().flatten());
        if values.clone().next().is_none() {
            return;
        }
        let scale = Scale::of(values, self.logarithmic, self.unit);
        let _ = write!(out, "<figure><figcaption>{}<span class=\"legend\">", escape(self.title));
        let shown = || self.lines.iter().filter(|line| line.values.iter().any(Option::is_some));
        for line in shown() {
            let _ = write!(out, "<span class=\"{}\">{}</span>", line.colour, escape(line.name));
        }
        let label = format!("{}: a plot; its figures are in the table below", self.title);
        let _ = write!(
            out,
            "</span></figcaption><div class=\"plot\" role=\"img\" aria-label=\"{}\">",
            escape(&label)
        );
        for tick in scale.ticks() {
            let up = scale.at(tick) * 100.0;
            let _ = write!(out, "<i style=\"bottom:{up:.2}%\"><b>{}</b></i>", (self.words)(tick));
        }
        for (from, to) in &self.shades {
            let (left, width) = (from * 100.0, (to - from) * 100.0);
            let _ = write!(out, "<u style=\"left:{left:.2}%;width:{width:.2}%\"></u>");
        }
        out.push_str("<svg viewBox=\"0 0 1000 1000\" preserveAspectRatio=\"none\" aria-hidden=\"true\">");
        shown().for_each(|line| self.line(line, &scale, out));
        out.push_str("</svg>");
        self.tips(out);
        for (place, words) in &self.below {
            // At the edges a word would stand outside of the figure.
            let class = match *place {
                place if place < 0.01 => " class=\"l\"",
                place if place > 0.97 => " class=\"r\"",
                _ => "",
            };
            let _ = write!(out, "<s{class} style=\"left:{:.2}%\">{}</s>", place * 100.0, escape(words));
        }
        out.push_str("</div></figure>");
    }

    fn line(&self, line: &Line, scale: &Scale, out: &mut String) {
        let mut pieces: Vec<Vec<(f64, f64)>> = vec![Vec::new()];
        for (place, value) in self.places.iter().zip(&line.values) {
            match (value, pieces.last_mut()) {
                (Some(value), Some(piece)) => piece.push((place * 1e3, (1.0 - scale.at(*value)) * 1e3)),
                (None, Some(piece)) if !piece.is_empty() => pieces.push(Vec::new()),
                _ => {}
            }
        }
        for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
            let points: Vec<_> = piece.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            // A piece of one point has no length; a round end makes it a dot.
            let again = if points.len() == 1 { format!(" {}", points[0]) } else { String::new() };
            let _ =
                write!(out, "<polyline class=\"{}\" points=\"{}{again}\"/>", line.colour, points.join(" "));
        }
    }

    /// A column for each place that tells its figures when it is pointed at.
    fn tips(&self, out: &mut String) {
        for (n, place) in self.places.iter().enumerate() {
            let before = if n == 0 { 0.0 } else { f64::midpoint(self.places[n - 1], *place) };
            let after = self.places.get(n + 1).map_or(1.0, |next| f64::midpoint(*place, *next));
            let mut tip = self.names.get(n).cloned().unwrap_or_default();
            for line in &self.lines {
                if let Some(value) = line.values.get(n).copied().flatten() {
                    let _ = write!(tip, "\n{} {}", line.name, (self.words)(value));
                }
            }
            let side = if *place > 0.5 { " class=\"l\"" } else { "" };
            let _ = write!(
                out,
                "<em{side} data-tip=\"{}\" style=\"left:{:.2}%;width:{:.2}%\"></em>",
                escape(&tip),
                before * 100.0,
                (after - before) * 100.0
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_begin_and_end_at_round_numbers() {
        let ticks = |values: &[f64], logarithmic| {
            let scale = Scale::of(values.iter().copied(), logarithmic, 1.0);
            let ticks = scale.ticks();
            assert!(
                (scale.at(ticks[0])).abs() < 1e-9 && (scale.at(ticks[ticks.len() - 1]) - 1.0).abs() < 1e-9
            );
            ticks
        };
        assert_eq!(ticks(&[3.0, 9.0], false), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(&[0.0], false), [0.0, 0.5, 1.0]);
        assert_eq!(ticks(&[14.9], false), [0.0, 5.0, 10.0, 15.0]);
        assert_eq!(ticks(&[60.0], false).len(), 7);
        assert_eq!(ticks(&[1_500.0], false), [0.0, 500.0, 1_000.0, 1_500.0]);
        assert_eq!(
            ticks(&[0.3, 45.0], true).iter().map(|t| (t * 10.0).round()).collect::<Vec<_>>(),
            [1.0, 10.0, 100.0, 1_000.0]
        );
        assert_eq!(ticks(&[3.0, 9.0], true).len(), 6);
    }

    #[test]
    fn holes_part_a_line_and_words_are_escaped() {
        let plot = Plot {
            title: "a<b",
            places: vec![0.0, 0.25, 0.75, 1.0],
            below: vec![(0.0, "0 s".to_owned())],
            names: vec!["x".to_owned(); 4],
            lines: vec![
                Line { name: "p50", colour: "a", values: vec![Some(1.0), Some(2.0), None, Some(2.0)] },
                Line { name: "gone", colour: "b", values: vec![None; 4] },
            ],
            shades: vec![(0.0, 0.5)],
            logarithmic: false,
            unit: 1.0,
            words: |value| value.to_string(),
        };
        let mut out = String::new();
        plot.render(&mut out);
        assert!(out.contains("a&lt;b") && !out.contains("a<b"));
        assert_eq!(out.matches("<polyline class=\"a\"").count(), 2);
        assert!(out.contains("points=\"0.0,500.0 250.0,0.0\"") && !out.contains("gone"), "{out}");
        assert_eq!(out.matches("<em").count(), 4);
        let empty = Plot { lines: Vec::new(), ..plot };
        let mut out = String::new();
        empty.render(&mut out);
        assert!(out.is_empty());
    }
}
