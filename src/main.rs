//! The binary: everything it does is in `featbit_agent::cli`.

fn main() {}
