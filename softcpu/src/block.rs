//! Decoded code.
//!
//! A block is straight-line code within one page, decoded once and kept by the physical address
//! and the context it was decoded for. The architecture makes guests announce new code (`IC`
//! instructions, since `CTR_EL0.DIC` is 0), and that is when blocks are dropped.

use std::collections::HashMap;
use std::rc::Rc;

use aarch64::{Gpa, PAGE_SIZE};
use memory::rights;

use crate::cpu::Cpu;
use crate::emitter::{Args, Exec};
use crate::table::Table;

/// The longest block, in instructions.
const MOST_OPS: u64 = 64;

/// What a block costs besides its instructions, in instructions: it is indexed twice.
const BLOCK_OPS: usize = 5;

/// One decoded instruction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Op {
    pub exec: Exec<Cpu>,
    pub args: Args,
}

/// Straight-line code.
#[derive(Debug)]
pub(crate) struct Block {
    pub ops: Box<[Op]>,
}

/// What a block is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub gpa: Gpa,
    /// Whether FP is enabled: FP instructions trap if not.
    pub fp: bool,
    /// Whether the block is a single instruction.
    pub single: bool,
}

/// The blocks of one CPU.
#[derive(Debug)]
pub(crate) struct BlockCache {
    blocks: HashMap<Key, Rc<Block>>,
    by_page: HashMap<u64, Vec<Key>>,
    ops: usize,
    most_ops: usize,
}

impl BlockCache {
    /// A cache that holds up to `most_ops` decoded instructions (24 bytes each), where a block counts
    /// as [`BLOCK_OPS`] more, and then starts anew.
    pub fn new(most_ops: usize) -> Self {
        Self {
            blocks: HashMap::new(),
            by_page: HashMap::new(),
            ops: 0,
            most_ops,
        }
    }

    /// The block of `key`, decoded now if need be. True if that emptied the cache first.
    pub fn get(&mut self, key: Key, table: &Table<Cpu>, cpu: &Cpu) -> (Rc<Block>, bool) {
        if let Some(block) = self.blocks.get(&key) {
            return (Rc::clone(block), false);
        }
        let block = Rc::new(decode(key, table, cpu));
        if block.ops.is_empty() {
            // Nothing is there. There are too many such places to remember them.
            return (block, false);
        }
        let full = self.ops >= self.most_ops;
        if full {
            self.clear();
        }
        self.ops += cost(&block);
        self.blocks.insert(key, Rc::clone(&block));
        self.by_page
            .entry(key.gpa.0 / PAGE_SIZE)
            .or_default()
            .push(key);
        (block, full)
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.blocks.clear();
        self.by_page.clear();
        self.ops = 0;
    }

    /// Drops the blocks of the page that holds `gpa`. Whether there were any.
    pub fn drop_page(&mut self, gpa: Gpa) -> bool {
        let Some(keys) = self.by_page.remove(&(gpa.0 / PAGE_SIZE)) else {
            return false;
        };
        for key in keys {
            if let Some(block) = self.blocks.remove(&key) {
                self.ops -= cost(&block);
            }
        }
        true
    }
}

fn cost(block: &Block) -> usize {
    block.ops.len() + BLOCK_OPS
}

fn decode(key: Key, table: &Table<Cpu>, cpu: &Cpu) -> Block {
    let in_page = (PAGE_SIZE - key.gpa.0 % PAGE_SIZE) / 4;
    let most = if key.single { 1 } else { MOST_OPS.min(in_page) };
    // Memory comes in whole pages, so a block is there as a whole or not at all.
    let mut code = [0; 4 * MOST_OPS as usize];
    let code = &mut code[..4 * most as usize];
    let mut ops = Vec::new();
    let layout = cpu.frames.layout();
    let allowed = layout.rights_at(key.gpa) & rights::EXECUTE != 0;
    if allowed && layout.read(key.gpa, code).is_ok() {
        for (off, word) in (0..).step_by(4).zip(code.as_chunks().0) {
            let insn = u32::from_le_bytes(*word);
            let (op, ends) = if cpu.hypervised.wants(insn) {
                (trapped(insn, off), true)
            } else {
                decode_one(insn, off, key.fp, table)
            };
            ops.push(op);
            if ends {
                break;
            }
        }
    }
    Block {
        ops: ops.into_boxed_slice(),
    }
}

/// The operation of an instruction that the CPU's owner wants to be told of.
fn trapped(insn: u32, off: u16) -> Op {
    let args = Args {
        off,
        imm: u64::from(insn),
        ..Args::default()
    };
    Op {
        exec: |cpu, a| cpu.trap_instruction(a.imm as u32),
        args,
    }
}

/// The operation of one instruction, and whether it ends its block.
pub(crate) fn decode_one(insn: u32, off: u16, fp: bool, table: &Table<Cpu>) -> (Op, bool) {
    let Some((row, mut args)) = table.decode(insn) else {
        let args = Args {
            off,
            imm: u64::from(insn),
            ..Args::default()
        };
        return (
            Op {
                exec: |cpu, _| Err(cpu.undefined()),
                args,
            },
            true,
        );
    };
    args.off = off;
    if row.kind.needs_fp() && !fp {
        return (
            Op {
                exec: |cpu, _| Err(cpu.fp_trap()),
                args,
            },
            true,
        );
    }
    (
        Op {
            exec: row.exec,
            args,
        },
        row.kind.ends_block(),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use memory::Layout;

    use super::*;
    use crate::cluster::Cluster;
    use crate::interp::table;

    #[derive(Debug)]
    struct Still;

    impl crate::cluster::Clock for Still {
        fn counter(&self) -> u64 {
            0
        }
        fn frequency(&self) -> u64 {
            1
        }
    }

    #[test]
    fn jumps_to_where_nothing_is_do_not_fill_the_cache() {
        let layout = Arc::new(Layout::default());
        let cpu = Cpu::new(0, Arc::new(Cluster::new(1)), Arc::new(Still), layout);
        let mut cache = BlockCache::new(16);
        for page in 0..1000 {
            let key = Key {
                gpa: Gpa(page * PAGE_SIZE),
                fp: true,
                single: false,
            };
            assert!(cache.get(key, table(), &cpu).0.ops.is_empty());
        }
        assert_eq!((cache.blocks.len(), cache.by_page.len()), (0, 0));
    }
}
