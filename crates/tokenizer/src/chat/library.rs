//! Jinja's filters, tests and functions.

mod functions;
mod lists;
mod numbers;
mod select;
mod tests;
mod texts;
mod wrap;

use super::fault::{Outcome, other_error, quoted};
use super::python::Value;
use super::python::arguments::Args;
use super::run::Run;

pub(crate) use functions::call_function;
pub(crate) use tests::{TESTS, call_test};

/// Takes a value and arguments.
type Filter = fn(&mut Run<'_>, &Value, Args) -> Outcome<Value>;

const FILTERS: [(&str, Filter); 50] = [
    ("abs", numbers::abs),
    ("attr", select::attr),
    ("batch", lists::batch),
    ("capitalize", texts::capitalize),
    ("center", texts::center),
    ("count", lists::length),
    ("d", lists::default),
    ("default", lists::default),
    ("dictsort", lists::dictsort),
    ("e", texts::escape),
    ("escape", texts::escape),
    ("filesizeformat", numbers::filesizeformat),
    ("first", lists::first),
    ("float", numbers::float),
    ("forceescape", texts::forceescape),
    ("format", texts::format),
    ("groupby", lists::groupby),
    ("indent", texts::indent),
    ("int", numbers::int),
    ("items", lists::items),
    ("join", texts::join),
    ("last", lists::last),
    ("length", lists::length),
    ("list", lists::list),
    ("lower", texts::lower),
    ("map", select::map),
    ("max", lists::max),
    ("min", lists::min),
    ("reject", select::reject),
    ("rejectattr", select::rejectattr),
    ("replace", texts::replace),
    ("reverse", lists::reverse),
    ("round", numbers::round),
    ("safe", texts::safe),
    ("select", select::select),
    ("selectattr", select::selectattr),
    ("slice", lists::slice),
    ("sort", lists::sort),
    ("string", texts::string),
    ("sum", lists::sum),
    ("title", texts::title),
    ("tojson", texts::tojson),
    ("trim", texts::trim),
    ("truncate", texts::truncate),
    ("unique", lists::unique),
    ("upper", texts::upper),
    ("urlencode", texts::urlencode),
    ("wordcount", texts::wordcount),
    ("wordwrap", wrap::wordwrap),
    ("xmlattr", texts::xmlattr),
];

/// Filters that Python has and we have not, and why.
pub(crate) const REFUSED_FILTERS: [(&str, &str); 4] = [
    ("pprint", "it breaks lines for a screen"),
    ("random", "a prompt is the same every time"),
    ("striptags", "it needs the two thousand names that HTML has for characters"),
    ("urlize", "a prompt has no links to click on"),
];

/// Functions that Python has and we have not, and why.
pub(crate) const REFUSED_FUNCTIONS: [(&str, &str); 1] =
    [("lipsum", "a prompt is the same every time")];

/// Whether Jinja has a filter of that name.
pub(crate) fn is_filter(name: &str) -> bool {
    FILTERS.iter().any(|(known, _)| *known == name)
        || REFUSED_FILTERS.iter().any(|(known, _)| *known == name)
}

/// `value | name(args)`.
pub(crate) fn call_filter(
    run: &mut Run<'_>,
    name: &str,
    value: &Value,
    args: Args,
) -> Outcome<Value> {
    match FILTERS.binary_search_by_key(&name, |(known, _)| known) {
        Ok(place) => FILTERS[place].1(run, value, args),
        Err(_) => match REFUSED_FILTERS.iter().find(|(known, _)| *known == name) {
            Some((_, why)) => other_error(format!("filter {} is not offered: {why}", quoted(name))),
            None => other_error(format!("filter {} is unknown", quoted(name))),
        },
    }
}
