//! The place in a template's words, and what every reader of them needs.

use super::lexer::{Token, Word};
use super::tree::{NameId, Template, Uses};
use crate::TemplateError;
use std::collections::HashMap;

pub(super) type Read<T> = Result<T, TemplateError>;

/// How deep statements and brackets nest; Python's parser gives up earlier.
const MAX_NESTED: usize = 100;

#[derive(Default)]
pub(super) struct Parser {
    pub(super) tokens: Vec<Token>,
    pub(super) at: usize,
    pub(super) num_nested: usize,
    pub(super) num_loops: usize,
    pub(super) template: Template,
    pub(super) name_ids: HashMap<String, NameId>,
    /// Of the macros around.
    pub(super) uses: Vec<Uses>,
}

impl Parser {
    pub(super) fn word(&self) -> &Word {
        &self.tokens[self.at].word
    }

    pub(super) fn line(&self) -> u32 {
        self.tokens[self.at].line
    }

    pub(super) fn advance(&mut self) {
        self.at = (self.at + 1).min(self.tokens.len() - 1);
    }

    pub(super) fn next(&self) -> &Word {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].word
    }

    pub(super) fn next_is_name(&self, name: &str) -> bool {
        matches!(self.next(), Word::Name(found) if found == name)
    }

    pub(super) fn next_is_operator(&self, operator: &str) -> bool {
        matches!(self.next(), Word::Operator(found) if *found == operator)
    }

    pub(super) fn is_name(&self, name: &str) -> bool {
        matches!(self.word(), Word::Name(found) if found == name)
    }

    pub(super) fn take_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        if found {
            self.advance();
        }
        found
    }

    pub(super) fn take_operator(&mut self, operator: &str) -> bool {
        let found = matches!(self.word(), Word::Operator(found) if *found == operator);
        if found {
            self.advance();
        }
        found
    }

    pub(super) fn expect_operator(&mut self, operator: &str) -> Read<()> {
        if self.take_operator(operator) { Ok(()) } else { self.unexpected() }
    }

    pub(super) fn expect_name(&mut self, name: &str) -> Read<()> {
        if self.take_name(name) { Ok(()) } else { self.unexpected() }
    }

    pub(super) fn expect_any_name(&mut self) -> Read<String> {
        let Word::Name(name) = self.word() else { return self.unexpected() };
        let name = name.clone();
        self.advance();
        Ok(name)
    }

    pub(super) fn expect_block_end(&mut self) -> Read<()> {
        if *self.word() != Word::BlockEnd {
            return self.unexpected();
        }
        self.advance();
        Ok(())
    }

    pub(super) fn fail<T>(&self, message: impl Into<String>) -> Read<T> {
        Err(TemplateError::Invalid { line: self.line() as usize, message: message.into() })
    }

    pub(super) fn unexpected<T>(&self) -> Read<T> {
        match self.word() {
            Word::Name(name) => self.fail(format!("unexpected '{name}'")),
            Word::Operator(operator) => self.fail(format!("unexpected '{operator}'")),
            Word::Text(_) => self.fail("unexpected text"),
            Word::Int(_) | Word::Float(_) => self.fail("unexpected number"),
            Word::PrintEnd => self.fail("unexpected end of print statement"),
            Word::BlockEnd => self.fail("unexpected end of statement"),
            Word::Data(_) | Word::PrintBegin | Word::BlockBegin | Word::End => {
                self.fail("unexpected end of input")
            }
        }
    }

    /// Reads what is inside of something else.
    pub(super) fn nested<T>(&mut self, read: impl FnOnce(&mut Parser) -> Read<T>) -> Read<T> {
        self.num_nested += 1;
        if self.num_nested > MAX_NESTED {
            return Err(TemplateError::TooDeep {
                what: "tag",
                num_steps: self.num_nested,
                max_steps: MAX_NESTED,
            });
        }
        let result = read(self);
        self.num_nested -= 1;
        result
    }

    pub(super) fn name_id(&mut self, name: &str) -> NameId {
        if let Some(&id) = self.name_ids.get(name) {
            return id;
        }
        let id = self.template.names.len() as NameId;
        self.template.names.push(name.into());
        self.name_ids.insert(name.to_owned(), id);
        id
    }

    pub(super) fn note_use(&mut self, name: &str) {
        for uses in &mut self.uses {
            match name {
                "caller" => uses.caller = true,
                "kwargs" => uses.kwargs = true,
                "varargs" => uses.varargs = true,
                _ => return,
            }
        }
    }
}
