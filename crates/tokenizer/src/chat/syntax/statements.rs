//! Reads statements: what stands between `{%` and `%}`, and the text around it.

use super::lexer::{Token, Word, tokens};
use super::names::{self, Needs};
use super::tree::Expr;
use super::tree::{For, Kind, Literal, Macro, NameId, Statement, Target, Template, Uses, What};
use crate::TemplateError;
use crate::chat::python::Text;
use std::collections::HashMap;

type Read<T> = Result<T, TemplateError>;

const MAX_SOURCE_BYTES: usize = 256 << 10;
pub(super) const MAX_NAME_BYTES: usize = 256;
/// How deep statements and brackets nest; Python's parser gives up earlier.
const MAX_NESTED: usize = 100;

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

#[derive(Default)]
pub(super) struct Parser {
    tokens: Vec<Token>,
    at: usize,
    num_nested: usize,
    num_loops: usize,
    template: Template,
    name_ids: HashMap<String, NameId>,
    /// Of the macros around.
    uses: Vec<Uses>,
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

    fn next(&self) -> &Word {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].word
    }

    pub(super) fn next_is_name(&self, name: &str) -> bool {
        matches!(self.next(), Word::Name(found) if found == name)
    }

    pub(super) fn next_is_operator(&self, operator: &str) -> bool {
        matches!(self.next(), Word::Operator(found) if *found == operator)
    }

    fn is_name(&self, name: &str) -> bool {
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

    fn expect_name(&mut self, name: &str) -> Read<()> {
        if self.take_name(name) { Ok(()) } else { self.unexpected() }
    }

    pub(super) fn expect_any_name(&mut self) -> Read<String> {
        let Word::Name(name) = self.word() else { return self.unexpected() };
        let name = name.clone();
        self.advance();
        Ok(name)
    }

    fn expect_block_end(&mut self) -> Read<()> {
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
                    let value = self.tuple(true, &[], false)?;
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
                let target = self.target(&[], true)?;
                if self.take_operator("=") {
                    What::Set(target, self.tuple(true, &[], false)?)
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
                    let target = self.target(&[], false)?;
                    self.expect_operator("=")?;
                    values.push((target, self.expression()?));
                }
                What::With(values, self.whole_body("endwith")?)
            }
            "macro" => {
                let name = self.expect_any_name()?;
                let name = self.name_id(&name);
                What::Macro(self.macro_of(name)?)
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
            "generation" => {
                let num_loops = std::mem::take(&mut self.num_loops);
                let body = self.whole_body("endgeneration")?;
                self.num_loops = num_loops;
                What::Generation(body)
            }
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
                return Err(TemplateError::Invalid {
                    line: line as usize,
                    message: format!("unknown tag '{name}'"),
                });
            }
        }))
    }

    fn for_loop(&mut self) -> Read<What> {
        let target = self.target(&["in"], false)?;
        self.expect_name("in")?;
        let values = self.tuple(false, &["recursive"], false)?;
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
            let condition = self.tuple(false, &[], false)?;
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

    fn macro_of(&mut self, name: NameId) -> Read<usize> {
        let parameters = self.parameters()?;
        self.macro_body(Some(name), parameters, "endmacro")
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
    fn target(&mut self, ends: &[&str], with_attribute: bool) -> Read<Target> {
        let mut targets = Vec::new();
        let mut is_tuple = false;
        while !self.at_tuple_end(ends) {
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
            let target = self.nested(|parser| parser.target(&[], with_attribute))?;
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
