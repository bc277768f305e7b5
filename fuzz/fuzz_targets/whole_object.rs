#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| everwire_fuzz::wire::whole_object(data));
