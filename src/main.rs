//! The `journeyd` binary: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    journeyd::cli::main()
}
