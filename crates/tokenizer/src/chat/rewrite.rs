//! Compiles a template so that each instruction which may do much work at once is charged for it.
//!
//! The template engine gives no hook into its operators, so they become calls of the bounded
//! operations in [`super::bounded`]. Three forms suffice: an operation replaces an instruction; or
//! it looks at the operands first and hands them back; or it charges the result.

use super::constants;
use minijinja::machinery::{
    CodeGenerator, Instruction, Instructions, Span, WhitespaceConfig, parse,
};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{Error, ErrorKind};
use std::collections::BTreeMap;

const NAME: &str = "chat";
/// The engine compares names byte by byte wherever it meets them.
const MAX_NAME_BYTES: usize = 256;
/// The engine's mark of a loop that can be called, which would go around the charge for a loop. No
/// chat template has one.
const LOOP_IS_RECURSIVE: u8 = 2;
/// Of the operations; the engine keeps the first 50 filters of a template at hand, by such a number.
const NOT_AT_HAND: u8 = !0;

/// A template as instructions.
pub(super) struct Program<'s> {
    pub(super) instructions: Instructions<'s>,
    pub(super) blocks: BTreeMap<&'s str, Instructions<'s>>,
}

pub(super) fn compile(source: &str) -> Result<Program<'_>, Error> {
    let Program { instructions, blocks } = generate(source)?;
    let blocks = blocks.into_iter().map(|(name, block)| Ok((name, rewrite(&block)?)));
    Ok(Program {
        instructions: rewrite(&instructions)?,
        blocks: blocks.collect::<Result<_, Error>>()?,
    })
}

/// What the engine makes of `source`, as it is.
pub(super) fn generate(source: &str) -> Result<Program<'_>, Error> {
    let whitespace =
        WhitespaceConfig { keep_trailing_newline: false, lstrip_blocks: true, trim_blocks: true };
    let template = parse(source, NAME, SyntaxConfig, whitespace)?;
    constants::check(&template)?;
    let mut generator = CodeGenerator::new(NAME, source);
    generator.compile_stmt(&template);
    let (instructions, blocks) = generator.finish();
    Ok(Program { instructions, blocks })
}

fn rewrite<'s>(old: &Instructions<'s>) -> Result<Instructions<'s>, Error> {
    let mut new = Instructions::new(old.name(), old.source());
    // Where each old instruction went.
    let mut places = Vec::with_capacity(old.len() + 1);
    for index in 0..old.len() as u32 {
        let Some(instruction) = old.get(index) else { break };
        places.push(new.len() as u32);
        let line = old.get_line(index).unwrap_or(0) as u16;
        let mut add = |instruction| match old.get_span(index) {
            Some(span) => new.add_with_span(instruction, span),
            None => new.add_with_line(instruction, line),
        };
        check_name(instruction, old.get_span(index), line)?;
        add_bounded(instruction.clone(), &mut |instruction| {
            add(instruction);
        });
    }
    places.push(new.len() as u32);
    for index in 0..new.len() as u32 {
        if let Some(
            Instruction::Iterate(place)
            | Instruction::Jump(place)
            | Instruction::JumpIfFalse(place)
            | Instruction::JumpIfFalseOrPop(place)
            | Instruction::JumpIfTrueOrPop(place)
            | Instruction::BuildMacro(_, place, _),
        ) = new.get_mut(index)
        {
            *place = places.get(*place as usize).copied().unwrap_or(u32::MAX);
        }
    }
    Ok(new)
}

fn check_name(instruction: &Instruction<'_>, span: Option<Span>, line: u16) -> Result<(), Error> {
    let (Instruction::StoreLocal(name)
    | Instruction::Lookup(name)
    | Instruction::GetAttr(name)
    | Instruction::SetAttr(name)
    | Instruction::ApplyFilter(name, ..)
    | Instruction::PerformTest(name, ..)
    | Instruction::CallFunction(name, _)
    | Instruction::CallMethod(name, _)
    | Instruction::CallBlock(name)
    | Instruction::BuildMacro(name, ..)
    | Instruction::Enclose(name)) = instruction
    else {
        return Ok(());
    };
    if name.len() <= MAX_NAME_BYTES {
        return Ok(());
    }
    let line = span.map_or(line, |span| span.start_line);
    let message =
        format!("line {line}: a name has {} bytes, at most {MAX_NAME_BYTES} are taken", name.len());
    Err(Error::new(ErrorKind::SyntaxError, message))
}

/// Adds `instruction`, charged. Every instruction is named here, so that none the engine may get later
/// runs without a thought.
fn add_bounded<'s>(instruction: Instruction<'s>, add: &mut impl FnMut(Instruction<'s>)) {
    let call = |name, num_values| Instruction::ApplyFilter(name, Some(num_values), NOT_AT_HAND);
    match instruction {
        Instruction::EmitRaw(text) => {
            // What the template itself writes needs no escaping.
            add(Instruction::LoadConst(Value::from_safe_string(text.to_owned())));
            add(Instruction::Emit);
        }

        Instruction::StringConcat => add(call("~", 2)),
        Instruction::In => add(call("in", 2)),
        Instruction::Eq => add(call("==", 2)),
        Instruction::Ne => add(call("!=", 2)),
        Instruction::Lt => add(call("<", 2)),
        Instruction::Lte => add(call("<=", 2)),
        Instruction::Gt => add(call(">", 2)),
        Instruction::Gte => add(call(">=", 2)),
        Instruction::GetItem => add(call("[]", 2)),
        Instruction::BuildMap(num_pairs) => {
            // A tag of the size we take has fewer pairs than 32,768.
            add(call("{}", u16::try_from(2 * num_pairs).unwrap_or(u16::MAX)));
        }
        Instruction::CallMethod("changed", num_values) => {
            add(Instruction::ApplyFilter("loop.changed", num_values, NOT_AT_HAND));
        }
        Instruction::CallMethod("cycle", num_values) => {
            add(Instruction::ApplyFilter("loop.cycle", num_values, NOT_AT_HAND));
        }
        Instruction::LoadBlocks | Instruction::Include(false) => add(call("include", 1)),
        // There are no other templates, and this one does not mind.
        Instruction::Include(true) => add(Instruction::DiscardTop),

        Instruction::Mul => {
            add_looked_at("*", 2, instruction, add);
            add(call("made", 1));
        }
        Instruction::Slice => {
            add_looked_at("[:]", 4, instruction, add);
            add(call("made", 1));
        }
        Instruction::CompareAndPreserve(_) => add_looked_at("<>", 2, instruction, add),
        Instruction::UnpackLists(num_lists) => add_looked_at("*args", num_lists, instruction, add),
        Instruction::MergeKwargs(num_maps) => add_looked_at("**args", num_maps, instruction, add),

        // The sum of two texts or lists that were charged is at most as large as both.
        Instruction::Add => {
            add(instruction);
            add(call("made", 1));
        }

        Instruction::PushLoop(flags) => {
            add(call("for", 1));
            add(Instruction::PushLoop(flags & !LOOP_IS_RECURSIVE));
        }
        Instruction::BuildMacro(..) => {
            add(Instruction::LoadConst(Value::UNDEFINED));
            add(call("macro", 1));
            add(Instruction::DiscardTop);
            add(instruction);
        }
        // The engine counts no step for these, and an empty `with` has no other.
        Instruction::PushWith | Instruction::BeginCapture(_) | Instruction::PushAutoEscape => {
            add(Instruction::LoadConst(Value::UNDEFINED));
            add(Instruction::DiscardTop);
            add(instruction);
        }

        // Numbers, or as much work as the template is long, or bounded by the values' own operations.
        Instruction::Sub
        | Instruction::Div
        | Instruction::IntDiv
        | Instruction::Rem
        | Instruction::Pow
        | Instruction::Neg
        | Instruction::Not
        | Instruction::StoreLocal(_)
        | Instruction::Lookup(_)
        | Instruction::GetAttr(_)
        | Instruction::SetAttr(_)
        | Instruction::LoadConst(_)
        | Instruction::BuildKwargs(_)
        | Instruction::BuildList(_)
        | Instruction::UnpackList(_)
        | Instruction::ApplyFilter(..)
        | Instruction::PerformTest(..)
        | Instruction::Emit
        | Instruction::Iterate(_)
        | Instruction::PushDidNotIterate
        | Instruction::PopFrame
        | Instruction::PopLoopFrame
        | Instruction::Jump(_)
        | Instruction::JumpIfFalse(_)
        | Instruction::JumpIfFalseOrPop(_)
        | Instruction::JumpIfTrueOrPop(_)
        | Instruction::PopAutoEscape
        | Instruction::EndCapture
        | Instruction::CallFunction(..)
        | Instruction::CallMethod(..)
        | Instruction::CallObject(_)
        | Instruction::DupTop
        | Instruction::DiscardTop
        | Instruction::FastSuper
        | Instruction::FastRecurse
        | Instruction::Swap
        | Instruction::CallBlock(_)
        | Instruction::ExportLocals
        | Instruction::Return
        | Instruction::IsUndefined
        | Instruction::Enclose(_)
        | Instruction::GetClosure => add(instruction),
    }
}

/// Adds `instruction` after an operation that sees its operands and gives them back as a list.
fn add_looked_at<'s>(
    name: &'static str,
    num_values: usize,
    instruction: Instruction<'s>,
    add: &mut impl FnMut(Instruction<'s>),
) {
    let num_arguments = u16::try_from(num_values).unwrap_or(u16::MAX);
    add(Instruction::ApplyFilter(name, Some(num_arguments), NOT_AT_HAND));
    add(Instruction::UnpackList(num_values));
    add(instruction);
}
