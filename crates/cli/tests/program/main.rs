//! The program as people and scripts use it: real processes, a real (tiny) model, real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test says what it did and may fail"
)]

mod files;
mod templates;
mod tiny;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, ChildStdout, Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// A folder with the tiny model, in which the program runs with an environment of its own.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        tiny::write(&folder.path().join("tiny.gguf"));
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// The program with these arguments, separated by blanks; none of our own variables reach it.
    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_brisk"));
        command.args(line.split_whitespace()).current_dir(self.folder.path()).env_clear();
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    /// Standard output of a run that ends well.
    fn output(&self, line: &str) -> String {
        output_of(line, &self.run(line))
    }

    /// Checks that a run fails with this status and one line that holds `expected`.
    fn refused(&self, line: &str, status: i32, expected: &str) {
        let output = self.run(line);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{line}: {error}");
        assert!(error.contains(expected), "{line}: {error:?} does not contain {expected:?}");
        assert!(error.starts_with("error: "), "{line}: {error}");
        assert!(!error.contains("panicked"), "{line}: {error}");
    }
}

fn output_of(line: &str, output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {:?} {error}", output.status);
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn what_cannot_work_is_one_line_and_a_status() {
    let place = Place::new();
    place.file("short.gguf", "GGUF");
    place.file("text.gguf", "not a model");
    fs::create_dir(place.path("folder")).unwrap();
    for command in ["serve", "run hello", "inspect", "bench", "tokenize --text a"] {
        let with = |model: &str| format!("{command} --model {model}");
        place.refused(&with("none.gguf"), 1, "error: cannot open none.gguf: ");
        place.refused(&with("short.gguf"), 1, "version at byte 4 needs 4 bytes");
        place.refused(&with("text.gguf"), 1, "the file begins with \"not \"");
        place.refused(&with("folder"), 1, "safetensors folders are not read yet");
        place.refused(&with("/dev/random"), 1, "is a device, not a file");
    }
    let model = "--model tiny.gguf";
    place.refused(&format!("serve {model} --host 0.0.0.0"), 2, "no API key is set");
    place.refused(&format!("serve {model} --port 70000"), 2, "port is \"70000\" (flag --port)");
    place.refused(&format!("serve {model} --frobnicate"), 2, "unexpected argument");
    place.refused(&format!("logits {model} --tokens 1,x --output o"), 1, "\"x\" is no token id");
    place.refused(&format!("logits {model} --tokens 9999 --output o"), 1, "vocabulary of 260");
    place.refused(&format!("bench {model} --prompt-tokens 300"), 1, "the model holds 256");
    place.refused("config --config none.toml", 2, "cannot read none.toml");
    place.file("brisk.toml", "host = \"::1\"\n\nprot = 1\n");
    place.refused("config", 2, "brisk.toml, line 3: unknown key \"prot\", did you mean \"port\"?");
}

#[test]
fn a_settings_file_is_read_whatever_editor_has_saved_it() {
    let place = Place::new();
    place.file("brisk.toml", "\u{feff}port = 1\n");
    place.file(".env", "\u{feff}BRISK_API_KEY=sk-one\r\nBRISK_CONFIG=other.toml\r\n");
    place.file("other.toml", "\u{feff}port = 2\r\n");
    let text = place.output("config");
    assert!(text.contains("BRISK_API_KEY in .env, line 1"), "{text}");
    assert!(text.contains("other.toml, line 1"), "{text}");
    let wide: Vec<u8> = "\u{feff}BRISK_PORT=1".encode_utf16().flat_map(u16::to_le_bytes).collect();
    fs::write(place.path(".env"), wide).unwrap();
    place.refused("config", 2, "cannot read .env: it is UTF-16");
    place.file(".env", "OTHER=\"a\nb\"\nBRISK_API_KEY=\"secret\n");
    place.refused("serve", 2, ".env, line 3: BRISK_API_KEY: the quotation mark is not closed");
    place.file(".env", "");
    let output = place.command("config").env("brisk_api_key", "secret").output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("its name must be BRISK_API_KEY"), "{error}");
}

#[test]
fn config_shows_every_value_and_where_it_came_from() {
    let place = Place::new();
    place.file("brisk.toml", "max_num_seqs = 3\napi_keys = [\"sk-one\", \"sk-two\"]\n");
    place.file(".env", "CTX_SIZE=128\nOTHER=1\n");
    let mut command = place.command("config --port 9000");
    let output = command.env("BRISK_THREADS", "2").output().unwrap();
    let text = output_of("config", &output);
    let check = |name: &str, value: &str, origin: &str| {
        let line = text.lines().find(|it| it.split_whitespace().next() == Some(name));
        let line = line.unwrap_or_else(|| panic!("{name} is not in {text}"));
        assert!(line.contains(value) && line.ends_with(origin), "{line}");
    };
    check("port", "9000", "flag --port");
    check("threads", "2", "environment BRISK_THREADS");
    check("max_model_len", "128", "CTX_SIZE in .env, line 1");
    check("max_num_seqs", "3", "brisk.toml, line 1");
    check("api_keys", "********, ********", "brisk.toml, line 2");
    check("host", "127.0.0.1", "default");
    assert!(!text.contains("sk-one"), "{text}");
}

#[test]
fn the_reference_page_is_the_one_that_the_program_writes() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let page = fs::read_to_string(page).unwrap();
    let written = Place::new().output("config --markdown");
    assert!(page == written, "it is old: brisk config --markdown > docs/configuration.md");
}

#[test]
fn tokenize_adds_and_parses_nothing_unless_asked() {
    let place = Place::new();
    let check = |text: &str, more: &str, expected: &str| {
        let mut command = place.command(&format!("tokenize --model tiny.gguf --ids {more}"));
        let output = command.args(["--text", text]).output().unwrap();
        assert_eq!(output_of(text, &output), format!("{expected}\n"), "{text:?} {more}");
    };
    check("Hi!", "", "72 105 33");
    check("Hi!", "--special", "256 72 105 33");
    check("", "", "");
    check("é\n", "", "195 169 10");
    check("<|end|>", "", "60 124 101 110 100 124 62");
    check("<|end|>", "--special", "256 257");
    place.file("letter.txt", "-- Hi");
    assert_eq!(
        place.output("tokenize --model tiny.gguf --ids --file letter.txt"),
        "45 45 32 72 105\n"
    );
    let table = place.output("tokenize --model tiny.gguf --text <|end|> --special");
    assert!(table.contains("257") && table.contains("(control)"), "{table}");
}

#[test]
fn inspect_tells_what_is_in_the_file_and_what_it_needs() {
    let place = Place::new();
    let text = place.output("inspect tiny.gguf --max-num-seqs 2");
    for expected in [
        "GGUF version 3",
        "F32         21",
        "llama",
        "4 of 16, 2 for keys and values",
        "gpt2 (gpt-2)",
        "<|end|>",
        "256 tokens each, 2 at full length",
        "per token as f16",
        "it fits",
        "tokenizer.ggml.tokens",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in {text}");
    }
    let text = place.output("inspect tiny.gguf --kv-cache-type q8_0");
    assert!(text.contains("per token as q8_0"), "{text}");
}

#[test]
fn logits_are_one_row_per_token_and_do_not_depend_on_threads_or_steps() {
    let place = Place::new();
    let read = |line: &str| {
        place.output(&format!("logits --model tiny.gguf --tokens 1,2,3,72,105 --output o {line}"));
        fs::read(place.path("o")).unwrap()
    };
    let bytes = read("");
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let logits = file.tensor("logits").unwrap();
    assert_eq!(logits.shape(), [5, tiny::vocab_size()]);
    assert_eq!(logits.dtype(), safetensors::Dtype::F32);
    let (values, _) = logits.data().as_chunks::<4>();
    assert!(values.iter().all(|it| f32::from_le_bytes(*it).is_finite()));
    place.file("ids", "1 2 3\n72 105");
    assert_eq!(read("--threads 1"), bytes);
    assert_eq!(read("--threads 3 --max-num-batched-tokens 16"), bytes);
    place.output("logits --model tiny.gguf --tokens-file ids --output o");
    assert_eq!(fs::read(place.path("o")).unwrap(), bytes);
}

#[test]
fn bench_reports_speeds_and_the_same_tokens_however_it_runs() {
    let place = Place::new();
    let report = |line: &str| -> Value {
        let line =
            format!("bench --model tiny.gguf --prompt-tokens 40 --gen-tokens 9 --json {line}");
        serde_json::from_str(&place.output(&line)).unwrap()
    };
    let plain = report("--repeat 1 --threads 1");
    for speed in [
        "prefill_tokens_per_second",
        "decode_tokens_per_second",
        "read_bytes_per_second",
        "decode_read_share",
        "load_seconds",
    ] {
        assert!(plain[speed].as_f64().unwrap() > 0.0, "{plain}");
    }
    assert!(plain["first_token_seconds"].as_f64() > plain["load_seconds"].as_f64(), "{plain}");
    assert!(plain["peak_memory_bytes"].as_u64().unwrap() > 1 << 20);
    assert!(!plain["machine"]["cpu"].as_str().unwrap().is_empty());
    assert_eq!(plain["machine"]["num_threads"], 1);
    let hash = plain["greedy_ids_blake3"].as_str().unwrap();
    assert_eq!(hash.len(), 64);
    let other = report("--repeat 2 --threads 2 --max-num-batched-tokens 16");
    assert_eq!(other["greedy_ids_blake3"], hash);
    assert_eq!(other["runs"].as_array().unwrap().len(), 2);
    let many = report("--sequences 3");
    assert_ne!(many["greedy_ids_blake3"], hash);
    assert_eq!(report("--sequences 3 --threads 1")["greedy_ids_blake3"], many["greedy_ids_blake3"]);
    assert!(
        place
            .output("bench --model tiny.gguf --repeat 1 --prompt-tokens 8 --gen-tokens 2")
            .contains("tokens/s")
    );
}

#[test]
fn bench_measures_the_machine_and_the_kernels_without_a_model() {
    let place = Place::new();
    let line = "bench --threads 2 --repeat 1";
    let report = place.output(&format!("{line} --kernels=Q4_K,F16 --json"));
    let report: Value = serde_json::from_str(&report).unwrap();
    let is_positive = |value: &Value| value.as_f64().is_some_and(|it| it > 0.0);
    assert!(is_positive(&report["read_bytes_per_second_one_thread"]), "{report}");
    assert!(is_positive(&report["read_bytes_per_second"]), "{report}");
    assert_eq!(report["machine"]["num_threads"], 2);
    let types = report["types"].as_array().unwrap();
    assert_eq!(types.iter().map(|it| &it["type"]).collect::<Vec<_>>(), ["Q4_K", "F16"]);
    for row in types {
        assert!(is_positive(&row["one_column_bytes_per_second"]), "{row}");
        assert!(is_positive(&row["one_column_share_of_read"]), "{row}");
        assert!(is_positive(&row["eight_column_macs_per_second"]), "{row}");
    }
    let check = |arguments: &str, expected: &[&str]| {
        let text = place.output(&format!("{line} {arguments}"));
        for expected in expected {
            assert!(text.contains(expected), "{arguments}: {expected:?} is not in {text}");
        }
    };
    check("--kernels=Q8_0", &["read, all threads", "GB/s", "\nQ8_0 ", " %"]);
    // The plain code has no instructions of its own, so no share of what they could do.
    check("--kernels=none --cpu reference", &["int8 dot products  no instructions for it"]);
    place.refused("bench --kernels=Q9", 2, "no weight type is called \"Q9\"");
}

#[test]
fn run_answers_once_and_a_seed_repeats_it() {
    let place = Place::new();
    let answer =
        |line: &str| place.run(&format!("run hello --model tiny.gguf --max-tokens 12 {line}"));
    let greedy = answer("--temperature 0");
    assert!(greedy.status.success(), "{}", String::from_utf8_lossy(&greedy.stderr));
    assert!(greedy.stdout.ends_with(b"\n"));
    assert_eq!(greedy.stderr, b"stopped after 12 tokens: as --max-tokens says\n");
    assert_eq!(answer("--temperature 0 --threads 1").stdout, greedy.stdout);
    assert_eq!(answer("--seed 4").stdout, answer("--seed 4 --max-num-seqs 1").stdout);
    assert_ne!(answer("--seed 4").stdout, answer("--seed 5").stdout);
    let mut child = place.command("run - --model tiny.gguf --max-tokens 12 --temperature 0");
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"hello").unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, greedy.stdout);
}

#[test]
fn a_reply_that_never_ends_is_cut_and_says_so() {
    let place = Place::new();
    for (context, line, expected) in [
        (4096, "", "stopped after 2048 tokens: --max-tokens allows more\n"),
        (4096, "--max-tokens 3", "stopped after 3 tokens: as --max-tokens says\n"),
        (
            128,
            "",
            "stopped after 113 tokens: the context is full, --max-model-len may allow more\n",
        ),
    ] {
        tiny::write_endless(&place.path("endless.gguf"), context);
        let output = place.run(&format!("run hello --model endless.gguf --seed 1 {line}"));
        assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);
        assert_eq!(output.status.code(), Some(0));
        assert!(output.stdout.ends_with(b"\n"));
    }
    let help = place.output("run --help");
    assert!(help.contains("--max-tokens") && help.contains("2048"), "{help}");
}

#[test]
fn what_an_error_repeats_is_bounded() {
    let place = Place::new();
    let long = "k".repeat(84_000);
    let words = "k ".repeat(42_000);
    place.file("brisk.toml", &format!("\"{long}\" = 1\n"));
    let run = |arguments: &[&str], status: i32| {
        let mut command = place.command("");
        let output = command.args(arguments).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{:?}: {error:.400}", arguments[0]);
        assert!(error.starts_with("error: "), "{error:.400}");
        assert!(error.len() < 3000, "{} bytes: {error:.400}", error.len());
    };
    run(&["config"], 2);
    fs::remove_file(place.path("brisk.toml")).unwrap();
    run(&["config", "--config", &long], 2);
    run(&["serve", "--model", &long], 1);
    run(&["serve", "--port", &long], 2);
    run(&["serve", "--host", &words], 2);
    run(&["serve", "--cpu", &words], 2);
    run(&["serve", &format!("--{long}")], 2);
    run(&[&long], 2);
    run(&[&words.replace(' ', "\n")], 2);
    run(&["bench", &format!("--kernels={long}")], 2);
    run(&["logits", "--model", "tiny.gguf", "--output", "o", "--tokens", &long], 1);
    run(&["tokenize", "--model", "tiny.gguf", "--file", &long], 1);
    run(&["inspect", &long], 1);
}

#[test]
fn chat_answers_line_by_line_and_ends_with_its_input() {
    let place = Place::new();
    let mut command = place.command("chat --model tiny.gguf --max-tokens 4 --temperature 0");
    let piped = || Stdio::piped();
    let mut child = command.stdin(piped()).stdout(piped()).stderr(piped()).spawn().unwrap();
    // More turns than the context of 256 tokens holds: the oldest ones go.
    let question = "x".repeat(60);
    let input = format!("{question}\n\n{question}\n").repeat(5);
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let error = String::from_utf8(output.stderr).unwrap();
    let is_cut = |line: &str| line == "stopped after 4 tokens: as --max-tokens says";
    assert!(error.lines().all(is_cut) && error.lines().count() == 10, "{error}");
    let num_lines = output.stdout.iter().filter(|it| **it == b'\n').count();
    assert!(num_lines >= 10, "{num_lines} lines for ten questions");
}

/// A running server; ended when the test does, however that ends.
struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    address: String,
}

impl Server {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("Brisk is listening on http://").map(str::to_owned);
        let Some(address) = address else {
            let mut error = String::new();
            child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
            panic!("no address in {line:?}: {error}");
        };
        Self { child, stdout, address }
    }

    /// Sends one request and gives status and body.
    fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// Sends a signal and gives the exit status and what else stood in standard output.
    fn end(mut self, signal: &str) -> (Option<i32>, String) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already where the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn serve_says_its_address_answers_and_ends_on_a_signal() {
    let place = Place::new();
    for signal in ["-TERM", "-INT"] {
        let server = Server::start(place.command("serve --model tiny.gguf --port 0"));
        assert!(server.address.starts_with("127.0.0.1:"), "{}", server.address);
        let (status, models) = server.ask("GET", "/v1/models", "", "");
        assert_eq!(status, 200);
        assert!(models.contains("\"tiny\""), "{models}");
        let question = r#"{"model": "tiny", "messages": [{"role": "user", "content": "hello"}],
                           "max_tokens": 5, "temperature": 0}"#;
        let (status, reply) = server.ask("POST", "/v1/chat/completions", "", question);
        assert_eq!(status, 200, "{reply}");
        let reply: Value = serde_json::from_str(&reply).unwrap();
        assert_eq!(reply["object"], "chat.completion");
        assert!(reply["usage"]["completion_tokens"].as_u64().unwrap() <= 5, "{reply}");
        assert_eq!(server.end(signal), (Some(0), String::new()));
    }
}

#[test]
fn serve_takes_its_settings_from_every_place_and_asks_for_a_key() {
    let place = Place::new();
    place.file("brisk.toml", "model = \"tiny.gguf\"\nport = 0\nhost = \"0.0.0.0\"\n");
    place.file(".env", "BRISK_MODEL_NAME=my-model\n");
    let mut command = place.command("");
    command.env("BRISK_API_KEY", "sk-test").env("BRISK_LOG_LEVEL", "off");
    let server = Server::start(command);
    assert!(server.address.starts_with("0.0.0.0:"), "{}", server.address);
    assert_eq!(server.ask("GET", "/v1/models", "", "").0, 401);
    let (status, models) = server.ask("GET", "/v1/models", "authorization: Bearer sk-test\r\n", "");
    assert_eq!(status, 200, "{models}");
    assert!(models.contains("\"my-model\""), "{models}");
}

#[test]
fn a_port_that_is_taken_is_refused_at_once() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let line = format!("serve --model tiny.gguf --port {port} --log-level off");
    place.refused(&line, 1, "choose one with --port");
}

#[test]
fn without_a_model_the_built_in_one_answers() {
    let place = Place::new();
    if cfg!(feature = "demo-model") {
        let text = place.output("inspect");
        assert!(text.starts_with("model       brisk-demo\n"), "{text}");
        for cpu in ["auto", "reference"] {
            let reply = place.output(&format!("run hello --max-tokens 40 --cpu {cpu}"));
            assert!(reply.trim().chars().any(char::is_alphabetic), "{reply:?}");
        }
    } else {
        place.refused("serve", 1, "no model given: brisk serve --model FILE");
    }
}

#[test]
fn help_teaches_by_example() {
    let place = Place::new();
    assert!(place.output("--version").starts_with("brisk "));
    for command in ["", "serve", "chat", "run", "bench", "tokenize", "logits", "inspect", "config"]
    {
        let text = place.output(&format!("{command} --help"));
        assert!(text.contains("Example") && text.contains("brisk "), "{command}: {text}");
    }
}
