//! A client that writes bytes and reads bytes, so that tests can be rude.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::PATIENCE;

/// Where to call, and with which headers besides the usual ones.
#[derive(Clone)]
pub struct Client {
    pub address: SocketAddr,
    pub headers: String,
}

/// A response, read to the connection's end.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Client {
    pub fn with(&self, header: &str) -> Self {
        Self { headers: format!("{}{header}\r\n", self.headers), ..self.clone() }
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.request("GET", path, "").await
    }

    pub async fn post(&self, path: &str, body: &str) -> Reply {
        let json = self.with("Content-Type: application/json");
        json.with(&format!("Content-Length: {}", body.len())).request("POST", path, body).await
    }

    /// One request on a connection of its own.
    pub async fn request(&self, method: &str, path: &str, body: &str) -> Reply {
        let Self { address, headers } = self;
        let host =
            if headers.contains("Host:") { String::new() } else { format!("Host: {address}\r\n") };
        let head = format!("{method} {path} HTTP/1.1\r\n{host}Connection: close\r\n{headers}\r\n");
        self.raw(format!("{head}{body}").as_bytes()).await
    }

    /// Sends bytes as they are and reads until the server closes.
    pub async fn raw(&self, bytes: &[u8]) -> Reply {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        Reply::parse(&read_to_end(&mut stream).await)
    }

    /// A connection whose own buffer is small too.
    pub async fn connect(&self) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 << 10).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    /// A request whose reply is not read yet.
    pub async fn begin_post(&self, path: &str, body: &str) -> TcpStream {
        let mut stream = self.connect().await;
        let Self { address, headers } = self;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    }
}

/// Reads until the server closes; a reset counts as a close, and what came before it stays.
pub async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let result = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    let _ = result.expect("the server closes the connection");
    bytes
}

/// Reads until `text` has come.
pub async fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut bytes = Vec::new();
    let read = async {
        while !String::from_utf8_lossy(&bytes).contains(text) {
            let num_read = stream.read_buf(&mut bytes).await.unwrap();
            assert!(num_read > 0, "no {text} in {}", String::from_utf8_lossy(&bytes));
        }
    };
    timeout(PATIENCE, read).await.expect("the text comes");
    String::from_utf8(bytes).unwrap()
}

impl Reply {
    pub fn parse(bytes: &[u8]) -> Self {
        let split = |bytes: &[u8]| {
            let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
            let end = end.unwrap_or_else(|| panic!("no response in {bytes:?}"));
            (String::from_utf8_lossy(&bytes[..end]).into_owned(), bytes[end + 4..].to_vec())
        };
        let (mut head, mut rest) = split(bytes);
        // An interim response is none.
        if head.starts_with("HTTP/1.1 100") {
            (head, rest) = split(&rest);
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let head = head.to_lowercase();
        let is_chunked = head.contains("transfer-encoding: chunked");
        let body = if is_chunked { join_chunks(&rest) } else { rest };
        Self { status, head, body: String::from_utf8_lossy(&body).into_owned() }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// `status code param`, and the error's shape is OpenAI's.
    pub fn error(&self) -> String {
        let json = self.json();
        let error = json["error"].as_object().unwrap_or_else(|| panic!("{}", self.body));
        let mut keys: Vec<_> = error.keys().collect();
        keys.sort();
        assert_eq!(keys, ["code", "message", "param", "type"], "{}", self.body);
        assert!(self.body.len() < 2048, "{}", self.body);
        assert_eq!(self.header("content-type"), Some("application/json"));
        let param = error["param"].as_str().map(|param| format!(" {param}")).unwrap_or_default();
        format!("{} {}{param}", self.status, error["code"].as_str().unwrap())
    }

    /// The data of each event; comments are none.
    pub fn events(&self) -> Vec<String> {
        let events =
            self.body.split("\n\n").filter(|event| !event.is_empty() && !event.starts_with(':'));
        events.map(|event| event.strip_prefix("data: ").expect(event).to_owned()).collect()
    }
}

fn join_chunks(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = str::from_utf8(&rest[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        let after = &rest[end + 2..];
        let Some(chunk) = after.get(..size) else { break };
        body.extend_from_slice(chunk);
        rest = after.get(size + 2..).unwrap_or_default();
    }
    body
}
