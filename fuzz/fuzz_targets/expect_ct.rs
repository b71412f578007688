#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pinhold_fuzz::expect_ct::target(data));
