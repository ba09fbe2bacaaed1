//! The project's chores: `cargo xtask ci` is the whole of CI, the same at home.

#![allow(clippy::print_stdout, reason = "a chore's output is its result")]

mod ci;
mod dist;
mod server;
mod shell;
mod tidy;
mod tools;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};

const HELP: &str = "\
cargo xtask <chore>

  ci       everything that must pass: format, tidy, lints, tests, docs, licences, the release
           binary under real clients. Installs what it needs when it may, says what it skips.
  dist     the program to give away, target/dist/brisk: its line tables beside it, and no folder of
           this machine in it
  tidy     the layer table, file headers, documents that name what exists
  e2e      the release binary under the OpenAI client, Chromium and the bad-input corpus

Set BRISK_CONFORMANCE_DIR to a folder with golden/ and tokenizers/ to test all families and
quantizations; without it a committed subset is tested.
";

fn main() -> ExitCode {
    let chore = std::env::args().nth(1);
    let result = match chore.as_deref() {
        Some("ci") => ci::run_ci(),
        Some("dist") => root().and_then(|root| dist::build(&root)),
        Some("tidy") => root().and_then(|root| tidy::run(&root)),
        Some("e2e") => ci::run_e2e(),
        Some("help" | "--help" | "-h") | None => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Some(other) => Err(anyhow::anyhow!("no chore is called \"{other}\"\n\n{HELP}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's folder.
fn root() -> Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = manifest.ancestors().nth(2).context("xtask stands two folders below the root")?;
    Ok(root.to_path_buf())
}
