//! Files that other programs wrote: every one of the conformance folder opens, and quickly, or is refused
//! for a type of tensor that is not read yet.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test says what it did and may fail"
)]

use std::{fs, path::PathBuf, time::Instant};

use brisk_formats::{Error, GgufFile};

/// Every GGUF file under the conformance folder, or nothing where there is none.
fn files() -> Vec<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "tests find the shared data this way")]
    let Ok(root) = std::env::var("BRISK_CONFORMANCE_DIR") else {
        eprintln!("SKIPPED: BRISK_CONFORMANCE_DIR is not set");
        return Vec::new();
    };
    let root = PathBuf::from(root);
    let list = |folder: PathBuf| {
        let entries = fs::read_dir(&folder).unwrap_or_else(|it| panic!("{folder:?}: {it}"));
        entries.map(|it| it.unwrap().path()).collect::<Vec<_>>()
    };
    let mut files: Vec<PathBuf> = list(root.join("golden"))
        .into_iter()
        .filter(|it| it.is_dir())
        .flat_map(list)
        .chain(list(root.join("tokenizers")))
        .filter(|it| it.extension().is_some_and(|it| it == "gguf"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{root:?} holds no GGUF file");
    files
}

#[test]
fn every_file_opens_and_has_an_architecture() {
    for path in files() {
        let start = Instant::now();
        let file = match GgufFile::open(&path) {
            Ok(file) => file,
            Err(error @ Error::UnsupportedTensorType { .. }) => {
                eprintln!("SKIPPED: {path:?}: {error}");
                continue;
            }
            Err(error) => panic!("{path:?}: {error}"),
        };
        let open_ms = start.elapsed().as_secs_f64() * 1e3;
        let architecture = file.metadata().require_str("general.architecture").unwrap();
        let tokens = file.metadata().require_strings("tokenizer.ggml.tokens").unwrap();
        assert!(!tokens.is_empty());
        let is_vocabulary = path.to_str().is_some_and(|it| it.contains("ggml-vocab"));
        assert_eq!(file.tensors().is_empty(), is_vocabulary, "{path:?}");
        for tensor in file.tensors() {
            assert_eq!(*file.map_data(tensor).unwrap(), *file.data(tensor), "{}", tensor.name);
        }
        eprintln!(
            "{:>8} {architecture:8} {:4} tensors {:6} tokens, open {open_ms:.1} ms, {:?}",
            file.num_bytes(),
            file.tensors().len(),
            tokens.len(),
            path.file_name().unwrap()
        );
    }
}
