//! The interpreter: the loop that runs decoded blocks, and what it does between them.

use std::rc::Rc;
use std::sync::OnceLock;

use crate::block::{Block, BlockCache, Key};
use crate::cpu::{Cpu, Event, Stop};
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
                && let Some(event) = stopped(cpu, stop)
            {
                return event;
            }
        }
    }

    /// Runs one instruction, with the answers given so far. What it ends with, if with anything.
    pub fn step(&mut self, cpu: &mut Cpu) -> Option<Event> {
        cpu.replay.rewind();
        match self
            .find(cpu, true)
            .and_then(|block| exec_once(cpu, &block))
        {
            Ok(()) => {
                cpu.replay.finish();
                None
            }
            Err(stop) => stopped(cpu, stop),
        }
    }

    /// Completes the instruction that awaited an answer, and runs nothing further. An event if it
    /// awaits one more: reply to it and settle again.
    pub fn settle(&mut self, cpu: &mut Cpu) -> Option<Event> {
        if !cpu.replay.is_active() {
            return None;
        }
        cpu.enter_guest();
        let event = self.step(cpu);
        cpu.leave_guest();
        if event.is_none() {
            cpu.instruction_done();
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
        // The owner's replies, too, can end in an exception.
        if let Some(vector) = cpu.exception_loop() {
            return Some(Event::ExceptionLoop(vector));
        }
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
            return stopped(cpu, stop);
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
            return Err(cpu.fetch_abort(cpu.pc, gpa));
        }
        Ok(block)
    }
}

/// Ends an instruction that did not complete. An event if its owner is concerned.
#[cold]
pub(crate) fn stopped(cpu: &mut Cpu, stop: Stop) -> Option<Event> {
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

/// Runs a block from its start, and again while it branches to itself and nothing else is wanted.
/// On `Err` the PC is at the instruction that stopped.
#[inline(always)]
fn exec(cpu: &mut Cpu, block: &Block) -> Result<(), Stop> {
    let start = cpu.pc;
    let context = cpu.context;
    loop {
        exec_once(cpu, block)?;
        if cpu.pc != start
            || cpu.retired >= cpu.stop_at
            || cpu.seat().wants_attention()
            || cpu.context != context
        {
            return Ok(());
        }
    }
}

/// Runs a block from its start. On `Err` the PC is at the instruction that stopped.
#[inline(always)]
pub(crate) fn exec_once(cpu: &mut Cpu, block: &Block) -> Result<(), Stop> {
    let start = cpu.pc;
    let count = block.ops.len() as u64;
    cpu.block_pc = start;
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
    Ok(())
}
