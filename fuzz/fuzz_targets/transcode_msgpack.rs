#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| everwire_fuzz::wire::transcode_msgpack(data));
