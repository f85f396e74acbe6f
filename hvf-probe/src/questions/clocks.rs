//! The guest's counter against the host's clocks.

use std::thread;
use std::time::Duration;

use hv_backend::hvf::abi::Timebase;
use serde_json::{Value, json};

use crate::Options;
use crate::guest::{Back, hvc, with};
use crate::raw::{Answer, Raw};

/// `isb; mrs x1, cntvct_el0; mrs x0, cntfrq_el0; hvc #0; b .-16`
const READ: [u32; 5] = [0xd503_3fdf, 0xd53b_e041, 0xd53b_e000, hvc(0), 0x17ff_fffc];
const PAUSE: Duration = Duration::from_millis(200);

/// What frequency guests see, and whether their counter runs at it.
pub fn ask(raw: Raw, _: &Options) -> Value {
    with(raw, &READ, |guest| {
        guest.vcpu.set_counter_offset(0)?;
        let mut see = || -> Answer<(Back, u64, u64, u64)> {
            let before = raw.awake_ticks();
            let back = guest.run()?;
            Ok((back, before, guest.vcpu.reg(1)?, guest.vcpu.reg(0)?))
        };
        let (first, host_first, counter_first, frequency) = see()?;
        thread::sleep(PAUSE);
        let (second, host_second, counter_second, _) = see()?;
        let Timebase { numer, denom } = raw.timebase();
        Ok(json!({
            "runs": [first.show(), second.show()],
            "timebase": [numer, denom],
            "guest_frequency": frequency,
            "guest_counter_less_host_ticks": counter_first.wrapping_sub(host_first).cast_signed(),
            "host_ticks_passed": host_second.wrapping_sub(host_first),
            "guest_counts_passed": counter_second.wrapping_sub(counter_first),
        }))
    })
}

/// What the clocks do while the host sleeps, if somebody makes it.
pub fn sleep(raw: Raw, options: &Options) -> Value {
    if options.sleep_seconds == 0 {
        return json!("not asked: give --sleep SECONDS");
    }
    eprintln!(
        "put this Mac to sleep and wake it within {} s",
        options.sleep_seconds
    );
    let (awake, all) = (raw.awake_ticks(), raw.all_ticks());
    thread::sleep(Duration::from_secs(options.sleep_seconds));
    json!({
        "awake_ticks_passed": raw.awake_ticks().wrapping_sub(awake),
        "all_ticks_passed": raw.all_ticks().wrapping_sub(all),
    })
}
