//! `brisk tokenize`: the tokens of a text, as a table or as ids on one line.

use std::io::{self, BufWriter, Write};

use anyhow::Result;
use brisk_tokenizer::{Specials, TokenId};

use super::read_text;
use crate::{args::TextFrom, config::Config, loading, output::printable};

pub(crate) fn run(config: &Config, text: &TextFrom, only_ids: bool, special: bool) -> Result<()> {
    let text = read_text(text)?;
    let opened = loading::open(config)?;
    let tokenizer = loading::tokenizer_of(&opened)?;
    let mut ids: Vec<TokenId> = Vec::new();
    if special {
        ids.extend(tokenizer.bos().filter(|_| tokenizer.add_bos()));
        ids.extend(tokenizer.encode(&text, Specials::Parse));
    } else {
        ids = tokenizer.encode(&text, Specials::AsText);
    }

    let mut out = BufWriter::new(io::stdout().lock());
    if only_ids {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        writeln!(out, "{}", ids.join(" "))?;
    } else {
        writeln!(out, "{:>4} {:>8}  token", "#", "id")?;
        for (number, &id) in ids.iter().enumerate() {
            let kind = if tokenizer.is_control(id) { "  (control)" } else { "" };
            writeln!(out, "{number:>4} {id:>8}  {}{kind}", printable(&tokenizer.token_text(id)))?;
        }
        writeln!(out, "{} tokens, {} characters", ids.len(), text.chars().count())?;
    }
    out.flush()?;
    Ok(())
}
