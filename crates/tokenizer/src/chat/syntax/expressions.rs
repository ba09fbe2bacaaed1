//! Reads expressions, in Jinja's order of binding.

use super::lexer::Word;
use super::parser::{Parser, Read};
use super::tree::{Binary, Comparison, Expr, Kind, Literal, children};
use crate::TemplateError;
use crate::chat::budget::MAX_DEPTH;
use crate::chat::python::Text;

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
            value = Parser::node(line, kind)?;
            line = self.line();
        }
        Ok(value)
    }

    fn or(&mut self) -> Read<Expr> {
        let line = self.line();
        let mut left = self.and()?;
        while self.take_name("or") {
            let right = self.and()?;
            left = Parser::node(line, Kind::Or(Box::new(left), Box::new(right)))?;
        }
        Ok(left)
    }

    fn and(&mut self) -> Read<Expr> {
        let line = self.line();
        let mut left = self.not()?;
        while self.take_name("and") {
            let right = self.not()?;
            left = Parser::node(line, Kind::And(Box::new(left), Box::new(right)))?;
        }
        Ok(left)
    }

    fn not(&mut self) -> Read<Expr> {
        let line = self.line();
        if self.take_name("not") {
            let value = self.nested(Parser::not)?;
            return Parser::node(line, Kind::Not(Box::new(value)));
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
        Parser::node(line, Kind::Compare(Box::new(first), rest))
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
                Parser::node(line, Kind::Concat(parts))
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
            left = Parser::node(line, Kind::Binary(operation, Box::new(left), Box::new(right)))?;
        }
        Ok(left)
    }

    fn unary(&mut self, with_filters: bool) -> Read<Expr> {
        let line = self.line();
        let value = if self.take_operator("-") {
            let value = self.nested(|parser| parser.unary(false))?;
            Parser::node(line, Kind::Negative(Box::new(value)))?
        } else if self.take_operator("+") {
            let value = self.nested(|parser| parser.unary(false))?;
            Parser::node(line, Kind::Positive(Box::new(value)))?
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
                        return Parser::node(line, kind);
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
                let value = self.nested(|parser| parser.tuple(true, true))?;
                self.expect_operator(")")?;
                return Ok(value);
            }
            Word::Operator("[") => {
                self.advance();
                let entries = self.entries("]", Parser::expression)?;
                return Parser::node(line, Kind::List(entries));
            }
            Word::Operator("{") => {
                self.advance();
                let pair = |parser: &mut Parser| {
                    let key = parser.expression()?;
                    parser.expect_operator(":")?;
                    Ok((key, parser.expression()?))
                };
                let pairs = self.entries("}", pair)?;
                return Parser::node(line, Kind::Dict(pairs));
            }
            _ => return self.unexpected(),
        };
        Parser::node(line, Kind::Literal(literal))
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
    pub(super) fn tuple(&mut self, with_choice: bool, in_parentheses: bool) -> Read<Expr> {
        let line = self.line();
        let mut entries = Vec::new();
        let mut is_tuple = false;
        while !self.at_tuple_end() {
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
        Parser::node(line, Kind::Tuple(entries))
    }

    pub(super) fn at_tuple_end(&self) -> bool {
        matches!(self.word(), Word::PrintEnd | Word::BlockEnd | Word::Operator(")") | Word::End)
    }

    pub(super) fn node(line: u32, kind: Kind) -> Read<Expr> {
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
