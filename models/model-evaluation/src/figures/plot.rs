//! Plots as SVG text.

use std::fmt::Write;

use super::escaped;

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 15.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 48.0;

/// More points than this nobody can see.
const MOST_POINTS: usize = 600;

/// One direction of a plot.
pub(super) struct Axis {
    name: &'static str,
    from: f64,
    to: f64,
    logarithmic: bool,
}

impl Axis {
    pub(super) fn linear(name: &'static str, from: f64, to: f64) -> Axis {
        Axis {
            name,
            from,
            to,
            logarithmic: false,
        }
    }

    /// By powers of ten.
    pub(super) fn log(name: &'static str, from: f64, to: f64) -> Axis {
        Axis {
            name,
            from,
            to,
            logarithmic: true,
        }
    }

    /// Where on the axis a value is, from 0 to 1.
    fn place(&self, value: f64) -> f64 {
        let at = |value: f64| {
            if self.logarithmic {
                value.log10()
            } else {
                value
            }
        };
        ((at(value) - at(self.from)) / (at(self.to) - at(self.from))).clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        if self.logarithmic {
            let (from, to) = (
                self.from.log10().round() as i32,
                self.to.log10().round() as i32,
            );
            return (from..=to)
                .map(|power| (10_f64.powi(power), percent(10_f64.powi(power))))
                .collect();
        }
        let ticks = (0..=5).map(|step| self.from + (self.to - self.from) * f64::from(step) / 5.0);
        ticks
            .map(|value| {
                (
                    value,
                    if self.to > 1.0 {
                        format!("{value:.0}")
                    } else {
                        format!("{value:.1}")
                    },
                )
            })
            .collect()
    }
}

fn percent(share: f64) -> String {
    format!("{} %", (share * 1e7).round() / 1e5)
}

enum Style {
    Line,
    Faint,
    Dots,
}

/// Points that belong together.
pub(super) struct Series {
    points: Vec<(f64, f64)>,
    style: Style,
}

impl Series {
    pub(super) fn line(points: Vec<(f64, f64)>) -> Series {
        Series {
            points,
            style: Style::Line,
        }
    }

    pub(super) fn faint(points: Vec<(f64, f64)>) -> Series {
        Series {
            points,
            style: Style::Faint,
        }
    }

    pub(super) fn dots(points: Vec<(f64, f64)>) -> Series {
        Series {
            points,
            style: Style::Dots,
        }
    }
}

/// Series over two axes.
pub(super) struct Plot {
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) series: Vec<Series>,
}

impl Plot {
    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (
            LEFT + self.x.place(x) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - self.y.place(y) * (HEIGHT - TOP - BOTTOM),
        )
    }

    pub(super) fn to_svg(&self) -> String {
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" font-size=\"11\" fill=\"#51606f\">"
        );
        for (value, text) in self.x.ticks() {
            let (x, y) = self.at((value, self.y.from));
            let _ = write!(
                svg,
                "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{y:.1}\" stroke=\"#dde3ea\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>",
                y + 15.0
            );
        }
        for (value, text) in self.y.ticks() {
            let (x, y) = self.at((self.x.from, value));
            let _ = write!(
                svg,
                "<line x1=\"{x:.1}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\" stroke=\"#dde3ea\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                WIDTH - RIGHT,
                x - 6.0,
                y + 4.0
            );
        }
        let middle = f64::midpoint(TOP, HEIGHT - BOTTOM);
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text x=\"12\" y=\"{middle}\" text-anchor=\"middle\" transform=\"rotate(-90 12 {middle})\">{}</text>",
            f64::midpoint(LEFT, WIDTH - RIGHT),
            HEIGHT - 10.0,
            escaped(self.x.name),
            escaped(self.y.name)
        );
        for series in &self.series {
            self.draw(series, &mut svg);
        }
        svg + "</svg>"
    }

    fn draw(&self, series: &Series, svg: &mut String) {
        let step = series.points.len().div_ceil(MOST_POINTS).max(1);
        // The last point is where a curve ends, and must not get lost between steps.
        let last = series.points.len().saturating_sub(1);
        let kept = series
            .points
            .iter()
            .enumerate()
            .filter(|(index, _)| index % step == 0 || *index == last);
        let places: Vec<(f64, f64)> = kept.map(|(_, point)| self.at(*point)).collect();
        match series.style {
            Style::Line | Style::Faint => {
                let path: Vec<String> = places
                    .iter()
                    .map(|(x, y)| format!("{x:.1},{y:.1}"))
                    .collect();
                let stroke = match series.style {
                    Style::Faint => "#aab6c3\" stroke-dasharray=\"4 4",
                    Style::Line | Style::Dots => "#0b62a8\" stroke-width=\"2",
                };
                let _ = write!(
                    svg,
                    "<polyline points=\"{}\" fill=\"none\" stroke=\"{stroke}\"/>",
                    path.join(" ")
                );
            }
            Style::Dots => {
                for (x, y) in places {
                    let _ = write!(
                        svg,
                        "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"#0b62a8\"/>"
                    );
                }
            }
        }
    }
}

/// Horizontal bars with their names and values.
pub fn bars(rows: &[(impl AsRef<str>, f64)], most: f64) -> String {
    const ROW: f64 = 18.0;
    const NAMES: f64 = 170.0;
    let height = rows.len() as f64 * ROW + 8.0;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" font-size=\"11\" fill=\"#1c2733\">"
    );
    for (index, (name, value)) in rows.iter().enumerate() {
        let y = index as f64 * ROW + 4.0;
        let width = (value / most.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0) * (WIDTH - NAMES - 60.0);
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{NAMES}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"#0b62a8\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{:.1} %</text>",
            NAMES - 8.0,
            y + 12.0,
            escaped(name.as_ref()),
            ROW - 4.0,
            NAMES + width + 6.0,
            y + 12.0,
            value * 100.0
        );
    }
    svg + "</svg>"
}
