//! Reads what follows a value: attributes, entries, calls, filters and tests.

use super::lexer::Word;
use super::parser::{Parser, Read};
use super::tree::{Arguments, Expr, Kind, Literal};
use crate::chat::python::Text;

impl Parser {
    pub(super) fn postfix(&mut self, mut value: Expr) -> Read<Expr> {
        loop {
            let line = self.line();
            value = match self.word() {
                Word::Operator(".") => {
                    self.advance();
                    match self.word().clone() {
                        Word::Name(name) => {
                            self.advance();
                            Parser::node(line, Kind::Attribute(Box::new(value), Text::new(name)))?
                        }
                        Word::Int(number) => {
                            self.advance();
                            let index = Parser::node(line, Kind::Literal(Literal::Int(number)))?;
                            Parser::node(line, Kind::Item(Box::new(value), Box::new(index)))?
                        }
                        _ => return self.unexpected(),
                    }
                }
                Word::Operator("[") => {
                    self.advance();
                    self.item(value, line)?
                }
                Word::Operator("(") => self.call(value)?,
                _ => return Ok(value),
            };
        }
    }

    fn call(&mut self, function: Expr) -> Read<Expr> {
        let line = self.line();
        let arguments = self.arguments()?;
        Parser::node(line, Kind::Call(Box::new(function), Box::new(arguments)))
    }

    fn item(&mut self, value: Expr, line: u32) -> Read<Expr> {
        let mut parts: [Option<Expr>; 3] = [None, None, None];
        let mut num_colons = 0;
        let mut entries = Vec::new();
        while !self.take_operator("]") {
            if self.take_operator(":") {
                num_colons += 1;
                if num_colons > 2 {
                    return self.unexpected();
                }
            } else if num_colons == 0 && !entries.is_empty() {
                self.expect_operator(",")?;
                entries.push(self.expression()?);
            } else if parts[num_colons].is_none() {
                let part = self.expression()?;
                if num_colons == 0 && !matches!(self.word(), Word::Operator(":")) {
                    entries.push(part);
                } else {
                    parts[num_colons] = Some(part);
                }
            } else {
                return self.unexpected();
            }
        }
        let kind = if num_colons > 0 {
            Kind::Slice(Box::new(value), Box::new(parts))
        } else {
            let index = match entries.pop() {
                None => return self.unexpected(),
                Some(only) if entries.is_empty() => only,
                last => {
                    entries.extend(last);
                    Parser::node(line, Kind::Tuple(entries))?
                }
            };
            Kind::Item(Box::new(value), Box::new(index))
        };
        Parser::node(line, kind)
    }

    pub(super) fn filters_and_tests(&mut self, mut value: Expr) -> Read<Expr> {
        loop {
            value = match self.word() {
                Word::Operator("|") => {
                    self.advance();
                    self.filter(Some(value))?
                }
                Word::Name(name) if name == "is" => self.test(value)?,
                Word::Operator("(") => self.call(value)?,
                _ => return Ok(value),
            };
        }
    }

    /// A filter, from its name on.
    pub(super) fn filter(&mut self, value: Option<Expr>) -> Read<Expr> {
        let line = self.line();
        let name = self.dotted_name()?;
        let arguments = match self.word() {
            Word::Operator("(") => self.arguments()?,
            _ => Arguments::default(),
        };
        let kind = Kind::Filter(value.map(Box::new), name.into(), Box::new(arguments));
        Parser::node(line, kind)
    }

    /// Filters after filters, of nothing: `{% set x | f | g %}`.
    pub(super) fn filters_of_a_block(&mut self) -> Read<Option<Expr>> {
        let mut filter = None;
        while self.take_operator("|") {
            filter = Some(self.filter(filter)?);
        }
        Ok(filter)
    }

    fn dotted_name(&mut self) -> Read<String> {
        let mut name = self.expect_any_name()?;
        while self.take_operator(".") {
            name.push('.');
            name.push_str(&self.expect_any_name()?);
        }
        Ok(name)
    }

    fn test(&mut self, value: Expr) -> Read<Expr> {
        let line = self.line();
        self.advance();
        let is_negated = self.take_name("not");
        let name = self.dotted_name()?;
        let mut arguments = Arguments::default();
        match self.word().clone() {
            Word::Operator("(") => arguments = self.arguments()?,
            Word::Name(name) if matches!(&*name, "else" | "or" | "and") => {}
            Word::Name(name) if name == "is" => return self.unexpected(),
            Word::Name(_)
            | Word::Text(_)
            | Word::Int(_)
            | Word::Float(_)
            | Word::Operator("[" | "{") => {
                let argument = self.primary()?;
                arguments.positional.push(self.postfix(argument)?);
            }
            _ => {}
        }
        let test =
            Parser::node(line, Kind::Test(Box::new(value), name.into(), Box::new(arguments)))?;
        if is_negated { Parser::node(line, Kind::Not(Box::new(test))) } else { Ok(test) }
    }

    fn arguments(&mut self) -> Read<Arguments> {
        let mut arguments = Arguments::default();
        self.expect_operator("(")?;
        let mut is_first = true;
        while !self.take_operator(")") {
            if !is_first {
                self.expect_operator(",")?;
                if self.take_operator(")") {
                    break;
                }
            }
            is_first = false;
            if arguments.more_named.is_some() {
                return self.fail("invalid syntax for function call expression");
            }
            let has_more = arguments.more_positional.is_some();
            let may_be_positional = arguments.named.is_empty() && !has_more;
            match self.word().clone() {
                Word::Operator("*") if !has_more => {
                    self.advance();
                    arguments.more_positional = Some(self.expression()?);
                }
                Word::Operator("**") => {
                    self.advance();
                    arguments.more_named = Some(self.expression()?);
                }
                Word::Name(name) if self.next_is_operator("=") => {
                    self.advance();
                    self.advance();
                    if arguments.named.iter().any(|(known, _)| *known.as_str() == *name) {
                        return self.fail(format!("keyword argument repeated: {name}"));
                    }
                    let value = self.expression()?;
                    arguments.named.push((Text::new(name), value));
                }
                _ if may_be_positional => arguments.positional.push(self.expression()?),
                _ => return self.fail("invalid syntax for function call expression"),
            }
        }
        Ok(arguments)
    }
}
