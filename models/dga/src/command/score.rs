//! `dga score`

use std::fmt::Write;
use std::io::{self, BufRead};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use dga::answer::{Answer, in_words, word};
use dga::detector::{Basis, Detector, Reason, Verdict};
use model_evaluation::bars::bars;

use super::{Judging, print};

/// The most that is read from one line; no name is longer.
const MAX_LINE: usize = 64 * 1024;

#[derive(Debug, Args)]
pub(crate) struct Score {
    /// The names; `-` or nothing reads them from standard input, one a line.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// How to print the verdicts: a table, or what the HTTP API answers, a line each.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Show what every feature contributed, exactly.
    #[arg(long)]
    explain: bool,
    #[command(flatten)]
    judging: Judging,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    #[default]
    Table,
    Json,
}

impl Score {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let detector = self.judging.detector()?;
        let mut any = false;
        if self.names.is_empty() || self.names == ["-"] {
            let mut lines = io::stdin().lock();
            let mut line = Vec::new();
            while lines
                .read_until(b'\n', &mut line)
                .context("could not read standard input")?
                > 0
            {
                line.truncate(MAX_LINE);
                let name = String::from_utf8_lossy(&line);
                if !name.trim().is_empty() {
                    any |= self.one(&detector, name.trim_end_matches(['\n', '\r']))?;
                }
                line.clear();
            }
        } else {
            for name in &self.names {
                any |= self.one(&detector, name)?;
            }
        }
        Ok(ExitCode::from(u8::from(any)))
    }

    /// Prints one verdict and tells whether it is that the name was generated.
    fn one(&self, detector: &Detector, name: &str) -> Result<bool> {
        let verdict = detector.judge(name);
        let text = match self.format {
            Format::Table => self.table(detector, name, &verdict),
            Format::Json => {
                let answer = Answer::of(detector, &verdict, self.explain);
                serde_json::to_string(&answer).context("could not write JSON")? + "\n"
            }
        };
        print(&text)?;
        Ok(verdict.generated)
    }

    fn table(&self, detector: &Detector, name: &str, verdict: &Verdict) -> String {
        let name: String = name.chars().flat_map(char::escape_debug).collect();
        let mut text = format!(
            "{:<5}  {:>5.1}  {name}",
            word(verdict),
            (verdict.score * 10.0).floor() / 10.0
        );
        match (&verdict.basis, &verdict.label) {
            (Basis::Model { .. }, Some(label)) => {
                let reasons = if self.explain {
                    detector.explain(label)
                } else {
                    detector.outline(label)
                };
                let _ = writeln!(
                    text,
                    "  ({label}: {})",
                    in_words(&reasons, verdict.generated).join("; ")
                );
                if self.explain {
                    text += &bars(&parts(&reasons));
                }
            }
            (Basis::Predicted(prediction), _) => {
                let _ = writeln!(text, "  (predicted: {})", prediction.family);
            }
            (basis, _) => {
                let _ = writeln!(text, "  ({})", basis.code().replace('_', " "));
            }
        }
        text
    }
}

/// What every feature added to the log-odds.
fn parts(reasons: &[Reason]) -> Vec<(f64, String)> {
    let part = |reason: &Reason| {
        let what = format!("{} ({:.2})", reason.meaning, reason.value);
        (reason.contribution, what)
    };
    reasons.iter().map(part).collect()
}
