//! Scores threat indicators: IPs, domains, URLs and hashes.

fn main() {}
