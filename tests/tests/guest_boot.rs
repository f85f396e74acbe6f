//! Unmodified Debian kernels boot to init and power off, with one CPU and with several.

use armlet_tests::guest::Setup;
use armlet_tests::or_skip;
use guests::Kernel;

fn boots(kernel: Kernel, cpus: usize) {
    let name = format!("boot {} with {cpus} CPUs", kernel.name());
    let setup = or_skip!(&name, Setup::new(kernel, "poweroff"));
    let log = setup.cpus(cpus).run();
    let init = log
        .iter()
        .find(|line| line.contains("ARMLET-INIT"))
        .expect("init ran");
    assert!(init.ends_with(&format!("cpus={cpus}")), "{init}");
}

macro_rules! boots {
    ($($name:ident: $kernel:ident with $cpus:literal;)*) => {
        $(#[test]
        fn $name() {
            boots(Kernel::$kernel, $cpus);
        })*
    };
}

boots! {
    linux_6_12_cloud_boots_with_1_cpu: V6_12Cloud with 1;
    linux_6_12_cloud_boots_with_2_cpus: V6_12Cloud with 2;
    linux_6_12_cloud_boots_with_4_cpus: V6_12Cloud with 4;
    linux_6_12_cloud_boots_with_8_cpus: V6_12Cloud with 8;
    linux_6_1_cloud_boots_with_1_cpu: V6_1Cloud with 1;
    linux_6_1_cloud_boots_with_2_cpus: V6_1Cloud with 2;
    linux_6_1_cloud_boots_with_4_cpus: V6_1Cloud with 4;
    linux_6_1_cloud_boots_with_8_cpus: V6_1Cloud with 8;
    linux_6_1_generic_boots_with_1_cpu: V6_1Generic with 1;
    linux_6_1_generic_boots_with_2_cpus: V6_1Generic with 2;
    linux_6_1_generic_boots_with_4_cpus: V6_1Generic with 4;
    linux_6_1_generic_boots_with_8_cpus: V6_1Generic with 8;
}

#[test]
fn ten_boots_in_a_row_succeed() {
    let setup = or_skip!("ten boots", Setup::new(Kernel::V6_12Cloud, "poweroff")).cpus(4);
    for _ in 0..10 {
        let log = setup.run();
        assert!(
            log.iter().any(|line| line.contains("ARMLET-INIT")),
            "init ran"
        );
    }
}
