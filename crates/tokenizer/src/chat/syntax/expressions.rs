//! Reads expressions, in Jinja's order of binding.

use super::lexer::Word;
use super::statements::Parser;
use super::tree::{Arguments, Binary, Comparison, Expr, Kind, Literal};
use crate::TemplateError;
use crate::chat::budget::MAX_DEPTH;
use crate::chat::python::Text;

type Read<T> = Result<T, TemplateError>;

impl Parser {
    pub(super) fn expression(&mut self) -> Read<Expr> {
        self.nested(Parser::conditional)
    }

    /// An expression that cannot be `a if b`, as `for` and `if` take it.
    fn expression_or_choice(&mut self, with_choice: bool) -> Read<Expr> {
        if with_choice { self.expression() } else { self.nested(Parser::or) }
    }

    fn conditional(&mut self) -> Read<Expr> {
        let mut line = self.line();
        let mut value = self.or()?;
        while self.take_name("if") {
            let condition = self.or()?;
            let otherwise =
                if self.take_name("else") { Some(self.nested(Parser::conditional)?) } else { None };
            let kind = Kind::If(Box::new(condition), Box::new(value), otherwise.map(Box::new));
            value = self.node(line, kind)?;
            line = self.line();
        }
        Ok(value)
    }

    fn or(&mut self) -> Read<Expr> {
        let line = self.line();
        let mut left = self.and()?;
        while self.take_name("or") {
            let right = self.and()?;
            left = self.node(line, Kind::Or(Box::new(left), Box::new(right)))?;
        }
        Ok(left)
    }

    fn and(&mut self) -> Read<Expr> {
        let line = self.line();
        let mut left = self.not()?;
        while self.take_name("and") {
            let right = self.not()?;
            left = self.node(line, Kind::And(Box::new(left), Box::new(right)))?;
        }
        Ok(left)
    }

    fn not(&mut self) -> Read<Expr> {
        let line = self.line();
        if self.take_name("not") {
            let value = self.nested(Parser::not)?;
            return self.node(line, Kind::Not(Box::new(value)));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Read<Expr> {
        let line = self.line();
        let first = self.sum()?;
        let mut rest = Vec::new();
        loop {
            let comparison = match self.word() {
                Word::Operator("==") => Comparison::Eq,
                Word::Operator("!=") => Comparison::Ne,
                Word::Operator("<") => Comparison::Lt,
                Word::Operator("<=") => Comparison::Le,
                Word::Operator(">") => Comparison::Gt,
                Word::Operator(">=") => Comparison::Ge,
                Word::Name(name) if name == "in" => Comparison::In,
                Word::Name(name) if name == "not" && self.next_is_name("in") => {
                    self.advance();
                    Comparison::NotIn
                }
                _ => break,
            };
            self.advance();
            rest.push((comparison, self.sum()?));
        }
        if rest.is_empty() {
            return Ok(first);
        }
        self.node(line, Kind::Compare(Box::new(first), rest))
    }

    fn sum(&mut self) -> Read<Expr> {
        let operators = &[("+", Binary::Add), ("-", Binary::Sub)];
        self.chain(operators, Parser::concatenation)
    }

    fn concatenation(&mut self) -> Read<Expr> {
        let line = self.line();
        let first = self.product()?;
        let mut parts = vec![first];
        while self.take_operator("~") {
            parts.push(self.product()?);
        }
        match parts.pop() {
            Some(only) if parts.is_empty() => Ok(only),
            last => {
                parts.extend(last);
                self.node(line, Kind::Concat(parts))
            }
        }
    }

    fn product(&mut self) -> Read<Expr> {
        let operators =
            &[("*", Binary::Mul), ("/", Binary::Div), ("//", Binary::FloorDiv), ("%", Binary::Mod)];
        self.chain(operators, Parser::power)
    }

    /// From the left, other than in Python.
    fn power(&mut self) -> Read<Expr> {
        self.chain(&[("**", Binary::Pow)], |parser| parser.unary(true))
    }

    fn chain(
        &mut self,
        operators: &[(&str, Binary)],
        operand: impl Fn(&mut Parser) -> Read<Expr>,
    ) -> Read<Expr> {
        let line = self.line();
        let mut left = operand(self)?;
        while let Word::Operator(found) = self.word()
            && let Some(&(_, operation)) = operators.iter().find(|(name, _)| name == found)
        {
            self.advance();
            let right = operand(self)?;
            left = self.node(line, Kind::Binary(operation, Box::new(left), Box::new(right)))?;
        }
        Ok(left)
    }

    fn unary(&mut self, with_filters: bool) -> Read<Expr> {
        let line = self.line();
        let value = if self.take_operator("-") {
            let value = self.nested(|parser| parser.unary(false))?;
            self.node(line, Kind::Negative(Box::new(value)))?
        } else if self.take_operator("+") {
            let value = self.nested(|parser| parser.unary(false))?;
            self.node(line, Kind::Positive(Box::new(value)))?
        } else {
            self.primary()?
        };
        let value = self.postfix(value)?;
        if with_filters { self.filters_and_tests(value) } else { Ok(value) }
    }

    pub(super) fn primary(&mut self) -> Read<Expr> {
        let line = self.line();
        let literal = match self.word().clone() {
            Word::Name(name) => {
                self.advance();
                match &*name {
                    "true" | "True" => Literal::Bool(true),
                    "false" | "False" => Literal::Bool(false),
                    "none" | "None" => Literal::None,
                    _ => {
                        self.note_use(&name);
                        let kind = Kind::Name(self.name_id(&name));
                        return self.node(line, kind);
                    }
                }
            }
            Word::Text(mut text) => {
                self.advance();
                while let Word::Text(more) = self.word() {
                    text.push_str(more);
                    self.advance();
                }
                Literal::Text(Text::new(text))
            }
            Word::Int(number) => {
                self.advance();
                Literal::Int(number)
            }
            Word::Float(number) => {
                self.advance();
                Literal::Float(number)
            }
            Word::Operator("(") => {
                self.advance();
                let value = self.nested(|parser| parser.tuple(true, &[], true))?;
                self.expect_operator(")")?;
                return Ok(value);
            }
            Word::Operator("[") => {
                self.advance();
                let entries = self.entries("]", Parser::expression)?;
                return self.node(line, Kind::List(entries));
            }
            Word::Operator("{") => {
                self.advance();
                let pair = |parser: &mut Parser| {
                    let key = parser.expression()?;
                    parser.expect_operator(":")?;
                    Ok((key, parser.expression()?))
                };
                let pairs = self.entries("}", pair)?;
                return self.node(line, Kind::Dict(pairs));
            }
            _ => return self.unexpected(),
        };
        self.node(line, Kind::Literal(literal))
    }

    fn entries<T>(
        &mut self,
        end: &'static str,
        entry: impl Fn(&mut Parser) -> Read<T>,
    ) -> Read<Vec<T>> {
        let mut entries = Vec::new();
        while !self.take_operator(end) {
            if !entries.is_empty() {
                self.expect_operator(",")?;
                if self.take_operator(end) {
                    break;
                }
            }
            entries.push(entry(self)?);
        }
        Ok(entries)
    }

    /// Expressions with commas between them, or one without.
    pub(super) fn tuple(
        &mut self,
        with_choice: bool,
        ends: &[&str],
        in_parentheses: bool,
    ) -> Read<Expr> {
        let line = self.line();
        let mut entries = Vec::new();
        let mut is_tuple = false;
        while !self.at_tuple_end(ends) {
            entries.push(self.expression_or_choice(with_choice)?);
            if !self.take_operator(",") {
                break;
            }
            is_tuple = true;
        }
        if !is_tuple && let Some(only) = entries.pop() {
            return Ok(only);
        }
        if entries.is_empty() && !in_parentheses {
            return self.unexpected();
        }
        self.node(line, Kind::Tuple(entries))
    }

    pub(super) fn at_tuple_end(&self, ends: &[&str]) -> bool {
        match self.word() {
            Word::PrintEnd | Word::BlockEnd | Word::Operator(")") | Word::End => true,
            Word::Name(name) => ends.contains(&&**name),
            _ => false,
        }
    }

    fn postfix(&mut self, mut value: Expr) -> Read<Expr> {
        loop {
            let line = self.line();
            value = match self.word() {
                Word::Operator(".") => {
                    self.advance();
                    match self.word().clone() {
                        Word::Name(name) => {
                            self.advance();
                            self.node(line, Kind::Attribute(Box::new(value), Text::new(name)))?
                        }
                        Word::Int(number) => {
                            self.advance();
                            let index = self.node(line, Kind::Literal(Literal::Int(number)))?;
                            self.node(line, Kind::Item(Box::new(value), Box::new(index)))?
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
        self.node(line, Kind::Call(Box::new(function), Box::new(arguments)))
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
                    self.node(line, Kind::Tuple(entries))?
                }
            };
            Kind::Item(Box::new(value), Box::new(index))
        };
        self.node(line, kind)
    }

    fn filters_and_tests(&mut self, mut value: Expr) -> Read<Expr> {
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
        self.node(line, kind)
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
            self.node(line, Kind::Test(Box::new(value), name.into(), Box::new(arguments)))?;
        if is_negated { self.node(line, Kind::Not(Box::new(test))) } else { Ok(test) }
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

    pub(super) fn node(&mut self, line: u32, kind: Kind) -> Read<Expr> {
        let depth = 1 + children(&kind).map(|child| child.depth).max().unwrap_or(0);
        if depth > MAX_DEPTH {
            return Err(TemplateError::TooDeep {
                what: "expression",
                num_steps: depth,
                max_steps: MAX_DEPTH,
            });
        }
        Ok(Expr { line, depth, kind })
    }
}

pub(super) fn passed(arguments: &Arguments) -> impl Iterator<Item = &Expr> {
    let Arguments { positional, named, more_positional, more_named } = arguments;
    let named = named.iter().map(|(_, value)| value);
    positional.iter().chain(named).chain(more_positional).chain(more_named)
}

/// The expressions that `kind` is made of.
pub(super) fn children(kind: &Kind) -> Box<dyn Iterator<Item = &Expr> + '_> {
    match kind {
        Kind::Literal(_) | Kind::Name(_) => Box::new(std::iter::empty()),
        Kind::Tuple(entries) | Kind::List(entries) | Kind::Concat(entries) => {
            Box::new(entries.iter())
        }
        Kind::Dict(pairs) => Box::new(pairs.iter().flat_map(|(key, value)| [key, value])),
        Kind::Attribute(value, _)
        | Kind::Not(value)
        | Kind::Negative(value)
        | Kind::Positive(value) => Box::new([&**value].into_iter()),
        Kind::Item(a, b) | Kind::Binary(_, a, b) | Kind::And(a, b) | Kind::Or(a, b) => {
            Box::new([&**a, &**b].into_iter())
        }
        Kind::Slice(value, parts) => Box::new([&**value].into_iter().chain(parts.iter().flatten())),
        Kind::Call(value, arguments) | Kind::Test(value, _, arguments) => {
            Box::new([&**value].into_iter().chain(passed(arguments)))
        }
        Kind::Filter(value, _, arguments) => {
            Box::new(value.as_deref().into_iter().chain(passed(arguments)))
        }
        Kind::Compare(first, rest) => {
            Box::new([&**first].into_iter().chain(rest.iter().map(|(_, value)| value)))
        }
        Kind::If(condition, value, otherwise) => {
            Box::new([&**condition, &**value].into_iter().chain(otherwise.as_deref()))
        }
    }
}
