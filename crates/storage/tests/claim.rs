//! Whose a file is: rows of what lies there and what is said of it. Whatever is refused stays as it was.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "tests")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use brisk_storage::{
    FileError, FileKind, Layout, claim, is_same_file, lay_out, put_aside, write_back,
};
use rusqlite::Connection;
use tempfile::TempDir;

const TABLES: &str = "CREATE TABLE t (x)";

/// Makes a database of ours.
fn make(path: &Path, kind: FileKind) -> Connection {
    let path = claim(path, kind).unwrap();
    let mut connection = Connection::open(path).unwrap();
    assert_eq!(lay_out(&mut connection, &Layout { kind, version: 3, tables: TABLES }).unwrap(), 3);
    connection
}

fn sql(path: &Path, sql: &str) {
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

/// Everything in a folder: names, bytes where it is a file, times.
fn snapshot(folder: &Path) -> BTreeMap<PathBuf, (Option<Vec<u8>>, SystemTime)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        let bytes = metadata.is_file().then(|| fs::read(&path).unwrap());
        (path, (bytes, metadata.modified().unwrap()))
    });
    entries.collect()
}

/// Claims `path` for replies. What is said, with `DIR` for the folder, or `ours`; the folder is not
/// changed by a refusal.
fn claimed(folder: &Path, path: &Path) -> String {
    let before = snapshot(folder);
    match claim(path, FileKind::Replies) {
        Ok(_) => "ours".to_owned(),
        Err(error) => {
            assert_eq!(snapshot(folder), before, "{error}");
            let real = fs::canonicalize(folder).unwrap();
            let text = error.to_string().replace(real.to_str().unwrap(), "DIR");
            text.replace(folder.to_str().unwrap(), "DIR")
        }
    }
}

/// A row: what is put into the folder as `f` or beside it, and what is said of `f`.
type Row = (&'static str, fn(&Path), &'static str);

const FILES: &[Row] = &[
    ("nothing", |_| {}, "ours"),
    ("an empty file", |f| fs::write(f, "").unwrap(), "ours"),
    ("ours", |f| drop(make(f, FileKind::Replies)), "ours"),
    (
        "ours, open in a process that was killed",
        |f| {
            // What the write-ahead file holds is not in the database yet.
            let connection = make(f, FileKind::Replies);
            connection.execute_batch("INSERT INTO t VALUES (1)").unwrap();
            let copies =
                ["", "-wal"].map(|side| fs::read(format!("{}{side}", f.display())).unwrap());
            drop(connection);
            for (side, bytes) in ["", "-wal"].iter().zip(copies) {
                fs::write(format!("{}{side}", f.display()), bytes).unwrap();
            }
        },
        "ours",
    ),
    (
        "ours with damage behind its header",
        |f| {
            drop(make(f, FileKind::Replies));
            let mut bytes = fs::read(f).unwrap();
            bytes[100..].fill(7);
            fs::write(f, bytes).unwrap();
        },
        "ours",
    ),
    (
        "our other file",
        |f| drop(make(f, FileKind::Conversations)),
        "DIR/f is Brisk's file of conversations, not Brisk's file of kept replies: it stays as it is, name another file",
    ),
    (
        "a text",
        |f| fs::write(f, "# Notes\n\nGrüße\n".repeat(20)).unwrap(),
        "DIR/f is a text, not Brisk's file of kept replies: it stays as it is, name another file",
    ),
    (
        "a text of one byte",
        |f| fs::write(f, "x").unwrap(),
        "DIR/f is a text, not Brisk's file of kept replies: it stays as it is, name another file",
    ),
    (
        "a text whose hundredth byte is within a character",
        |f| fs::write(f, "é".repeat(50) + "x").unwrap(),
        "DIR/f is a text, not Brisk's file of kept replies: it stays as it is, name another file",
    ),
    (
        "a text that is cut within a character",
        |f| fs::write(f, [b"x".repeat(99), "é".into()].concat()).unwrap(),
        "DIR/f is a text, not Brisk's file of kept replies: it stays as it is, name another file",
    ),
    (
        "a model",
        |f| fs::write(f, b"GGUF\x03\0\0\0").unwrap(),
        "DIR/f is a GGUF model, not Brisk's file of kept replies: it stays as it is, name another file",
    ),
    (
        "zeros",
        |f| fs::write(f, [0; 4096]).unwrap(),
        "DIR/f is a file of another format, not Brisk's file of kept replies: it stays as it is, name another file",
    ),
    (
        "noise",
        |f| fs::write(f, [0xa5, 0x17, 0xff, 0x80].repeat(500)).unwrap(),
        "DIR/f is a file of another format, not Brisk's file of kept replies: it stays as it is, name another file",
    ),
    (
        "a database without a mark",
        |f| sql(f, "CREATE TABLE theirs (x)"),
        "DIR/f is a SQLite database without Brisk's mark, not Brisk's file of kept replies: it stays as it is, name another file",
    ),
    (
        "a database without a mark, but with our tables",
        |f| sql(f, TABLES),
        "DIR/f is a SQLite database without Brisk's mark, not Brisk's file of kept replies: it stays as it is, name another file",
    ),
    (
        "a database with a write-ahead file",
        |f| sql(f, "PRAGMA journal_mode = WAL; CREATE TABLE theirs (x)"),
        "DIR/f is a SQLite database without Brisk's mark, not Brisk's file of kept replies: it stays as it is, name another file",
    ),
    (
        "a marked database of another program",
        |f| sql(f, "PRAGMA application_id = 0x47504b47; CREATE TABLE theirs (x)"),
        "DIR/f is another program's SQLite database (application id 0x47504b47), not Brisk's file of kept replies: it stays as it is, name another file",
    ),
    (
        "a database with nothing in it",
        |f| sql(f, "PRAGMA user_version = 1"),
        "DIR/f is a SQLite database without Brisk's mark, not Brisk's file of kept replies: it stays as it is, name another file",
    ),
    (
        "the first bytes of a database",
        |f| fs::write(f, "SQLite format 3\0").unwrap(),
        "DIR/f is the beginning of a SQLite database, not Brisk's file of kept replies: it stays as it is, name another file",
    ),
    (
        "a write-ahead file under another name",
        |f| fs::write(f, [0x37, 0x7f, 0x06, 0x82, 0, 0]).unwrap(),
        "DIR/f is the write-ahead file of a SQLite database, not Brisk's file of kept replies: it stays as it is, name another file",
    ),
    (
        "a journal under another name",
        |f| fs::write(f, [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1]).unwrap(),
        "DIR/f is the journal of a SQLite database, not Brisk's file of kept replies: it stays as it is, name another file",
    ),
    ("a folder", |f| fs::create_dir(f).unwrap(), "DIR/f is a folder: name a file instead"),
    (
        "a write-ahead file whose database is gone",
        |f| fs::write(f.with_file_name("f-wal"), "x").unwrap(),
        "no database is in DIR/f, but what belongs to one: put it back, or move DIR/f-wal away",
    ),
    (
        "all that a killed process leaves beside its database, which is gone",
        |f| {
            fs::write(f.with_file_name("f-wal"), "x").unwrap();
            fs::write(f.with_file_name("f-shm"), "x").unwrap();
        },
        "no database is in DIR/f, but what belongs to one: put it back, or move DIR/f-wal and DIR/f-shm away",
    ),
    (
        "a folder where the write-ahead file would be",
        |f| {
            drop(make(f, FileKind::Replies));
            fs::create_dir(f.with_file_name("f-wal")).unwrap();
        },
        "DIR/f-wal is a folder: name a file instead",
    ),
    (
        "somebody's text where the reserve would be",
        |f| fs::write(f.with_file_name("f-reserve"), "notes").unwrap(),
        "DIR/f-reserve is no reserve that Brisk made, not Brisk's file of reserved room: it stays as it is, name another file",
    ),
];

#[test]
fn what_is_not_ours_is_refused_and_stays_as_it_is() {
    for (what, put, expected) in FILES {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("f");
        put(&path);
        assert_eq!(claimed(folder.path(), &path), *expected, "{what}");
        if *expected == "ours" {
            assert_eq!(claimed(folder.path(), &path), "ours", "{what}, again");
        }
    }
}

#[cfg(unix)]
const PLACES: &[Row] = &[
    ("a pipe", |f| pipe(f), "DIR/f is a pipe: name a file instead"),
    (
        "a pipe where the journal would be",
        |f| {
            drop(make(f, FileKind::Replies));
            pipe(&f.with_file_name("f-journal"));
        },
        "DIR/f-journal is a pipe: name a file instead",
    ),
    (
        "a pipe where the reserve would be",
        |f| pipe(&f.with_file_name("f-reserve")),
        "DIR/f-reserve is a pipe: name a file instead",
    ),
    (
        "a socket",
        |f| drop(std::os::unix::net::UnixListener::bind(f).unwrap()),
        "DIR/f is a socket: name a file instead",
    ),
    ("a link to a device", |f| link("/dev/null", f), "/dev/null is a device: name a file instead"),
    (
        "a link to nothing",
        |f| link("gone", f),
        "DIR/f is a link to a file that does not exist: name a file instead",
    ),
    (
        "a link to itself",
        |f| link("f", f),
        "cannot open DIR/f: Too many levels of symbolic links (os error 40)",
    ),
    (
        "a link to a text",
        |f| {
            fs::write(f.with_file_name("notes"), "text").unwrap();
            link("notes", f);
        },
        "DIR/notes is a text, not Brisk's file of kept replies: it stays as it is, name another file",
    ),
    (
        "a link to ours",
        |f| {
            drop(make(&f.with_file_name("real"), FileKind::Replies));
            link("real", f);
        },
        "ours",
    ),
];

#[cfg(unix)]
fn pipe(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

#[cfg(unix)]
fn link(target: &str, path: &Path) {
    std::os::unix::fs::symlink(target, path).unwrap();
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_never_opened() {
    for (what, put, expected) in PLACES {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("f");
        put(&path);
        let said = claimed(folder.path(), &path);
        // The number of this error differs between systems.
        let said = said.replace("(os error 62)", "(os error 40)");
        assert_eq!(said, *expected, "{what}");
    }
}

#[test]
fn names_and_places_that_cannot_be_are_said() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    for (name, expected) in [
        ("missing/f", "cannot open DIR/missing/f: No such file or directory"),
        ("file/f", "cannot open DIR/file/f: Not a directory"),
        (".", "DIR is a folder: name a file instead"),
        (
            "f-wal",
            "DIR/f-wal ends with -wal, as the files beside a database do: name a file instead",
        ),
        ("f-shm", "DIR/f-shm ends with -shm"),
        ("f-journal", "DIR/f-journal ends with -journal"),
        ("f-reserve", "DIR/f-reserve ends with -reserve"),
    ] {
        let said = claimed(folder.path(), &folder.path().join(name)).replace("DIR/.", "DIR");
        assert!(said.starts_with(expected), "{name}: {said}");
    }
}

#[cfg(unix)]
#[test]
fn what_may_not_be_read_or_written_is_said() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("f");
    drop(make(&path, FileKind::Replies));
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(&path, 0o400);
    if fs::OpenOptions::new().write(true).open(&path).is_ok() {
        eprintln!("SKIPPED: this user may write everywhere");
        return;
    }
    let denied = "cannot open DIR/f: Permission denied (os error 13)";
    assert_eq!(claimed(folder.path(), &path), denied);
    mode(&path, 0o200);
    assert!(claim(&path, FileKind::Replies).is_err());
    mode(folder.path(), 0o500);
    let new = folder.path().join("new");
    assert!(matches!(claim(&new, FileKind::Replies), Err(FileError::CannotOpen { .. })));
    mode(folder.path(), 0o700);
}

#[cfg(unix)]
#[test]
fn a_new_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new().unwrap();
    let connection = make(&folder.path().join("f"), FileKind::Replies);
    connection.execute_batch("INSERT INTO t VALUES (1)").unwrap();
    for name in ["f", "f-wal", "f-shm"] {
        let mode = fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn one_file_under_two_names_is_one_file() {
    let folder = TempDir::new().unwrap();
    let [a, b, missing] = ["a", "b", "missing"].map(|name| folder.path().join(name));
    fs::write(&a, "").unwrap();
    fs::write(&b, "").unwrap();
    assert!(is_same_file(&a, &a) && !is_same_file(&a, &b) && !is_same_file(&a, &missing));
    assert!(is_same_file(&missing, &folder.path().join(".").join("missing")));
    #[cfg(unix)]
    {
        let [soft, hard] = ["soft", "hard"].map(|name| folder.path().join(name));
        std::os::unix::fs::symlink(&a, &soft).unwrap();
        fs::hard_link(&a, &hard).unwrap();
        assert!(is_same_file(&a, &soft) && is_same_file(&soft, &hard) && !is_same_file(&b, &hard));
    }
}

#[test]
fn what_is_put_aside_never_takes_a_name_that_something_has() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("f");
    let at = |name: &str| folder.path().join(name);
    // A file, a folder, and what would be the write-ahead file of the third number.
    fs::write(at("f.aside-1"), "theirs").unwrap();
    fs::create_dir(at("f.aside-2")).unwrap();
    fs::write(at("f.aside-3-wal"), "theirs").unwrap();
    for number in 4..=16 {
        let connection = make(&path, FileKind::Replies);
        connection.execute_batch(&format!("INSERT INTO t VALUES ({number})")).unwrap();
        write_back(&connection).unwrap();
        drop(connection);
        fs::write(at("f-wal"), "damage").unwrap();
        let aside = put_aside(&path, FileKind::Replies).unwrap();
        assert_eq!(aside, at(&format!("f.aside-{number}")));
        assert!(!path.exists() && !at("f-wal").exists());
        assert_eq!(fs::read(at(&format!("f.aside-{number}-wal"))).unwrap(), b"damage");
    }
    for number in 4..=16 {
        let connection = Connection::open(at(&format!("f.aside-{number}"))).unwrap();
        let kept: i64 = connection.query_row("SELECT x FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(kept, number);
    }
    assert_eq!(fs::read(at("f.aside-1")).unwrap(), b"theirs");
    drop(make(&path, FileKind::Replies));
    let before = snapshot(folder.path());
    let full = put_aside(&path, FileKind::Replies);
    assert!(matches!(full, Err(FileError::TooManyAside { max: 16, .. })), "{full:?}");
    // Nor is anything put aside that is not ours.
    fs::write(at("notes"), "text").unwrap();
    assert!(put_aside(&at("notes"), FileKind::Replies).is_err());
    assert!(put_aside(&path, FileKind::Conversations).is_err());
    fs::remove_file(at("notes")).unwrap();
    assert_eq!(snapshot(folder.path()), before);
}
