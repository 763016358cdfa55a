//! The maas_deploy command: put a model into the store and ask for copies of it.

fn main() {}
