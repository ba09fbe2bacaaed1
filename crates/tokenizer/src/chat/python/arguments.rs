//! What a call passes, and how it meets the parameters of what is called.

use super::value::{Text, Value};
use crate::chat::fault::{Outcome, quoted, type_error};

#[derive(Clone, Debug, Default)]
pub(crate) struct Args {
    pub(crate) positional: Vec<Value>,
    pub(crate) named: Vec<(Text, Value)>,
}

impl Args {
    /// The values of `parameters`, of which the first `num_required` must be there.
    pub(crate) fn bind<const N: usize>(
        self,
        function: &str,
        parameters: [&str; N],
        num_required: usize,
    ) -> Outcome<[Option<Value>; N]> {
        if self.positional.len() > N {
            let given = self.positional.len();
            return type_error(format!("{function}() takes at most {N} arguments ({given} given)"));
        }
        let mut bound = [const { None }; N];
        for (slot, value) in bound.iter_mut().zip(self.positional) {
            *slot = Some(value);
        }
        for (name, value) in self.named {
            let place = parameters.iter().position(|parameter| **parameter == *name.as_str());
            let Some(slot) = place.and_then(|place| bound.get_mut(place)) else {
                let name = quoted(name.as_str());
                return type_error(format!(
                    "{function}() got an unexpected keyword argument {name}"
                ));
            };
            if slot.is_some() {
                let name = quoted(name.as_str());
                return type_error(format!("{function}() got multiple values for argument {name}"));
            }
            *slot = Some(value);
        }
        if let Some(at) = bound.iter().take(num_required).position(Option::is_none) {
            return type_error(format!("{function}() misses argument '{}'", parameters[at]));
        }
        Ok(bound)
    }

    /// Values that have no names.
    pub(crate) fn unnamed<const N: usize>(
        self,
        function: &str,
        num_required: usize,
    ) -> Outcome<[Option<Value>; N]> {
        if !self.named.is_empty() {
            return type_error(format!("{function}() takes no keyword arguments"));
        }
        if self.positional.len() < num_required {
            let given = self.positional.len();
            return type_error(format!(
                "{function}() takes at least {num_required} arguments ({given} given)"
            ));
        }
        self.bind(function, [""; N], num_required)
    }

    /// For what takes none.
    pub(crate) fn none(self, function: &str) -> Outcome<()> {
        self.unnamed::<0>(function, 0).map(|_| ())
    }
}

/// A whole number.
pub(crate) fn whole(value: &Value) -> Outcome<i128> {
    value.defined()?;
    match value.as_int() {
        Some(number) => Ok(number),
        None => type_error(format!(
            "'{}' object cannot be interpreted as an integer",
            value.type_name()
        )),
    }
}

/// A whole number, or what stands in for one that is not there or `None`.
pub(crate) fn whole_or(value: Option<&Value>, missing: i128) -> Outcome<i128> {
    match value {
        None | Some(Value::None) => Ok(missing),
        Some(value) => whole(value),
    }
}

/// A text.
pub(crate) fn text(value: &Value) -> Outcome<&Text> {
    value.defined()?;
    match value {
        Value::Text(text) => Ok(text),
        _ => type_error(format!("a str is required, not '{}'", value.type_name())),
    }
}

pub(crate) fn is_true_or(value: Option<&Value>, missing: bool) -> bool {
    value.map_or(missing, Value::is_true)
}
