//! Writes what templates of Hugging Face have and the template engine lacks in the engine's words.
//!
//! `{% generation %}` marks for a trainer what the assistant said, and prints its body. What is set in
//! it stays in it, as in a `{% with %}` of nothing, and so it becomes one. Jinja2 reads every line end
//! as `\n`.

use crate::TemplateError;
use std::borrow::Cow;
use std::ops::Range;

/// The source with `\n` at the end of every line.
pub(super) fn with_line_ends(source: &str) -> Cow<'_, str> {
    if source.contains('\r') {
        return source.replace("\r\n", "\n").replace('\r', "\n").into();
    }
    source.into()
}

/// The `generation` blocks of a source, found tag by tag.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// Where their tags say so, and what they are to say.
    words: Vec<(Range<usize>, &'static str)>,
    /// What is open of these and of those that they become, with its line.
    open: Vec<(&'static str, usize)>,
}

impl Blocks {
    /// Looks at the next tag, which stands at `start`.
    pub(super) fn see(
        &mut self,
        start: usize,
        tag: &str,
        line: impl Fn() -> usize,
    ) -> Result<(), TemplateError> {
        let Some(inner) = tag.strip_prefix("{%").and_then(|tag| tag.strip_suffix("%}")) else {
            return Ok(());
        };
        let marks = ['-', '+'];
        let said = inner.strip_prefix(marks).unwrap_or(inner).trim_start();
        let at = start + 2 + inner.len() - said.len();
        let len = said.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(said.len());
        let (word, rest) = said.split_at(len);
        match (word, rest.strip_suffix(marks).unwrap_or(rest).trim()) {
            ("with", _) => self.open.push(("with", line())),
            // Jinja2 takes a colon there.
            ("generation", "" | ":") => {
                self.open.push(("generation", line()));
                let end = rest.find(':').map_or(len, |colon| len + colon + 1);
                self.words.push((at..at + end, "with"));
            }
            ("endwith", _) => self.close("with", line)?,
            ("endgeneration", "") => {
                self.close("generation", line)?;
                self.words.push((at..at + len, "endwith"));
            }
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, block: &str, line: impl Fn() -> usize) -> Result<(), TemplateError> {
        match self.open.pop() {
            Some((open, _)) if open == block => Ok(()),
            _ => {
                let message = format!("unexpected end{block}");
                Err(TemplateError::Invalid { line: line(), message })
            }
        }
    }

    /// The source has ended.
    pub(super) fn end(&self) -> Result<(), TemplateError> {
        match self.open.iter().find(|(block, _)| *block == "generation") {
            Some(&(_, line)) => {
                let message = "unexpected end of input in a generation block".to_owned();
                Err(TemplateError::Invalid { line, message })
            }
            None => Ok(()),
        }
    }

    /// `source`, in which the tags were seen, as the engine reads it.
    pub(super) fn replaced_in(self, source: &str) -> String {
        let mut out = String::with_capacity(source.len());
        let mut end = 0;
        for (range, becomes) in self.words {
            out.push_str(&source[end..range.start]);
            out.push_str(becomes);
            end = range.end;
        }
        out.push_str(&source[end..]);
        out
    }
}
