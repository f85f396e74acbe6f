#![no_main]
//! libFuzzer's entry to a target of the same name.

libfuzzer_sys::fuzz_target!(|data: &[u8]| armlet_fuzz_libfuzzer::run("virtio_balloon", data));
