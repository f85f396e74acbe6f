//! The GIC as a guest uses it, one behaviour each.

use std::sync::{Arc, Mutex};

use aarch64::gic::{Icc, SPURIOUS};
use aarch64::gic_state::GicState;
use aarch64::machine::{GICD, GICR_BASE, GICV2M, GICV2M_SPIS};
use aarch64::{Gpa, Intid, Size, SysReg, VcpuId};

use super::*;
use crate::bus::Bus;
use crate::irq::IrqLine;

const V0: VcpuId = VcpuId(0);
const V1: VcpuId = VcpuId(1);
const TIMER: Intid = Intid(27);
const SGI_FRAME: u64 = 0x1_0000;
const IGROUPR: u64 = 0x80;
const ISENABLER: u64 = 0x100;
const ISPENDR: u64 = 0x200;
const ICPENDR: u64 = 0x280;
const ISACTIVER: u64 = 0x300;
const IPRIORITYR: u64 = 0x400;
const ICFGR: u64 = 0xc00;
const IROUTER: u64 = 0x6000;

/// A GIC that a guest has set up: forwarding, both groups on, nothing masked, every interrupt enabled in group
/// 1 at priority 0xa0.
fn ready_gic(vcpus: u16) -> Gic {
    let mut gic = Gic::new(vcpus);
    gic.dist_write(0, Size::W, 3);
    for bank in 1..32 {
        gic.dist_write(ISENABLER + 4 * bank, Size::W, 0xffff_ffff);
    }
    for word in 8..256 {
        gic.dist_write(IPRIORITYR + 4 * word, Size::W, 0xa0a0_a0a0);
    }
    for vcpu in (0..vcpus).map(VcpuId) {
        let frame = redistributor(vcpu);
        gic.redist_write(frame + SGI_FRAME + ISENABLER, Size::W, 0xffff_ffff);
        for word in 0..8 {
            gic.redist_write(
                frame + SGI_FRAME + IPRIORITYR + 4 * word,
                Size::W,
                0xa0a0_a0a0,
            );
        }
        write(&mut gic, vcpu, Icc::Pmr, 0xff);
        write(&mut gic, vcpu, Icc::Igrpen0, 1);
        write(&mut gic, vcpu, Icc::Igrpen1, 1);
    }
    gic
}

fn redistributor(vcpu: VcpuId) -> u64 {
    u64::from(vcpu.0) * 0x2_0000
}

fn read(gic: &mut Gic, vcpu: VcpuId, reg: Icc) -> u32 {
    gic.icc_read(vcpu, reg.sysreg()).unwrap() as u32
}

fn write(gic: &mut Gic, vcpu: VcpuId, reg: Icc, data: u64) {
    gic.icc_write(vcpu, reg.sysreg(), data).unwrap();
}

fn set_priority(gic: &mut Gic, spi: Intid, priority: u64) {
    gic.dist_write(IPRIORITYR + u64::from(spi.0), Size::B, priority);
}

fn route(gic: &mut Gic, spi: Intid, router: u64) {
    gic.dist_write(IROUTER + 8 * u64::from(spi.0), Size::D, router);
}

fn changed(gic: &mut Gic) -> Vec<u16> {
    gic.take_changed().map(|vcpu| vcpu.0).collect()
}

#[test]
fn a_level_spi_is_taken_ended_and_taken_again_while_its_wire_is_high() {
    let mut gic = ready_gic(2);
    gic.set_spi(Intid(33), true);
    assert_eq!(
        (gic.irq(V0), gic.fiq(V0), gic.irq(V1)),
        (true, false, false)
    );
    assert_eq!(changed(&mut gic), [0]);
    assert_eq!(read(&mut gic, V0, Icc::Hppir1), 33);
    assert_eq!(read(&mut gic, V0, Icc::Iar1), 33);
    assert!(!gic.irq(V0));
    assert_eq!(read(&mut gic, V0, Icc::Rpr), 0xa0);
    assert_eq!(read(&mut gic, V0, Icc::Ap1r0), 1 << (0xa0 >> 3));
    assert_eq!(read(&mut gic, V0, Icc::Iar1), SPURIOUS);
    write(&mut gic, V0, Icc::Eoir1, 33);
    assert!(gic.irq(V0));
    assert_eq!(read(&mut gic, V0, Icc::Iar1), 33);
    gic.set_spi(Intid(33), false);
    write(&mut gic, V0, Icc::Eoir1, 33);
    assert!(!gic.irq(V0));
    assert_eq!(read(&mut gic, V0, Icc::Rpr), 0xff);
}

#[test]
fn an_edge_while_active_is_taken_after_the_end() {
    let mut gic = ready_gic(1);
    gic.dist_write(ICFGR + 8, Size::W, 2 << 2);
    gic.pulse_spi(Intid(33));
    assert_eq!(read(&mut gic, V0, Icc::Iar1), 33);
    gic.pulse_spi(Intid(33));
    assert!(!gic.irq(V0));
    write(&mut gic, V0, Icc::Eoir1, 33);
    assert_eq!(read(&mut gic, V0, Icc::Iar1), 33);
    write(&mut gic, V0, Icc::Eoir1, 33);
    assert_eq!(read(&mut gic, V0, Icc::Iar1), SPURIOUS);
}

#[test]
fn the_more_urgent_comes_first_and_equals_come_by_number() {
    let mut gic = ready_gic(1);
    set_priority(&mut gic, Intid(255), 0x80);
    for intid in [255, 40, 36] {
        gic.set_spi(Intid(intid), true);
    }
    gic.set_ppi(V0, TIMER, true);
    assert_eq!(read(&mut gic, V0, Icc::Iar1), 255);
    assert_eq!(
        read(&mut gic, V0, Icc::Iar1),
        SPURIOUS,
        "equal or less urgent than what runs"
    );
    write(&mut gic, V0, Icc::Ap1r0, 0);
    for intid in [27, 36, 40] {
        assert_eq!(read(&mut gic, V0, Icc::Iar1), intid);
        write(&mut gic, V0, Icc::Ap1r0, 0);
    }
}

#[test]
fn a_more_urgent_interrupt_preempts_and_the_ends_nest() {
    let mut gic = ready_gic(1);
    set_priority(&mut gic, Intid(50), 0x20);
    gic.set_ppi(V0, TIMER, true);
    assert_eq!(read(&mut gic, V0, Icc::Iar1), 27);
    gic.set_spi(Intid(50), true);
    assert!(gic.irq(V0));
    assert_eq!(read(&mut gic, V0, Icc::Iar1), 50);
    assert_eq!(read(&mut gic, V0, Icc::Rpr), 0x20);
    gic.set_spi(Intid(50), false);
    write(&mut gic, V0, Icc::Eoir1, 50);
    assert_eq!(read(&mut gic, V0, Icc::Rpr), 0xa0);
    write(&mut gic, V0, Icc::Eoir1, 27);
    assert_eq!(read(&mut gic, V0, Icc::Rpr), 0xff);
}

#[test]
fn with_split_end_the_interrupt_stays_active_until_deactivated() {
    let mut gic = ready_gic(1);
    write(&mut gic, V0, Icc::Dir, 27);
    write(&mut gic, V0, Icc::Ctlr, 2);
    gic.set_ppi(V0, TIMER, true);
    assert_eq!(read(&mut gic, V0, Icc::Iar1), 27);
    write(&mut gic, V0, Icc::Eoir1, 27);
    assert_eq!(read(&mut gic, V0, Icc::Rpr), 0xff);
    assert!(!gic.irq(V0));
    assert_eq!(gic.redist_read(SGI_FRAME + ISACTIVER, Size::W), 1 << 27);
    write(&mut gic, V0, Icc::Dir, 27);
    assert!(gic.irq(V0));
}

#[test]
fn without_split_end_deactivation_is_ignored() {
    let mut gic = ready_gic(1);
    gic.set_ppi(V0, TIMER, true);
    assert_eq!(read(&mut gic, V0, Icc::Iar1), 27);
    write(&mut gic, V0, Icc::Dir, 27);
    assert_eq!(gic.redist_read(SGI_FRAME + ISACTIVER, Size::W), 1 << 27);
}

#[test]
fn ending_a_special_intid_does_nothing() {
    let mut gic = ready_gic(1);
    gic.set_ppi(V0, TIMER, true);
    assert_eq!(read(&mut gic, V0, Icc::Iar1), 27);
    for intid in [256, 1019, 1020, 1023] {
        write(&mut gic, V0, Icc::Eoir1, intid);
    }
    assert_eq!(read(&mut gic, V0, Icc::Rpr), 0xa0);
}

#[test]
fn group_0_is_signalled_as_fiq_and_hides_what_is_less_urgent() {
    let mut gic = ready_gic(1);
    gic.dist_write(IGROUPR + 4, Size::W, !(1 << 1));
    gic.set_spi(Intid(33), true);
    gic.set_spi(Intid(34), true);
    assert_eq!((gic.irq(V0), gic.fiq(V0)), (false, true));
    assert_eq!(read(&mut gic, V0, Icc::Iar1), SPURIOUS);
    assert_eq!(read(&mut gic, V0, Icc::Hppir1), SPURIOUS);
    assert_eq!(read(&mut gic, V0, Icc::Hppir0), 33);
    assert_eq!(read(&mut gic, V0, Icc::Iar0), 33);
    assert_eq!(read(&mut gic, V0, Icc::Ap0r0), 1 << (0xa0 >> 3));
    write(&mut gic, V0, Icc::Igrpen0, 0);
    write(&mut gic, V0, Icc::Eoir0, 33);
    assert_eq!(
        (gic.irq(V0), gic.fiq(V0)),
        (true, false),
        "group 0 is off here"
    );
}

#[test]
fn both_sides_must_enable_a_group() {
    let mut gic = ready_gic(1);
    gic.set_spi(Intid(33), true);
    write(&mut gic, V0, Icc::Igrpen1, 0);
    assert!(!gic.irq(V0) && gic.wakes(V0));
    assert_eq!(read(&mut gic, V0, Icc::Iar1), SPURIOUS);
    write(&mut gic, V0, Icc::Igrpen1, 1);
    gic.dist_write(0, Size::W, 1);
    assert!(!gic.irq(V0) && !gic.wakes(V0));
    assert_eq!(gic.dist_read(0, Size::W), 0x50, "EnableGrp0 does not exist");
    gic.dist_write(0, Size::W, 3);
    assert!(gic.irq(V0));
    assert_eq!(gic.dist_read(0, Size::W), 0x52);
}

#[test]
fn the_priority_mask_holds_back_the_output_but_not_the_view() {
    let mut gic = ready_gic(1);
    write(&mut gic, V0, Icc::Pmr, 0xa0);
    gic.set_spi(Intid(33), true);
    assert!(!gic.irq(V0));
    assert_eq!(read(&mut gic, V0, Icc::Hppir1), 33);
    assert_eq!(read(&mut gic, V0, Icc::Iar1), SPURIOUS);
    write(&mut gic, V0, Icc::Pmr, 0xaf);
    assert_eq!(read(&mut gic, V0, Icc::Pmr), 0xa8);
    assert!(gic.irq(V0));
}

#[test]
fn an_sgi_reaches_the_listed_vcpus_of_its_cluster() {
    let mut gic = ready_gic(20);
    gic.take_changed();
    // Aff1 = 1, SGI 5, target list 0, 2, 3 and a vCPU that is not there.
    write(&mut gic, V0, Icc::Sgi1r, 1 << 16 | 5 << 24 | 0x800d);
    assert_eq!(changed(&mut gic), [16, 18, 19]);
    assert_eq!(read(&mut gic, VcpuId(18), Icc::Iar1), 5);
    write(&mut gic, VcpuId(18), Icc::Eoir1, 5);
    assert!(!gic.irq(VcpuId(18)));
    // An unknown cluster, in each of the affinity fields.
    for field in [2 << 16, 1 << 32, 1 << 48] {
        write(&mut gic, V0, Icc::Sgi1r, field | 0xffff);
    }
    assert_eq!(changed(&mut gic), [18]);
}

#[test]
fn an_sgi_to_all_others_spares_the_sender() {
    let mut gic = ready_gic(3);
    gic.take_changed();
    write(&mut gic, V1, Icc::Sgi1r, 1 << 40 | 1 << 24);
    assert_eq!(changed(&mut gic), [0, 2]);
}

#[test]
fn only_sgi1r_sends_group_1() {
    let mut gic = ready_gic(1);
    for reg in [Icc::Sgi0r, Icc::Asgi1r] {
        write(&mut gic, V0, reg, 3 << 24 | 1);
        assert!(!gic.irq(V0));
    }
    gic.redist_write(SGI_FRAME + IGROUPR, Size::W, !(1 << 3));
    for reg in [Icc::Sgi0r, Icc::Asgi1r, Icc::Sgi1r] {
        write(&mut gic, V0, reg, 3 << 24 | 1);
        assert_eq!(read(&mut gic, V0, Icc::Iar0), 3);
        write(&mut gic, V0, Icc::Eoir0, 3);
    }
}

#[test]
fn private_interrupts_stay_with_their_vcpu() {
    let mut gic = ready_gic(2);
    gic.set_ppi(V1, TIMER, true);
    assert_eq!((gic.irq(V0), gic.irq(V1)), (false, true));
    assert_eq!(read(&mut gic, V1, Icc::Iar1), 27);
    assert_eq!(gic.redist_read(SGI_FRAME + ISACTIVER, Size::W), 0);
    assert_eq!(
        gic.redist_read(redistributor(V1) + SGI_FRAME + ISACTIVER, Size::W),
        1 << 27
    );
}

#[test]
fn spis_follow_their_route() {
    let mut gic = ready_gic(18);
    gic.set_spi(Intid(100), true);
    gic.take_changed();
    route(&mut gic, Intid(100), 0x101);
    assert_eq!(changed(&mut gic), [0, 17]);
    assert!(gic.irq(VcpuId(17)));
    // As FreeBSD writes it, in halves.
    gic.dist_write(IROUTER + 800, Size::W, 1);
    gic.dist_write(IROUTER + 804, Size::W, 0xff);
    assert_eq!(gic.dist_read(IROUTER + 800, Size::D), 1, "there is no Aff3");
    assert!(gic.irq(V1));
    route(&mut gic, Intid(100), 0x20);
    assert!((0..18).all(|v| !gic.irq(VcpuId(v))), "nobody's affinity");
}

#[test]
fn a_1_of_n_spi_goes_to_the_first_that_takes_part() {
    let mut gic = ready_gic(3);
    route(&mut gic, Intid(100), 1 << 31);
    gic.set_spi(Intid(100), true);
    let at = |gic: &Gic| (0..3).filter(|v| gic.irq(VcpuId(*v))).collect::<Vec<_>>();
    assert_eq!(at(&gic), [0]);
    write(&mut gic, V0, Icc::Igrpen1, 0);
    assert_eq!(at(&gic), [1]);
    write(&mut gic, V1, Icc::Igrpen1, 0);
    assert_eq!(at(&gic), [2]);
    write(&mut gic, VcpuId(2), Icc::Igrpen1, 0);
    assert_eq!(at(&gic), [0; 0]);
    write(&mut gic, VcpuId(2), Icc::Igrpen1, 1);
    assert_eq!(read(&mut gic, VcpuId(2), Icc::Iar1), 100);
}

#[test]
fn pending_can_be_set_and_cleared_by_software() {
    let mut gic = ready_gic(1);
    gic.dist_write(ISPENDR + 8, Size::W, 1 << 6);
    assert!(gic.irq(V0));
    assert_eq!(gic.dist_read(ICPENDR + 8, Size::W), 1 << 6);
    gic.dist_write(ICPENDR + 8, Size::W, 1 << 6);
    assert!(!gic.irq(V0));
}

#[test]
fn redistributors_describe_themselves() {
    let gic = Gic::new(18);
    let typer = |n| gic.redist_read(redistributor(VcpuId(n)) + 8, Size::D);
    assert_eq!(typer(3), 3 << 32 | 3 << 8);
    assert_eq!(typer(17), 0x101 << 32 | 17 << 8 | 1 << 4);
    let last = redistributor(VcpuId(17));
    assert_eq!(gic.redist_read(last + 12, Size::W), 0x101);
    assert_eq!(gic.redist_read(last + 0xffe8, Size::W), 0x3b);
    assert_eq!(gic.redist_read(last + 0x1_ffe8, Size::W), 0x3b);
    assert_eq!(
        gic.redist_read(last + 0x2_0000 + 8, Size::D),
        0,
        "beyond the last"
    );
}

#[test]
fn redistributors_do_not_sleep() {
    let mut gic = ready_gic(1);
    gic.redist_write(0x14, Size::W, 2);
    assert_eq!(gic.redist_read(0x14, Size::W), 0);
    gic.set_ppi(V0, TIMER, true);
    assert!(gic.irq(V0));
}

#[test]
fn the_distributor_describes_itself() {
    let gic = Gic::new(1);
    assert_eq!(gic.dist_read(0, Size::W), 0x50);
    assert_eq!(gic.dist_read(4, Size::W), 7 | 9 << 19);
    assert_eq!(gic.dist_read(8, Size::W), 0x43b);
    assert_eq!(gic.dist_read(0xffe8, Size::W), 0x3b);
}

#[test]
fn accesses_of_sizes_that_registers_do_not_take_do_nothing() {
    let mut gic = ready_gic(1);
    let before = gic.save();
    gic.dist_write(0, Size::D, 0);
    gic.dist_write(0, Size::B, 0);
    gic.dist_write(0x184, Size::H, 0xffff);
    gic.dist_write(0x184, Size::D, u64::MAX);
    gic.dist_write(IPRIORITYR + 40, Size::H, 0);
    gic.dist_write(IROUTER + 801, Size::W, 1);
    gic.redist_write(0x14, Size::H, 2);
    gic.redist_write(SGI_FRAME + 0x182, Size::W, u64::MAX);
    // Private interrupts are not the distributor's, SPIs not the redistributor's.
    gic.dist_write(0x180, Size::W, u64::MAX);
    gic.redist_write(SGI_FRAME + 0x184, Size::W, u64::MAX);
    assert_eq!(gic.save(), before);
    assert_eq!(gic.dist_read(0, Size::D), 0);
    assert_eq!(gic.dist_read(ISENABLER, Size::W), 0);
    assert_eq!(gic.dist_read(4, Size::B), 0);
}

#[test]
fn undefined_system_registers_are_refused() {
    let mut gic = Gic::new(1);
    for reg in [Icc::Iar0, Icc::Iar1, Icc::Hppir0, Icc::Hppir1, Icc::Rpr] {
        assert_eq!(gic.icc_write(V0, reg.sysreg(), 0), None);
    }
    for reg in [
        Icc::Eoir0,
        Icc::Eoir1,
        Icc::Dir,
        Icc::Sgi0r,
        Icc::Sgi1r,
        Icc::Asgi1r,
    ] {
        assert_eq!(gic.icc_read(V0, reg.sysreg()), None);
    }
    assert_eq!(gic.icc_read(V0, SysReg::new(3, 0, 12, 9, 1)), None, "AP1R1");
    assert_eq!(
        gic.icc_read(V0, SysReg::new(3, 4, 12, 9, 5)),
        None,
        "SRE_EL2"
    );
    assert_eq!(gic.icc_write(V0, Icc::Sre.sysreg(), 0), Some(()));
    assert_eq!(gic.icc_read(V0, Icc::Sre.sysreg()), Some(7));
    assert_eq!(gic.icc_read(V0, Icc::Ctlr.sysreg()), Some(0x8400));
}

#[test]
fn an_msi_raises_its_spi() {
    let mut gic = ready_gic(1);
    let first = u64::from(Intid::spi(GICV2M_SPIS.0).0);
    assert_eq!(
        gic.v2m_read(8, Size::W),
        first << 16 | u64::from(GICV2M_SPIS.1)
    );
    for word in 0..64 {
        gic.dist_write(ICFGR + 4 * word, Size::W, 0xaaaa_aaaa);
    }
    gic.v2m_write(0x40, Size::W, first + 1);
    assert_eq!(u64::from(read(&mut gic, V0, Icc::Iar1)), first + 1);
    write(&mut gic, V0, Icc::Eoir1, first + 1);
    for intid in [first - 1, first + u64::from(GICV2M_SPIS.1), 5, u64::MAX] {
        gic.v2m_write(0x40, Size::W, intid);
    }
    assert!(!gic.irq(V0));
}

#[test]
fn reset_keeps_only_the_wires() {
    let mut gic = ready_gic(2);
    gic.set_spi(Intid(33), true);
    gic.set_ppi(V1, TIMER, true);
    gic.take_changed();
    gic.reset();
    assert_eq!(changed(&mut gic), [0, 1]);
    assert!(!gic.irq(V0) && !gic.irq(V1));
    let mut reset = GicState::at_reset(2);
    reset.spis[0].level = 1 << 1;
    reset.vcpus[1].private.level = 1 << TIMER.0;
    assert_eq!(gic.save(), reset);
}

#[test]
fn a_vcpu_turned_off_leaves_its_cpu_interface_at_reset() {
    let mut gic = ready_gic(1);
    gic.set_ppi(V0, TIMER, true);
    gic.reset_cpu_interface(V0);
    assert!(!gic.irq(V0) && gic.wakes(V0));
    assert_eq!(read(&mut gic, V0, Icc::Igrpen1), 0);
}

/// What a sink was told.
#[derive(Default)]
struct Told(Mutex<Vec<(u16, bool, bool)>>);

impl GicSink for Told {
    fn output(&self, vcpu: VcpuId, irq: bool, fiq: bool) {
        self.0.lock().unwrap().push((vcpu.0, irq, fiq));
    }
}

#[test]
fn shared_gic_answers_on_the_bus_takes_wires_and_reports_outputs() {
    let told = Arc::new(Told::default());
    let take = |told: &Told| std::mem::take(&mut *told.0.lock().unwrap());
    let gic = Arc::new(SharedGic::new(2, told.clone()));
    let mut bus = Bus::new();
    gic.attach(&mut bus).unwrap();
    assert_eq!(
        bus.read(Gpa(GICV2M.base.0 + 8), Size::W),
        Some(80 << 16 | 128)
    );
    assert_eq!(
        bus.read(Gpa(GICR_BASE.0 + 0x2_0008), Size::D),
        Some(1 << 32 | 1 << 8 | 1 << 4)
    );
    assert_eq!(bus.read(Gpa(GICR_BASE.0 + 0x4_0000), Size::W), None);

    gic.restore(&ready_gic(2).save()).unwrap();
    assert_eq!(take(&told), [(0, false, false), (1, false, false)]);
    bus.write(Gpa(GICD.base.0 + IROUTER + 8 * 40), Size::D, 1)
        .unwrap();
    let line = IrqLine::new(gic.clone(), Intid(40));
    line.set(true);
    line.set(true);
    assert_eq!(take(&told), [(1, true, false)]);
    line.set(false);
    assert_eq!(take(&told), [(1, false, false)]);
    assert_eq!(
        gic.restore(&Gic::new(3).save()),
        Err(InvalidGicState::OtherVcpus {
            found: 3,
            expected: 2
        })
    );
}

/// The levels told last, one pair for each vCPU.
struct Levels(Mutex<[(bool, bool); 4]>);

impl GicSink for Levels {
    fn output(&self, vcpu: VcpuId, irq: bool, fiq: bool) {
        self.0.lock().unwrap()[vcpu.index()] = (irq, fiq);
    }
}

#[test]
fn threads_at_once_leave_the_sink_with_the_true_levels() {
    let levels = Arc::new(Levels(Mutex::default()));
    let gic = SharedGic::new(4, levels.clone());
    gic.restore(&ready_gic(4).save()).unwrap();
    std::thread::scope(|scope| {
        for vcpu in (0..4).map(VcpuId) {
            let gic = &gic;
            scope.spawn(move || {
                for round in 0..2000_u32 {
                    gic.icc_write(
                        vcpu,
                        Icc::Sgi1r.sysreg(),
                        1 << 40 | u64::from(round % 16) << 24,
                    );
                    gic.set_spi(Intid(33 + u32::from(vcpu.0)), round % 3 == 0);
                    gic.set_ppi(vcpu, TIMER, round % 5 == 0);
                    if let Some(intid @ 0..256) = gic.icc_read(vcpu, Icc::Iar1.sysreg()) {
                        gic.icc_write(vcpu, Icc::Eoir1.sysreg(), intid);
                    }
                }
            });
        }
    });
    gic.set_ppi(V0, TIMER, true);
    assert!(gic.irq(V0), "nothing is left active");
    let now = [0, 1, 2, 3].map(|v| (gic.irq(VcpuId(v)), gic.fiq(VcpuId(v))));
    assert_eq!(*levels.0.lock().unwrap(), now);
}
