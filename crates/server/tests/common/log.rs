//! The program's log, kept for the test. It is global: one test of a program may look at it.

use std::{
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;
use tracing_subscriber::fmt::MakeWriter;

pub static LOG: Log = Log(Mutex::new(Vec::new()));

pub struct Log(Mutex<Vec<u8>>);

impl Log {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.bytes().clone()).unwrap()
    }

    pub fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The lines of requests that a handler saw.
    pub fn requests(&self) -> Vec<Value> {
        let lines = self.lines().into_iter();
        lines.filter(|line| line["fields"]["message"] == "request").collect()
    }
}

impl io::Write for &Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for &'static Log {
    type Writer = &'static Log;

    fn make_writer(&'a self) -> &'static Log {
        self
    }
}

/// Begins to keep the log.
pub fn capture() {
    tracing_subscriber::fmt().json().with_writer(&LOG).init();
}
