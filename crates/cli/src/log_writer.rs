//! Takes log lines without making whoever logs wait for the terminal or the file behind stderr.

use std::{
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

/// Bytes of lines that may wait; who logs more waits too, so that no line is lost.
const MAX_WAITING_BYTES: usize = 1 << 20;
/// Time in which lines gather before they are written in one piece.
const GATHERING: Duration = Duration::from_millis(5);

/// The way to the thread that writes; cheap to clone.
#[derive(Clone)]
pub(crate) struct LogWriter(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// There is something to write, or it is over.
    filled: Condvar,
    /// What waited is written.
    emptied: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    has_ended: bool,
}

/// Writes what is left when it is dropped.
pub(crate) struct LogGuard {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl LogWriter {
    /// Starts a thread that writes to `out`.
    pub(crate) fn start(out: impl Write + Send + 'static) -> io::Result<(Self, LogGuard)> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
        });
        let thread = thread::Builder::new().name("log".to_owned());
        let thread = thread.spawn({
            let shared = Arc::clone(&shared);
            move || write_until_end(&shared, out)
        })?;
        let guard = LogGuard { shared: Arc::clone(&shared), thread: Some(thread) };
        Ok((Self(shared), guard))
    }
}

fn write_until_end(shared: &Shared, mut out: impl Write) {
    let mut piece = Vec::new();
    loop {
        let state = shared.lock();
        let is_idle = |state: &mut State| state.waiting.is_empty() && !state.has_ended;
        let state = shared.filled.wait_while(state, is_idle);
        let has_ended = state.unwrap_or_else(PoisonError::into_inner).has_ended;
        if !has_ended {
            thread::sleep(GATHERING);
        }
        std::mem::swap(&mut shared.lock().waiting, &mut piece);
        shared.emptied.notify_all();
        // A stderr that is closed takes nothing, and there is nobody to tell.
        let _ = out.write_all(&piece).and_then(|()| out.flush());
        piece.clear();
        if has_ended {
            return;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let is_full =
            |state: &mut State| state.waiting.len() >= MAX_WAITING_BYTES && !state.has_ended;
        let state = self.0.emptied.wait_while(self.0.lock(), is_full);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        if state.waiting.is_empty() {
            self.0.filled.notify_one();
        }
        state.waiting.extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.shared.lock().has_ended = true;
        self.shared.filled.notify_one();
        self.shared.emptied.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic in there is on stderr already.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_line_of_every_thread_is_written_whole_and_in_its_order() {
        let page = Page::default();
        let (writer, guard) = LogWriter::start(page.clone()).unwrap();
        // Twice what may wait.
        let num_lines = MAX_WAITING_BYTES / 4 / 8;
        thread::scope(|scope| {
            for name in ["a", "b"] {
                let mut writer = writer.clone();
                scope.spawn(move || {
                    for i in 0..num_lines * 4 {
                        writer.write_all(format!("{name} {i:05}\n").as_bytes()).unwrap();
                    }
                });
            }
        });
        drop(guard);
        let page = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
        for name in ["a", "b"] {
            let numbers = page.lines().filter_map(|line| line.strip_prefix(name));
            let numbers: Vec<usize> = numbers.map(|it| it.trim().parse().unwrap()).collect();
            assert_eq!(numbers, (0..num_lines * 4).collect::<Vec<_>>());
        }
    }
}
