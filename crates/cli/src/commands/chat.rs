//! `brisk chat`: a conversation in the terminal. Ctrl-C stops a reply, not the program.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    thread,
};

use anyhow::Result;
use brisk_gateway::{GatewayError, Message, Role, SubmitError};
use tokio::sync::mpsc;

use super::reply::{Ended, Talker, opening, runtime};
use crate::{args::Sampling, config::Config, output::message};

pub(crate) fn run(config: &Config, sampling: &Sampling) -> Result<()> {
    let talker = Talker::start(config, sampling)?;
    runtime()?.block_on(converse(&talker, opening(sampling)))
}

async fn converse(talker: &Talker, mut messages: Vec<Message>) -> Result<()> {
    let is_person = io::stdin().is_terminal();
    let num_fixed = messages.len();
    let mut interrupts = Interrupts::new()?;
    let mut lines = lines_of_stdin();
    if is_person {
        println!("Ctrl-C stops a reply; at the prompt, Ctrl-C or Ctrl-D ends.");
    }
    loop {
        if is_person {
            print!("> ");
            io::stdout().flush()?;
        }
        let line = tokio::select! {
            () = interrupts.next() => None,
            line = lines.recv() => line,
        };
        let Some(line) = line else {
            if is_person {
                println!();
            }
            return Ok(());
        };
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        messages.push(Message { role: Role::User, content: line });
        match answer(talker, &mut messages, num_fixed, &mut interrupts).await {
            Ok(content) => messages.push(Message { role: Role::Assistant, content }),
            Err(error) => {
                // What the model cannot take is the person's to change; the rest goes on.
                messages.pop();
                if !error.is::<GatewayError>() {
                    return Err(error);
                }
                eprintln!("error: {}", message(&format!("{error:#}")));
            }
        }
    }
}

/// Answers the conversation; while it is too long for the model, its oldest turn goes.
async fn answer(
    talker: &Talker,
    messages: &mut Vec<Message>,
    num_fixed: usize,
    interrupts: &mut Interrupts,
) -> Result<String> {
    loop {
        let mut text = String::new();
        let result = talker.answer(messages, &mut text, interrupts.next()).await;
        match result {
            Err(error) if is_too_long(&error) && messages.len() >= num_fixed + 3 => {
                // A question and its answer.
                messages.drain(num_fixed..num_fixed + 2);
            }
            Err(error) => return Err(error),
            Ok(ended) => {
                println!();
                talker.say_if_cut(&ended);
                if let Ended::Done(summary, _) = ended
                    && io::stderr().is_terminal()
                    && summary.timings.decode_ms > 0.0
                {
                    let num_steps = summary.num_completion_tokens.saturating_sub(1);
                    let speed = num_steps as f64 / summary.timings.decode_ms * 1e3;
                    eprintln!("[{} tokens, {speed:.1}/s]", summary.num_completion_tokens);
                }
                return Ok(text);
            }
        }
    }
}

fn is_too_long(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref(),
        Some(GatewayError::Submit(
            SubmitError::PromptTooLong { .. } | SubmitError::CompletionTooLong { .. }
        ))
    )
}

/// The lines of standard input, read by a thread that may wait for the keyboard for ever.
fn lines_of_stdin() -> mpsc::Receiver<io::Result<String>> {
    let (sender, receiver) = mpsc::channel(1);
    thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let failed = line.is_err();
            if sender.blocking_send(line).is_err() || failed {
                break;
            }
        }
    });
    receiver
}

/// Presses of Ctrl-C, none of them lost while nobody waits.
struct Interrupts(#[cfg(unix)] tokio::signal::unix::Signal);

impl Interrupts {
    #[cfg(unix)]
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        signal(SignalKind::interrupt()).map(Self)
    }

    #[cfg(unix)]
    async fn next(&mut self) {
        // `None` would mean that no more signals can come.
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    #[cfg(not(unix))]
    fn new() -> io::Result<Self> {
        Ok(Self())
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
