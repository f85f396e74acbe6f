# The beginning of the script that runs tests in the emulated arm64 host: `part NAME PROGRAM ...`
# runs one test program. What is around its output tells where it begins and ends, see
# `xtask/src/suite/emulated.rs`.

export ARMLET_BIN=/bin/armlet ARMLET_ACCEL=kvm ARMLET_SKIP_LOG=/tmp/skipped
# Guests are looked for in the `guests` directory there.
export CARGO_TARGET_DIR=/guest/target
# Only what the tests say.
export ARMLET_LOG=error
# A character on the serial port costs a hundred microseconds here.
export ARMLET_TEST_QUIET=1
# Each takes up to a second.
export ARMLET_RANDOM_GUESTS=40

part() {
    echo "ARMLET-PART $1"
    shift
    : > $ARMLET_SKIP_LOG
    begin=$(cut -d. -f1 /proc/uptime)
    "$@"
    status=$?
    sed 's/^/ARMLET-SKIP /' $ARMLET_SKIP_LOG
    echo "ARMLET-PART-END $status $(($(cut -d. -f1 /proc/uptime) - begin))"
}

