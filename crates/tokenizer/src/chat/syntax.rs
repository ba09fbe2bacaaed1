//! Reads a template's source into a tree, as Jinja does.

mod expressions;
mod lexer;
mod names;
mod parser;
mod postfix;
mod statements;
mod tree;

pub(crate) use names::Needs;
pub(crate) use statements::parse;
pub(crate) use tree::{
    Arguments, Binary, Comparison, Expr, Kind, Literal, NameId, Statement, Target, Template, What,
};
