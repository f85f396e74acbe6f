//! The interpreter: the emitter whose values are the numbers themselves, and the loop that runs
//! decoded blocks.

use std::rc::Rc;
use std::sync::OnceLock;

use aarch64::Size;

use crate::block::{Block, BlockCache, Key};
use crate::cpu::{Cpu, Event, Stop};
use crate::emitter::{
    Access, Args, Emitter, Exec, Int1, Int2, Reg, Rmw, Scalar1, Scalar2, Scalar3, Vec1, Vec2, Vec3,
};
use crate::exclusive::by_size;
use crate::replay::Awaiting;
use crate::table::Table;

/// Slots of the jump cache.
const JUMPS: usize = 4096;
/// Instructions between two looks at the clock and the timers.
const QUANTUM: u64 = 10_000;
/// No context equals this.
const NO_CONTEXT: u64 = u64::MAX;

/// The opcode table of the interpreter.
#[must_use]
pub fn table() -> &'static Table<Cpu> {
    static TABLE: OnceLock<Table<Cpu>> = OnceLock::new();
    TABLE.get_or_init(Table::portable)
}

/// Runs a [`Cpu`] by interpretation.
#[derive(Debug)]
pub struct Interpreter {
    blocks: BlockCache,
    jumps: Box<[Jump; JUMPS]>,
    empty: Rc<Block>,
}

/// Where a virtual address in a context leads.
#[derive(Clone, Debug)]
struct Jump {
    pc: u64,
    context: u64,
    block: Rc<Block>,
}

impl Interpreter {
    /// An interpreter that keeps up to `most_ops` decoded instructions.
    #[must_use]
    pub fn new(most_ops: usize) -> Self {
        let empty = Rc::new(Block { ops: Box::new([]) });
        let jump = Jump {
            pc: 0,
            context: NO_CONTEXT,
            block: Rc::clone(&empty),
        };
        let jumps = Box::new(std::array::from_fn(|_| jump.clone()));
        Self {
            blocks: BlockCache::new(most_ops),
            jumps,
            empty,
        }
    }

    /// Runs `cpu` until something concerns its owner.
    pub fn run(&mut self, cpu: &mut Cpu) -> Event {
        cpu.enter_guest();
        let event = self.run_blocks(cpu);
        cpu.leave_guest();
        event
    }

    fn run_blocks(&mut self, cpu: &mut Cpu) -> Event {
        cpu.stop_at = 0;
        loop {
            if cpu.retired >= cpu.stop_at || cpu.seat().wants_attention() {
                if let Some(event) = self.look_up(cpu) {
                    return event;
                }
                if cpu.debug.is_careful() {
                    if let Some(event) = self.step_carefully(cpu) {
                        return event;
                    }
                    continue;
                }
            }
            let slot = (cpu.pc >> 2) as usize % JUMPS;
            let jump = &self.jumps[slot];
            let result = if jump.pc == cpu.pc && jump.context == cpu.context {
                exec(cpu, &jump.block)
            } else {
                match self.find(cpu, false) {
                    Ok(block) => {
                        let jump = Jump {
                            pc: cpu.pc,
                            context: cpu.context,
                            block,
                        };
                        self.jumps[slot] = jump;
                        exec(cpu, &self.jumps[slot].block)
                    }
                    Err(stop) => Err(stop),
                }
            };
            if let Err(stop) = result
                && let Some(event) = self.stopped(cpu, stop)
            {
                return event;
            }
        }
    }

    /// Runs one instruction, with the answers given so far. What it ends with, if with anything.
    pub fn step(&mut self, cpu: &mut Cpu) -> Option<Event> {
        cpu.replay.rewind();
        match self.find(cpu, true).and_then(|block| exec(cpu, &block)) {
            Ok(()) => {
                cpu.replay.finish();
                None
            }
            Err(stop) => self.stopped(cpu, stop),
        }
    }

    /// Completes the instruction that awaited an answer, and runs nothing further. An event if it
    /// awaits one more: it keeps the answers it has, and the next run asks for the rest.
    pub fn settle(&mut self, cpu: &mut Cpu) -> Option<Event> {
        if !cpu.replay.is_active() {
            return None;
        }
        cpu.enter_guest();
        let event = self.step(cpu);
        cpu.leave_guest();
        match event {
            None => cpu.instruction_done(),
            // The next run asks again: its reply is not for this question.
            Some(_) => cpu.awaiting = Awaiting::Nothing,
        }
        event
    }

    /// Drops all decoded code.
    pub fn forget_code(&mut self) {
        self.blocks.clear();
        self.forget_jumps();
    }

    fn forget_jumps(&mut self) {
        for jump in self.jumps.iter_mut() {
            jump.context = NO_CONTEXT;
            jump.block = Rc::clone(&self.empty);
        }
    }

    /// What is done between blocks from time to time: answers, kicks, timers, interrupts.
    #[cold]
    #[inline(never)]
    fn look_up(&mut self, cpu: &mut Cpu) -> Option<Event> {
        if cpu.replay.is_active() {
            if let Some(event) = self.step(cpu) {
                return Some(event);
            }
            cpu.instruction_done();
        }
        if let Some(event) = cpu.take_step() {
            return Some(event);
        }
        cpu.stop_at = (cpu.retired + QUANTUM).min(cpu.limit);
        cpu.seat().attend();
        if cpu.seat().has_mail() {
            cpu.read_mail();
        }
        self.drop_stale_code(cpu);
        if cpu.seat().take_kick() {
            return Some(Event::Kicked);
        }
        if let Some(event) = cpu.check_timers() {
            return Some(event);
        }
        if cpu.retired >= cpu.limit {
            return Some(Event::QuantumEnd);
        }
        cpu.take_interrupt();
        None
    }

    /// Drops the code that the guest, on this or another CPU, says has changed.
    fn drop_stale_code(&mut self, cpu: &mut Cpu) {
        if cpu.stale_code.is_empty() {
            return;
        }
        if std::mem::take(&mut cpu.stale_code.all) {
            cpu.stale_code.pages.clear();
            self.forget_code();
            return;
        }
        let mut pages = std::mem::take(&mut cpu.stale_code.pages);
        let mut dropped = false;
        for page in pages.drain(..) {
            dropped |= self.blocks.drop_page(page);
        }
        cpu.stale_code.pages = pages;
        if dropped {
            cpu.outdate_code();
        }
    }

    /// Runs one instruction while a debugger or the guest's own debug registers watch.
    #[cold]
    fn step_carefully(&mut self, cpu: &mut Cpu) -> Option<Event> {
        if let Some(stop) = cpu.before_instruction() {
            return self.stopped(cpu, stop);
        }
        let event = self.step(cpu);
        cpu.look_up_soon();
        if event.is_none() {
            cpu.instruction_done();
        }
        event
    }

    /// The block at the PC.
    fn find(&mut self, cpu: &mut Cpu, single: bool) -> Result<Rc<Block>, Stop> {
        let gpa = cpu.fetch_address()?;
        let key = Key {
            gpa,
            fp: cpu.fp_enabled(),
            single,
        };
        let (block, emptied) = self.blocks.get(key, table(), cpu);
        if emptied {
            self.forget_jumps();
        }
        if block.ops.is_empty() {
            return Err(cpu.fetch_abort(cpu.pc));
        }
        Ok(block)
    }

    #[cold]
    fn stopped(&mut self, cpu: &mut Cpu, stop: Stop) -> Option<Event> {
        match stop {
            Stop::Exception => {
                cpu.replay.finish();
                cpu.take_pending();
                cpu.exception_loop().map(Event::ExceptionLoop)
            }
            Stop::Event => Some(cpu.event()),
            Stop::LookUp => {
                cpu.replay.finish();
                cpu.pc = cpu.pc.wrapping_add(4);
                cpu.retired += 1;
                cpu.look_up_soon();
                None
            }
        }
    }
}

/// Runs a block from its start, and again while it branches to itself and nothing else is wanted.
/// On `Err` the PC is at the instruction that stopped.
#[inline(always)]
fn exec(cpu: &mut Cpu, block: &Block) -> Result<(), Stop> {
    let start = cpu.pc;
    let context = cpu.context;
    let count = block.ops.len() as u64;
    cpu.block_pc = start;
    loop {
        cpu.pc = start.wrapping_add(4 * count);
        for op in &block.ops {
            if let Err(stop) = (op.exec)(cpu, &op.args) {
                let off = u64::from(op.args.off);
                cpu.pc = start.wrapping_add(off);
                cpu.retired += off / 4;
                return Err(stop);
            }
        }
        cpu.retired += count;
        if cpu.pc != start
            || cpu.retired >= cpu.stop_at
            || cpu.seat().wants_attention()
            || cpu.context != context
        {
            return Ok(());
        }
    }
}

impl Emitter for Cpu {
    type X = u64;
    type Q = u128;
    type B = bool;
    type Stop = Stop;

    #[inline(always)]
    fn imm(&mut self, value: u64) -> u64 {
        value
    }

    #[inline(always)]
    fn get(&mut self, reg: Reg) -> u64 {
        self.x[usize::from(reg)]
    }

    #[inline(always)]
    fn put(&mut self, reg: Reg, value: u64) {
        self.x[usize::from(reg)] = value;
    }

    #[inline(always)]
    fn pc(&mut self, args: &Args) -> u64 {
        self.block_pc.wrapping_add(u64::from(args.off))
    }

    #[inline(always)]
    fn int1(&mut self, op: Int1, a: u64) -> u64 {
        eval_int1(op, a)
    }

    #[inline(always)]
    fn int2(&mut self, op: Int2, a: u64, b: u64) -> u64 {
        eval_int2(op, a, b)
    }

    #[inline(always)]
    fn select(&mut self, cond: bool, yes: u64, no: u64) -> u64 {
        if cond { yes } else { no }
    }

    #[inline(always)]
    fn nonzero(&mut self, a: u64) -> bool {
        a != 0
    }

    #[inline(always)]
    fn negate(&mut self, cond: bool) -> bool {
        !cond
    }

    #[inline(always)]
    fn adds(&mut self, is64: bool, a: u64, b: u64) -> u64 {
        if is64 {
            let (r, carry) = a.overflowing_add(b);
            self.flags(r, carry, (a ^ r) & (b ^ r));
            r
        } else {
            let (a, b) = (a as u32, b as u32);
            let (r, carry) = a.overflowing_add(b);
            self.flags(sext32(r), carry, u64::from((a ^ r) & (b ^ r)) << 32);
            u64::from(r)
        }
    }

    #[inline(always)]
    fn subs(&mut self, is64: bool, a: u64, b: u64) -> u64 {
        if is64 {
            let r = a.wrapping_sub(b);
            self.flags(r, a >= b, (a ^ b) & (a ^ r));
            r
        } else {
            let (a, b) = (a as u32, b as u32);
            let r = a.wrapping_sub(b);
            self.flags(sext32(r), a >= b, u64::from((a ^ b) & (a ^ r)) << 32);
            u64::from(r)
        }
    }

    #[inline(always)]
    fn adc(&mut self, is64: bool, set: bool, a: u64, b: u64) -> u64 {
        if is64 {
            let (r, c1) = a.overflowing_add(b);
            let (r, c2) = r.overflowing_add(self.cf);
            if set {
                self.flags(r, c1 | c2, (a ^ r) & (b ^ r));
            }
            r
        } else {
            let (a, b) = (a as u32, b as u32);
            let (r, c1) = a.overflowing_add(b);
            let (r, c2) = r.overflowing_add(self.cf as u32);
            if set {
                self.flags(sext32(r), c1 | c2, u64::from((a ^ r) & (b ^ r)) << 32);
            }
            u64::from(r)
        }
    }

    #[inline(always)]
    fn logic_flags(&mut self, is64: bool, value: u64) {
        let value = if is64 { value } else { sext32(value as u32) };
        self.flags(value, false, 0);
    }

    #[inline(always)]
    fn cond(&mut self, cond: u8) -> bool {
        let n_is_v = ((self.nf ^ self.vf) as i64) >= 0;
        let holds = match cond >> 1 {
            0 => self.zf == 0,
            1 => self.cf != 0,
            2 => (self.nf as i64) < 0,
            3 => (self.vf as i64) < 0,
            4 => self.cf != 0 && self.zf != 0,
            5 => n_is_v,
            6 => n_is_v && self.zf != 0,
            _ => return true,
        };
        holds ^ (cond & 1 != 0)
    }

    #[inline(always)]
    fn nzcv(&mut self) -> u64 {
        self.nzcv_bits()
    }

    #[inline(always)]
    fn set_nzcv(&mut self, value: u64) {
        self.set_nzcv_bits(value);
    }

    #[inline(always)]
    fn ccmp(&mut self, cond: u8, is64: bool, add: bool, a: u64, b: u64, nzcv: u8) {
        if !self.cond(cond) {
            self.set_nzcv_bits(u64::from(nzcv) << 28);
        } else if add {
            self.adds(is64, a, b);
        } else {
            self.subs(is64, a, b);
        }
    }

    #[inline(always)]
    fn load(&mut self, size: Size, how: Access, va: u64) -> Result<u64, Stop> {
        by_size!(size, T => match how {
            Access::Plain => self.read::<T>(va),
            Access::Unprivileged => self.unprivileged(|cpu| cpu.read::<T>(va)),
            Access::Ordered => self.read_acquire::<T>(va, false),
            Access::AcquirePc => self.read_acquire::<T>(va, true),
        })
    }

    #[inline(always)]
    fn store(&mut self, size: Size, how: Access, va: u64, value: u64) -> Result<(), Stop> {
        by_size!(size, T => match how {
            Access::Plain => self.write::<T>(va, value),
            Access::Unprivileged => self.unprivileged(|cpu| cpu.write::<T>(va, value)),
            Access::Ordered | Access::AcquirePc => self.write_release::<T>(va, value),
        })
    }

    #[inline(always)]
    fn load_q(&mut self, va: u64) -> Result<u128, Stop> {
        let low = self.read::<u64>(va)?;
        let high = self.read::<u64>(va.wrapping_add(8))?;
        Ok(u128::from(high) << 64 | u128::from(low))
    }

    #[inline(always)]
    fn store_q(&mut self, va: u64, value: u128) -> Result<(), Stop> {
        self.write::<u64>(va, value as u64)?;
        self.write::<u64>(va.wrapping_add(8), (value >> 64) as u64)
    }

    #[inline(always)]
    fn rmw(&mut self, op: Rmw, size: Size, va: u64, value: u64) -> Result<u64, Stop> {
        by_size!(size, T => self.atomic_rmw::<T>(op, va, value))
    }

    #[inline(always)]
    fn cas(&mut self, size: Size, va: u64, expected: u64, new: u64) -> Result<u64, Stop> {
        by_size!(size, T => self.atomic_cas::<T>(va, expected, new))
    }

    fn casp(
        &mut self,
        size: Size,
        va: u64,
        expected: (u64, u64),
        new: (u64, u64),
    ) -> Result<(u64, u64), Stop> {
        if size == Size::D {
            let old = self.atomic_cas128(va, join(size, expected), join(size, new))?;
            return Ok(split(size, old));
        }
        let (expected, new) = (join(size, expected) as u64, join(size, new) as u64);
        let old = self.atomic_cas::<u64>(va, expected, new)?;
        Ok(split(size, u128::from(old)))
    }

    #[inline(always)]
    fn load_exclusive(
        &mut self,
        size: Size,
        pair: bool,
        _acquire: bool,
        va: u64,
    ) -> Result<(u64, u64), Stop> {
        if !pair {
            return Ok((self.exclusive_load(size.bytes(), va)? as u64, 0));
        }
        let value = self.exclusive_load(2 * size.bytes(), va)?;
        Ok(split(size, value))
    }

    #[inline(always)]
    fn store_exclusive(
        &mut self,
        size: Size,
        pair: bool,
        va: u64,
        value: (u64, u64),
    ) -> Result<u64, Stop> {
        if !pair {
            return self.exclusive_store(size.bytes(), va, u128::from(value.0 & size.mask()));
        }
        self.exclusive_store(2 * size.bytes(), va, join(size, value))
    }

    #[inline(always)]
    fn check_sp(&mut self, sp: u64) -> Result<(), Stop> {
        if sp & 15 != 0 && self.sp_check_enabled() {
            return Err(self.sp_alignment_fault());
        }
        Ok(())
    }

    #[inline(always)]
    fn jump(&mut self, target: u64) {
        self.pc = target;
    }

    #[inline(always)]
    fn jump_rel(&mut self, args: &Args) {
        self.pc = self
            .block_pc
            .wrapping_add(u64::from(args.off))
            .wrapping_add(args.imm);
    }

    #[inline(always)]
    fn branch(&mut self, cond: bool, args: &Args) {
        if cond {
            self.jump_rel(args);
        }
    }

    #[inline(always)]
    fn getq(&mut self, reg: u8) -> u128 {
        self.v[usize::from(reg & 31)]
    }

    #[inline(always)]
    fn putq(&mut self, reg: u8, value: u128) {
        self.v[usize::from(reg & 31)] = value;
    }

    #[inline(always)]
    fn getv(&mut self, size: Size, reg: u8) -> u64 {
        self.v[usize::from(reg & 31)] as u64 & size.mask()
    }

    #[inline(always)]
    fn putv(&mut self, size: Size, reg: u8, value: u64) {
        self.v[usize::from(reg & 31)] = u128::from(value & size.mask());
    }

    #[inline(always)]
    fn pack(&mut self, low: u64, high: u64) -> u128 {
        u128::from(high) << 64 | u128::from(low)
    }

    #[inline(always)]
    fn half(&mut self, value: u128, which: u8) -> u64 {
        (value >> (64 * u32::from(which & 1))) as u64
    }

    #[inline(always)]
    fn vec1<O: Vec1>(&mut self, imm: u32, a: u128) -> u128 {
        O::eval(&mut self.fp, imm, a)
    }

    #[inline(always)]
    fn vec2<O: Vec2>(&mut self, imm: u32, a: u128, b: u128) -> u128 {
        O::eval(&mut self.fp, imm, a, b)
    }

    #[inline(always)]
    fn vec3<O: Vec3>(&mut self, imm: u32, a: u128, b: u128, c: u128) -> u128 {
        O::eval(&mut self.fp, imm, a, b, c)
    }

    #[inline(always)]
    fn scalar1<O: Scalar1>(&mut self, imm: u32, a: u64) -> u64 {
        O::eval(&mut self.fp, imm, a)
    }

    #[inline(always)]
    fn scalar2<O: Scalar2>(&mut self, imm: u32, a: u64, b: u64) -> u64 {
        O::eval(&mut self.fp, imm, a, b)
    }

    #[inline(always)]
    fn scalar3<O: Scalar3>(&mut self, imm: u32, a: u64, b: u64, c: u64) -> u64 {
        O::eval(&mut self.fp, imm, a, b, c)
    }

    #[inline(always)]
    fn system(&mut self, f: Exec<Cpu>, args: &Args) -> Result<(), Stop> {
        f(self, args)
    }
}

impl Cpu {
    #[inline(always)]
    fn flags(&mut self, result: u64, carry: bool, overflow: u64) {
        self.nf = result;
        self.zf = result;
        self.cf = u64::from(carry);
        self.vf = overflow;
    }

    /// Whether a misaligned SP faults as a base register (`SCTLR_EL1.SA`, `SA0`).
    fn sp_check_enabled(&self) -> bool {
        let bit = if self.el() == 0 { 4 } else { 3 };
        self.sys[aarch64::Saved::SctlrEl1] >> bit & 1 != 0
    }
}

#[inline(always)]
fn sext32(value: u32) -> u64 {
    i64::from(value as i32) as u64
}

fn join(size: Size, (low, high): (u64, u64)) -> u128 {
    u128::from(high & size.mask()) << size.bits() | u128::from(low & size.mask())
}

fn split(size: Size, value: u128) -> (u64, u64) {
    (
        value as u64 & size.mask(),
        (value >> size.bits()) as u64 & size.mask(),
    )
}

/// What an [`Int1`] computes.
#[inline(always)]
#[must_use]
pub fn eval_int1(op: Int1, a: u64) -> u64 {
    let w = a as u32;
    match op {
        Int1::Not => !a,
        Int1::Neg => a.wrapping_neg(),
        Int1::Zext32 => u64::from(w),
        Int1::Sext(Size::B) => i64::from(a as i8) as u64,
        Int1::Sext(Size::H) => i64::from(a as i16) as u64,
        Int1::Sext(Size::W) => sext32(w),
        Int1::Zext(size) => a & size.mask(),
        Int1::Sext(Size::D) => a,
        Int1::Clz => u64::from(a.leading_zeros()),
        Int1::ClzW => u64::from(w.leading_zeros()),
        Int1::Cls => u64::from((a ^ ((a as i64) >> 63) as u64).leading_zeros()) - 1,
        Int1::ClsW => u64::from((w ^ ((w as i32) >> 31) as u32).leading_zeros()) - 1,
        Int1::Rbit => a.reverse_bits(),
        Int1::RbitW => u64::from(w.reverse_bits()),
        Int1::Rev16 => (a & 0x00ff_00ff_00ff_00ff) << 8 | a >> 8 & 0x00ff_00ff_00ff_00ff,
        Int1::Rev32 => a.swap_bytes().rotate_left(32),
        Int1::Rev64 => a.swap_bytes(),
    }
}

/// What an [`Int2`] computes.
#[inline(always)]
#[must_use]
pub fn eval_int2(op: Int2, a: u64, b: u64) -> u64 {
    let (aw, bw) = (a as u32, b as u32);
    match op {
        Int2::Add => a.wrapping_add(b),
        Int2::Sub => a.wrapping_sub(b),
        Int2::Mul => a.wrapping_mul(b),
        Int2::Umulh => ((u128::from(a) * u128::from(b)) >> 64) as u64,
        Int2::Smulh => ((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64,
        Int2::Udiv => a.checked_div(b).unwrap_or(0),
        Int2::Sdiv if b == 0 => 0,
        Int2::Sdiv => (a as i64).wrapping_div(b as i64) as u64,
        Int2::UdivW => u64::from(aw.checked_div(bw).unwrap_or(0)),
        Int2::SdivW if bw == 0 => 0,
        Int2::SdivW => u64::from((aw as i32).wrapping_div(bw as i32) as u32),
        Int2::And => a & b,
        Int2::Or => a | b,
        Int2::Xor => a ^ b,
        Int2::Lsl => a << (b & 63),
        Int2::Lsr => a >> (b & 63),
        Int2::Asr => ((a as i64) >> (b & 63)) as u64,
        Int2::Ror => a.rotate_right((b & 63) as u32),
        Int2::LslW => u64::from(aw << (b & 31)),
        Int2::LsrW => u64::from(aw >> (b & 31)),
        Int2::AsrW => u64::from(((aw as i32) >> (b & 31)) as u32),
        Int2::RorW => u64::from(aw.rotate_right((b & 31) as u32)),
    }
}
