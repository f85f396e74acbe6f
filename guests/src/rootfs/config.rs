//! What the packages' maintainer scripts would have set up, as far as the guest needs it; and what
//! is left out so that it boots quickly on the software CPU.

/// The packages; apt adds what they need.
pub(super) const PACKAGES: [&str; 23] = [
    "base-files",
    "base-passwd",
    "bash",
    "coreutils",
    "dash",
    "dbus",
    "e2fsprogs",
    "findutils",
    "fio",
    "grep",
    "gzip",
    "libpam-modules",
    "libpam-runtime",
    "login",
    "mawk",
    "mount",
    "passwd",
    "sed",
    "systemd",
    "systemd-sysv",
    "udev",
    "usr-is-merged",
    "util-linux",
];

/// Beginnings of names of packages that are needed only to install others, or to run scripts
/// around fio. They are downloaded, as apt's resolver wants, but not unpacked.
pub(super) const LEFT_OUT: [&str; 8] = [
    "adduser_",
    "debconf_",
    "dpkg_",
    "libpython",
    "perl",
    "libperl",
    "python3",
    "usrmerge_",
];

/// Directories that no program of the guest reads.
pub(super) const UNREAD: [&str; 17] = [
    "usr/share/bash-completion",
    "usr/share/bug",
    "usr/share/common-licenses",
    "usr/share/doc",
    "usr/share/doc-base",
    "usr/share/i18n",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/perl5",
    "usr/share/pixmaps",
    "usr/share/zoneinfo",
    "usr/share/zsh",
    "usr/lib/udev/hwdb.d",
    "usr/lib/aarch64-linux-gnu/gconv",
    "usr/lib/locale",
];

/// Files, with their permissions.
pub(super) const FILES: [(&str, u32, &str); 27] = [
    (
        "usr/lib/armlet/agent",
        0o755,
        include_str!("../../files/rootfs/agent"),
    ),
    (
        "etc/systemd/system/armlet.service",
        0o644,
        include_str!("../../files/rootfs/armlet.service"),
    ),
    ("etc/passwd", 0o644, PASSWD),
    ("etc/group", 0o644, GROUP),
    ("etc/shadow", 0o600, "root:*:19000:0:99999:7:::\n"),
    ("etc/hostname", 0o644, "armlet\n"),
    ("etc/hosts", 0o644, "127.0.0.1 localhost armlet\n"),
    ("etc/fstab", 0o644, "# The initramfs mounts the root.\n"),
    (
        "etc/machine-id",
        0o444,
        "61726d6c657461726d6c657461726d6c\n",
    ),
    (
        "etc/nsswitch.conf",
        0o644,
        "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n",
    ),
    (
        "etc/profile",
        0o644,
        "export PATH=/usr/local/sbin:/usr/sbin:/usr/bin PS1='\\u@\\h:\\w\\$ '\n",
    ),
    ("etc/default/locale", 0o644, "LANG=C.UTF-8\n"),
    ("etc/security/opasswd", 0o600, ""),
    // Newer than /usr: nothing is to be updated at the first boot.
    ("etc/.updated", 0o644, ""),
    ("var/.updated", 0o644, ""),
    ("var/log/wtmp", 0o664, ""),
    ("var/log/lastlog", 0o664, ""),
    (
        "etc/pam.d/common-auth",
        0o644,
        "auth required pam_permit.so\n",
    ),
    (
        "etc/pam.d/common-account",
        0o644,
        "account required pam_permit.so\n",
    ),
    (
        "etc/pam.d/common-password",
        0o644,
        "password required pam_permit.so\n",
    ),
    (
        "etc/pam.d/common-session",
        0o644,
        "session required pam_permit.so\n",
    ),
    (
        "etc/systemd/system/serial-getty@.service.d/autologin.conf",
        0o644,
        "[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin root --noclear %I linux\n",
    ),
    (
        "etc/systemd/system.conf.d/armlet.conf",
        0o644,
        "[Manager]\nDefaultTimeoutStopSec=10s\nDefaultTimeoutStartSec=300s\n\
         DefaultDeviceTimeoutSec=300s\n",
    ),
    (
        "etc/systemd/journald.conf.d/armlet.conf",
        0o644,
        "[Journal]\nStorage=volatile\nAudit=no\n",
    ),
    (
        "etc/systemd/logind.conf.d/armlet.conf",
        0o644,
        "[Login]\nHandlePowerKey=poweroff\nNAutoVTs=0\n",
    ),
    (
        "etc/systemd/system/service.d/plain.conf",
        0o644,
        include_str!("../../files/rootfs/plain.conf"),
    ),
    (
        "etc/systemd/system/systemd-udev-trigger.service.d/few.conf",
        0o644,
        include_str!("../../files/rootfs/few.conf"),
    ),
];

/// Symbolic links: name and target.
pub(super) const LINKS: [(&str, &str); 6] = [
    // Nobody but root logs in.
    ("etc/tmpfiles.d/systemd-nologin.conf", "/dev/null"),
    (
        "etc/systemd/system/default.target",
        "/lib/systemd/system/multi-user.target",
    ),
    (
        "etc/systemd/system/multi-user.target.wants/armlet.service",
        "/etc/systemd/system/armlet.service",
    ),
    ("usr/bin/awk", "mawk"),
    ("var/run", "/run"),
    ("var/lock", "/run/lock"),
];

/// Units that do nothing for this guest but take time.
pub(super) const MASKED: [&str; 34] = [
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "e2scrub_all.timer",
    "getty.target",
    "kmod-static-nodes.service",
    "modprobe@.service",
    "modprobe@drm.service",
    "proc-sys-fs-binfmt_misc.automount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-ask-password-console.path",
    "systemd-ask-password-wall.path",
    "systemd-binfmt.service",
    "systemd-firstboot.service",
    "systemd-initctl.socket",
    "systemd-journal-flush.service",
    "systemd-machine-id-commit.service",
    "systemd-modules-load.service",
    "systemd-network-generator.service",
    "systemd-pcrphase-sysinit.service",
    "systemd-pcrphase.service",
    "systemd-pstore.service",
    "systemd-repart.service",
    "systemd-random-seed.service",
    "systemd-sysctl.service",
    "systemd-sysusers.service",
    "systemd-tmpfiles-clean.timer",
    "systemd-tmpfiles-setup-dev.service",
    "systemd-update-utmp-runlevel.service",
    "systemd-update-utmp.service",
    "systemd-remount-fs.service",
    "systemd-user-sessions.service",
];

/// Rules of udev for devices that the guest has not.
pub(super) const MASKED_RULES: [&str; 25] = [
    "55-dm.rules",
    "60-autosuspend.rules",
    "60-cdrom_id.rules",
    "60-drm.rules",
    "60-fido-id.rules",
    "60-infiniband.rules",
    "60-persistent-alsa.rules",
    "60-persistent-storage-dm.rules",
    "60-persistent-storage-tape.rules",
    "60-persistent-v4l.rules",
    "60-sensor.rules",
    "64-btrfs.rules",
    "70-camera.rules",
    "70-joystick.rules",
    "70-memory.rules",
    "70-mouse.rules",
    "70-touchpad.rules",
    "70-uaccess.rules",
    "71-seat.rules",
    "73-seat-late.rules",
    "75-probe_mtd.rules",
    "78-sound-card.rules",
    "81-net-dhcp.rules",
    "95-dm-notify.rules",
    "96-e2scrub.rules",
];

/// Generators likewise: each is a program that runs before the first unit. The login on the console
/// is [`FILES`]' own service.
pub(super) const MASKED_GENERATORS: [&str; 12] = [
    "systemd-cryptsetup-generator",
    "systemd-debug-generator",
    "systemd-fstab-generator",
    "systemd-getty-generator",
    "systemd-gpt-auto-generator",
    "systemd-hibernate-resume-generator",
    "systemd-integritysetup-generator",
    "systemd-rc-local-generator",
    "systemd-run-generator",
    "systemd-system-update-generator",
    "systemd-sysv-generator",
    "systemd-veritysetup-generator",
];

const PASSWD: &str = "\
root::0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
messagebus:x:100:101::/nonexistent:/usr/sbin/nologin
systemd-network:x:998:998::/:/usr/sbin/nologin
systemd-resolve:x:997:997::/:/usr/sbin/nologin
systemd-timesync:x:996:996::/:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
";

/// The groups that rules of udev and tmpfiles name.
const GROUP: &str = "\
root:x:0:
daemon:x:1:
adm:x:4:
tty:x:5:
disk:x:6:
lp:x:7:
mail:x:8:
kmem:x:15:
dialout:x:20:
cdrom:x:24:
tape:x:26:
audio:x:29:
shadow:x:42:
utmp:x:43:
video:x:44:
plugdev:x:46:
staff:x:50:
users:x:100:
messagebus:x:101:
systemd-journal:x:102:
input:x:103:
sgx:x:104:
kvm:x:105:
render:x:106:
systemd-timesync:x:996:
systemd-resolve:x:997:
systemd-network:x:998:
nogroup:x:65534:
";
