# What armlet says on hosts where KVM cannot be used: run in the emulated host, the argument is the
# case. A refusal is one line that names the thing and the way out, status 2, and nothing hangs.

failed=0
wrong() { echo "kvm-trouble: WRONG: $*"; failed=1; }

# says TEXT COMMAND...: the output has TEXT.
says() {
    text=$1
    shift
    output=$(timeout 60 "$@" 2>&1)
    case $output in
        *"$text"*) echo "kvm-trouble: ok: $text" ;;
        *) wrong "no '$text' from $*: $output" ;;
    esac
}

# refuses TEXT ARGUMENTS...: a run with the arguments is refused in one line that has TEXT.
refuses() {
    text=$1
    shift
    says "$text" armlet run --kernel Image "$@"
    timeout 60 armlet run --kernel Image "$@" > /tmp/out 2> /tmp/err
    status=$?
    [ $status = 2 ] || wrong "status $status, not 2: $*"
    [ "$(wc -l < /tmp/err)" = 1 ] || wrong "not one line: $(cat /tmp/err)"
    [ -s /tmp/out ] && wrong "output: $(cat /tmp/out)"
}

case_device() {
    says "kvm: works" armlet doctor
    refuses "1 to 123 CPUs" --accel kvm --cpus 124
    refuses "at most 1023 GiB" --accel kvm --memory 2T
    refuses "accelerator kvm gives 62500000 Hz and no other" --accel kvm \
        --counter-frequency 24000000
    # Programs that may not.
    mkdir -p /etc
    echo "nobody:x:65534:65534::/:/bin/sh" > /etc/passwd
    echo "nogroup:x:65534:" > /etc/group
    chmod 660 /dev/kvm
    says "no permission to open /dev/kvm" su -s /bin/sh nobody -c "armlet doctor"
    says "join the group" su -s /bin/sh nobody -c "armlet run --accel kvm --kernel Image"
    says "--accel auto uses soft" su -s /bin/sh nobody -c "armlet doctor"
    rm /dev/kvm
    refuses "/dev/kvm does not exist" --accel kvm
    refuses "use --accel soft" --accel kvm
    says "--accel auto uses soft" armlet doctor
}

case_portable() {
    says "kvm: enforces --cpu portable" armlet doctor
}

# Its processor has no LSE atomics.
case_no_portable() {
    says "kvm: no --cpu portable, only --cpu host" armlet doctor
    refuses "use --cpu host" --accel kvm --cpu portable
}

case_old_gic() {
    refuses "older than GICv3" --accel kvm
    says "--accel auto uses soft" armlet doctor
}

case_old_kernel() {
    refuses "Linux 6.4 brought it" --accel kvm
    says "--accel auto uses soft" armlet doctor
}

"case_$1"
exit $failed
