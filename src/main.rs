//! Parse, run, exit code.

fn main() -> std::process::ExitCode {
    postroom::cli::run()
}
