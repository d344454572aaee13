//! The types that TOML has. The environment and the command line know only text, which stands for whatever is wanted; in
//! a file a number in quotes is a mistake.

use super::error::{ValueError, quoted};
use super::in_force::Shown;
use super::parse;
use figment::value::{Dict, Value};

/// A value of one of the types that TOML has, before it means anything.
pub(super) trait TomlType: Sized {
    /// `from_text`: the layer knows only text, which stands for the type that is wanted.
    fn from_value(value: &Value, from_text: bool) -> Result<Self, ValueError>;
    fn show(&self) -> Shown;
}

/// Says what stands there instead, without showing it: it may be a secret.
fn not(value: &Value, wanted: &str) -> ValueError {
    format!("is {}, not {wanted}", kind_of(value)).into()
}

impl TomlType for String {
    fn from_value(value: &Value, _: bool) -> Result<String, ValueError> {
        value.as_str().map(str::to_owned).ok_or_else(|| not(value, "text in quotes"))
    }

    fn show(&self) -> Shown {
        Shown::Text(self.clone())
    }
}

impl TomlType for bool {
    fn from_value(value: &Value, from_text: bool) -> Result<bool, ValueError> {
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

impl TomlType for i64 {
    fn from_value(value: &Value, from_text: bool) -> Result<i64, ValueError> {
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

/// A whole number is one, too.
impl TomlType for f64 {
    fn from_value(value: &Value, from_text: bool) -> Result<f64, ValueError> {
        let number = match value {
            Value::Num(_, number) => number.to_f64().or(value.to_i128().map(|whole| whole as f64)),
            Value::String(_, text) if from_text => {
                Some(text.trim().parse().map_err(|_| format!("{} is no number", quoted(text)))?)
            }
            value => return Err(not(value, "a number")),
        };
        number.filter(|number: &f64| number.is_finite()).ok_or_else(|| "is not a finite number".into())
    }

    fn show(&self) -> Shown {
        Shown::Fraction(*self)
    }
}

impl TomlType for Vec<String> {
    fn from_value(value: &Value, from_text: bool) -> Result<Vec<String>, ValueError> {
        match value {
            Value::Array(_, values) => values
                .iter()
                .map(|value| String::from_value(value, false).map_err(|_| not(value, "text in this list")))
                .collect(),
            Value::String(_, text) if from_text => parse::list(text),
            value => Err(not(value, "a list")),
        }
    }

    fn show(&self) -> Shown {
        Shown::List(self.iter().map(String::show).collect())
    }
}

/// What a value is, without showing it.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::String(..) | Value::Char(..) => "text",
        Value::Bool(..) => "true or false",
        Value::Num(..) => "a number",
        Value::Empty(..) => "nothing",
        Value::Array(..) => "a list",
        Value::Dict(_, dict) if is_date(dict) => "a date",
        Value::Dict(..) => "a table",
    }
}

/// The table that a value is.
pub(super) fn as_table(value: &Value) -> Option<&Dict> {
    value.as_dict().filter(|dict| !is_date(dict))
}

/// figment gives a date of TOML as a table with one key of this name.
fn is_date(dict: &Dict) -> bool {
    dict.keys().any(|key| key.starts_with("$__toml"))
}
