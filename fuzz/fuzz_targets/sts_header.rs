#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pinhold_fuzz::sts_header::target(data));
