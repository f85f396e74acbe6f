# The action `kvm_host` of the guests' `/init`: what the emulated arm64 host does. It runs /command
# in /guest and reports its status. Output goes through a virtio console, which takes it as it is;
# the serial port is for the kernel's log, and for both where the kernel has no such console.

do_kvm_host() {
    console=/dev/hvc0
    [ -c $console ] || console=/dev/ttyAMA0
    # The kernel forgets a console's settings when nobody has it open any more.
    exec 3> $console
    stty -F $console raw -echo
    cd /guest || return 1
    sh /command < /dev/null >&3 2>&3
    echo "ARMLET-STATUS $?" >&3
}
