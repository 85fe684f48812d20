//! The binary: everything it does is in [`featbit_agent::cli`].

fn main() -> std::process::ExitCode {
    featbit_agent::cli::main()
}
