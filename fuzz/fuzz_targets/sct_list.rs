#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pinhold_fuzz::sct_list::target(data));
