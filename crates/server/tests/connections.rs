//! What connections do to each other and to the server: clients that stop sending, that read nothing,
//! that say nothing, and that send too much.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::time::Duration;

use brisk_server::ServerConfig;
use common::{
    CANARY, Server,
    client::{Reply, read_to_end, read_until},
    config, eventually,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpSocket, TcpStream},
};

const LIVE: &str = "GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n";
const ALPHABET: &str = "bcdefghijklmnopqrstuvwxyz";

fn post(path: &str, framing: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{framing}\r\n\r\n{body}"
    )
}

fn completion(body: &str) -> String {
    post("/v1/completions", &format!("Content-Length: {}", body.len()), body)
}

fn closing(request: &str) -> String {
    request.replacen("Host:", "Connection: close\r\nHost:", 1)
}

fn chunked(body: &str) -> String {
    let (first, second) = body.split_at(body.len() / 2);
    let chunks = format!(
        "{:x}\r\n{first}\r\n{:x};x=y\r\n{second}\r\n0\r\nA: b\r\n\r\n",
        first.len(),
        second.len()
    );
    post("/v1/completions", "Transfer-Encoding: chunked", &chunks)
}

/// A reply of plain events, about 150 bytes each.
fn streamed(num_tokens: usize) -> String {
    completion(
        &json!({"prompt": "a", "max_tokens": num_tokens, "ignore_eos": true, "stream": true})
            .to_string(),
    )
}

/// A connection with the buffers that the system gives to anyone.
async fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.client.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Sends bytes in pieces, stops sending, and gives everything that comes back.
async fn send_and_stop(server: &Server, bytes: &[u8], num_pieces: usize, waits: bool) -> String {
    let mut stream = connect(server).await;
    for piece in bytes.chunks(bytes.len().div_ceil(num_pieces)) {
        stream.write_all(piece).await.unwrap();
        // The server may see the pieces one by one, or all at once with the end behind them.
        if waits {
            tokio::task::yield_now().await;
        }
    }
    stream.shutdown().await.unwrap();
    String::from_utf8(read_to_end(&mut stream).await).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_sending_after_a_whole_request_gets_all_of_its_reply() {
    let server = Server::start(config());
    let plain = completion(CANARY);
    let greedy = |stream| {
        json!({"prompt": "a", "temperature": 0, "max_tokens": 100, "stream": stream}).to_string()
    };
    // What is sent, and what must come, in this order.
    let rows: [(&str, String, &[&str]); 8] = [
        ("no body", LIVE.into(), &["200 OK", "alive"]),
        ("a whole reply", plain.clone(), &["200 OK", ALPHABET, "timings"]),
        (
            "a stream",
            completion(&greedy(true)),
            &["200 OK", "\"b\"", "\"z\"", "[DONE]", "0\r\n\r\n"],
        ),
        ("chunks", chunked(CANARY), &["200 OK", ALPHABET, "timings"]),
        (
            "chunks and a stream",
            chunked(&greedy(true)),
            &["200 OK", "\"z\"", "[DONE]", "0\r\n\r\n"],
        ),
        ("two requests", format!("{LIVE}{plain}"), &["200 OK", "alive", "200 OK", ALPHABET]),
        ("three requests", format!("{plain}{LIVE}{plain}"), &[ALPHABET, "alive", ALPHABET]),
        (
            "a refused body",
            post("/nowhere", "Content-Length: 3", "abc"),
            &["404 Not", "unknown_route"],
        ),
    ];
    for round in 0..6 {
        for (what, bytes, expected) in &rows {
            for num_pieces in [1, 2, 3, 7, bytes.len()] {
                let text =
                    send_and_stop(&server, bytes.as_bytes(), num_pieces, round % 2 == 0).await;
                let mut rest = text.as_str();
                for part in *expected {
                    let at = rest.find(part);
                    let at = at
                        .unwrap_or_else(|| panic!("{what} in {num_pieces}: no {part} in {text:?}"));
                    rest = &rest[at + part.len()..];
                }
            }
        }
    }
    server.is_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_sending_within_a_request_is_told_so() {
    let server = Server::start(config());
    for (bytes, expected) in [
        ("GET", "400 head_broken"),
        ("GET / HTTP/1.1\r\nHost: loc", "400 head_broken"),
        (&completion(CANARY)[..100], "400 head_broken"),
        (completion(CANARY).strip_suffix('}').unwrap(), "400 body_broken"),
        (&post("/v1/completions", "Content-Length: 9", ""), "400 body_broken"),
        (chunked(CANARY).strip_suffix("\r\n").unwrap(), "400 body_broken"),
        (&post("/v1/completions", "Transfer-Encoding: chunked", "3\r\n{"), "400 body_broken"),
    ] {
        for num_pieces in [1, 2, bytes.len()] {
            let text = send_and_stop(&server, bytes.as_bytes(), num_pieces, true).await;
            let reply = Reply::parse(text.as_bytes());
            assert_eq!(reply.error(), expected, "{bytes:?}");
            assert_eq!(reply.header("x-request-id").map(str::len), Some(32), "{bytes:?}");
        }
    }
    assert_eq!(send_and_stop(&server, b"\r\n", 1, true).await, "", "no request, no answer");
    assert_eq!(server.engine.stats().num_accepted, 0);
    server.is_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_head_is_refused_the_answer_has_a_body_and_an_id() {
    let server = Server::start(config());
    let line = |line: &str| format!("GET / HTTP/1.1\r\nHost: localhost\r\n{line}\r\n\r\n");
    let rows = [
        ("GE T / HTTP/1.1\r\n\r\n".into(), "400 malformed_head"),
        ("GET\r\n\r\n".into(), "400 malformed_head"),
        ("GET /\r\n\r\n".into(), "400 malformed_head"),
        ("GET / FTP/1.1\r\n\r\n".into(), "400 malformed_head"),
        ("GET / HTTP/1.1 \r\n\r\n".into(), "400 malformed_head"),
        ("GET /a b HTTP/1.1\r\n\r\n".into(), "400 malformed_head"),
        ("GET \u{1}/ HTTP/1.1\r\n\r\n".into(), "400 malformed_head"),
        ("G\u{e9}T / HTTP/1.1\r\n\r\n".into(), "400 malformed_head"),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\r\n\r\n".into(), "400 malformed_head"),
        ("GET / HTTP/2.0\r\n\r\n".into(), "505 http2"),
        ("GET / HTTP/1.2\r\n\r\n".into(), "505 http2"),
        ("GET / HTTP/9.9\r\n\r\n".into(), "505 http2"),
        (
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
            "400 malformed_head",
        ),
        (line("X-A"), "400 malformed_head"),
        (line("X-A : b"), "400 malformed_head"),
        (line(": b"), "400 malformed_head"),
        (line("X-A: b\r\n folded"), "400 malformed_head"),
        (line("X-A: b\0c"), "400 malformed_head"),
        (line("X-A: b\rc"), "400 malformed_head"),
        (line("X A: b"), "400 malformed_head"),
        (line("X-\u{e9}: b"), "400 malformed_head"),
        (line("X-A: b\n"), "400 bare_line_feed"),
        (line("Content-Length: +5"), "400 bad_content_length"),
        (line("Content-Length: 5, 5"), "400 bad_content_length"),
        (line("Content-Length:"), "400 bad_content_length"),
        (line("Content-Length: 18446744073709551616"), "400 bad_content_length"),
        (line("Content-Length: 5\r\nContent-Length: 5"), "400 ambiguous_length"),
        (line("Content-Length: 5\r\nTransfer-Encoding: chunked"), "400 ambiguous_length"),
        (line("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), "400 ambiguous_length"),
        (line("Transfer-Encoding: xchunked"), "400 unsupported_transfer_encoding"),
        (line("Transfer-Encoding: gzip, chunked"), "400 unsupported_transfer_encoding"),
        (line(&format!("X-A: {}", "b".repeat(17 << 10))), "431 headers_too_large"),
        (line(&"a: b\r\n".repeat(101)), "431 too_many_headers"),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(17 << 10)), "414 uri_too_long"),
    ];
    for (bytes, expected) in &rows {
        let start = bytes.chars().take(60).collect::<String>();
        // Alone, and behind requests that are answered first.
        for before in ["", LIVE, &completion(CANARY)] {
            let mut stream = connect(&server).await;
            stream.write_all(format!("{before}{bytes}").as_bytes()).await.unwrap();
            let all = read_to_end(&mut stream).await;
            let text = String::from_utf8(all).unwrap();
            let at = text.rfind("HTTP/1.1 ").unwrap_or_else(|| panic!("no answer to {start:?}"));
            assert_eq!(at > 0, !before.is_empty(), "{start:?}: {text}");
            let reply = Reply::parse(&text.as_bytes()[at..]);
            assert_eq!(reply.error(), *expected, "{start:?} behind {before:.20}");
            assert_eq!(reply.header("connection"), Some("close"), "{start:?}");
            assert_eq!(reply.header("x-request-id").map(str::len), Some(32), "{start:?}");
        }
    }
    let metrics = server.client.get("/metrics").await.body;
    assert!(metrics.contains("status=\"505\""), "refusals are counted");
    server.is_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_too_much_before_it_reads_gets_the_answer() {
    let server = Server::start(config());
    let body = "x".repeat(24 << 20);
    let framings = [
        post("/v1/completions", &format!("Content-Length: {}", body.len()), ""),
        post("/v1/completions", "Transfer-Encoding: chunked", &format!("{:x}\r\n", body.len())),
        post("/nowhere", &format!("Content-Length: {}", body.len()), ""),
    ];
    for (head, expected) in
        framings.iter().zip(["413 body_too_large", "413 body_too_large", "404 unknown_route"])
    {
        let mut stream = connect(&server).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).await.expect("a close, and no reset");
        assert_eq!(Reply::parse(&reply).error(), expected);
    }
    // Who asks first is told at once, and sends nothing.
    let asks = post("/v1/completions", "Content-Length: 25165824\r\nExpect: 100-continue", "");
    assert_eq!(server.client.raw(asks.as_bytes()).await.error(), "413 body_too_large");
    server.is_unharmed().await;
}

/// Eight streams that nobody reads are given up; gives the events that were generated for each.
async fn events_for_readers_of_nothing(recv_buffer_bytes: Option<u32>) -> u64 {
    let server =
        Server::start(ServerConfig { write_timeout: Duration::from_millis(300), ..config() });
    let mut stuck = Vec::new();
    for _ in 0..8 {
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(num_bytes) = recv_buffer_bytes {
            socket.set_recv_buffer_size(num_bytes).unwrap();
        }
        let mut stream = socket.connect(server.client.address).await.unwrap();
        stream.write_all(streamed(90_000).as_bytes()).await.unwrap();
        stuck.push(stream);
    }
    eventually("all are given up", || server.engine.stats().num_cancelled == 8).await;
    let num_tokens = server.engine.stats().num_generation_tokens;
    server.is_unharmed().await;
    drop(stuck);
    num_tokens / 8
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_nothing_is_noticed_by_plain_events() {
    // What lies here is bounded; a system with megabytes of send buffer would take 20,000 of them.
    let num_events = events_for_readers_of_nothing(Some(4 << 10)).await;
    assert!(num_events < 5000, "this side took {num_events} events of each");
    // What a client's own system takes is that system's affair: some 100 KB, or a megabyte.
    events_for_readers_of_nothing(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_is_slow_gets_all_of_its_stream() {
    let server =
        Server::start(ServerConfig { write_timeout: Duration::from_millis(400), ..config() });
    let mut stream = connect(&server).await;
    stream.write_all(closing(&streamed(5000)).as_bytes()).await.unwrap();
    let mut reader = BufReader::with_capacity(16 << 10, stream);
    let (mut num_bytes, mut end) = (0, Vec::new());
    loop {
        let mut piece = Vec::new();
        let num_read = (&mut reader).take(16 << 10).read_to_end(&mut piece).await.unwrap();
        if num_read == 0 {
            break;
        }
        num_bytes += num_read;
        end = piece;
        // Slower than it could be by far, and faster than the write timeout asks for.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(String::from_utf8_lossy(&end).contains("[DONE]"), "broke off after {num_bytes} bytes");
    server.is_unharmed().await;
}

/// Whether the server closes a connection; one that is kept is silent.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut byte = [0; 1];
    let read = stream.read(&mut byte);
    matches!(tokio::time::timeout(Duration::from_millis(50), read).await, Ok(Ok(0) | Err(_)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_connection_gives_way_to_a_new_one() {
    let server = Server::start(ServerConfig { max_connections: 64, ..config() });
    let mut silent = Vec::new();
    for number in 0..64 {
        let mut stream = connect(&server).await;
        // Some have begun a head, which is no request yet.
        stream.write_all(&LIVE.as_bytes()[..number % 8]).await.unwrap();
        silent.push(stream);
    }
    for _ in 0..3 {
        assert_eq!(server.client.get("/health/live").await.body, "alive\n");
    }
    // The oldest went, and no more than had to.
    assert!(is_closed(&mut silent[0]).await);
    assert!(!is_closed(silent.last_mut().unwrap()).await);
    server.is_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_ones_go_before_idle_ones_and_who_is_served_stays() {
    let server = Server::start(ServerConfig { max_connections: 3, ..config() });
    server.gate.close();
    let mut served = connect(&server).await;
    served.write_all(completion(CANARY).as_bytes()).await.unwrap();
    eventually("it is served", || server.gate.is_held()).await;
    let mut idle = connect(&server).await;
    idle.write_all(LIVE.as_bytes()).await.unwrap();
    read_until(&mut idle, "alive").await;
    let mut silent = connect(&server).await;
    let mut first = connect(&server).await;
    first.write_all(LIVE.as_bytes()).await.unwrap();
    read_until(&mut first, "alive").await;
    assert!(is_closed(&mut silent).await);
    assert!(!is_closed(&mut idle).await);
    // Idle ones go in the order in which they became idle.
    let mut second = connect(&server).await;
    second.write_all(LIVE.as_bytes()).await.unwrap();
    read_until(&mut second, "alive").await;
    assert!(is_closed(&mut idle).await);
    assert!(!is_closed(&mut first).await);
    server.gate.open();
    read_until(&mut served, "\"timings\"").await;
    drop((first, second, served));
    server.is_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_keeps_the_server_waiting_within_a_request_gives_way_too() {
    let server = Server::start(ServerConfig { max_connections: 2, ..config() });
    // A body that does not come, and a stream that is not read.
    let mut sends = connect(&server).await;
    sends.write_all(post("/v1/completions", "Content-Length: 50", "{").as_bytes()).await.unwrap();
    let mut reads_not = connect(&server).await;
    reads_not.write_all(streamed(80_000).as_bytes()).await.unwrap();
    // Those who listen to the server's figures are being served, for as long as they like.
    let mut listeners = Vec::new();
    for _ in 0..2 {
        let mut listens = connect(&server).await;
        let listen = LIVE.replace("/health/live", "/api/performance/stream");
        listens.write_all(listen.as_bytes()).await.unwrap();
        read_until(&mut listens, "data: ").await;
        listeners.push(listens);
    }
    eventually("the stream is given up", || server.engine.stats().num_cancelled == 1).await;
    assert!(is_closed(&mut sends).await);
    drop((reads_not, listeners));
    server.is_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_are_served_a_new_one_waits() {
    let server = Server::start(ServerConfig { max_connections: 2, ..config() });
    server.gate.close();
    let mut first = connect(&server).await;
    first.write_all(completion(CANARY).as_bytes()).await.unwrap();
    eventually("it is served", || server.gate.is_held()).await;
    let mut second = connect(&server).await;
    second.write_all(completion(CANARY).as_bytes()).await.unwrap();
    eventually("the second is queued", || server.engine.stats().num_waiting == 1).await;
    let mut waits = connect(&server).await;
    waits.write_all(LIVE.as_bytes()).await.unwrap();
    assert!(!is_closed(&mut waits).await);
    server.gate.open();
    read_until(&mut waits, "alive").await;
    for stream in [&mut first, &mut second] {
        read_until(stream, "\"timings\"").await;
    }
}
