//! Plots as inline SVG, without a script.

use std::fmt::Write as _;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 42.0;

/// One axis.
pub struct Axis {
    pub label: &'static str,
    pub from: f64,
    pub to: f64,
    pub logarithmic: bool,
    /// Where it is marked, and how.
    pub marks: Vec<(f64, String)>,
}

impl Axis {
    /// From 0 on, marked at round places.
    pub fn linear(label: &'static str, to: f64, name: impl Fn(f64) -> String) -> Self {
        let to = if to > 0.0 { to } else { 1.0 };
        let rough = to / 5.0;
        let unit = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].iter().map(|m| m * unit).find(|s| *s >= rough);
        let step = step.unwrap_or(rough);
        let marks = (0..).map(|n| f64::from(n) * step).take_while(|v| *v <= to * 1.001);
        let marks = marks.map(|v| (v, name(v))).collect();
        Self { label, from: 0.0, to, logarithmic: false, marks }
    }

    /// Whole powers of ten around the values.
    pub fn decades(
        label: &'static str,
        (least, most): (f64, f64),
        name: impl Fn(f64) -> String,
    ) -> Self {
        let from = least.max(1e-9).log10().floor();
        let to = most.max(1e-9).log10().ceil().max(from + 1.0);
        let marks = (from as i32..=to as i32).map(|p| 10_f64.powi(p)).map(|v| (v, name(v)));
        let marks = marks.collect();
        Self { label, from: 10_f64.powf(from), to: 10_f64.powf(to), logarithmic: true, marks }
    }

    fn place(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            (value.max(self.from) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        share.clamp(0.0, 1.0)
    }
}

/// A plot under way.
pub struct Plot {
    x: Axis,
    y: Axis,
    body: String,
    legend: Vec<(&'static str, String)>,
}

impl Plot {
    pub fn new(x: Axis, y: Axis) -> Self {
        Self { x, y, body: String::new(), legend: Vec::new() }
    }

    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let (w, h) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
        (LEFT + w * self.x.place(x), TOP + h * (1.0 - self.y.place(y)))
    }

    /// A line; `class` names its colour.
    pub fn line(mut self, class: &'static str, name: &str, points: &[(f64, f64)]) -> Self {
        let points = points.iter().map(|p| self.at(*p)).fold(String::new(), |mut text, (x, y)| {
            let _ = write!(text, "{x:.1},{y:.1} ");
            text
        });
        let _ = write!(self.body, "<polyline class=\"{class}\" points=\"{}\"/>", points.trim_end());
        self.legend.push((class, name.to_owned()));
        self
    }

    /// Dots, each with what is said when it is pointed at.
    pub fn dots(
        mut self,
        class: &'static str,
        name: &str,
        dots: impl IntoIterator<Item = (f64, f64, String)>,
    ) -> Self {
        for (x, y, said) in dots {
            let (x, y) = self.at((x, y));
            let title =
                if said.is_empty() { said } else { format!("<title>{}</title>", escaped(&said)) };
            let _ = write!(
                self.body,
                "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.2\">{title}</circle>"
            );
        }
        self.legend.push((class, name.to_owned()));
        self
    }

    /// A line from side to side.
    pub fn level(self, class: &'static str, name: &str, y: f64) -> Self {
        let (from, to) = (self.x.from, self.x.to);
        self.line(class, name, &[(from, y), (to, y)])
    }

    /// The finished drawing.
    pub fn svg(self, title: &str) -> String {
        let mut out = format!(
            "<figure><figcaption>{}</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-label=\"{}\">",
            escaped(title),
            escaped(title)
        );
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (value, name) in &self.y.marks {
            let (_, y) = self.at((self.x.from, *value));
            let _ = write!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
                LEFT - 6.0,
                y + 4.0
            );
        }
        for (value, name) in &self.x.marks {
            let (x, _) = self.at((*value, self.y.from));
            let _ = write!(
                out,
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{name}</text>",
                bottom + 15.0
            );
        }
        let _ = write!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>{}</svg><p class=\"legend\">",
            f64::midpoint(LEFT, right),
            HEIGHT - 8.0,
            escaped(self.x.label),
            self.body
        );
        for (class, name) in &self.legend {
            let _ = write!(out, "<span class=\"{class}\">{}</span>", escaped(name));
        }
        let _ = write!(
            out,
            "<span class=\"axis\">upwards: {}</span></p></figure>",
            escaped(self.y.label)
        );
        out
    }
}

/// Text in HTML.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
