//! Holds the tree to what the documents say: the layer table, file headers, names that exist.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// Which crates each crate may import. The compiler holds the arrows, this holds the table that
/// `ARCHITECTURE.md` draws.
const LAYERS: &[(&str, &[&str])] = &[
    ("kernels", &[]),
    ("formats", &[]),
    ("tokenizer", &[]),
    ("model", &["kernels", "formats", "tokenizer"]),
    ("engine", &["tokenizer", "model"]),
    ("storage", &[]),
    ("cache", &["storage"]),
    ("gateway", &["tokenizer", "engine", "storage", "cache"]),
    ("api", &[]),
    ("server", &["gateway", "api"]),
    ("cli", &["kernels", "formats", "tokenizer", "model", "engine", "gateway", "api", "server"]),
    ("xtask", &[]),
];

/// Runs every check and lists all findings.
pub(crate) fn run(root: &Path) -> Result<()> {
    let mut findings = Vec::new();
    layers(root, &mut findings)?;
    let sources = rust_sources(&root.join("crates"))?;
    for source in &sources {
        source_file(root, source, &mut findings)?;
    }
    architecture(root, &mut findings)?;
    links(root, &mut findings)?;
    longest_files(root, &sources)?;
    if findings.is_empty() {
        return Ok(());
    }
    for finding in &findings {
        println!("tidy: {finding}");
    }
    bail!("{} findings", findings.len())
}

fn layers(root: &Path, findings: &mut Vec<String>) -> Result<()> {
    let mut on_disk = BTreeSet::new();
    for entry in fs::read_dir(root.join("crates"))? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        on_disk.insert(name.to_owned());
        let manifest = fs::read_to_string(path.join("Cargo.toml"))?;
        let manifest: toml::Table = manifest.parse().with_context(|| format!("crates/{name}"))?;
        let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| *layer == name) else {
            findings.push(format!("crates/{name} is not in the layer table"));
            continue;
        };
        let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
        for dependency in dependencies.into_iter().flat_map(toml::Table::keys) {
            let Some(layer) = dependency.strip_prefix("brisk-") else { continue };
            if !allowed.contains(&layer) {
                findings.push(format!("crates/{name} must not import {layer}"));
            }
        }
    }
    for (layer, _) in LAYERS {
        if !on_disk.contains(*layer) {
            findings.push(format!("the layer table names crates/{layer}, which does not exist"));
        }
    }
    Ok(())
}

/// A file opens with its one job; leftovers and undeclared `unsafe` do not stay.
fn source_file(root: &Path, path: &Path, findings: &mut Vec<String>) -> Result<()> {
    let text = fs::read_to_string(path)?;
    let shown = path.strip_prefix(root).unwrap_or(path).display().to_string();
    if !text.starts_with("//!") {
        findings.push(format!("{shown} does not open with a //! sentence"));
    }
    let leftovers = [concat!("FIX", "ME"), concat!("XX", "X:"), concat!("dbg", "!(")];
    for (number, line) in text.lines().enumerate() {
        if let Some(leftover) = leftovers.iter().find(|leftover| line.contains(**leftover)) {
            findings.push(format!("{shown}:{} has a leftover {leftover}", number + 1));
        }
    }
    let may_hold_unsafe =
        shown.starts_with("crates/kernels/") || shown.ends_with("formats/src/mapped.rs");
    let keyword = concat!("unsafe", " {");
    if !may_hold_unsafe && text.contains(keyword) {
        findings.push(format!("{shown} holds unsafe code, which belongs to kernels"));
    }
    Ok(())
}

/// `ARCHITECTURE.md` names each crate.
fn architecture(root: &Path, findings: &mut Vec<String>) -> Result<()> {
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).context("ARCHITECTURE.md")?;
    for (layer, _) in LAYERS {
        if !text.contains(&format!("`{layer}`")) {
            findings.push(format!("ARCHITECTURE.md does not name `{layer}`"));
        }
    }
    Ok(())
}

/// Relative links of the documents lead somewhere.
fn links(root: &Path, findings: &mut Vec<String>) -> Result<()> {
    let mut documents = files_with_extension(&root.join("docs"), "md")?;
    for name in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "STYLE.md", "demo/README.md"] {
        documents.push(root.join(name));
    }
    for document in documents {
        let text = fs::read_to_string(&document).with_context(|| document.display().to_string())?;
        let folder = document.parent().unwrap_or(root);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            let outside = target.contains("://") || target.starts_with("mailto:");
            if !outside && !target.is_empty() && !folder.join(target).exists() {
                let shown = document.strip_prefix(root).unwrap_or(&document).display();
                findings.push(format!("{shown} links to {target}, which does not exist"));
            }
        }
    }
    Ok(())
}

/// Growth is noticed, never forbidden.
fn longest_files(root: &Path, sources: &[PathBuf]) -> Result<()> {
    let mut lengths = Vec::new();
    for path in sources {
        let shown = path.strip_prefix(root).unwrap_or(path).display().to_string();
        lengths.push((fs::read_to_string(path)?.lines().count(), shown));
    }
    lengths.sort_unstable_by(|a, b| b.cmp(a));
    println!("the ten longest files:");
    for (lines, path) in lengths.iter().take(10) {
        println!("{lines:6}  {path}");
    }
    Ok(())
}

fn rust_sources(folder: &Path) -> Result<Vec<PathBuf>> {
    files_with_extension(folder, "rs")
}

/// All files below `folder` with this extension; none when the folder does not exist.
fn files_with_extension(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
