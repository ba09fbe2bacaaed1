//! Runs programs, shows what is run, and keeps the tally of steps.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail};

/// A program and its arguments, run from the workspace's folder.
pub(crate) fn run<S: AsRef<OsStr>>(root: &Path, program: &str, args: &[S]) -> Result<()> {
    run_with(root, program, args, &[])
}

/// Like [`run`], with environment variables.
pub(crate) fn run_with<S: AsRef<OsStr>>(
    root: &Path,
    program: &str,
    args: &[S],
    variables: &[(&str, &OsStr)],
) -> Result<()> {
    let shown: Vec<_> = args.iter().map(|arg| arg.as_ref().to_string_lossy()).collect();
    println!("$ {program} {}", shown.join(" "));
    let status = Command::new(program)
        .args(args)
        .envs(variables.iter().copied())
        .current_dir(root)
        .status()
        .with_context(|| format!("starting {program}"))?;
    if !status.success() {
        bail!("{program} ended with {status}");
    }
    Ok(())
}

/// Whether `program` can be started and answers `--version`.
pub(crate) fn answers(program: impl AsRef<OsStr>, args: &[&str]) -> bool {
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The first of `programs` found in `PATH`.
pub(crate) fn find(programs: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .flat_map(|folder| programs.iter().map(move |program| folder.join(program)))
        .find(|candidate| candidate.is_file())
}

/// Steps done, skipped and failed, so that one run tells everything that is wrong.
#[derive(Default)]
pub(crate) struct Tally {
    passed: usize,
    failed: Vec<String>,
    skipped: Vec<String>,
}

impl Tally {
    /// Runs one step and goes on whatever it says.
    pub(crate) fn step(&mut self, name: &str, work: impl FnOnce() -> Result<()>) {
        println!("\n== {name}");
        let start = Instant::now();
        match work() {
            Ok(()) => {
                self.passed += 1;
                println!("== {name}: ok, {:.0} s", start.elapsed().as_secs_f64());
            }
            Err(error) => {
                println!("== {name}: FAILED, {:.0} s: {error:#}", start.elapsed().as_secs_f64());
                self.failed.push(name.to_owned());
            }
        }
    }

    /// A step that this machine cannot run.
    pub(crate) fn skip(&mut self, name: &str, reason: &str) {
        println!("\n== {name}: SKIPPED: {reason}");
        self.skipped.push(format!("{name} ({reason})"));
    }

    /// The closing lines.
    pub(crate) fn close(self) -> Result<()> {
        println!();
        for name in &self.skipped {
            println!("SKIPPED: {name}");
        }
        for name in &self.failed {
            println!("FAILED: {name}");
        }
        println!(
            "{} passed, {} failed, {} skipped",
            self.passed,
            self.failed.len(),
            self.skipped.len()
        );
        if self.failed.is_empty() { Ok(()) } else { bail!("{} failed", self.failed.join(", ")) }
    }
}
