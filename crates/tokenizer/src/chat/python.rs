//! Values as Python has them: what they are, how they are written, compared and counted with.

pub(crate) mod arguments;
pub(crate) mod characters;
mod compare;
mod format;
mod html;
mod index;
mod iterate;
mod json;
mod lists;
mod methods;
mod number;
mod operators;
mod percent;
mod repr;
mod serialize;
mod spec;
mod strings;
mod text_methods;
mod value;

pub(crate) use compare::{contains, equal, order, sort_by};
pub(crate) use format::{Fields, format_text};
pub(crate) use html::{escape, escape_text, urlencode};
pub(crate) use index::{item, slice};
pub(crate) use iterate::{entries, first, is_iterable, length};
pub(crate) use json::{JsonStyle, to_json};
pub(crate) use lists::{insert, make_dict};
pub(crate) use methods::{REFUSED, call_method, is_any_method, is_kept, method_named, property};
pub(crate) use number::{float_of, int_of, parse_float, parse_int, round};
pub(crate) use operators::{add, binary, negative, positive};
pub(crate) use percent::percent_format;
pub(crate) use repr::text_of;
pub(crate) use serialize::to_value;
pub(crate) use strings::{center, join, replace, split_lines, title_of_words};
pub(crate) use value::{
    Counter, Dict, Function, Group, Key, LoopState, MacroValue, Method, Missing, Names, Range,
    Sequence, Text, Value, View,
};
