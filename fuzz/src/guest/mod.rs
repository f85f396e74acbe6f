//! Random guests: programs of A64 code that do wild things, from a fuzzer's bytes.
//!
//! Random words alone mostly fault at once. These programs are put together from small pieces that
//! really reach something: accesses to devices, system registers, firmware calls, changes of the
//! translation. Between them stand random instructions, most of which the CPU knows.

pub mod asm;
pub mod instruction;
pub mod piece;
pub mod tables;

use crate::bytes::Bytes;
use crate::random::Random;

/// Where a program is loaded: the start of RAM, and where armlet puts a flat binary.
pub const LOADED_AT: u64 = 0x4008_0000;
/// Bytes from there to the vectors.
const VECTORS: usize = 0x800;
/// Bytes from there to the code.
const CODE: usize = 0x1000;
/// Where page tables are, with more random than sound in them.
pub const TABLES_AT: u64 = 0x400a_0000;
/// Instructions that there is room for.
const MOST_CODE: usize = (TABLES_AT - LOADED_AT) as usize / 4 - CODE / 4;

/// A whole program as a flat binary: vectors that skip what faults, so that it gets far; code; and
/// page tables that it may use. It ends with a call that powers off.
#[must_use]
pub fn program(bytes: &mut Bytes<'_>) -> Vec<u8> {
    let mut random = Random::new(bytes.u64());
    let mut code = asm::set(0, LOADED_AT + VECTORS as u64);
    code.push(asm::msr(instruction::VBAR_EL1, 0));
    code.extend(asm::enable_fp());
    if bytes.flag() {
        (1..4).for_each(|vcpu| code.extend(piece::start(vcpu, bytes)));
    }
    while !bytes.is_empty() {
        code.extend(piece::any(bytes));
    }
    let end = asm::power_off();
    code.truncate(MOST_CODE - end.len());
    code.extend(end);
    let mut image = vec![0; (TABLES_AT - LOADED_AT) as usize];
    put(&mut image, 0, &[asm::branch(CODE as i64)]);
    for vector in 0..16 {
        put(&mut image, VECTORS + 0x80 * vector, &asm::skip_handler());
    }
    put(&mut image, CODE, &code);
    let tables = tables::random(&mut random);
    image.extend(tables.into_iter().flat_map(u64::to_le_bytes));
    image
}

/// Writes instructions at an offset.
pub fn put(image: &mut [u8], at: usize, code: &[u32]) {
    for (to, word) in image[at..].chunks_exact_mut(4).zip(code) {
        to.copy_from_slice(&word.to_le_bytes());
    }
}
