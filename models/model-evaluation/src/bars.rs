//! What moved a verdict, as bars for a terminal.

use std::fmt::Write as _;

/// How many characters there are on either side of the middle.
const HALF: usize = 16;

/// What was added to the log-odds and by what, as bars to the left and right of the middle, one a line. What adds less than a
/// fiftieth of the strongest would have no bar, and is left out.
pub fn bars(parts: &[(f64, String)]) -> String {
    let strengths = parts.iter().map(|(added, _)| added.abs());
    let most = strengths.fold(f64::MIN_POSITIVE, f64::max);
    let mut text = String::new();
    for (added, what) in parts.iter().filter(|(added, _)| added.abs() >= most / 50.0) {
        let length = (added.abs() / most * HALF as f64).round() as usize;
        let bar = "█".repeat(length.max(1));
        let (left, right) = if *added < 0.0 {
            (bar.as_str(), "")
        } else {
            ("", bar.as_str())
        };
        let _ = writeln!(
            text,
            "       {left:>HALF$}│{right:<HALF$} {added:>+6.2}  {what}"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_fills_its_side_and_the_weakest_are_left_out() {
        let parts = [(4.0, "a"), (-2.0, "b"), (0.05, "c")].map(|(n, what)| (n, what.to_owned()));
        let text = bars(&parts);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].contains("│████████████████  +4.00  a"), "{text}");
        assert!(lines[1].contains("        ████████│"), "{text}");
        assert_eq!(bars(&[]), "");
    }
}
