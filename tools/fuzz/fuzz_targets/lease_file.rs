//! `RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tools/fuzz --features libfuzzer --sanitizer none lease_file`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| leasefence_fuzz::decode_all(data));
