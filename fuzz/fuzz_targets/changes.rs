#![no_main]

libfuzzer_sys::fuzz_target!(init: postroom_fuzz::start(), |data: &[u8]| postroom_fuzz::targets::changes::run(data));
