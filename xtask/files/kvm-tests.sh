# The beginning of the script that runs tests in the emulated arm64 host: `part NAME PROGRAM ...`
# runs one test program. What is around its output tells where it begins and ends, see
# `xtask/src/suite/emulated/mod.rs`.

export ARMLET_BIN=/bin/armlet ARMLET_ACCEL=kvm ARMLET_SKIP_LOG=/tmp/skipped
# Guests are looked for in the `guests` directory there.
export CARGO_TARGET_DIR=/guest/target
# Only what the tests say.
export ARMLET_LOG=error
# A character on the serial port costs a hundred microseconds here.
export ARMLET_TEST_QUIET=1
# Each takes up to a second.
export ARMLET_RANDOM_GUESTS=40

# Programs of Debian, which the tests start where Debian has them.
if [ -d debian ]; then
    here=$PWD/debian
    mkdir -p /usr/bin /usr/sbin /sbin
    for program in usr/bin/cp sbin/mke2fs sbin/e2fsck usr/bin/qemu-img; do
        rm -f "/$program"
        name=${program##*/}
        printf '#!/bin/sh\nexec %s --library-path %s %s "$@"\n' \
            "$here/ld-linux-aarch64.so.1" "$here" "$here/$name" > "/$program"
        chmod +x "/$program"
    done
    export PATH=/usr/bin:$PATH
fi

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

