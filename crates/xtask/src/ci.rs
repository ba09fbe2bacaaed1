//! The whole of CI, in the order in which a mistake is cheapest to find.

use std::{ffi::OsStr, path::Path, time::Duration};

use anyhow::Result;

use crate::{
    dist,
    server::Server,
    shell::{Tally, answers, run, run_with, run_within},
    tidy, tools,
};

/// The database is a few megabytes.
const ADVISORIES_TIMEOUT: Duration = Duration::from_secs(120);

/// Everything that must pass.
pub(crate) fn run_ci() -> Result<()> {
    let root = crate::root()?;
    let mut tally = Tally::default();
    tally.step("format", || run_cargo(&root, &["fmt", "--all", "--check"]));
    tally.step("tidy", || tidy::run(&root));
    tally.step("lints", || {
        run_cargo(&root, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
    });
    tally.step("tests", || run_cargo(&root, &["test", "--workspace"]));
    tally.step("documentation", || {
        let deny: &OsStr = "-D warnings".as_ref();
        let args = ["doc", "--workspace", "--no-deps", "--document-private-items"];
        run_with(&root, "cargo", &args, &[("RUSTDOCFLAGS", deny)])
    });
    tally.step("release binary", || dist::build(&root));
    e2e_steps(&root, &mut tally);
    aarch64(&root, &mut tally);
    tally.step("licences and sources", || {
        let deny = tools::cargo_deny(&root)?;
        run(&root, &deny.to_string_lossy(), &["check", "licenses", "bans", "sources"])
    });
    advisories(&root, &mut tally);
    tally.close()
}

/// Nothing that came in has a known weakness, as far as the database of them can be had.
fn advisories(root: &Path, tally: &mut Tally) {
    let deny = tools::cargo_deny(root).map(|it| it.to_string_lossy().into_owned());
    let fetched = deny.and_then(|deny| {
        run_within(root, &deny, &["fetch", "db"], ADVISORIES_TIMEOUT).map(|()| deny)
    });
    match fetched {
        Ok(deny) => tally
            .step("advisories", || run(root, &deny, &["check", "--disable-fetch", "advisories"])),
        Err(error) => {
            tally.skip("advisories", &format!("the database cannot be had: {error:#}"));
        }
    }
}

/// The release binary under real clients.
pub(crate) fn run_e2e() -> Result<()> {
    let root = crate::root()?;
    let mut tally = Tally::default();
    tally.step("release binary", || dist::build(&root));
    e2e_steps(&root, &mut tally);
    tally.close()
}

fn e2e_steps(root: &Path, tally: &mut Tally) {
    let binary = root.join(dist::BINARY);
    let binary = binary.to_string_lossy();
    tally.step("bench smoke", || {
        let args = ["bench", "--prompt-tokens", "64", "--gen-tokens", "16", "--json"];
        run(root, &binary, &args)
    });
    tally.step("demonstration model", || {
        let server = Server::start(root, &binary)?;
        run(root, "python3", &["demo/evaluate.py", "--url", &server.url])
    });
    tally.step("bad input", || {
        run(root, "python3", &["tests/e2e/bad_inputs/run.py", "--binary", &binary])
    });
    tally.step("assistant endpoints", || {
        run(root, "python3", &["tests/e2e/assistant.py", "--binary", &binary])
    });
    tally.step("OpenAI client", || {
        let python = tools::python_environment(root, "e2e-venv", "tests/e2e/requirements.txt")?;
        run(root, &python.to_string_lossy(), &["tests/e2e/openai_client.py", "--binary", &binary])
    });
    if tools::has_redis(root) {
        tally.step("shared cache", || {
            run(root, "python3", &["tests/e2e/shared_cache.py", "--binary", &binary])
        });
    } else {
        tally.skip("shared cache", "there is no redis-server and none could be installed");
    }
    let chromium = tools::chromium(root);
    match (&chromium, answers("npm", &["--version"])) {
        (Some(chromium), true) => {
            let variables = [("CHROMIUM", chromium.as_os_str())];
            tally.step("page in Chromium", || {
                tools::node_packages(root, "tests/e2e")?;
                run_with(root, "node", &["tests/e2e/page.mjs", "--binary", &binary], &variables)
            });
            tally.step("dashboard in Chromium", || {
                let shots = root.join("target/dashboard");
                let script = "tests/e2e/dashboard.mjs";
                let args = [script, "--binary", &binary, "--shots", &shots.to_string_lossy()];
                run_with(root, "node", &args, &variables)
            });
        }
        (None, _) => {
            tally.skip("pages in Chromium", "there is no Chromium and none could be installed");
        }
        (_, false) => tally.skip("pages in Chromium", "there is no npm"),
    }
}

/// The NEON kernels compile without a warning, where the target's standard library is there.
fn aarch64(root: &Path, tally: &mut Tally) {
    const TARGET: &str = "aarch64-unknown-linux-gnu";
    let print = ["--print", "target-libdir", "--target", TARGET];
    let library = std::process::Command::new("rustc").args(print).output();
    let has_std = library
        .is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir());
    if has_std {
        tally.step("aarch64", || {
            let what = ["--package", "brisk-kernels", "--all-targets", "--target", TARGET];
            run_cargo(root, &[&["clippy"], &what[..], &["--", "-D", "warnings"]].concat())
        });
    } else {
        tally.skip("aarch64", "the standard library of aarch64-unknown-linux-gnu is not installed");
    }
}

fn run_cargo(root: &Path, args: &[&str]) -> Result<()> {
    run(root, "cargo", args)
}
