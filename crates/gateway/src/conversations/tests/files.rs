//! What a file keeps, and what happens when it has a problem.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;

#[tokio::test]
async fn a_file_keeps_what_was_appended() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("conversations.db");
    for turn in 1..=3 {
        let store = ConversationStore::open(Some(&path), impatient()).unwrap();
        append(&store, ANN, "u", turn).await;
    }
    let store = ConversationStore::open(Some(&path), impatient()).unwrap();
    assert_eq!(loaded(&store, ANN, "u", 10).await, "q1 a1 q2 a2 q3 a3");
    #[cfg(unix)]
    for name in ["conversations.db", "conversations.db-wal"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name} is its owner's alone");
    }
}

#[tokio::test]
async fn a_closed_file_is_whole_by_itself() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("conversations.db");
    let store = ConversationStore::open(Some(&path), impatient()).unwrap();
    for turn in 1..=60 {
        append(&store, ANN, &format!("u{}", turn % 7), turn).await;
    }
    let expected = listed(&store, ANN, 10, None).await;
    store.close().await;
    assert!(!folder.path().join("conversations.db-wal").exists(), "nothing is beside it");
    let copy = folder.path().join("copy.db");
    fs::copy(&path, &copy).unwrap();
    let copied = ConversationStore::open(Some(&copy), impatient()).unwrap();
    assert_eq!(listed(&copied, ANN, 10, None).await, expected);
    // Whoever asks after the end is told, and nobody waits.
    assert_eq!(store.delete(ANN, "u1").await, Err(ConversationError::Stopped));
    store.close().await;
}

#[tokio::test]
async fn the_write_ahead_file_stays_small() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("conversations.db");
    let store = ConversationStore::open(Some(&path), impatient()).unwrap();
    let text = "x".repeat(20_000);
    for turn in 0..200 {
        store.append(ANN, "u", None, "q", &text, at(turn)).await.unwrap();
        let num_bytes = fs::metadata(folder.path().join("conversations.db-wal")).unwrap().len();
        assert!(num_bytes < 2 << 20, "{num_bytes}");
    }
    assert!(fs::metadata(&path).unwrap().len() > 3 << 20);
}

#[tokio::test]
async fn a_deletion_gives_its_room_back_to_the_disk() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("conversations.db");
    let store = ConversationStore::open(Some(&path), impatient()).unwrap();
    append(&store, ANN, "u", 1).await;
    store.append(ANN, "v", None, "q", &"x".repeat(1 << 20), at(0)).await.unwrap();
    append(&store, ANN, "w", 2).await;
    assert!(store.delete(ANN, "v").await.unwrap());
    let num_bytes = fs::metadata(&path).unwrap().len();
    assert!(num_bytes < 100 << 10, "{num_bytes}");
    assert_eq!(loaded(&store, ANN, "w", 10).await, "q2 a2");
}

#[tokio::test]
async fn two_programs_may_share_a_file() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("conversations.db");
    let open = || ConversationStore::open(Some(&path), ConversationConfig::default()).unwrap();
    let (one, other) = (open(), open());
    for turn in 1..=20 {
        let (first, second) = tokio::join!(
            one.append(ANN, "u", None, "q", "a", at(turn)),
            other.append(ANN, "u", None, "q", "a", at(turn)),
        );
        first.unwrap();
        second.unwrap();
    }
    assert_eq!(one.load(ANN, "u", 100).await.unwrap().messages.len(), 80);
}

/// Every byte of the store's files.
fn bytes_on_disk(folder: &Path) -> Vec<u8> {
    let files = fs::read_dir(folder).unwrap();
    files.flat_map(|it| fs::read(it.unwrap().path()).unwrap()).collect()
}

#[tokio::test]
async fn what_is_deleted_is_gone_from_the_disk() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("conversations.db");
    let store = ConversationStore::open(Some(&path), impatient()).unwrap();
    let holds = |secret: &str| {
        bytes_on_disk(folder.path()).windows(secret.len()).any(|it| it == secret.as_bytes())
    };
    let long = "a secret of some length ".repeat(1000);
    store.append(ANN, "somebody", None, "a short secret", &long, at(0)).await.unwrap();
    append(&store, ANN, "other", 1).await;
    assert!(holds("a short secret") && holds("a secret of some length") && holds("somebody"));
    assert!(store.delete(ANN, "somebody").await.unwrap());
    assert!(!holds("a short secret") && !holds("a secret of some length") && !holds("somebody"));
    assert_eq!(loaded(&store, ANN, "other", 10).await, "q1 a1");
}

#[tokio::test]
async fn a_full_file_takes_no_more_and_keeps_what_it_has() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("conversations.db");
    let config = ConversationConfig { max_file_bytes: 256 << 10, ..impatient() };
    let store = ConversationStore::open(Some(&path), config).unwrap();
    append(&store, ANN, "u", 1).await;
    let long = "x".repeat(100 << 10);
    let mut refused = 0;
    for turn in 0..5 {
        match store.append(ANN, "v", None, "q", &long, at(turn)).await {
            Ok(_) => assert_eq!(refused, 0, "what is full stays full"),
            Err(error) => {
                assert_eq!(error, ConversationError::Full);
                refused += 1;
            }
        }
    }
    assert!((1..5).contains(&refused), "{refused}");
    assert_eq!(loaded(&store, ANN, "u", 10).await, "q1 a1");
    // A deletion makes room.
    assert!(store.delete(ANN, "v").await.unwrap());
    append(&store, ANN, "u", 2).await;
    assert_eq!(loaded(&store, ANN, "u", 10).await, "q1 a1 q2 a2");
}

/// Opening `path` fails; what is said of it, with `PATH` for the path.
fn refused(path: &Path) -> String {
    let error = ConversationStore::open(Some(path), impatient()).expect_err("it is no store");
    error.to_string().replace(path.to_str().unwrap(), "PATH")
}

#[test]
fn a_file_that_is_no_store_is_refused() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let not_ours = |found: &str| {
        format!(
            "cannot keep the conversations: PATH is {found}, not Brisk's file of conversations: it stays as it is, name another file"
        )
    };
    let text = file("text", "no database, but long enough to be one\n".repeat(200).as_bytes());
    assert_eq!(refused(&text), not_ours("a text"));
    assert!(fs::read(&text).unwrap().starts_with(b"no database"), "it is not touched");

    let sql = |name: &str, sql: &str| -> PathBuf {
        let path = folder.path().join(name);
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        path
    };
    let foreign = sql("foreign", "CREATE TABLE t (x)");
    assert_eq!(refused(&foreign), not_ours("a SQLite database without Brisk's mark"));
    let foreign = sql("application", "PRAGMA application_id = 7");
    let found = "another program's SQLite database (application id 0x00000007)";
    assert_eq!(refused(&foreign), not_ours(found));

    let path = folder.path().join("newer");
    drop(ConversationStore::open(Some(&path), impatient()).unwrap());
    sql("newer", "PRAGMA user_version = 7");
    assert_eq!(refused(&path), "PATH has format 7, this version knows format 1 and older ones");
    sql("newer", "PRAGMA user_version = 0");
    let expected = "the conversations in PATH are damaged: its format is 0; put a copy in its place, or move it away";
    assert_eq!(refused(&path), expected);

    let path = folder.path().join("cut");
    drop(ConversationStore::open(Some(&path), impatient()).unwrap());
    let bytes = fs::read(&path).unwrap();
    let cut = file("cut", &bytes[..bytes.len() / 2 + 100]);
    assert!(
        refused(&cut).starts_with("the conversations in PATH are damaged: "),
        "{}",
        refused(&cut)
    );
    assert_eq!(fs::read(&cut).unwrap().len(), bytes.len() / 2 + 100, "it is not touched");
}

#[test]
fn a_place_that_holds_no_file_is_refused() {
    let folder = TempDir::new().unwrap();
    let missing = folder.path().join("missing/conversations.db");
    assert!(refused(&missing).starts_with("cannot keep the conversations: cannot open PATH: "));
    let expected = "cannot keep the conversations: PATH is a folder: name a file instead";
    assert_eq!(refused(folder.path()), expected);
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let within = file.join("conversations.db");
    assert!(refused(&within).starts_with("cannot keep the conversations: cannot open PATH: "));
    // An empty file is one that can be filled.
    drop(ConversationStore::open(Some(&file), impatient()).unwrap());
}

#[cfg(unix)]
#[test]
fn a_read_only_folder_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("conversations.db");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o500)).unwrap();
    if fs::write(folder.path().join("probe"), "").is_ok() {
        eprintln!("SKIPPED: this user may write everywhere");
        return;
    }
    assert!(refused(&path).starts_with("cannot keep the conversations: cannot open PATH: "));
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    drop(ConversationStore::open(Some(&path), impatient()).unwrap());
    // The file may be written, but not the log beside it.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o500)).unwrap();
    assert!(refused(&path).starts_with("cannot open the conversations in PATH: "));
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    assert!(refused(&path).starts_with("cannot keep the conversations: cannot open PATH: "));
}

#[tokio::test]
async fn a_locked_file_is_an_answer() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("conversations.db");
    let store = ConversationStore::open(Some(&path), impatient()).unwrap();
    append(&store, ANN, "u", 1).await;
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let expected = "cannot open the conversations in PATH: another program has locked it";
    assert_eq!(refused(&path), expected);
    let appended = store.append(ANN, "u", None, "q", "a", at(0)).await;
    assert_eq!(appended, Err(ConversationError::Locked));
    assert_eq!(store.delete(ANN, "u").await, Err(ConversationError::Locked));
    assert_eq!(loaded(&store, ANN, "u", 10).await, "q1 a1", "reading goes on");
    other.execute_batch("COMMIT").unwrap();
    append(&store, ANN, "u", 2).await;
    assert_eq!(loaded(&store, ANN, "u", 10).await, "q1 a1 q2 a2", "no half of a turn");
}

/// A store whose file is damaged by `sql` while it is open.
async fn damaged_by(sql: &str) -> (TempDir, ConversationStore) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("conversations.db");
    let store = ConversationStore::open(Some(&path), impatient()).unwrap();
    append(&store, ANN, "u", 1).await;
    append(&store, ANN, "v", 2).await;
    let other = Connection::open(&path).unwrap();
    other.execute_batch(sql).unwrap();
    (folder, store)
}

#[tokio::test]
async fn damage_is_an_error_of_the_call_alone() {
    for (sql, expected) in [
        (
            "UPDATE messages SET role = 7",
            "the stored conversations are damaged: a message has role 7",
        ),
        (
            "UPDATE messages SET content = CAST(x'ff' AS TEXT)",
            "the stored conversations are damaged: invalid utf-8 sequence of 1 bytes from index 0",
        ),
        (
            "DROP TABLE messages",
            "the stored conversations cannot be reached: no such table: messages",
        ),
    ] {
        let (_folder, store) = damaged_by(sql).await;
        let error = store.load(ANN, "u", 10).await.unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
        // The store goes on.
        assert!(store.delete(BEN, "u").await.is_ok() || sql.starts_with("DROP"), "{sql}");
    }
}

#[tokio::test]
async fn numbers_that_nobody_wrote_are_damage() {
    let (_folder, store) =
        damaged_by("UPDATE messages SET number = 9223372036854775807 WHERE number = 2").await;
    let error = store.append(ANN, "u", None, "q", "a", at(0)).await.unwrap_err().to_string();
    let expected = "the stored conversations are damaged: a message has the last number there is";
    assert_eq!(error, expected);
    assert!(store.load(ANN, "u", 10).await.is_ok(), "the store goes on");
}

#[tokio::test]
async fn damaged_pages_are_no_reason_to_panic() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("conversations.db");
    let store = ConversationStore::open(Some(&path), impatient()).unwrap();
    for turn in 0..50 {
        append(&store, ANN, &format!("u{}", turn % 10), turn).await;
    }
    drop(store);
    let whole = fs::read(&path).unwrap();
    // Each page in turn, from its header on.
    for start in (0..whole.len()).step_by(512) {
        let mut bytes = whole.clone();
        let end = (start + 64).min(bytes.len());
        bytes[start..end].iter_mut().for_each(|it| *it = !*it);
        fs::write(&path, bytes).unwrap();
        for name in ["conversations.db-wal", "conversations.db-shm"] {
            let _ = fs::remove_file(folder.path().join(name));
        }
        let Ok(store) = ConversationStore::open(Some(&path), impatient()) else { continue };
        for user in 0..10 {
            let user_id = format!("u{user}");
            let _ = store.load(ANN, &user_id, 10).await;
            let _ = store.append(ANN, &user_id, None, "q", "a", at(0)).await;
        }
        let _ = store.list(ANN, 10, None).await;
        let stopped = Err(ConversationError::Stopped);
        assert_ne!(store.delete(ANN, "u1").await, stopped, "byte {start}");
    }
}
