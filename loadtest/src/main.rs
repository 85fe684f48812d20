//! Puts the load of many streaming SDKs on a featbit-agent and on the floor (a C program that sends ready-made
//! frames and does nothing else), in turn, and prints the ratios.
//!
//! Only ratios of one run count: machines differ, and this one is shared with the load itself. Connections go to
//! 127.0.0.1 only, and their number and time are bounded.
//!
//! ```text
//! cargo build --release --workspace
//! target/release/loadtest compare --connections 5000 --rounds 7
//! target/release/loadtest tls --connections 5000 --rounds 5         the agent with and without TLS
//! ```

mod compare;
mod crowd;
mod data;
mod line;
mod process;
mod tls;

use std::process::ExitCode;

const USAGE: &str =
    "usage: loadtest compare|tls [--connections N] [--rounds N] [--agent PATH] [--reactors N]";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let run = match arguments.next().as_deref() {
        Some("compare") => compare::run,
        Some("tls") => tls::run,
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(64);
        }
    };
    let mut options = compare::Options::default();
    while let Some(name) = arguments.next() {
        let Some(value) = arguments.next() else {
            eprintln!("{name} needs a value\n{USAGE}");
            return ExitCode::from(64);
        };
        if let Err(fault) = options.set(&name, &value) {
            eprintln!("{fault}\n{USAGE}");
            return ExitCode::from(64);
        }
    }
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("loadtest: {error}");
            ExitCode::FAILURE
        }
    }
}
