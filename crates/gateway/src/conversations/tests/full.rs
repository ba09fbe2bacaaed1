//! A disk that is really full: turns are not kept, and deletions make room.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use super::*;

/// A disk of a few megabytes.
struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// `None`, said aloud, where this user may not mount one.
    fn new(num_kib: u64) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let size = format!("size={num_kib}k");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path());
        if !mount.output().is_ok_and(|it| it.status.success()) {
            eprintln!("SKIPPED: this user may not mount a small disk");
            return None;
        }
        Some(Self { folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes until nothing goes in any more.
    fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(self.path("filler")).unwrap();
        for num_bytes in [64 << 10, 4096, 1] {
            while file.write(&vec![1; num_bytes]).is_ok_and(|it| it > 0) {}
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.folder.path()).output();
    }
}

/// A store in which no turn goes to make room for another.
fn open(path: &Path) -> ConversationStore {
    let config = ConversationConfig { max_messages: 1_000_000, ..impatient() };
    ConversationStore::open(Some(path), config).unwrap()
}

/// Turns until one is not kept; how many were.
async fn append_until_full(store: &ConversationStore, user_id: &str, num_bytes: usize) -> usize {
    let text = "x".repeat(num_bytes);
    for turn in 0..100_000 {
        let appended = store.append(ANN, user_id, None, "q", &text, at(turn)).await;
        match appended {
            Ok(true) => {}
            Err(ConversationError::Full) => return turn as usize,
            other => panic!("{other:?}"),
        }
    }
    panic!("the disk does not end");
}

#[tokio::test]
async fn a_full_disk_deletes_and_takes_turns_again() {
    // The disk, and how long the turns are that fill it.
    for (num_kib, num_bytes) in [
        (1 << 10, 10),
        (2 << 10, 100),
        (2 << 10, 30_000),
        (16 << 10, 500),
        (16 << 10, 300_000),
        (24 << 10, 1 << 20),
    ] {
        let Some(disk) = SmallDisk::new(num_kib) else { return };
        let store = open(&disk.path("conversations.db"));
        let what = format!("{num_kib} KiB, {num_bytes} bytes");
        for user in ["a", "b", "c"] {
            for turn in 0..2 {
                append(&store, ANN, user, turn).await;
            }
        }
        let num_kept = append_until_full(&store, "long", num_bytes).await;
        assert!(num_kept > 0, "{what}");
        disk.fill();
        for round in 0..3 {
            for _ in 0..20 {
                append_until_full(&store, "long", num_bytes).await;
            }
            assert!(store.is_degraded(), "{what}");
            // What is there can be read, and goes when it is to go.
            let user = ["a", "b", "c"][round];
            assert_eq!(loaded(&store, ANN, user, 10).await, "q0 a0 q1 a1", "{what}");
            assert_eq!(store.delete(ANN, user).await, Ok(true), "{what}, round {round}");
            assert_eq!(loaded(&store, ANN, user, 10).await, "");
            disk.fill();
        }
        assert_eq!(store.delete(ANN, "long").await, Ok(true), "{what}");
        let appended = store.append(ANN, "new", None, "q1", "a1", at(1)).await;
        assert_eq!(appended, Ok(true), "{what}");
        assert!(!store.is_degraded(), "{what}");
        store.close().await;
        let copied = disk.folder.path().join("conversations.db");
        assert_eq!(listed(&open(&copied), ANN, 10, None).await, "new:2:1-1", "{what}");
    }
}

#[tokio::test]
async fn a_store_opens_on_a_full_disk_and_deletes() {
    for is_killed in [false, true] {
        let Some(disk) = SmallDisk::new(16 << 10) else { return };
        let path = disk.path("conversations.db");
        let store = open(&path);
        for turn in 0..10 {
            append(&store, ANN, "u", turn).await;
        }
        append_until_full(&store, "long", 3000).await;
        let sides = ["", "-wal"].map(|side| disk.path(&format!("conversations.db{side}")));
        let killed = sides.each_ref().map(|path| fs::read(path).unwrap());
        store.close().await;
        if is_killed {
            // Nobody closed them.
            for (path, bytes) in sides.iter().zip(killed) {
                fs::write(path, bytes).unwrap();
            }
        }
        disk.fill();
        let store = open(&path);
        assert_eq!(loaded(&store, ANN, "u", 2).await, "q9 a9", "killed: {is_killed}");
        assert_eq!(store.delete(ANN, "long").await, Ok(true), "killed: {is_killed}");
        append(&store, ANN, "u", 10).await;
    }
}
