//! Guests that do random things: whatever they do, it is they who fail, never the VMM.

use std::time::Duration;

use aarch64::{Gpa, Saved, Size, SysReg, VcpuId, machine};
use hv_backend::api::{Conduit, Exit, GuestFault};
use hv_backend::scripted::{Script, Scripted, Step};
use proptest::prelude::*;
use vmm::machine::Machine;
use vmm::outcome::Outcome;

use crate::harness::{now, power_off};
use crate::machine::Files;

/// Longer than any guest needs that does not wait for ever.
const LIMIT: Duration = Duration::from_millis(15);

/// An address that is most likely one of a device.
fn gpa() -> impl Strategy<Value = Gpa> {
    let near = |base: Gpa, size: u64| (0..size).prop_map(move |offset| Gpa(base.0 + offset));
    prop_oneof![
        4 => near(machine::GICD.base, machine::GICD.size),
        4 => near(machine::GICR_BASE, 3 * machine::GICR_STRIDE),
        1 => near(machine::GICV2M.base, machine::GICV2M.size),
        3 => near(machine::UART.base, 0x60),
        1 => near(machine::RTC.base, machine::RTC.size),
        1 => near(machine::GPIO.base, machine::GPIO.size),
        1 => any::<u64>().prop_map(Gpa),
    ]
}

fn size() -> impl Strategy<Value = Size> {
    prop::sample::select(&Size::ALL[..])
}

/// Most likely one of the GIC's (`ICC_*_EL1`, all in CRn 4 and 12).
fn sysreg() -> impl Strategy<Value = SysReg> {
    prop_oneof![
        4 => (8_u8..13, 0_u8..8).prop_map(|(crm, op2)| SysReg::new(3, 0, 12, crm, op2)),
        1 => Just(SysReg::new(3, 0, 4, 6, 0)),
        1 => any::<u16>().prop_map(SysReg),
    ]
}

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0..0x400_u64,
        (0..64_u32).prop_map(|bit| 1 << bit),
        Just(machine::RAM_BASE.0),
    ]
}

fn function() -> impl Strategy<Value = u64> {
    let known = prop_oneof![Just(0x8400_0000_u64), Just(0xc400_0000), Just(0x8000_0000)];
    prop_oneof![4 => (known, 0..0x20_u64).prop_map(|(base, n)| base + n), 1 => any::<u64>()]
}

fn step() -> impl Strategy<Value = Vec<Step>> {
    let exit = |exit| vec![Step::Exit(exit)];
    let call = |(x0, x1, x2, smc, imm)| {
        let conduit = if smc { Conduit::Smc } else { Conduit::Hvc };
        let registers = [Step::X(0, x0), Step::X(1, x1), Step::X(2, x2)];
        registers
            .into_iter()
            .chain([Step::Exit(Exit::Call { conduit, imm })])
            .collect()
    };
    let imm = prop_oneof![9 => Just(0), 1 => any::<u16>()];
    let timer = prop::sample::select(vec![
        Saved::CntvCtlEl0,
        Saved::CntvCvalEl0,
        Saved::CntpCtlEl0,
        Saved::CntpCvalEl0,
    ]);
    prop_oneof![
        8 => (gpa(), size()).prop_map(move |(gpa, size)| exit(Exit::MmioRead { gpa, size })),
        16 => (gpa(), size(), value()).prop_map(move |(gpa, size, data)| {
            exit(Exit::MmioWrite { gpa, size, data: data & size.mask() })
        }),
        4 => sysreg().prop_map(move |reg| exit(Exit::SysRegRead { reg })),
        8 => (sysreg(), value()).prop_map(move |(reg, data)| exit(Exit::SysRegWrite { reg, data })),
        4 => (function(), value(), value(), any::<bool>(), imm).prop_map(call),
        2 => (timer, value()).prop_map(move |(reg, value)| {
            vec![Step::Sys(reg, value), Step::Exit(Exit::Timer)]
        }),
        1 => Just(exit(Exit::Wfi)),
        1 => Just(exit(Exit::QuantumEnd)),
        1 => any::<u32>().prop_map(move |insn| exit(Exit::Fault(GuestFault::CannotEmulate(insn)))),
    ]
}

fn script() -> impl Strategy<Value = Script> {
    prop::collection::vec(step(), 0..120).prop_map(|steps| {
        let script = steps
            .into_iter()
            .flatten()
            .fold(Script::new(), Script::then);
        power_off(script)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn random_guests_never_fail_the_host(scripts in prop::collection::vec(script(), 1..4)) {
        let files = Files::new("random");
        let mut config = files.config(false);
        config.cpus = scripts.len().to_string().parse().unwrap();
        config.serial = vmm::config::Serial::None;
        let scripted = Scripted::new(scripts, now);
        let machine = Machine::on(&scripted, config).unwrap();
        let (control, watched) = (machine.control(), scripted.clone());
        std::thread::spawn(move || {
            std::thread::sleep(LIMIT);
            // A busy host may need longer to begin.
            for _ in 0..10_000 {
                if !watched.log(VcpuId(0)).is_empty() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            control.end(Outcome::Left);
        });
        let outcome = machine.run();
        prop_assert!(!matches!(outcome, Ok(Outcome::HostFailed(_)) | Err(_)), "{:?}", outcome);
        prop_assert!(!scripted.log(VcpuId(0)).is_empty());
    }
}
