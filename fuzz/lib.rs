//! The fuzz targets for libFuzzer. Their bodies stand in `tests/fuzz/targets`, where the tests play them on stable too.

#[path = "../tests/fuzz/targets/mod.rs"]
pub mod targets;

/// libfuzzer-sys ends the process at every panic, even at those of mail-parser that `event::encoded_words` catches. Here only a
/// panic that nobody catches ends it.
pub fn start() {
    let _ = std::panic::take_hook();
}
