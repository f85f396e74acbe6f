# Measures how the memory that a guest frees goes back to a Linux host: what `cargo xtask bench
# balloon` runs, here and on a host with KVM.
#
#   sh balloon.sh ARMLET ACCELERATOR KERNEL INITRD reporting|balloon FILL
#
# The guest fills FILL MiB and frees them. With `reporting` it then tells of free pages by itself,
# and time counts from its word that they are free; with `balloon` it does not, and time counts from
# `armlet balloon`, which takes MIB of what is free. Prints one line when ten seconds are over, and
# later if nine tenths are not back by then:
#
#   METER before=KIB after=KIB [ninety=SECONDS]
#
#   before    resident when time begins to count (`balloon`) or before the guest frees (`reporting`)
#   after     resident ten seconds later
#   ninety    when nine tenths of MIB were back; not there if that did not come about within LIMIT

MIB=512
# In hundredths of a second, as all times here.
PROMISED=1000
LIMIT=6000
# For the boot of a guest.
PATIENCE=24000

armlet=$1 accelerator=$2 kernel=$3 initrd=$4 how=$5 fill=$6
place=$(mktemp -d)
mkfifo "$place/input"

die() {
    echo "balloon.sh: $*; the guest said:" >&2
    tail -n 20 "$place/console" >&2
    exit 1
}

now() { cut -d' ' -f1 /proc/uptime | tr -d .; }
resident() { sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$machine/status"; }

# Waits for a line of the guest's.
said() {
    limit=$(($(now) + PATIENCE))
    until grep -q "$1" "$place/console"; do
        resident > /dev/null 2>&1 || die "it ended"
        [ "$(now)" -lt "$limit" ] || die "no $1"
        sleep 0.05
    done
}

reporting=true
[ "$how" = balloon ] && reporting=false
"$armlet" run --accel "$accelerator" --memory 1G --kernel "$kernel" --initrd "$initrd" \
    --balloon "free-page-reporting=$reporting" --control "$place/control" --no-reboot \
    --cmdline "console=ttyAMA0 quiet armlet.do=use armlet.fill=$fill" \
    < "$place/input" > "$place/console" &
machine=$!
trap 'kill -9 $machine 2> /dev/null; rm -r "$place"' EXIT
# Open for as long as this runs.
exec 3> "$place/input"

said ARMLET-FULL
before=$(resident)
echo >&3
said ARMLET-FREE
begin=$(now)
if [ "$how" = balloon ]; then
    before=$(resident)
    begin=$(now)
    # What it says is no part of the result.
    "$armlet" balloon "$place/control" ${MIB}M > "$place/answer" || die "no balloon"
fi

after= ninety= time=0
while [ -z "$after" ] || { [ -z "$ninety" ] && [ $time -lt $LIMIT ]; }; do
    current=$(resident)
    time=$(($(now) - begin))
    [ -n "$current" ] || die "it ended"
    if [ -z "$ninety" ] && [ $(((before - current) * 10)) -ge $((MIB * 1024 * 9)) ]; then
        ninety=$((time / 100)).$((time / 10 % 10))
    fi
    if [ $time -ge $PROMISED ] && [ -z "$after" ]; then after=$current; fi
    sleep 0.1
done
echo "METER before=$before after=$after${ninety:+ ninety=$ninety}"
