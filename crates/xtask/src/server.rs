//! A server of the release binary for the time of one check.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};

/// A running `brisk serve` on a free port; stopped when it is dropped.
pub(crate) struct Server {
    process: Child,
    /// Where it listens.
    pub(crate) url: String,
}

impl Server {
    /// Starts the embedded model and waits for the printed address.
    pub(crate) fn start(root: &Path, binary: &str) -> Result<Self> {
        let mut process = Command::new(binary)
            .args(["serve", "--port", "0"])
            .current_dir(root)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {binary}"))?;
        let output = process.stdout.take().context("the server's output is piped")?;
        let mut server = Self { process, url: String::new() };
        for line in BufReader::new(output).lines() {
            if let Some((_, url)) = line?.split_once("listening on ") {
                url.trim().clone_into(&mut server.url);
                return Ok(server);
            }
        }
        anyhow::bail!("{binary} ended without printing its address")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, which is the check's business, not ours.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
