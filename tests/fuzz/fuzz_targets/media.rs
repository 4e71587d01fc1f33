#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| callbot_hostile::media(data));
