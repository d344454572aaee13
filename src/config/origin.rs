//! Where a value was given: which layer, which file and line or variable.

use super::error::ConfigError;
use super::key_path::KeyPath;

/// From weak to strong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Layer {
    Default,
    File,
    /// `admin.toml`: what verbs and pages changed.
    Admin,
    Environment,
    CommandLine,
}

impl Layer {
    pub(super) const ALL: [Layer; 5] =
        [Layer::Default, Layer::File, Layer::Admin, Layer::Environment, Layer::CommandLine];

    pub(super) fn name(self) -> &'static str {
        match self {
            Layer::Default => "default",
            Layer::File => "file",
            Layer::Admin => "admin.toml",
            Layer::Environment => "environment",
            Layer::CommandLine => "command line",
        }
    }

    /// It knows only text, which stands for whatever type a key wants.
    pub(super) fn has_only_text(self) -> bool {
        matches!(self, Layer::Environment | Layer::CommandLine)
    }
}

/// Where a value was given.
#[derive(Clone, Debug)]
pub(super) struct ValueOrigin {
    pub(super) layer: Layer,
    /// File name, variable name, or the layer's.
    pub(super) place: String,
    pub(super) line: Option<usize>,
}

impl ValueOrigin {
    /// Of what nobody has given.
    pub(super) fn default_layer() -> ValueOrigin {
        let layer = Layer::Default;
        ValueOrigin { layer, place: layer.name().to_owned(), line: None }
    }

    pub(super) fn error(
        &self,
        key: &KeyPath,
        wrong: impl Into<String>,
        right: impl Into<String>,
    ) -> ConfigError {
        ConfigError {
            file: Some(self.place.clone()),
            line: self.line,
            key: key.to_string(),
            wrong: wrong.into(),
            right: right.into(),
        }
    }
}
