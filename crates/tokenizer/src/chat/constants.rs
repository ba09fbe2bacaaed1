//! Refuses templates whose constants are large, before the template engine computes them.
//!
//! The engine computes `'a' * 100000000` and `[1] * 1000000 == x` while it compiles, where no budget
//! reaches. What that takes is estimated from the syntax tree.

use minijinja::machinery::ast::{BinOpKind, CallArg, Expr, Stmt, UnaryOpKind};
use minijinja::{Error, ErrorKind};

/// Bytes the engine may make and read to compute constants.
const MAX_BYTES: u64 = 16 << 20;
const NUMBER_BYTES: u64 = 16;
const ENTRY_BYTES: u64 = 64;
/// A list as text quotes and escapes the texts in it.
const MAX_ESCAPED_BYTES: u64 = 6;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Number(Option<u64>),
    Text,
    Entries,
}

/// A constant that the engine would compute.
#[derive(Clone, Copy)]
struct Constant {
    kind: Kind,
    num_bytes: u64,
}

/// What the engine does with an expression: the constant it may find, and the bytes of looking for it.
#[derive(Clone, Copy)]
struct Folded {
    constant: Option<Constant>,
    num_bytes: u64,
}

pub(super) fn check(template: &Stmt<'_>) -> Result<(), Error> {
    let mut walk = Walk { num_bytes: 0 };
    walk.statement(template);
    if walk.num_bytes <= MAX_BYTES {
        return Ok(());
    }
    let message = format!("constants take more than {MAX_BYTES} bytes to compute");
    Err(Error::new(ErrorKind::SyntaxError, message))
}

struct Walk {
    num_bytes: u64,
}

impl Walk {
    fn statements(&mut self, statements: &[Stmt<'_>]) {
        for statement in statements {
            self.statement(statement);
        }
    }

    fn statement(&mut self, statement: &Stmt<'_>) {
        match statement {
            Stmt::Template(template) => self.statements(&template.children),
            Stmt::EmitExpr(emit) => self.expressions([&emit.expr]),
            Stmt::ForLoop(each) => {
                self.expressions([&each.iter].into_iter().chain(&each.filter_expr));
                self.statements(&each.body);
                self.statements(&each.else_body);
            }
            Stmt::IfCond(condition) => {
                self.expressions([&condition.expr]);
                self.statements(&condition.true_body);
                self.statements(&condition.false_body);
            }
            Stmt::WithBlock(with) => {
                self.expressions(with.assignments.iter().map(|(_, value)| value));
                self.statements(&with.body);
            }
            Stmt::Set(set) => self.expressions([&set.target, &set.expr]),
            Stmt::SetBlock(set) => {
                self.expressions([&set.target].into_iter().chain(&set.filter));
                self.statements(&set.body);
            }
            Stmt::AutoEscape(escape) => {
                self.expressions([&escape.enabled]);
                self.statements(&escape.body);
            }
            Stmt::FilterBlock(block) => {
                self.expressions([&block.filter]);
                self.statements(&block.body);
            }
            Stmt::Block(block) => self.statements(&block.body),
            Stmt::Import(import) => self.expressions([&import.expr]),
            Stmt::FromImport(import) => self.expressions([&import.expr]),
            Stmt::Extends(extends) => self.expressions([&extends.name]),
            Stmt::Include(include) => self.expressions([&include.name]),
            Stmt::Macro(definition) => {
                self.expressions(&definition.defaults);
                self.statements(&definition.body);
            }
            Stmt::CallBlock(call) => {
                self.expressions([&call.call.expr]);
                self.arguments(&call.call.args);
                self.expressions(&call.macro_decl.defaults);
                self.statements(&call.macro_decl.body);
            }
            Stmt::Do(call) => {
                self.expressions([&call.call.expr]);
                self.arguments(&call.call.args);
            }
            Stmt::EmitRaw(_) | Stmt::Continue(_) | Stmt::Break(_) => {}
        }
    }

    fn expressions<'a, 's: 'a>(&mut self, expressions: impl IntoIterator<Item = &'a Expr<'s>>) {
        for expression in expressions {
            self.expression(expression);
        }
    }

    fn arguments(&mut self, arguments: &[CallArg<'_>]) {
        for argument in arguments {
            let (CallArg::Pos(value)
            | CallArg::Kwarg(_, value)
            | CallArg::PosSplat(value)
            | CallArg::KwargSplat(value)) = argument;
            self.expression(value);
        }
    }

    /// The engine looks for a constant at every expression anew.
    fn expression(&mut self, expression: &Expr<'_>) -> Folded {
        let folded = self.fold(expression);
        self.num_bytes = self.num_bytes.saturating_add(folded.num_bytes);
        folded
    }

    fn fold(&mut self, expression: &Expr<'_>) -> Folded {
        let none = Folded { constant: None, num_bytes: 0 };
        match expression {
            Expr::Const(constant) => {
                let value = &constant.value;
                found(match value.as_bytes() {
                    Some(text) => Constant { kind: Kind::Text, num_bytes: text.len() as u64 },
                    None => number(value.as_usize().map(|number| number as u64)),
                })
            }
            Expr::List(list) => self.entries(&list.items.iter().collect::<Vec<_>>()),
            Expr::Map(map) => self.entries(&map.keys.iter().chain(&map.values).collect::<Vec<_>>()),
            Expr::UnaryOp(unary) => {
                let folded = self.expression(&unary.expr);
                let constant = folded.constant.map(|_| match unary.op {
                    UnaryOpKind::Not | UnaryOpKind::Neg => number(None),
                });
                Folded { constant, ..folded }
            }
            Expr::BinOp(binary) => {
                let (left, right) = (self.expression(&binary.left), self.expression(&binary.right));
                join(left, right, |left, right| operate(binary.op, left, right))
            }
            Expr::Compare(compare) => {
                let mut folded = self.expression(&compare.expr);
                for operation in &compare.ops {
                    let right = self.expression(&operation.expr);
                    folded = join(folded, right, |_, right| right);
                }
                Folded { constant: folded.constant.map(|_| number(None)), ..folded }
            }
            Expr::Slice(slice) => {
                self.expressions([&slice.expr]);
                self.expressions(slice.start.iter().chain(&slice.stop).chain(&slice.step));
                none
            }
            Expr::IfExpr(choice) => {
                self.expressions([&choice.test_expr, &choice.true_expr]);
                self.expressions(&choice.false_expr);
                none
            }
            Expr::Filter(filter) => {
                self.expressions(&filter.expr);
                self.arguments(&filter.args);
                none
            }
            Expr::Test(test) => {
                self.expressions([&test.expr]);
                self.arguments(&test.args);
                none
            }
            Expr::GetAttr(attribute) => {
                self.expressions([&attribute.expr]);
                none
            }
            Expr::GetItem(item) => {
                self.expressions([&item.expr, &item.subscript_expr]);
                none
            }
            Expr::Call(call) => {
                self.expressions([&call.expr]);
                self.arguments(&call.args);
                none
            }
            Expr::Var(_) => none,
        }
    }

    fn entries(&mut self, expressions: &[&Expr<'_>]) -> Folded {
        let mut all = found(Constant { kind: Kind::Entries, num_bytes: ENTRY_BYTES });
        for expression in expressions {
            let entry = self.expression(expression);
            all = join(all, entry, |all, entry| Constant {
                kind: Kind::Entries,
                num_bytes: all.num_bytes.saturating_add(entry.num_bytes + ENTRY_BYTES),
            });
        }
        // They are put together once, however long that took to add up.
        Folded { num_bytes: all.constant.map_or(0, |all| all.num_bytes), ..all }
    }
}

fn found(constant: Constant) -> Folded {
    Folded { constant: Some(constant), num_bytes: constant.num_bytes }
}

fn number(value: Option<u64>) -> Constant {
    Constant { kind: Kind::Number(value), num_bytes: NUMBER_BYTES }
}

fn join(
    left: Folded,
    right: Folded,
    operation: impl FnOnce(Constant, Constant) -> Constant,
) -> Folded {
    let constant = left.constant.zip(right.constant).map(|(left, right)| operation(left, right));
    let num_bytes = left.num_bytes.saturating_add(right.num_bytes);
    let made = constant.map_or(0, |constant| constant.num_bytes);
    Folded { constant, num_bytes: num_bytes.saturating_add(made) }
}

fn operate(operation: BinOpKind, left: Constant, right: Constant) -> Constant {
    let both = left.num_bytes.saturating_add(right.num_bytes);
    let written = |constant: Constant| match constant.kind {
        Kind::Entries => constant.num_bytes.saturating_mul(MAX_ESCAPED_BYTES),
        _ => constant.num_bytes,
    };
    match (operation, left.kind, right.kind) {
        (BinOpKind::Concat, ..) => {
            Constant { kind: Kind::Text, num_bytes: written(left).saturating_add(written(right)) }
        }
        (BinOpKind::Mul, Kind::Number(_), Kind::Number(_)) => number(None),
        (BinOpKind::Mul, Kind::Number(times), kind) => {
            Constant { kind, num_bytes: right.num_bytes.saturating_mul(times.unwrap_or(u64::MAX)) }
        }
        (BinOpKind::Mul, kind, Kind::Number(times)) => {
            Constant { kind, num_bytes: left.num_bytes.saturating_mul(times.unwrap_or(u64::MAX)) }
        }
        (BinOpKind::Add, Kind::Number(_), Kind::Number(_)) => number(None),
        (BinOpKind::Add | BinOpKind::ScAnd | BinOpKind::ScOr, kind, other) => {
            Constant { kind: if kind == other { kind } else { Kind::Entries }, num_bytes: both }
        }
        _ => number(None),
    }
}
