//! What host it is.

use std::ffi::CStr;

use serde_json::{Map, Value, json};

use crate::raw::{Raw, code};

const NUMBERS: [&CStr; 5] = [
    c"kern.hv_support",
    c"kern.hv.ipa_size_16k",
    c"kern.hv.ipa_size_4k",
    c"hw.tbfrequency",
    c"hw.pagesize",
];
const TEXTS: [&CStr; 3] = [
    c"kern.osproductversion",
    c"machdep.cpu.brand_string",
    c"hw.model",
];

/// What the system says of itself.
pub fn ask(raw: Raw) -> Value {
    let mut host = Map::new();
    for name in NUMBERS {
        let number = raw.system(name).and_then(|bytes| match bytes.len() {
            4 => bytes
                .first_chunk()
                .map(|b| u64::from(u32::from_le_bytes(*b))),
            _ => bytes.first_chunk().map(|b| u64::from_le_bytes(*b)),
        });
        host.insert(name.to_string_lossy().into_owned(), json!(number));
    }
    for name in TEXTS {
        let text = raw.system(name).map(|bytes| {
            let text = String::from_utf8_lossy(&bytes);
            text.trim_end_matches('\0').to_owned()
        });
        host.insert(name.to_string_lossy().into_owned(), json!(text));
    }
    host.insert("newer_functions".into(), raw.newer_functions());
    let most = raw.max_vcpus().map_or_else(code, |count| json!(count));
    host.insert("max_vcpus".into(), most);
    let bits = raw.address_bits();
    let bits = bits.map_or_else(
        code,
        |(most, default)| json!({ "max": most, "default": default }),
    );
    host.insert("address_bits".into(), bits);
    Value::Object(host)
}
