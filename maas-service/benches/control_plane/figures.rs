//! Figures of what was measured.

use std::time::Duration;

/// Times in milliseconds, in order.
pub(crate) fn sorted_ms(values: &[Duration]) -> Vec<f64> {
    let mut values: Vec<f64> = values.iter().map(|v| v.as_secs_f64() * 1e3).collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The value below which that part of the values lies.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "an index into a few hundred values"
)]
pub(crate) fn at(sorted: &[f64], quantile: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * quantile).round() as usize]
}

/// So many of something in a second.
#[expect(clippy::cast_precision_loss, reason = "a few million at most")]
pub(crate) fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// What the kernel says of a process's memory, in MB: the field of `/proc/<pid>/status`.
pub(crate) fn memory_mb(pid: u32, field: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    let kb = line.split_ascii_whitespace().nth(1).unwrap();
    kb.parse::<f64>().unwrap() / 1024.0
}
