//! The types that TOML has. The environment and the command line know only text, which stands for whatever is wanted; in
//! a file a number in quotes is a mistake.

use super::error::{Fault, quoted};
use super::in_force::Shown;
use super::value;
use super::walk::kind_of;
use figment::value::Value;

/// A value of one of the types that TOML has, before it means anything.
pub(super) trait Raw: Sized {
    /// `from_text`: the layer knows only text, which stands for the type that is wanted.
    fn of(value: &Value, from_text: bool) -> Result<Self, Fault>;
    fn show(&self) -> Shown;
}

/// Says what stands there instead, without showing it: it may be a secret.
fn not(value: &Value, wanted: &str) -> Fault {
    format!("is {}, not {wanted}", kind_of(value)).into()
}

impl Raw for String {
    fn of(value: &Value, _: bool) -> Result<String, Fault> {
        value.as_str().map(str::to_owned).ok_or_else(|| not(value, "text in quotes"))
    }

    fn show(&self) -> Shown {
        Shown::Text(self.clone())
    }
}

impl Raw for bool {
    fn of(value: &Value, from_text: bool) -> Result<bool, Fault> {
        match value {
            Value::Bool(_, flag) => Ok(*flag),
            Value::String(_, text) if from_text => {
                text.trim().parse().map_err(|_| format!("{} is neither true nor false", quoted(text)).into())
            }
            value => Err(not(value, "true or false")),
        }
    }

    fn show(&self) -> Shown {
        Shown::Flag(*self)
    }
}

impl Raw for i64 {
    fn of(value: &Value, from_text: bool) -> Result<i64, Fault> {
        match value {
            Value::Num(_, number) if number.to_f64().is_some() => Err("is not a whole number".into()),
            Value::Num(_, number) => number
                .to_i128()
                .or(number.to_u128().and_then(|number| number.try_into().ok()))
                .and_then(|number| number.try_into().ok())
                .ok_or_else(|| "is a number that is too large".into()),
            Value::String(_, text) if from_text => {
                text.trim().parse().map_err(|_| format!("{} is no number", quoted(text)).into())
            }
            value => Err(not(value, "a number")),
        }
    }

    fn show(&self) -> Shown {
        Shown::Number(*self)
    }
}

impl Raw for Vec<String> {
    fn of(value: &Value, from_text: bool) -> Result<Vec<String>, Fault> {
        match value {
            Value::Array(_, values) => values
                .iter()
                .map(|value| String::of(value, false).map_err(|_| not(value, "text in this list")))
                .collect(),
            Value::String(_, text) if from_text => value::list(text),
            value => Err(not(value, "a list")),
        }
    }

    fn show(&self) -> Shown {
        Shown::Texts(self.clone())
    }
}
