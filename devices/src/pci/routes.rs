//! Which BAR answers at an address of the memory window, pure.
//!
//! A guest can put BARs over each other and over the edges of the window. Where two claim an
//! address, the one of the lower device has it, and of one device the lower BAR: always the same,
//! as long as nothing is moved.

use aarch64::machine::Span;

use super::spec::BARS;

/// One BAR of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BarOf {
    pub device: u8,
    pub bar: usize,
}

/// What a BAR claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub owner: BarOf,
    pub base: u64,
    pub size: u64,
}

impl Claim {
    /// The last address.
    fn last(&self) -> u64 {
        self.base.saturating_add(self.size - 1)
    }
}

/// A range of addresses that one BAR answers.
#[derive(Clone, Copy, Debug)]
struct Route {
    first: u64,
    last: u64,
    claim: Claim,
}

/// The window's addresses, divided.
#[derive(Clone, Debug, Default)]
pub(super) struct Routes {
    /// Sorted, disjoint.
    routes: Vec<Route>,
}

impl Routes {
    /// Divides the window among these claims, in the order of their owners.
    pub fn new(window: Span, claims: &[Claim]) -> Self {
        debug_assert!(claims.is_sorted_by_key(|claim| claim.owner));
        let end = window.base.0.saturating_add(window.size);
        // Between two neighbours of these addresses, nothing changes.
        let mut edges = vec![window.base.0, end];
        for claim in claims {
            edges.extend([claim.base, claim.last().saturating_add(1)]);
        }
        edges.retain(|edge| (window.base.0..=end).contains(edge));
        edges.sort_unstable();
        edges.dedup();
        let mut routes: Vec<Route> = Vec::new();
        for piece in edges.windows(2) {
            let (first, last) = (piece[0], piece[1] - 1);
            let covers = |claim: &&Claim| claim.base <= first && last <= claim.last();
            let Some(&claim) = claims.iter().find(covers) else {
                continue;
            };
            match routes.last_mut() {
                Some(before) if before.claim == claim && before.last + 1 == first => {
                    before.last = last;
                }
                Some(_) | None => routes.push(Route { first, last, claim }),
            }
        }
        Self { routes }
    }

    /// The BAR that answers an access of so many bytes, and the offset in it. None if no BAR has
    /// all of them.
    pub fn find(&self, address: u64, bytes: u64) -> Option<(BarOf, u64)> {
        let at = self.routes.partition_point(|route| route.first <= address);
        let route = self.routes.get(at.checked_sub(1)?)?;
        let last = address.checked_add(bytes - 1)?;
        (last <= route.last).then(|| (route.claim.owner, address - route.claim.base))
    }

    /// Where the BARs of a device are that nothing cuts.
    pub fn whole(&self, device: u8) -> [Option<u64>; BARS] {
        let mut places = [None; BARS];
        for Route { first, last, claim } in &self.routes {
            if claim.owner.device == device && *first == claim.base && *last == claim.last() {
                places[claim.owner.bar] = Some(claim.base);
            }
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use aarch64::Gpa;

    use super::*;

    const WINDOW: Span = Span {
        base: Gpa(0x1000),
        size: 0x400,
    };

    fn claim(device: u8, bar: usize, base: u64, size: u64) -> Claim {
        let owner = BarOf { device, bar };
        Claim { owner, base, size }
    }

    #[test]
    fn the_lower_device_wins_and_the_other_is_not_whole() {
        let claims = [claim(1, 0, 0x1100, 0x40), claim(2, 3, 0x1100, 0x100)];
        let routes = Routes::new(WINDOW, &claims);
        let [low, high] = claims.map(|claim| claim.owner);
        assert_eq!(routes.find(0x113c, 4), Some((low, 0x3c)));
        assert_eq!(routes.find(0x1140, 4), Some((high, 0x40)));
        // No BAR has all of it.
        assert_eq!(routes.find(0x113e, 4), None);
        assert_eq!(routes.whole(1)[0], Some(0x1100));
        assert_eq!(routes.whole(2), [None; BARS]);
    }

    #[test]
    fn what_lies_over_an_edge_of_the_window_ends_there() {
        let claims = [
            claim(1, 0, 0, 0x1010),
            claim(2, 0, 0x13f0, 0x20),
            claim(3, 0, u64::MAX - 0xf, 0x10),
        ];
        let routes = Routes::new(WINDOW, &claims);
        assert_eq!(routes.find(0x1008, 8), Some((claims[0].owner, 0x1008)));
        assert_eq!(routes.find(0x13fc, 4), Some((claims[1].owner, 0xc)));
        assert_eq!(routes.find(0x1400, 4), None);
        assert_eq!(routes.find(0xffc, 4), None);
        assert_eq!(routes.find(u64::MAX, 1), None);
        assert_eq!(routes.find(u64::MAX, 8), None);
        assert!((1..4).all(|device| routes.whole(device) == [None; BARS]));
    }

    proptest! {
        #[test]
        fn routing_agrees_with_asking_each_bar_in_turn(
            bars in prop::collection::vec((0_u64..0x60, 4_u32..9), 0..12),
            at in 0x0fc0_u64..0x1440,
            bytes in prop::sample::select(&[1_u64, 2, 4, 8][..]),
        ) {
            let claims: Vec<Claim> = bars.iter().enumerate().map(|(n, &(place, log))| {
                let size = 1 << log;
                claim((n / BARS) as u8, n % BARS, (0xe00 + place * 0x10) & !(size - 1), size)
            }).collect();
            let routes = Routes::new(WINDOW, &claims);
            let in_window = |byte: &u64| WINDOW.contains(Gpa(*byte));
            let owner = |byte: u64| claims.iter().find(|claim| {
                claim.base <= byte && byte < claim.base + claim.size
            });
            let wanted = (at..at + bytes).all(|byte| in_window(&byte)).then(|| owner(at)).flatten()
                .filter(|claim| (at..at + bytes).all(|byte| owner(byte) == Some(claim)));
            let wanted = wanted.map(|claim| (claim.owner, at - claim.base));
            prop_assert_eq!(routes.find(at, bytes), wanted);
            for claim in &claims {
                let free = (claim.base..claim.base + claim.size)
                    .all(|byte| in_window(&byte) && owner(byte) == Some(claim));
                let BarOf { device, bar } = claim.owner;
                prop_assert_eq!(routes.whole(device)[bar], free.then_some(claim.base));
            }
        }
    }
}
