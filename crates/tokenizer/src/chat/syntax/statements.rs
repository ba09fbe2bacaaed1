//! Reads statements: what stands between `{%` and `%}`, and the text around it.

use super::lexer::{Word, tokens};
use super::names::{self, Needs};
use super::parser::{Parser, Read};
use super::tree::{
    Expr, For, Kind, Literal, Macro, NameId, Statement, Target, Template, Uses, What,
};
use crate::TemplateError;
use crate::chat::python::Text;

const MAX_SOURCE_BYTES: usize = 256 << 10;
pub(super) const MAX_NAME_BYTES: usize = 256;

/// Reads `source`, and what it asks for by name.
pub(crate) fn parse(source: &str) -> Read<(Template, Needs)> {
    if source.len() > MAX_SOURCE_BYTES {
        return Err(TemplateError::SourceTooLong {
            num_bytes: source.len(),
            max_bytes: MAX_SOURCE_BYTES,
        });
    }
    let mut parser = Parser { tokens: tokens(source)?, ..Parser::default() };
    let body = parser.body(&[])?;
    let mut template = parser.template;
    template.body = body;
    let needs = names::needs(&template)?;
    Ok((template, needs))
}

impl Parser {
    /// Statements up to a tag of one of the names `ends`, which is left to the caller.
    fn body(&mut self, ends: &[&str]) -> Read<Vec<Statement>> {
        let mut body = Vec::new();
        loop {
            let line = self.line();
            let what = match self.word().clone() {
                Word::Data(text) => {
                    self.advance();
                    What::Data(Text::new(text))
                }
                Word::PrintBegin => {
                    self.advance();
                    let value = self.tuple(true, false)?;
                    if *self.word() != Word::PrintEnd {
                        return self.unexpected();
                    }
                    self.advance();
                    What::Print(value)
                }
                Word::BlockBegin => {
                    self.advance();
                    if matches!(self.word(), Word::Name(name) if ends.contains(&&**name)) {
                        return Ok(body);
                    }
                    let before = body.len();
                    let what = self.nested(|parser| parser.statement(&mut body))?;
                    self.expect_block_end()?;
                    match what {
                        Some(what) => what,
                        None if before <= body.len() => continue,
                        None => return self.unexpected(),
                    }
                }
                Word::End if ends.is_empty() => return Ok(body),
                _ => {
                    return self
                        .fail(format!("unexpected end of input, expected {}", ends.join(" or ")));
                }
            };
            body.push(Statement { line, what });
        }
    }

    /// The rest of a tag, then statements up to one of `ends`.
    fn tag_body(&mut self, ends: &[&str]) -> Read<Vec<Statement>> {
        self.take_operator(":");
        self.expect_block_end()?;
        self.body(ends)
    }

    /// As [`Parser::tag_body`], with the name of the end.
    fn whole_body(&mut self, end: &str) -> Read<Vec<Statement>> {
        let body = self.tag_body(&[end])?;
        self.expect_name(end)?;
        Ok(body)
    }

    /// A statement from its name on; `{% print %}` adds several to `body` itself.
    fn statement(&mut self, body: &mut Vec<Statement>) -> Read<Option<What>> {
        let line = self.line();
        let Word::Name(name) = self.word().clone() else { return self.unexpected() };
        self.advance();
        Ok(Some(match &*name {
            "for" => self.for_loop()?,
            "if" => self.condition()?,
            "set" => {
                let target = self.target(true)?;
                if self.take_operator("=") {
                    What::Set(target, self.tuple(true, false)?)
                } else {
                    let filter = self.filters_of_a_block()?;
                    What::SetBlock(target, filter, self.whole_body("endset")?)
                }
            }
            "with" => {
                let mut values = Vec::new();
                while *self.word() != Word::BlockEnd {
                    if !values.is_empty() {
                        self.expect_operator(",")?;
                    }
                    let target = self.target(false)?;
                    self.expect_operator("=")?;
                    values.push((target, self.expression()?));
                }
                What::With(values, self.whole_body("endwith")?)
            }
            "macro" => {
                let name = self.expect_any_name()?;
                let name = self.name_id(&name);
                let parameters = self.parameters()?;
                What::Macro(self.macro_body(Some(name), parameters, "endmacro")?)
            }
            "call" => self.call_block()?,
            "filter" => {
                let mut filter = self.filter(None)?;
                while self.take_operator("|") {
                    filter = self.filter(Some(filter))?;
                }
                What::Filter(filter, self.whole_body("endfilter")?)
            }
            "autoescape" => {
                let enabled = self.expression()?;
                What::Autoescape(enabled, self.whole_body("endautoescape")?)
            }
            "block" => self.block()?,
            "generation" => What::Generation(self.macro_body(None, Vec::new(), "endgeneration")?),
            "break" | "continue" if self.num_loops == 0 => {
                return self.fail(format!("'{name}' outside a loop"));
            }
            "break" => What::Break,
            "continue" => What::Continue,
            "print" => {
                let mut is_first = true;
                while *self.word() != Word::BlockEnd {
                    if !is_first {
                        self.expect_operator(",")?;
                    }
                    is_first = false;
                    body.push(Statement { line, what: What::Print(self.expression()?) });
                }
                return Ok(None);
            }
            "include" | "extends" | "import" | "from" => {
                let template = self.expression()?;
                while *self.word() != Word::BlockEnd {
                    if *self.word() == Word::End {
                        return self.unexpected();
                    }
                    self.advance();
                }
                What::Other(template)
            }
            _ => {
                let is_part = name.starts_with("end") || matches!(&*name, "else" | "elif");
                let what = if is_part { "unexpected" } else { "unknown tag" };
                let message = format!("{what} '{name}'");
                return Err(TemplateError::Invalid { line: line as usize, message });
            }
        }))
    }

    fn for_loop(&mut self) -> Read<What> {
        let target = self.target(false)?;
        self.expect_name("in")?;
        let values = self.tuple(false, false)?;
        let condition = if self.take_name("if") { Some(self.expression()?) } else { None };
        let recursive = self.take_name("recursive");
        self.num_loops += 1;
        let body = self.tag_body(&["endfor", "else"])?;
        self.num_loops -= 1;
        let otherwise =
            if self.take_name("else") { self.tag_body(&["endfor"])? } else { Vec::new() };
        self.expect_name("endfor")?;
        self.template.loops.push(For { target, values, condition, recursive, body, otherwise });
        Ok(What::For(self.template.loops.len() - 1))
    }

    fn condition(&mut self) -> Read<What> {
        let mut branches = Vec::new();
        loop {
            let condition = self.tuple(false, false)?;
            branches.push((condition, self.tag_body(&["elif", "else", "endif"])?));
            if !self.take_name("elif") {
                break;
            }
        }
        let otherwise =
            if self.take_name("else") { self.tag_body(&["endif"])? } else { Vec::new() };
        self.expect_name("endif")?;
        Ok(What::If(branches, otherwise))
    }

    fn call_block(&mut self) -> Read<What> {
        let has_parameters = matches!(self.word(), Word::Operator("("));
        let parameters = if has_parameters { self.parameters()? } else { Vec::new() };
        let call = self.expression()?;
        if !matches!(call.kind, Kind::Call(..)) {
            return self.fail("expected a call");
        }
        let caller = self.macro_body(None, parameters, "endcall")?;
        Ok(What::Call(call, caller))
    }

    fn macro_body(
        &mut self,
        name: Option<NameId>,
        parameters: Vec<(NameId, Option<Expr>)>,
        end: &str,
    ) -> Read<usize> {
        self.uses.push(Uses::default());
        let num_loops = std::mem::take(&mut self.num_loops);
        let body = self.whole_body(end)?;
        self.num_loops = num_loops;
        let mut uses = self.uses.pop().unwrap_or_default();
        for (parameter, _) in &parameters {
            match &*self.template.names[*parameter as usize] {
                "caller" => uses.caller = false,
                "kwargs" => uses.kwargs = false,
                "varargs" => uses.varargs = false,
                _ => {}
            }
        }
        self.template.macros.push(Macro { name, parameters, uses, body });
        Ok(self.template.macros.len() - 1)
    }

    fn parameters(&mut self) -> Read<Vec<(NameId, Option<Expr>)>> {
        let mut parameters: Vec<(NameId, Option<Expr>)> = Vec::new();
        self.expect_operator("(")?;
        while !self.take_operator(")") {
            if !parameters.is_empty() {
                self.expect_operator(",")?;
            }
            let name = self.expect_any_name()?;
            let name = self.name_id(&name);
            let default = if self.take_operator("=") { Some(self.expression()?) } else { None };
            if default.is_none() && parameters.iter().any(|(_, default)| default.is_some()) {
                return self.fail("non-default argument follows default argument");
            }
            parameters.push((name, default));
        }
        Ok(parameters)
    }

    fn block(&mut self) -> Read<What> {
        let name = self.expect_any_name()?;
        let mut sees_around = false;
        while let Word::Name(word) = self.word() {
            sees_around |= word == "scoped";
            self.advance();
        }
        if self.template.blocks.iter().any(|(known, _)| **known == *name) {
            return self.fail(format!("block '{name}' defined twice"));
        }
        let place = self.template.blocks.len();
        self.template.blocks.push((name.clone().into(), Vec::new()));
        let num_loops = std::mem::take(&mut self.num_loops);
        self.template.blocks[place].1 = self.whole_body("endblock")?;
        self.num_loops = num_loops;
        self.take_name(&name);
        Ok(What::Block(place, sees_around))
    }

    /// What is assigned to: names, tuples of them, or an attribute of a namespace.
    fn target(&mut self, with_attribute: bool) -> Read<Target> {
        let mut targets = Vec::new();
        let mut is_tuple = false;
        while !self.at_tuple_end() {
            targets.push(self.single_target(with_attribute)?);
            if !self.take_operator(",") {
                break;
            }
            is_tuple = true;
        }
        match targets.pop() {
            None => self.unexpected(),
            Some(only) if !is_tuple => Ok(only),
            last => {
                targets.extend(last);
                Ok(Target::Tuple(targets))
            }
        }
    }

    fn single_target(&mut self, with_attribute: bool) -> Read<Target> {
        if self.take_operator("(") || self.take_operator("[") {
            let target = self.nested(|parser| parser.target(with_attribute))?;
            if !self.take_operator(")") {
                self.expect_operator("]")?;
            }
            return Ok(target);
        }
        let name = self.expect_any_name()?;
        if matches!(&*name, "true" | "false" | "none" | "True" | "False" | "None") {
            return self.fail(format!("can't assign to '{name}'"));
        }
        let id = self.name_id(&name);
        if with_attribute && self.take_operator(".") {
            return Ok(Target::Attribute(id, Text::new(self.expect_any_name()?)));
        }
        Ok(Target::Name(id))
    }
}

/// The text that an expression is, if it is a literal one.
pub(super) fn literal_text(expression: &Expr) -> Option<&str> {
    match &expression.kind {
        Kind::Literal(Literal::Text(text)) => Some(text.as_str()),
        _ => None,
    }
}
