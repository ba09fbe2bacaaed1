//! The program: reads what it was asked to do, does it, and says what went wrong.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this crate is the one that prints")]

mod args;
mod commands;
mod config;
mod identity;
mod loading;
mod log_writer;
mod logging;
mod machine;
mod output;
mod template;

use std::{io, process::ExitCode};

use anyhow::Result;
use args::{Invocation, Task};
use config::{Config, ConfigError};

/// Exit status where the program was called or configured wrongly, as clap's.
const WRONG_USAGE: u8 = 2;

fn main() -> ExitCode {
    brisk_kernels::return_freed_memory();
    match run(args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough, as in `brisk inspect | head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", output::message(&output::with_causes(&error)));
            let is_usage = error.chain().any(<dyn std::error::Error>::is::<ConfigError>);
            if is_usage { ExitCode::from(WRONG_USAGE) } else { ExitCode::FAILURE }
        }
    }
}

fn run(invocation: Invocation) -> Result<()> {
    let Invocation { task, flags, config_file } = invocation;
    let raw = config::load(flags, config_file)?;
    if let Task::Config { markdown } = task {
        return commands::config::run(&raw, markdown);
    }
    let config = Config::check(&raw)?;
    // Commands that answer on the terminal keep it free of what is not worth a warning.
    let is_quiet = !matches!(task, Task::Serve) && raw.get(&config::settings::LOG_LEVEL).is_none();
    let level = if is_quiet { "warn" } else { &config.log_level };
    let _writes_to_the_end = logging::start(level, config.log_json)?;
    for name in &raw.strange_variables {
        tracing::warn!(
            variable = output::shortened(name),
            "this environment variable sets nothing"
        );
    }
    match task {
        Task::Serve => commands::serve::run(&config),
        Task::Chat(sampling) => commands::chat::run(&config, &sampling),
        Task::Run { prompt, sampling } => commands::run::run(&config, &prompt, &sampling),
        Task::Bench(args) => commands::bench::run(&config, &args),
        Task::Tokenize { text, ids, special } => {
            commands::tokenize::run(&config, &text, ids, special)
        }
        Task::Logits { tokens, output } => commands::logits::run(&config, &tokens, &output),
        Task::Inspect { file } => commands::inspect::run(&config, file.as_deref()),
        Task::Config { markdown } => commands::config::run(&raw, markdown),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let is_pipe = |it: &io::Error| it.kind() == io::ErrorKind::BrokenPipe;
    error.chain().any(|it| it.downcast_ref::<io::Error>().is_some_and(is_pipe))
}
