//! New inputs from old ones.

use crate::random::Random;

/// Values at the edges of things, of 1, 2, 4 and 8 bytes.
const EDGES: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x1000,
    0x7fff_ffff,
    0xffff_ffff,
    0x4000_0000,
    u64::MAX,
];

/// The next input of a campaign: random all over, or a seed with a few changes.
#[must_use]
pub fn input(random: &mut Random, seeds: &[Vec<u8>], longest: usize) -> Vec<u8> {
    if seeds.is_empty() || random.below(8) == 0 {
        // Mostly short: what a short input can reach, it reaches in less time.
        let limit = longest >> random.below(5);
        let length = random.below(limit + 1);
        return random.bytes(length);
    }
    let mut data = seeds[random.below(seeds.len())].clone();
    for _ in 0..1 << random.below(5) {
        change(random, &mut data, seeds);
    }
    data.truncate(longest);
    data
}

/// One change somewhere.
fn change(random: &mut Random, data: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    let at = random.below(data.len() + 1);
    let end = at + random.below((data.len() - at).min(64) + 1);
    match random.below(8) {
        0 => {
            if let Some(byte) = data.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        1 => {
            if let Some(byte) = data.get_mut(at) {
                *byte = random.next_u64() as u8;
            }
        }
        // Headers are where most is decided.
        2 | 3 => {
            let limit = if random.below(2) == 0 {
                128
            } else {
                usize::MAX
            };
            let at = random.below(data.len().min(limit) + 1);
            put_edge(random, &mut data[at..]);
        }
        4 => drop(data.drain(at..end)),
        5 => {
            let copy = data[at..end].to_vec();
            data.splice(at..at, copy);
        }
        6 => data.truncate(at),
        _ => {
            let other = &seeds[random.below(seeds.len())];
            data.truncate(at);
            data.extend_from_slice(&other[at.min(other.len())..]);
        }
    }
}

/// Overwrites the start of `data` with an edge value, in either byte order.
fn put_edge(random: &mut Random, data: &mut [u8]) {
    let value = random.pick(&EDGES);
    let width = 1 << random.below(4);
    let mut bytes = value.to_le_bytes();
    if random.below(2) == 0 {
        bytes[..width].reverse();
    }
    let width = width.min(data.len());
    data[..width].copy_from_slice(&bytes[..width]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_repeat_with_their_seed_and_keep_their_limit() {
        let seeds = vec![b"hello, world".to_vec(), vec![0; 300]];
        let all = |seed| {
            let mut random = Random::new(seed);
            (0..500)
                .map(|_| input(&mut random, &seeds, 100))
                .collect::<Vec<_>>()
        };
        assert_eq!(all(1), all(1));
        assert_ne!(all(1), all(2));
        assert!(all(3).iter().all(|data| data.len() <= 100));
    }
}
