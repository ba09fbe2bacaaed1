//! Builds the program to give away: small, and without a word about whoever built it.
//!
//! Line tables are three quarters of a build, and panic messages name the folders of its sources. The
//! tables go to a file beside the program, where debuggers, profilers and backtraces find them; the
//! folders are called something else.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::shell::{find, run, run_with};

/// The program, below the workspace's folder. Its line tables are beside it.
pub(crate) const BINARY: &str = "target/dist/brisk";

/// A folder of this machine, and what the program calls it.
type Folder = (PathBuf, &'static str);

/// Builds the program, takes its line tables off, and checks that it names no folder of this machine.
pub(crate) fn build(root: &Path) -> Result<()> {
    let folders = folders(root)?;
    let rust = flags("--remap-path-prefix", &folders).join("\u{1f}");
    // SQLite and zstd are C.
    let c = flags("-ffile-prefix-map", &folders).join(" ");
    let variables: [(&str, &OsStr); 2] =
        [("CARGO_ENCODED_RUSTFLAGS", rust.as_ref()), ("CFLAGS", c.as_ref())];
    run_with(root, "cargo", &["build", "--profile", "dist", "--locked"], &variables)?;
    split(root)?;
    let program = fs::read(root.join(BINARY))?;
    let named = named(&program, &folders);
    ensure!(named.is_empty(), "{BINARY} names folders of this machine:\n{}", named.join("\n"));
    let tables = fs::metadata(root.join(format!("{BINARY}.debug")))?.len();
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "{BINARY}: {:.1} MiB; {BINARY}.debug: {:.1} MiB",
        mib(program.len() as u64),
        mib(tables)
    );
    Ok(())
}

/// What a build could name, wider folders before those inside them: of several prefixes that fit, the
/// compilers take the last.
fn folders(root: &Path) -> Result<Vec<Folder>> {
    let home = env::home_dir().context("there is no home folder")?;
    let cargo = env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).current_dir(root).output()?;
    ensure!(sysroot.status.success(), "rustc does not say where it is");
    let sysroot = PathBuf::from(str::from_utf8(&sysroot.stdout)?.trim());
    let folders =
        [(home, "/home"), (root.to_path_buf(), "/brisk"), (cargo, "/cargo"), (sysroot, "/rust")];
    // The same folder may be known by a link to it.
    let links = folders.clone().into_iter().filter_map(|(folder, name)| {
        let real = folder.canonicalize().ok().filter(|it| *it != folder)?;
        Some((real, name))
    });
    let mut all: Vec<_> = folders.iter().cloned().chain(links).collect();
    // A home of `/` would be a prefix of everything, and no name.
    all.retain(|(folder, _)| folder.components().count() > 1);
    all.sort_by_key(|(folder, _)| folder.components().count());
    Ok(all)
}

/// A compiler's flag for each folder.
fn flags(flag: &str, folders: &[Folder]) -> Vec<String> {
    folders.iter().map(|(from, to)| format!("{flag}={}={to}", from.display())).collect()
}

/// Moves the line tables to a file of their own.
fn split(root: &Path) -> Result<()> {
    let objcopy = find(&["objcopy", "llvm-objcopy"]).context("there is no objcopy (binutils)")?;
    let objcopy = objcopy.to_string_lossy();
    let tables = format!("{BINARY}.debug");
    // Cargo keeps a second link to what it built, which must stay whole for its next run.
    let whole = format!("{BINARY}.whole");
    fs::rename(root.join(BINARY), root.join(&whole))?;
    run(root, &objcopy, &["--only-keep-debug", &whole, &tables])?;
    let link = format!("--add-gnu-debuglink={tables}");
    run(root, &objcopy, &["--strip-debug", &link, &whole, BINARY])?;
    fs::remove_file(root.join(whole))?;
    Ok(())
}

/// The texts of a program in which one of the folders stands.
fn named(program: &[u8], folders: &[Folder]) -> Vec<String> {
    let is_text = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
    let texts = program.split(|byte| !is_text(byte)).filter_map(|text| str::from_utf8(text).ok());
    let folders: Vec<_> =
        folders.iter().map(|(folder, _)| format!("{}/", folder.display())).collect();
    let names_one = |text: &&str| folders.iter().any(|folder| text.contains(folder.as_str()));
    texts.filter(names_one).map(|text| text.chars().take(200).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_this_machine_is_found_wherever_it_stands() {
        let folders = [(PathBuf::from("/home/ada"), "/home"), (PathBuf::from("/srv/b"), "/brisk")];
        for (program, expected) in [
            (
                &b"\x7fELF\0/home/ada/.cargo/registry/a.rs\0"[..],
                &["/home/ada/.cargo/registry/a.rs"][..],
            ),
            (b"\0panicked at /srv/b/x.rs:1\0/cargo/a.rs\0", &["panicked at /srv/b/x.rs:1"]),
            (b"\0/brisk/crates/a.rs\0/home/adam/x\0", &[]),
            (b"", &[]),
        ] {
            assert_eq!(named(program, &folders), expected);
        }
        let expected = ["--remap-path-prefix=/home/ada=/home", "--remap-path-prefix=/srv/b=/brisk"];
        assert_eq!(flags("--remap-path-prefix", &folders), expected);
    }
}
