//! The tree of a template.

use crate::chat::python::Text;

/// The place of a name in [`Template::names`].
pub(crate) type NameId = u32;

/// A template that was read.
#[derive(Debug, Default)]
pub(crate) struct Template {
    pub(crate) body: Vec<Statement>,
    pub(crate) names: Vec<Box<str>>,
    pub(crate) macros: Vec<Macro>,
    pub(crate) loops: Vec<For>,
    pub(crate) blocks: Vec<(Box<str>, Vec<Statement>)>,
}

#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) line: u32,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    Data(Text),
    Print(Expr),
    /// By its place in [`Template::loops`].
    For(usize),
    /// Conditions with their bodies, and what is done if none holds.
    If(Vec<(Expr, Vec<Statement>)>, Vec<Statement>),
    Set(Target, Expr),
    SetBlock(Target, Option<Expr>, Vec<Statement>),
    With(Vec<(Target, Expr)>, Vec<Statement>),
    /// By its place in [`Template::macros`], which knows its name.
    Macro(usize),
    /// A call with the macro that is its `caller`.
    Call(Expr, usize),
    Filter(Expr, Vec<Statement>),
    Autoescape(Expr, Vec<Statement>),
    /// By its place in [`Template::blocks`], and whether it sees the variables around it.
    Block(usize, bool),
    /// What `{% generation %}` marks for training: a macro that is called where it stands.
    Generation(usize),
    /// `include`, `import` and their like, which name another template.
    Other(Expr),
    Break,
    Continue,
}

#[derive(Debug)]
pub(crate) struct For {
    pub(crate) target: Target,
    pub(crate) values: Expr,
    pub(crate) condition: Option<Expr>,
    pub(crate) recursive: bool,
    pub(crate) body: Vec<Statement>,
    pub(crate) otherwise: Vec<Statement>,
}

#[derive(Debug)]
pub(crate) struct Macro {
    pub(crate) name: Option<NameId>,
    pub(crate) parameters: Vec<(NameId, Option<Expr>)>,
    pub(crate) uses: Uses,
    pub(crate) body: Vec<Statement>,
}

/// Which of the names that a macro is given without being asked its body speaks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Uses {
    pub(crate) caller: bool,
    pub(crate) kwargs: bool,
    pub(crate) varargs: bool,
}

#[derive(Debug)]
pub(crate) enum Target {
    Name(NameId),
    /// An attribute of a namespace.
    Attribute(NameId, Text),
    Tuple(Vec<Target>),
}

#[derive(Debug)]
pub(crate) struct Expr {
    pub(crate) line: u32,
    /// How deep it nests; whatever walks a tree recurses that far.
    pub(crate) depth: usize,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Literal(Literal),
    Name(NameId),
    Tuple(Vec<Expr>),
    List(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    Attribute(Box<Expr>, Text),
    Item(Box<Expr>, Box<Expr>),
    /// Start, stop and step.
    Slice(Box<Expr>, Box<[Option<Expr>; 3]>),
    Call(Box<Expr>, Box<Arguments>),
    /// Of nothing in `{% filter %}` and `{% set x | f %}`, where it is of the body.
    Filter(Option<Box<Expr>>, Box<str>, Box<Arguments>),
    Test(Box<Expr>, Box<str>, Box<Arguments>),
    Not(Box<Expr>),
    Negative(Box<Expr>),
    Positive(Box<Expr>),
    Binary(Binary, Box<Expr>, Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Concat(Vec<Expr>),
    Compare(Box<Expr>, Vec<(Comparison, Expr)>),
    /// Condition, value if it holds, value if not.
    If(Box<Expr>, Box<Expr>, Option<Box<Expr>>),
}

#[derive(Debug, Clone)]
pub(crate) enum Literal {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(Text),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Mod,
    Pow,
}

impl Binary {
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Binary::Add => "+",
            Binary::Sub => "-",
            Binary::Mul => "*",
            Binary::Div => "/",
            Binary::FloorDiv => "//",
            Binary::Mod => "%",
            Binary::Pow => "** or pow()",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
}

/// What stands in the parentheses of a call.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    pub(crate) positional: Vec<Expr>,
    pub(crate) named: Vec<(Text, Expr)>,
    pub(crate) more_positional: Option<Expr>,
    pub(crate) more_named: Option<Expr>,
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
