//! Random guests: whatever a guest does, armlet ends in good order or goes on until it is stopped.
//!
//! Each guest is a flat binary of random instructions: plain random words, and loads, stores, system
//! registers and calls that are more likely to hit something, with registers that point at devices,
//! RAM and nothing. Its exception vectors skip what faults, so that a guest gets far, and power off
//! after 1024 exceptions. `ARMLET_RANDOM_GUESTS` asks for another number of guests, and
//! `ARMLET_RANDOM_SEED` for another first seed.

use armlet_tests::program::{Outcome, Scratch, armlet, run};
use armlet_tests::{accelerator_name, or_skip};
use std::env;
use std::time::Duration;

/// Guests in a run that asks for no number.
const GUESTS: u64 = 400;
/// A guest that still runs then waits for nothing, or loops.
const LIMIT: Duration = Duration::from_millis(400);

const CODE_AT: usize = 0x1000;
const CODE_WORDS: usize = 1500;
const VECTORS_AT: usize = 0x800;
const VECTORS: usize = 16;
const VECTOR_BYTES: usize = 0x80;
const HANDLER_AT: usize = 0x80;
const END_AT: usize = 0x40;

/// Sets up vectors, the exception count and floating point, and goes to the code.
const PROLOGUE: [u32; 7] = [
    0x1000_4009, // adr x9, VECTORS_AT
    0xd518_c009, // msr vbar_el1, x9
    0xd518_d09f, // msr tpidr_el1, xzr
    0xd2a0_0609, // mov x9, #0x300000
    0xd518_1049, // msr cpacr_el1, x9
    0xd503_3fdf, // isb
    branch(24, CODE_AT),
];

/// PSCI SYSTEM_OFF.
const END: [u32; 4] = [
    0xd280_0100, // mov x0, #0x8
    0xf2b0_8000, // movk x0, #0x8400, lsl #16
    0xd400_0002, // hvc #0
    0x1400_0000, // b .
];

/// Counts the exception, ends at 1024, and skips the instruction.
const HANDLER: [u32; 10] = [
    0xd51b_d049, // msr tpidr_el0, x9
    0xd538_d089, // mrs x9, tpidr_el1
    0x9100_0529, // add x9, x9, #0x1
    0xd518_d089, // msr tpidr_el1, x9
    0x3757_fd89, // tbnz w9, #10, END_AT
    0xd538_4029, // mrs x9, elr_el1
    0x9100_1129, // add x9, x9, #0x4
    0xd518_4029, // msr elr_el1, x9
    0xd53b_d049, // mrs x9, tpidr_el0
    0xd69f_03e0, // eret
];

/// Addresses and values that guests have in their registers at first.
const VALUES: [u64; 16] = [
    0x0800_0000, // GICD
    0x0802_0000, // GICv2m
    0x080a_0000, // GICR
    0x080b_0000, // GICR, SGIs
    0x0900_0000, // PL011
    0x0901_0000, // PL031
    0x0903_0000, // PL061
    0x0a00_0000, // nothing, or virtio
    0x4000_0000, // RAM, the device tree
    0x4010_0000, // RAM
    0x4100_0ffd, // RAM, misaligned across a page
    0x43ff_fff8, // the end of RAM
    0x4400_0000, // beyond it
    0x30d5_180d, // SCTLR_EL1 with the MMU on
    0x0000_ffff_ffff_fff0,
    0xffff_ffff_ffff_ffff,
];

/// `b` from one offset to another.
const fn branch(from: usize, to: usize) -> u32 {
    let words = (to as i64 - from as i64) / 4;
    0x1400_0000 | (words as u32 & 0x03ff_ffff)
}

/// Marsaglia's xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn word(&mut self) -> u32 {
        (self.next() >> 32) as u32
    }

    fn pick<const N: usize>(&mut self, from: [u32; N]) -> u32 {
        from[(self.next() % N as u64) as usize]
    }
}

/// A random instruction of a random kind.
fn instruction(random: &mut Random) -> u32 {
    let any = random.word();
    match random.next() % 16 {
        0..=4 => any,
        // Loads and stores: pairs, exclusives and LSE, unsigned offset, the others, SIMD structures.
        5..=8 => {
            let kind = random.pick([
                0x2800_0000,
                0x0800_0000,
                0x3900_0000,
                0x3800_0000,
                0x0c00_0000,
            ]);
            kind | any & 0xc7ff_ffff
        }
        // System registers and instructions, read and write.
        9..=11 => 0xd500_0000 | any & 0x003f_ffff,
        // AdvSIMD and floating point.
        12 | 13 => random.pick([0x0e00_0000, 0x1e00_0000, 0x0f00_0000]) | any & 0xe1ff_ffff,
        // Short branches forward.
        14 => random.pick([0x5400_0000, 0xb400_0000, 0xb500_0000]) | any & 0xff | 0x20,
        // Calls and exceptions; HVC with whatever is in x0.
        _ => {
            random.pick([
                0xd400_0001,
                0xd400_0002,
                0xd400_0003,
                0xd420_0000,
                0xd440_0000,
            ]) | any & 0x60
        }
    }
}

/// `mov`s that load `value` into register `number`.
fn load(number: u32, value: u64) -> [u32; 4] {
    [0, 1, 2, 3].map(|part: u32| {
        let opcode = if part == 0 { 0xd280_0000 } else { 0xf280_0000 };
        let bits = (value >> (16 * part)) as u32 & 0xffff;
        opcode | part << 21 | bits << 5 | number
    })
}

/// The guest of this seed.
fn guest(seed: u64) -> Vec<u8> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut code: Vec<u32> = Vec::new();
    for number in 0..31 {
        let value = VALUES[(random.next() % VALUES.len() as u64) as usize];
        code.extend(load(number, value));
    }
    code.push(0x9100_001f | (random.word() % 31) << 5); // mov sp, x...
    code.extend((0..CODE_WORDS).map(|_| instruction(&mut random)));
    let code_end = CODE_AT + 4 * code.len();
    code.push(branch(code_end, END_AT));
    let mut image = vec![0; code_end + 4];
    let mut put = |at: usize, words: &[u32]| {
        for (word, bytes) in words.iter().zip(image[at..].chunks_exact_mut(4)) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
    };
    put(0, &PROLOGUE);
    put(END_AT, &END);
    put(HANDLER_AT, &HANDLER);
    for vector in 0..VECTORS {
        let at = VECTORS_AT + vector * VECTOR_BYTES;
        put(at, &[branch(at, HANDLER_AT)]);
    }
    put(CODE_AT, &code);
    image
}

fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn no_guest_brings_armlet_down() {
    let program = or_skip!("random guests", armlet());
    let accel = accelerator_name();
    let scratch = Scratch::new("random");
    let (mut off, mut crashed, mut endless) = (0, 0, 0);
    let first = number("ARMLET_RANDOM_SEED", 1);
    for seed in first..first + number("ARMLET_RANDOM_GUESTS", GUESTS) {
        let kernel = scratch.file("kernel", &guest(seed));
        let cpus = if seed % 4 == 0 { "2" } else { "1" };
        let arguments = [
            "run",
            "--accel",
            &accel,
            "--memory",
            "64M",
            "--cpus",
            cpus,
            "--no-reboot",
            "--kernel",
            &kernel,
        ];
        let Outcome {
            status,
            stopped,
            stdout: _,
            stderr,
        } = run(&program, &arguments, LIMIT);
        assert!(!stderr.contains("panicked"), "seed {seed}: {stderr}");
        match status {
            Some(0) => off += 1,
            Some(3) => crashed += 1,
            None if stopped && stderr.is_empty() => endless += 1,
            other => panic!("seed {seed}: ended with {other:?}: {stderr}"),
        }
    }
    eprintln!("random guests: {off} powered off, {crashed} crashed, {endless} stopped");
    assert!(off > 0, "no guest got to its end: the guests are at fault");
}

#[test]
fn a_flat_binary_without_a_header_runs() {
    let program = or_skip!("flat binary", armlet());
    let scratch = Scratch::new("flat");
    let accel = accelerator_name();
    // Writes "A" to the serial port and powers off.
    let letter = [
        load(1, 0x0900_0000).as_slice(),
        &load(0, u64::from(b'A')),
        &[0x3900_0020],
    ]
    .concat();
    let image: Vec<u8> = [letter, END.to_vec()]
        .concat()
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    let kernel = scratch.file("kernel", &image);
    let arguments = [
        "run", "--accel", &accel, "--memory", "64M", "--kernel", &kernel,
    ];
    let outcome = run(&program, &arguments, Duration::from_secs(30));
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    assert_eq!(outcome.stdout, "A", "{outcome:?}");
}
