//! Runs programs, shows what is run, and keeps the tally of steps.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
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
    println!("$ {program} {}", shown(args));
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

/// Like [`run`], and ends the program when its time is over.
pub(crate) fn run_within<S: AsRef<OsStr>>(
    root: &Path,
    program: &str,
    args: &[S],
    limit: Duration,
) -> Result<()> {
    println!("$ {program} {}", shown(args));
    let child = Command::new(program).args(args).current_dir(root).spawn();
    let mut child = child.with_context(|| format!("starting {program}"))?;
    let start = Instant::now();
    loop {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => bail!("{program} ended with {status}"),
            None if start.elapsed() > limit => break,
            None => thread::sleep(Duration::from_millis(100)),
        }
    }
    child.kill()?;
    child.wait()?;
    bail!("{program} took longer than {} s", limit.as_secs())
}

fn shown<S: AsRef<OsStr>>(args: &[S]) -> String {
    let args: Vec<_> = args.iter().map(|arg| arg.as_ref().to_string_lossy()).collect();
    args.join(" ")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_takes_too_long_is_ended() {
        let check = |program: &str, args: &[&str], limit_ms, expected: &str| {
            let limit = Duration::from_millis(limit_ms);
            let result = run_within(Path::new("."), program, args, limit);
            let found = result.map_or_else(|it| it.to_string(), |()| "ok".to_owned());
            assert!(found.starts_with(expected), "{found}");
        };
        check("true", &[], 60_000, "ok");
        check("false", &[], 60_000, "false ended with exit status: 1");
        check("sleep", &["600"], 0, "sleep took longer than 0 s");
        check("no-such-program", &[], 60_000, "starting no-such-program");
    }
}
