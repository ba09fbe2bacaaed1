//! Programs that CI needs beside the compiler: found, or installed where that is allowed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::shell::{answers, find, run, run_with};

/// Chromium, from Debian's packages when it is not there.
pub(crate) fn chromium(root: &Path) -> Option<PathBuf> {
    const NAMES: &[&str] = &["chromium", "chromium-browser", "google-chrome"];
    find(NAMES).or_else(|| {
        apt_install(root, &["chromium"]).ok()?;
        find(NAMES)
    })
}

/// Whether there is a Redis server, from Debian's packages when it was not there.
pub(crate) fn has_redis(root: &Path) -> bool {
    const NAMES: &[&str] = &["redis-server"];
    let is_there = || find(NAMES).is_some();
    is_there() || (apt_install(root, NAMES).is_ok() && is_there())
}

/// Installs Debian packages, which only root may.
fn apt_install(root: &Path, packages: &[&str]) -> Result<()> {
    find(&["apt-get"]).context("there is no apt-get")?;
    let quiet = [("DEBIAN_FRONTEND", "noninteractive".as_ref())];
    run_with(root, "apt-get", &["update", "-qq"], &quiet)?;
    let mut args = vec!["install", "-y", "-qq", "--no-install-recommends"];
    args.extend(packages);
    run_with(root, "apt-get", &args, &quiet)
}

/// A virtual environment below `target/` with the pinned packages of `requirements`.
pub(crate) fn python_environment(root: &Path, name: &str, requirements: &str) -> Result<PathBuf> {
    let folder = root.join("target").join(name);
    let python = folder.join("bin/python");
    if !python.exists() {
        run(root, "python3", &["-m", "venv", &folder.to_string_lossy()])?;
    }
    let args =
        ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements];
    run(root, &python.to_string_lossy(), &args)?;
    Ok(python)
}

/// The npm packages of `folder`, as its lock file pins them.
pub(crate) fn node_packages(root: &Path, folder: &str) -> Result<()> {
    run(root, "npm", &["ci", "--prefix", folder, "--no-audit", "--no-fund", "--silent"])
}

/// `cargo deny`, built into `target/tools` once.
pub(crate) fn cargo_deny(root: &Path) -> Result<PathBuf> {
    if let Some(installed) = find(&["cargo-deny"]) {
        return Ok(installed);
    }
    let folder = root.join("target/tools");
    let program = folder.join("bin/cargo-deny");
    if !answers(&program, &["--version"]) {
        let folder = folder.to_string_lossy();
        run(root, "cargo", &["install", "--quiet", "--locked", "--root", &folder, "cargo-deny"])?;
    }
    Ok(program)
}
