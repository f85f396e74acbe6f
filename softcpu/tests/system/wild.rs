//! Guests that make no sense: whatever code and registers they have, the CPU only ever answers
//! with events.

use aarch64::{Saved, pstate};
use proptest::prelude::*;
use softcpu::{Event, Interpreter, Reply};

use crate::machine::*;

/// A system register instruction more often than chance has it, else any word.
fn instruction() -> impl Strategy<Value = u32> {
    prop_oneof![
        3 => any::<u32>(),
        2 => (0..1_u32 << 22).prop_map(|bits| 0xd500_0000 | bits & 0x3f_ffff),
        1 => any::<usize>().prop_map(|n| {
            let rows = softcpu::interp::table().rows();
            rows[n % rows.len()].value
        }),
        2 => (any::<usize>(), any::<u32>()).prop_map(|(n, bits)| {
            let rows = softcpu::interp::table().rows();
            let row = &rows[n % rows.len()];
            row.value | bits & !row.mask
        }),
    ]
}

/// Addresses that often lead somewhere.
fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        (0..RAM_BYTES).prop_map(|at| RAM + at),
        (0..0x100_u64).prop_map(|at| RAM + at * 0x1000),
        (0..1_u64 << 12).prop_map(|low| low.wrapping_sub(1 << 11)),
    ]
}

fn answer(event: Event, data: u64) -> Option<Reply> {
    Some(match event {
        Event::MmioRead { .. } | Event::SysRegRead { .. } if data & 7 == 0 => Reply::ExternalAbort,
        Event::MmioRead { .. } | Event::SysRegRead { .. } => Reply::Data(data),
        Event::SysRegWrite { .. } if data & 7 == 0 => Reply::Undefined,
        Event::Hvc(_) | Event::Smc(_) => Reply::Call([data; 4]),
        Event::QuantumEnd => return None,
        Event::MmioWrite { .. }
        | Event::SysRegWrite { .. }
        | Event::Wfi
        | Event::Timer
        | Event::Step
        | Event::Breakpoint
        | Event::Brk(_)
        | Event::Watchpoint(_)
        | Event::Kicked
        | Event::ExceptionLoop(_)
        | Event::Trapped(_) => Reply::Done,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn random_guests_only_make_events(
        code in prop::collection::vec(instruction(), 64..512),
        registers in prop::collection::vec((any::<usize>(), value()), 0..24),
        x in prop::collection::vec(value(), 31),
        mode in prop::sample::select(vec![pstate::EL0T, pstate::EL1T, pstate::EL1H]),
        tables in prop::collection::vec(any::<u64>(), 64),
        seed: u64,
    ) {
        let mut m = Machine::new();
        m.code(CODE, &code);
        // Something that may pass for page tables.
        for (i, entry) in tables.iter().enumerate() {
            m.store(DATA + 8 * i as u64, RAM | entry & 0x7f_ffff | 3);
        }
        for (n, value) in registers {
            m.set(Saved::ALL[n % Saved::ALL.len()], value);
        }
        for (n, value) in x.into_iter().enumerate() {
            m.set_x(n, value);
        }
        m.go(CODE, mode | seed & pstate::DEFINED & !0xf);
        m.interpreter = Interpreter::new(1_000);
        // Few enough that a loop around YIELD does not wait for a busy host all day.
        m.cpu.set_limit(Some(2_000));
        let mut data = seed;
        for _ in 0..1_000 {
            let event = m.run();
            data = data.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(event_size(event));
            match answer(event, data >> 17) {
                Some(reply) => m.cpu.reply(reply),
                None => break,
            }
            m.cpu.set_interrupts(data >> 60 == 0, data >> 60 == 1);
        }
        prop_assert!(m.cpu.core().pstate & !pstate::DEFINED == 0);
    }
}

fn event_size(event: Event) -> u64 {
    match event {
        Event::MmioWrite { data, .. } | Event::SysRegWrite { data, .. } => data | 1,
        _ => 1,
    }
}
