//! Finds what a template asks for by name: what nothing will know when it is rendered, and its dates.
//!
//! What Python has and we have not is refused wherever it stands. What Python has not either is
//! refused where Python refuses it before it renders, or is sure to come to it; elsewhere it is only
//! named. A kept reply has to know the dates in its prompt without rendering it: they are looked for too.

use super::statements::literal_text;
use super::tree::{
    Arguments, Expr, Kind, NameId, Statement, Target, Template, What, children, passed,
};
use crate::TemplateError;
use crate::chat::date;
use crate::chat::fault::quoted;
use crate::chat::library::{REFUSED_FILTERS, REFUSED_FUNCTIONS, TESTS, is_filter};
use crate::chat::python::{REFUSED, is_any_method};
use crate::error::shortened;
use std::collections::{BTreeSet, HashSet};

type Check = Result<(), TemplateError>;

/// The function that writes the date.
const DATE: &str = "strftime_now";
/// More are not named.
const MAX_MISSING: usize = 16;
/// Dates by more formats are not followed; templates have one or two.
const MAX_DATES: usize = 4;

/// What a template asks for by name.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    /// What nobody has and some conversation may need, such as `filter "shout" (line 3)`.
    pub(crate) missing: Vec<String>,
    /// The formats of all dates; `None` where one is computed or shows the time of day.
    pub(crate) date_formats: Option<BTreeSet<String>>,
}

/// Given to templates, or to a part of one.
const KNOWN: [&str; 12] = [
    "caller",
    "cycler",
    "dict",
    "joiner",
    "loop",
    "namespace",
    "raise_exception",
    "range",
    "self",
    "strftime_now",
    "super",
    "varargs",
];

/// Whether a place is reached.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    Sure,
    /// In a loop or macro: Python looks for filters there before it renders.
    Read,
    /// In a branch: Python looks when it comes there.
    Branch,
}

impl Reach {
    /// A branch ends for Python where variables of their own begin.
    fn inside(self) -> Reach {
        if self == Reach::Branch { Reach::Read } else { self }
    }
}

pub(super) fn needs(template: &Template) -> Result<Needs, TemplateError> {
    let mut names = Names {
        template,
        assigned: HashSet::new(),
        missing: Vec::new(),
        date_formats: Some(BTreeSet::new()),
    };
    names.collect_all();
    names.body(&template.body, Reach::Sure)?;
    for definition in &template.macros {
        for (_, default) in &definition.parameters {
            names.expressions(default, Reach::Read)?;
        }
        names.body(&definition.body, Reach::Read)?;
    }
    for (_, body) in &template.blocks {
        names.body(body, Reach::Read)?;
    }
    let Names { missing, date_formats, .. } = names;
    let date_formats = date_formats.filter(|formats| {
        formats.len() <= MAX_DATES && formats.iter().all(|format| date::is_of_the_day(format))
    });
    Ok(Needs { missing, date_formats })
}

struct Names<'t> {
    template: &'t Template,
    assigned: HashSet<NameId>,
    missing: Vec<String>,
    date_formats: Option<BTreeSet<String>>,
}

fn fail(line: u32, message: String) -> Check {
    Err(TemplateError::Invalid { line: line as usize, message })
}

impl<'t> Names<'t> {
    fn collect_all(&mut self) {
        let template = self.template;
        for definition in &template.macros {
            self.assigned.extend(definition.name);
            self.assigned.extend(definition.parameters.iter().map(|(name, _)| *name));
            self.collect(&definition.body);
        }
        for definition in &template.loops {
            self.assign(&definition.target);
            self.collect(&definition.body);
            self.collect(&definition.otherwise);
        }
        for (_, body) in &template.blocks {
            self.collect(body);
        }
        self.collect(&template.body);
    }

    fn collect(&mut self, body: &[Statement]) {
        for statement in body {
            match &statement.what {
                What::Set(target, _) => self.assign(target),
                What::SetBlock(target, _, body) => {
                    self.assign(target);
                    self.collect(body);
                }
                What::With(values, body) => {
                    values.iter().for_each(|(target, _)| self.assign(target));
                    self.collect(body);
                }
                What::If(branches, otherwise) => {
                    branches.iter().for_each(|(_, body)| self.collect(body));
                    self.collect(otherwise);
                }
                What::Filter(_, body) | What::Autoescape(_, body) => {
                    self.collect(body);
                }
                What::Data(_)
                | What::Print(_)
                | What::For(_)
                | What::Macro(_)
                | What::Generation(_)
                | What::Call(..)
                | What::Block(..)
                | What::Other(_)
                | What::Break
                | What::Continue => {}
            }
        }
    }

    fn assign(&mut self, target: &Target) {
        match target {
            Target::Name(name) => {
                self.assigned.insert(*name);
            }
            Target::Tuple(targets) => targets.iter().for_each(|target| self.assign(target)),
            Target::Attribute(..) => {}
        }
    }

    /// Macros and blocks are looked at by themselves.
    fn body(&mut self, body: &'t [Statement], reach: Reach) -> Check {
        for statement in body {
            match &statement.what {
                What::Print(value) | What::Set(_, value) => self.expression(value, reach)?,
                What::For(place) => {
                    let definition = &self.template.loops[*place];
                    self.expression(&definition.values, reach)?;
                    self.expressions(&definition.condition, Reach::Read)?;
                    self.body(&definition.body, Reach::Read)?;
                    self.body(&definition.otherwise, Reach::Read)?;
                }
                What::If(branches, otherwise) => {
                    for (place, (condition, body)) in branches.iter().enumerate() {
                        let is_sure = place == 0 && reach == Reach::Sure;
                        let reach = if is_sure { reach } else { Reach::Branch };
                        self.expression(condition, reach)?;
                        self.body(body, Reach::Branch)?;
                    }
                    self.body(otherwise, Reach::Branch)?;
                }
                What::SetBlock(_, filter, body) => {
                    self.expressions(filter, reach.inside())?;
                    self.body(body, reach.inside())?;
                }
                What::With(values, body) => {
                    self.expressions(values.iter().map(|(_, value)| value), reach)?;
                    self.body(body, reach.inside())?;
                }
                What::Filter(value, body) | What::Autoescape(value, body) => {
                    self.expression(value, reach.inside())?;
                    self.body(body, reach.inside())?;
                }
                What::Call(call, _) => self.expression(call, reach)?,
                What::Other(name) => {
                    self.expression(name, reach)?;
                    if reach == Reach::Sure {
                        let name = quoted(literal_text(name).unwrap_or_default());
                        return fail(statement.line, format!("template {name} does not exist"));
                    }
                }
                What::Data(_)
                | What::Generation(_)
                | What::Macro(_)
                | What::Block(..)
                | What::Break
                | What::Continue => {}
            }
        }
        Ok(())
    }

    fn expressions(
        &mut self,
        expressions: impl IntoIterator<Item = &'t Expr>,
        reach: Reach,
    ) -> Check {
        expressions.into_iter().try_for_each(|expression| self.expression(expression, reach))
    }

    fn expression(&mut self, expression: &'t Expr, reach: Reach) -> Check {
        let line = expression.line;
        match &expression.kind {
            Kind::Filter(_, name, arguments) => {
                self.filter(name, line, reach)?;
                let named = arguments.positional.first().and_then(literal_text);
                if let ("map", Some(name)) = (&**name, named) {
                    self.filter(name, line, Reach::Branch)?;
                }
            }
            // A template that asks whether there are dates writes none by that.
            Kind::Test(value, name, _)
                if self.is_date(&value.kind) && matches!(&**name, "defined" | "undefined") =>
            {
                return Ok(());
            }
            Kind::Test(_, name, _) if !TESTS.contains(&&**name) => {
                self.unknown("test", name, line, reach == Reach::Branch)?;
            }
            Kind::Call(function, arguments) if self.is_date(&function.kind) => {
                self.date(arguments);
                return self.expressions(passed(arguments), reach);
            }
            // It is handed on, to be called with what nobody sees here.
            kind @ Kind::Name(_) if self.is_date(kind) => self.date_formats = None,
            Kind::Attribute(_, name) if name.as_str().starts_with("__") => {
                let name = quoted(name.as_str());
                return fail(
                    line,
                    format!("attribute {name}: names that begin with __ cannot be read"),
                );
            }
            Kind::Call(function, _) => self.call(&function.kind, line, reach)?,
            Kind::And(a, b) | Kind::Or(a, b) => {
                self.expression(a, reach)?;
                let reach = if reach == Reach::Branch { reach } else { Reach::Read };
                return self.expression(b, reach);
            }
            Kind::If(..) => return self.expressions(children(&expression.kind), Reach::Branch),
            _ => {}
        }
        self.expressions(children(&expression.kind), reach)
    }

    fn call(&mut self, function: &'t Kind, line: u32, reach: Reach) -> Check {
        match function {
            Kind::Attribute(value, name) => {
                let name = name.as_str();
                if REFUSED.contains(&name) {
                    let name = quoted(name);
                    return fail(
                        line,
                        format!("method {name} is not offered: a prompt is made of text"),
                    );
                }
                // A namespace may hold macros, and a map functions.
                let may_hold = match &value.kind {
                    Kind::Name(id) => self.assigned.contains(id) || self.name(*id) == "self",
                    Kind::Call(..) | Kind::Dict(_) => true,
                    _ => false,
                };
                if !may_hold && !is_any_method(name) {
                    return self.unknown("method", name, line, reach != Reach::Sure);
                }
            }
            Kind::Name(id) => {
                let name = self.name(*id);
                let is_assigned = self.assigned.contains(id);
                let refused = REFUSED_FUNCTIONS.iter().find(|(known, _)| *known == name);
                if let (false, Some((_, why))) = (is_assigned, refused) {
                    return fail(line, format!("function {} is not offered: {why}", quoted(name)));
                }
                if !is_assigned && !KNOWN.contains(&name) {
                    return self.unknown("function", name, line, reach != Reach::Sure);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn filter(&mut self, name: &str, line: u32, reach: Reach) -> Check {
        if let Some((_, why)) = REFUSED_FILTERS.iter().find(|(known, _)| *known == name) {
            return fail(line, format!("filter {} is not offered: {why}", quoted(name)));
        }
        if is_filter(name) {
            return Ok(());
        }
        self.unknown("filter", name, line, reach == Reach::Branch)
    }

    /// Nobody has it: an error, or where it may never be reached a note.
    fn unknown(&mut self, kind: &str, name: &str, line: u32, may_be_unreached: bool) -> Check {
        if !may_be_unreached {
            return fail(line, format!("{kind} {} is unknown", quoted(name)));
        }
        let what = format!("{kind} {:?} (line {line})", shortened(name));
        if self.missing.len() < MAX_MISSING && !self.missing.contains(&what) {
            self.missing.push(what);
        }
        Ok(())
    }

    /// A call that writes a date.
    fn date(&mut self, arguments: &Arguments) {
        let has_more = !arguments.named.is_empty()
            || arguments.more_positional.is_some()
            || arguments.more_named.is_some();
        let format = match &arguments.positional[..] {
            [format] if !has_more => literal_text(format),
            _ => None,
        };
        match (&mut self.date_formats, format) {
            (Some(formats), Some(format)) => {
                formats.insert(format.to_owned());
            }
            _ => self.date_formats = None,
        }
    }

    fn is_date(&self, kind: &Kind) -> bool {
        matches!(kind, Kind::Name(id) if self.name(*id) == DATE)
    }

    fn name(&self, id: NameId) -> &'t str {
        &self.template.names[id as usize]
    }
}
