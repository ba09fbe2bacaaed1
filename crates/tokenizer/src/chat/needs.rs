//! Finds what a template asks for by name: what nobody has, and the dates that it writes.
//!
//! A branch that no conversation took yet may name a filter that does not exist, and a kept reply has
//! to know the dates in its prompt without rendering it. Both stand in the instructions.

use super::{budget, date, rewrite::Program};
use minijinja::machinery::{Instruction, Instructions};
use minijinja::value::Value;
use minijinja::{Environment, ErrorKind, State};
use std::collections::{BTreeSet, HashSet};

/// The function that writes the date.
pub(super) const DATE: &str = "strftime_now";
/// What else a conversation brings along that can be called.
const CALLABLE: [&str; 5] = [DATE, "caller", "loop", "self", "super"];
/// More are not named.
const MAX_MISSING: usize = 16;

/// What a template asks for by name.
#[derive(Debug, Default)]
pub(super) struct Needs {
    /// What nobody has, such as `filter "shout" (line 3)`.
    pub(super) missing: Vec<String>,
    /// The formats of all dates; `None` where one is computed or shows the time of day.
    pub(super) date_formats: Option<BTreeSet<String>>,
}

/// Dates by more formats are not followed; templates have one or two.
const MAX_DATES: usize = 4;

impl Needs {
    pub(super) fn of(program: &Program<'_>, environment: &Environment<'_>) -> Needs {
        let mut needs = Needs { missing: Vec::new(), date_formats: Some(BTreeSet::new()) };
        let all = || [&program.instructions].into_iter().chain(program.blocks.values());
        let globals = environment.globals().map(|(name, _)| name);
        let mut callable: HashSet<&str> = globals.chain(CALLABLE).collect();
        for instruction in all().flat_map(numbered).map(|(_, instruction)| instruction) {
            if let Instruction::StoreLocal(name) = instruction {
                callable.insert(name);
            }
        }
        // Probing is work on a budget of its own.
        budget::begin();
        let state = environment.empty_state();
        for instructions in all() {
            for (index, instruction) in numbered(instructions) {
                if let Some(what) = missing(instruction, &callable, &state) {
                    let line = instructions.get_line(index).unwrap_or(0);
                    let what = format!("{what} (line {line})");
                    if needs.missing.len() < MAX_MISSING && !needs.missing.contains(&what) {
                        needs.missing.push(what);
                    }
                }
            }
            let formats = date_formats(instructions);
            needs.date_formats = needs.date_formats.zip(formats).map(|(mut all, formats)| {
                all.extend(formats);
                all
            });
        }
        needs.date_formats = needs.date_formats.filter(|formats| {
            formats.len() <= MAX_DATES && formats.iter().all(|format| date::is_of_the_day(format))
        });
        needs
    }
}

fn numbered<'i, 's>(
    instructions: &'i Instructions<'s>,
) -> impl Iterator<Item = (u32, &'i Instruction<'s>)> {
    (0..instructions.len() as u32).filter_map(|index| Some((index, instructions.get(index)?)))
}

/// Names what `instruction` calls if nobody has it. The environment is asked itself, by a call of
/// nothing, so that there is no second table of what exists.
fn missing(
    instruction: &Instruction<'_>,
    callable: &HashSet<&str>,
    state: &State<'_, '_>,
) -> Option<String> {
    match *instruction {
        Instruction::ApplyFilter(name, ..) => {
            let error = state.apply_filter(name, &[]).err()?;
            (error.kind() == ErrorKind::UnknownFilter).then(|| format!("filter {name:?}"))
        }
        Instruction::PerformTest(name, ..) => {
            let error = state.perform_test(name, &[]).err()?;
            (error.kind() == ErrorKind::UnknownTest).then(|| format!("test {name:?}"))
        }
        Instruction::CallFunction(name, _) => {
            (!callable.contains(name)).then(|| format!("function {name:?}"))
        }
        Instruction::CallMethod(name, _) => {
            let values =
                [Value::from(""), Value::from_iter([(); 0]), Value::from_serialize(NoPairs {})];
            let is_unknown = |value: &Value| {
                let error = value.call_method(state, name, &[]).err();
                error.is_some_and(|error| error.kind() == ErrorKind::UnknownMethod)
            };
            let of_a_loop = ["cycle", "changed"].contains(&name);
            (!of_a_loop && values.iter().all(is_unknown)).then(|| format!("method {name:?}"))
        }
        _ => None,
    }
}

/// An empty map.
#[derive(serde::Serialize)]
struct NoPairs {}

/// The formats that `strftime_now` is called with; `None` where one is not written out, or the
/// function itself is handed on.
fn date_formats(instructions: &Instructions<'_>) -> Option<BTreeSet<String>> {
    let jumps: HashSet<u32> = numbered(instructions)
        .filter_map(|(_, instruction)| match *instruction {
            Instruction::Jump(to)
            | Instruction::JumpIfFalse(to)
            | Instruction::JumpIfFalseOrPop(to)
            | Instruction::JumpIfTrueOrPop(to)
            | Instruction::Iterate(to) => Some(to),
            _ => None,
        })
        .collect();
    let mut formats = BTreeSet::new();
    for (index, instruction) in numbered(instructions) {
        match instruction {
            // What a jump leads to was made elsewhere.
            Instruction::CallFunction(DATE, Some(1)) if !jumps.contains(&index) => {
                match instructions.get(index.checked_sub(1)?)? {
                    Instruction::LoadConst(format) => formats.insert(format.as_str()?.to_owned()),
                    _ => return None,
                };
            }
            Instruction::CallFunction(DATE, _) => return None,
            Instruction::Lookup(DATE) => match instructions.get(index + 1)? {
                Instruction::IsUndefined
                | Instruction::PerformTest("defined" | "undefined", ..) => {}
                _ => return None,
            },
            _ => {}
        }
    }
    Some(formats)
}
