//! The files that the program keeps: whose they are, what a clean end leaves, and a place that is full.

use std::{fs, process::Command};

use serde_json::{Value, json};

use super::{Place, Server};

/// Asks and gives the JSON of a reply that is 200.
fn ask(server: &Server, method: &str, path: &str, body: &str) -> Value {
    let (status, reply) = server.ask(method, path, "", body);
    assert_eq!(status, 200, "{method} {path}: {reply}");
    serde_json::from_str(&reply).unwrap()
}

fn chat(server: &Server, user_id: &str, message: &str) -> Value {
    let turn = json!({
        "user_id": user_id, "message": message, "stream": false, "max_tokens": 4, "temperature": 0,
    });
    ask(server, "POST", "/api/chat", &turn.to_string())
}

#[test]
fn a_file_that_is_not_ours_is_refused_at_the_start_and_stays() {
    let place = Place::new();
    place.file("notes", "my notes\n");
    fs::copy(place.path("tiny.gguf"), place.path("model")).unwrap();
    fs::create_dir(place.path("folder")).unwrap();
    fs::write(place.path("left.db-wal"), "pages").unwrap();
    let whole =
        Server::start(place.command(
            "serve --model tiny.gguf --port 0 --cache-file c.db --conversations-file t.db",
        ));
    assert_eq!(whole.end("-TERM").0, Some(0));
    let rows = [
        ("notes", "is a text"),
        ("model", "is a GGUF model"),
        ("folder", "is a folder"),
        ("left.db", "but what belongs to one: put it back, or move "),
        ("tiny.gguf", "is a GGUF model"),
        ("new-wal", "ends with -wal"),
    ];
    for (name, expected) in rows {
        let path = place.path(name);
        let bytes = fs::read(&path).ok();
        for flag in ["--cache-file", "--conversations-file"] {
            let line = format!("serve --model tiny.gguf --port 0 --log-level off {flag} {name}");
            place.refused(&line, 1, expected);
        }
        assert_eq!(fs::read(&path).ok(), bytes, "{name}");
    }
    for (line, expected) in [
        ("--cache-file t.db", "is Brisk's file of conversations, not Brisk's file of kept replies"),
        ("--conversations-file c.db", "is Brisk's file of kept replies, not"),
        ("--cache-file one.db --conversations-file ./one.db", "are one file"),
    ] {
        place.refused(
            &format!("serve --model tiny.gguf --port 0 --log-level off {line}"),
            1,
            expected,
        );
    }
    assert!(!place.path("one.db").exists());
    #[cfg(unix)]
    {
        assert!(Command::new("mkfifo").arg(place.path("pipe")).status().unwrap().success());
        std::os::unix::fs::symlink("gone", place.path("link")).unwrap();
        for (name, expected) in
            [("pipe", "is a pipe"), ("link", "is a link to a file that does not exist")]
        {
            for flag in ["--cache-file", "--conversations-file"] {
                let line =
                    format!("serve --model tiny.gguf --port 0 --log-level off {flag} {name}");
                place.refused(&line, 1, expected);
            }
        }
    }
}

#[test]
fn logits_go_nowhere_but_into_a_file_of_their_own() {
    let place = Place::new();
    place.file("notes", "my notes\n");
    fs::create_dir(place.path("folder")).unwrap();
    let line = "logits --model tiny.gguf --tokens 1,2";
    for (name, expected) in [
        ("notes", "notes is there already and holds no logits"),
        ("tiny.gguf", "tiny.gguf is there already and holds no logits"),
        ("folder", "folder is there already and is no file"),
    ] {
        place.refused(&format!("{line} --output {name}"), 1, expected);
    }
    assert_eq!(fs::read(place.path("notes")).unwrap(), b"my notes\n");
    for _ in 0..2 {
        place.output(&format!("{line} --output out.safetensors"));
    }
}

#[test]
fn after_a_clean_end_a_copy_of_each_file_alone_is_whole() {
    let place = Place::new();
    for signal in ["-TERM", "-INT"] {
        let name = |what: &str| format!("{what}{signal}.db");
        let line = |cache: &str, talks: &str| {
            place.command(&format!(
                "serve --model tiny.gguf --port 0 --cache-file {cache} --conversations-file {talks}"
            ))
        };
        let server = Server::start(line(&name("c"), &name("t")));
        for turn in 0..3 {
            assert_eq!(chat(&server, "ann", &format!("hello {turn}"))["kept"], true);
        }
        let question = json!({"query": "hello", "max_tokens": 4, "temperature": 0}).to_string();
        assert_eq!(ask(&server, "POST", "/api/query", &question)["cache"], "miss");
        assert_eq!(server.end(signal).0, Some(0));
        for what in ["c", "t"] {
            for side in ["-wal", "-shm", "-journal"] {
                assert!(!place.path(&format!("{}{side}", name(what))).exists(), "{what}{side}");
            }
            fs::copy(place.path(&name(what)), place.path(&format!("copy-{}", name(what)))).unwrap();
        }
        let copied =
            Server::start(line(&format!("copy-{}", name("c")), &format!("copy-{}", name("t"))));
        let talk = ask(&copied, "GET", "/api/conversations/ann", "");
        assert_eq!(talk["messages"].as_array().unwrap().len(), 6, "{talk}");
        assert_eq!(ask(&copied, "POST", "/api/query", &question)["cache"], "hit");
    }
}

/// A limit on the size of files is the full disk that needs no rights to make.
#[cfg(unix)]
#[test]
fn a_full_place_answers_says_so_and_deletes() {
    let place = Place::new();
    let program =
        place.command("serve --model tiny.gguf --port 0 --log-level off --conversations-file t.db");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -f 256 && exec \"$0\" \"$@\""]).arg(program.get_program());
    command.args(program.get_args()).current_dir(place.path("")).env_clear();
    let server = Server::start(command);
    let message = "x".repeat(150);
    let mut num_kept = 0;
    while chat(&server, "ann", &message)["kept"] == true {
        num_kept += 1;
        assert!(num_kept < 2000, "the place has no end");
    }
    assert!(num_kept > 10, "{num_kept}");
    let ready = server.ask("GET", "/health/ready", "", "");
    assert_eq!(ready, (200, "ready, degraded: conversations\n".to_owned()));
    for _ in 0..5 {
        assert_eq!(chat(&server, "ann", &message)["kept"], false);
    }
    assert_eq!(ask(&server, "DELETE", "/api/conversations/ann", "")["deleted"], true);
    assert_eq!(chat(&server, "ann", &message)["kept"], true);
    assert_eq!(server.ask("GET", "/health/ready", "", "").1, "ready\n");
    assert_eq!(server.end("-TERM").0, Some(0));
}
