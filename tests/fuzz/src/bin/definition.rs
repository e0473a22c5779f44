//! Searches for saga definitions that do harm, from the corpus on, by the code they come through: `deploy/test --long` runs it for a minute.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = baton_fuzz::definition(bytes);
});
