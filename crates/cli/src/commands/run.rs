//! `brisk run`: one prompt, one reply to standard output.

use std::io::{self, Write};

use anyhow::{Result, bail};
use brisk_gateway::{Message, Role};

use super::{
    read_bounded,
    reply::{Talker, opening, runtime},
};
use crate::{args::Sampling, config::Config};

pub(crate) fn run(config: &Config, prompt: &str, sampling: &Sampling) -> Result<()> {
    let content = match prompt {
        "-" => read_bounded(io::stdin().lock())?,
        text => text.to_owned(),
    };
    if content.trim().is_empty() {
        bail!("the prompt is empty");
    }
    let talker = Talker::start(config, sampling)?;
    let mut messages = opening(sampling);
    messages.push(Message { role: Role::User, content });
    // Ctrl-C ends the program as it ends any other.
    let mut text = String::new();
    let answer = talker.answer(&messages, &mut text, std::future::pending());
    let ended = runtime()?.block_on(answer)?;
    if !text.ends_with('\n') {
        writeln!(io::stdout())?;
    }
    talker.say_if_cut(&ended);
    Ok(())
}
