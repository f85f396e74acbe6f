//! States into KVM's GIC and back.

use aarch64::gic::gicd::CTLR_ENABLE;
use aarch64::gic_state::{BankKind, GicBank, IccState};
use aarch64::machine::SPIS;
use proptest::prelude::*;

use super::fake::Fake;
use super::*;

fn bank(kind: BankKind) -> impl Strategy<Value = GicBank> {
    let words = any::<[u32; 6]>();
    (words, any::<[u8; 32]>()).prop_map(move |(words, priority)| {
        let [group, enabled, latch, level, active, edge] = words;
        GicBank {
            group,
            enabled,
            latch,
            level: level & !kind.sgis(),
            active,
            edge: edge & kind.configurable() | kind.sgis(),
            priority: priority.map(|p| p & PRIORITY_MASK),
        }
    })
}

fn icc() -> impl Strategy<Value = IccState> {
    let small = (any::<u8>(), MIN_BPR0..8, MIN_BPR1..8, 0_u32..4);
    let rest = (any::<[bool; 2]>(), any::<[u32; 2]>());
    (small, rest).prop_map(
        |((pmr, bpr0, bpr1, ctlr), ([igrpen0, igrpen1], active))| IccState {
            pmr: pmr & PRIORITY_MASK,
            bpr0,
            bpr1,
            ctlr,
            igrpen0,
            igrpen1,
            ap0r0: active[0],
            ap1r0: active[1],
        },
    )
}

/// Any state that KVM can hold.
fn state(vcpus: usize) -> impl Strategy<Value = GicState> {
    let vcpu = (bank(BankKind::Private), icc());
    let vcpu = vcpu.prop_map(|(private, icc)| GicVcpuState { private, icc });
    (
        any::<bool>(),
        prop::collection::vec(bank(BankKind::Spi), BANKS - 1),
        prop::collection::vec(0_u64..0x100_0000, usize::from(SPIS)),
        prop::collection::vec(vcpu, vcpus),
    )
        .prop_map(|(enable, spis, routes, vcpus)| GicState {
            ctlr: if enable { CTLR_ENABLE } else { 0 },
            spis,
            routes,
            vcpus,
        })
}

const VCPUS: u16 = 18;

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn whatever_was_there_a_state_comes_back_equal(
        first in state(VCPUS.into()),
        second in state(VCPUS.into()),
    ) {
        let (gic, wires) = (Fake::new(VCPUS.into(), 5), Wires::default());
        for state in [first, second] {
            restore(&gic, &state, VCPUS, &wires).unwrap();
            prop_assert_eq!(save(&gic, VCPUS, &wires).unwrap(), state);
        }
    }
}

fn refused(gic: &Fake, state: &GicState) -> String {
    let error = restore(gic, state, 2, &Wires::default()).unwrap_err();
    assert_eq!(gic.writes.get(), 0, "{error}");
    error.to_string()
}

#[test]
fn a_new_gic_is_in_the_reset_state() {
    let gic = Fake::new(3, 5);
    begin(&gic).unwrap();
    let state = save(&gic, 3, &Wires::default());
    assert_eq!(state.unwrap(), GicState::at_reset(3));
}

#[test]
fn what_kvm_cannot_hold_is_refused_before_anything_changes() {
    let gic = Fake::new(2, 5);
    let line = refused(&gic, &GicState::at_reset(3));
    assert_eq!(line, "the GIC state has 3 vCPUs, the machine has 2");
    let mut state = GicState::at_reset(2);
    state.routes[8] = 1 << 31;
    let line = refused(&gic, &state);
    assert!(line.starts_with("interrupt 40 goes to any one"), "{line}");
    let mut state = GicState::at_reset(2);
    state.spis[6].priority[0] = 1;
    assert!(refused(&gic, &state).contains("bank 7"));
}

#[test]
fn a_host_with_more_priorities_is_refused() {
    let gic = Fake::new(2, 7);
    assert!(refused(&gic, &GicState::at_reset(2)).contains("7 bits of priority"));
    assert!(save(&gic, 2, &Wires::default()).is_err());
}

#[test]
fn an_active_timer_fits_a_vcpu_that_has_not_run() {
    let mut state = GicState::at_reset(2);
    state.vcpus[1].private.active = 1 << 27;
    let (gic, wires) = (Fake::new(2, 5), Wires::default());
    restore(&gic, &state, 2, &wires).unwrap();
    assert_eq!(save(&gic, 2, &wires).unwrap(), state);

    let gic = Fake::new(2, 5);
    gic.run();
    let error = restore(&gic, &state, 2, &wires).unwrap_err().to_string();
    assert!(error.contains("interrupt 27 of vcpu1"), "{error}");
    restore(&gic, &GicState::at_reset(2), 2, &wires).unwrap();
}

#[test]
fn the_wire_of_an_edge_triggered_spi_is_known_to_the_wires_alone() {
    let (gic, wires) = (Fake::new(1, 5), Wires::default());
    let mut state = GicState::at_reset(1);
    state.spis[0].edge = 1 << 5;
    state.spis[0].level = 1 << 5 | 1 << 6;
    restore(&gic, &state, 1, &wires).unwrap();
    let kvm = |bank| word(&gic, Register::Wires(bank)).unwrap();
    assert_eq!(kvm(Bank::Spis(1)), 1 << 6);
    assert_eq!(wires.levels()[0], 1 << 5 | 1 << 6);
    assert_eq!(save(&gic, 1, &wires).unwrap(), state);
}

#[test]
fn a_cpu_interface_is_reset_by_itself() {
    let (gic, wires) = (Fake::new(2, 5), Wires::default());
    let mut state = GicState::at_reset(2);
    for vcpu in &mut state.vcpus {
        vcpu.icc = IccState {
            pmr: 0xf8,
            ctlr: CTLR_CBPR | CTLR_EOIMODE,
            bpr1: 5,
            igrpen1: true,
            ap1r0: 1 << 20,
            ..IccState::default()
        };
    }
    restore(&gic, &state, 2, &wires).unwrap();
    reset_cpu_interface(&gic, VcpuId(1)).unwrap();
    state.vcpus[1].icc = IccState::default();
    assert_eq!(save(&gic, 2, &wires).unwrap(), state);
}
