//! What functions return to callers that keep no rule.

use std::thread;

use ::memory::Region;
use hv_backend::hvf::abi::{memory, reg};
use serde_json::{Map, Value, json};

use crate::Options;
use crate::guest::{CODE, MEMORY, with};
use crate::raw::{Raw, code, outcome};

const RW: u64 = memory::READ | memory::WRITE;
/// Beyond every address size.
const FAR: u64 = 1 << 52;
/// Free addresses.
const FREE: u64 = CODE + 0x100_0000;

/// Makes one mistake after the other.
pub fn ask(raw: Raw, _: &Options) -> Value {
    let mut codes = Map::new();
    let mut note = |name: &str, seen: Value| codes.insert(name.to_owned(), seen);
    note("vcpu without a VM", outcome(raw.create_vcpu().map(drop)));
    note("destroy without a VM", outcome(raw.destroy_vm()));
    note("unmap without a VM", outcome(raw.unmap(CODE, MEMORY)));
    note("VM of 64 address bits", outcome(made(raw, 64)));
    note("VM of 0 address bits", outcome(made(raw, 0)));
    let within = with(raw, &[], |guest| {
        let mut codes = Map::new();
        let mut note = |name: &str, seen: Value| codes.insert(name.to_owned(), seen);
        note("a second VM", outcome(raw.create_vm(None)));
        note(
            "a second vCPU of the thread",
            outcome(raw.create_vcpu().map(drop)),
        );
        let handle = guest.vcpu.handle();
        let other = thread::scope(|scope| {
            let thread = scope.spawn(move || raw.reg_of(handle, reg::PC).map(drop));
            thread.join().unwrap_or(Ok(()))
        });
        note("register read by another thread", outcome(other));
        note(
            "register of a vCPU that is not there",
            outcome(raw.reg_of(63, reg::PC).map(drop)),
        );
        note("kick of a vCPU that is not there", outcome(raw.kick(63)));
        note("kick of vCPU 64", outcome(raw.kick(64)));
        note("register 35", outcome(guest.vcpu.reg(35).map(drop)));
        note("SIMD register 32", outcome(guest.vcpu.simd(32).map(drop)));
        note("interrupt input 2", outcome(guest.vcpu.interrupt(2)));
        note("destroy with a vCPU", outcome(raw.destroy_vm()));
        maps(raw, &mut codes);
        Ok(Value::Object(codes))
    });
    note("within a VM", within);
    Value::Object(codes)
}

fn made(raw: Raw, bits: u32) -> Result<(), i32> {
    raw.create_vm(Some(bits))?;
    raw.destroy_vm()
}

/// Mistakes with memory.
fn maps(raw: Raw, codes: &mut Map<String, Value>) {
    let Ok(region) = Region::new(4 * MEMORY as u64) else {
        return;
    };
    let mut note = |name: &str, seen: Value| codes.insert(name.to_owned(), seen);
    for (name, offset, gpa, bytes, flags) in [
        ("map an unaligned host address", 0x1000, FREE, MEMORY, RW),
        (
            "map an unaligned guest address",
            0,
            FREE + 0x1000,
            MEMORY,
            RW,
        ),
        ("map an unaligned size", 0, FREE, 0x1000, RW),
        ("map no bytes", 0, FREE, 0, RW),
        ("map with an unknown flag", 0, FREE, MEMORY, RW | 1 << 7),
        ("map without rights", 0, FREE, MEMORY, 0),
        ("map over what is mapped", 0, CODE, MEMORY, RW),
        ("map beyond the address size", 0, FAR, MEMORY, RW),
        ("map at 0", 0, 0, MEMORY, RW),
    ] {
        let seen = raw.map(&region, offset, gpa, bytes, flags);
        note(name, outcome(seen));
        // What worked is undone, except the guest's own page: that mapping may be the old one.
        if seen.is_ok() && gpa != CODE {
            let _ = raw.unmap(gpa, bytes);
        }
    }
    note("unmap a hole", outcome(raw.unmap(FREE, MEMORY)));
    note("protect a hole", outcome(raw.protect(FREE, MEMORY, RW)));
    match raw.map(&region, 0, FREE, 4 * MEMORY, RW) {
        Err(refusal) => {
            note("map four pages", code(refusal));
        }
        Ok(()) => {
            note(
                "unmap the second of four pages",
                outcome(raw.unmap(FREE + MEMORY as u64, MEMORY)),
            );
            note("unmap across a hole", outcome(raw.unmap(FREE, 4 * MEMORY)));
            for page in 0..4 {
                let _ = raw.unmap(FREE + page * MEMORY as u64, MEMORY);
            }
        }
    }
    note("end", json!("all undone"));
}
