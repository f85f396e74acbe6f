//! What single instructions and events of a guest come back as.

use hv_backend::hvf::abi::{interrupt, reg};
use serde_json::{Map, Value, json};

use crate::Options;
use crate::guest::{CODE, DATA, NOTHING, hvc, with};
use crate::raw::Raw;

/// `msr daifclr, #3`, and a branch to itself.
const WAIT: [u32; 2] = [0xd503_43ff, 0x1400_0000];

/// Which vector each interrupt input leads to: 0x280 is that of IRQs, 0x300 that of FIQs.
pub fn interrupts(raw: Raw, _: &Options) -> Value {
    let mut all = Map::new();
    for (name, input) in [("0", interrupt::IRQ), ("1", interrupt::FIQ)] {
        let seen = with(raw, &WAIT, |guest| {
            guest.vcpu.interrupt(input)?;
            Ok(guest.run()?.show())
        });
        all.insert(format!("input {name}"), seen);
    }
    Value::Object(all)
}

/// Where the PC is after instructions that trap: at them, or past them.
pub fn calls(raw: Raw, _: &Options) -> Value {
    let mut all = Map::new();
    for (name, instruction) in [
        ("hvc #7", hvc(7)),
        ("smc #7", 0xd400_00e3),
        ("wfi", 0xd503_207f),
        ("wfe", 0xd503_205f),
        ("brk #7", 0xd420_00e0),
        ("undefined", 0),
    ] {
        let seen = with(raw, &[instruction, hvc(0)], |guest| {
            guest.vcpu.set_reg(0, 0x8400_0000)?;
            let back = guest.run()?;
            let pc = guest.vcpu.reg(reg::PC)?;
            Ok(json!({ "back": back.show(), "pc_advanced_by": pc.wrapping_sub(CODE) }))
        });
        all.insert(name.into(), seen);
    }
    let service = with(raw, &[hvc(0)], |guest| {
        guest.vcpu.set_reg(0, 0xc100_0000)?;
        guest.vcpu.set_timer_mask(true)?;
        let back = guest.run()?;
        Ok(json!({ "back": back.show(), "x0": format!("{:#x}", guest.vcpu.reg(0)?) }))
    });
    all.insert("hvc #0 with x0 = 0xc1000000".into(), service);
    Value::Object(all)
}

/// What accesses to addresses without memory say of themselves.
pub fn accesses(raw: Raw, _: &Options) -> Value {
    let mut all = Map::new();
    for (name, instruction) in [
        ("ldr x1, [x0]", 0xf940_0001),
        ("ldrsb w1, [x0]", 0x39c0_0001),
        ("str wzr, [x0]", 0xb900_001f),
        ("ldr x1, [x0], #8", 0xf840_8401),
        ("ldp x1, x2, [x0]", 0xa940_0801),
        ("stp x1, x2, [x0]", 0xa900_0801),
        ("ldr q1, [x0]", 0x3dc0_0001),
        ("ldxr x1, [x0]", 0xc85f_7c01),
        ("ldadd x1, x2, [x0]", 0xf821_0002),
        ("dc zva, x0", 0xd50b_7420),
        ("dc civac, x0", 0xd50b_7e20),
        ("prfm pldl1keep, [x0]", 0xf980_0000),
        ("br x0", 0xd61f_0000),
    ] {
        let seen = with(raw, &[instruction, hvc(0)], |guest| {
            guest.vcpu.set_reg(0, NOTHING)?;
            Ok(guest.run()?.show())
        });
        all.insert(name.into(), seen);
    }
    Value::Object(all)
}

/// How often a guest without its MMU on misses what the host just wrote, and the other way round.
pub fn coherence(raw: Raw, _: &Options) -> Value {
    /// `ldr x1, [x0]; str x2, [x0, #8]; hvc #0; b .-12`
    const SWAP: [u32; 4] = [0xf940_0001, 0xf900_0402, hvc(0), 0x17ff_fffd];
    const ROUNDS: u64 = 10_000;
    with(raw, &SWAP, |guest| {
        let (mut guest_missed, mut host_missed) = (0_u64, 0_u64);
        guest.vcpu.set_reg(0, DATA)?;
        for round in 1..=ROUNDS {
            let _ = guest.memory.write(DATA - CODE, &round.to_le_bytes());
            guest.vcpu.set_reg(2, !round)?;
            guest.run()?;
            guest_missed += u64::from(guest.vcpu.reg(1)? != round);
            let seen = guest.memory.load_u64(DATA - CODE + 8);
            host_missed += u64::from(seen != Some(!round));
        }
        Ok(json!({ "rounds": ROUNDS, "guest_missed": guest_missed, "host_missed": host_missed }))
    })
}
