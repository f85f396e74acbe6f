# The action `kvm_host` of the guests' `/init`: what the emulated arm64 host does. It runs /command
# in /guest and reports its status. Output goes through a virtio console, which takes it as it is;
# the serial port is for the kernel's log.

do_kvm_host() {
    # The kernel forgets a console's settings when nobody has it open any more.
    exec 3> /dev/hvc0
    stty -F /dev/hvc0 raw -echo
    cd /guest || return 1
    sh /command < /dev/null >&3 2>&3
    echo "ARMLET-STATUS $?" >&3
}
