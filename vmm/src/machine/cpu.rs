//! Which CPU model the machine's VM gets.
//!
//! | asked for | the accelerator enforces `portable` | it does not |
//! |---|---|---|
//! | `auto` | `portable` | `host`, and a warning that says why |
//! | `portable` | `portable` | refused, with the reason |
//! | `host` | `host`, if the accelerator has it | the same |

use aarch64::cpu_model::CpuModel;
use hv_backend::api::{HostError, Hypervisor, Vm, VmConfig};

use super::StartError;
use crate::config::CpuChoice;
use crate::vcpu::chain;

/// Makes the VM of `config`, with the CPU model that `choice` comes to.
pub fn create_vm(
    hypervisor: &dyn Hypervisor,
    config: VmConfig,
    choice: CpuChoice,
) -> Result<(Box<dyn Vm>, CpuModel), StartError> {
    let create = |cpu| {
        let vm = hypervisor.create_vm(&VmConfig { cpu, ..config });
        vm.map(|vm| (vm, cpu))
    };
    let made = match choice {
        CpuChoice::Only(cpu) => create(cpu),
        CpuChoice::Auto => match create(CpuModel::Portable) {
            Err(HostError::CpuModel { reason, .. }) => {
                tracing::warn!(
                    "the guest sees the host's CPU, and cannot move to another kind of host: {reason}"
                );
                create(CpuModel::Host)
            }
            made => made,
        },
    };
    made.map_err(|error| refusal(hypervisor.name(), &error))
}

/// What to tell a user whose VM cannot be made.
fn refusal(accelerator: &str, error: &HostError) -> StartError {
    match error {
        HostError::CpuModel { model, reason } => {
            let other = match model {
                CpuModel::Portable => CpuModel::Host,
                CpuModel::Host => CpuModel::Portable,
            };
            StartError::Input(format!(
                "--cpu {model}: {accelerator} cannot give the guest this model: {reason}; use \
                 --cpu {other}, or --cpu auto to have the choice made"
            ))
        }
        HostError::Unavailable { .. }
        | HostError::Limit(_)
        | HostError::Map { .. }
        | HostError::Discard { .. }
        | HostError::NoRegister(_)
        | HostError::Os { .. }
        | HostError::BadState(_) => StartError::Host(chain(error)),
    }
}

#[cfg(test)]
mod tests {
    use hv_backend::api::TimeSource;
    use hv_backend::scripted::{Script, Scripted};
    use hv_backend::soft::Soft;

    use super::*;

    const CONFIG: VmConfig = VmConfig {
        vcpus: 1,
        address_bits: 36,
        time: TimeSource::Host,
        counter_frequency: None,
        cpu: CpuModel::Host,
    };

    fn model(host: &dyn Hypervisor, choice: CpuChoice) -> Result<CpuModel, StartError> {
        create_vm(host, CONFIG, choice).map(|(_, model)| model)
    }

    #[test]
    fn auto_is_portable_where_it_can_be() {
        let able = Scripted::new(vec![Script::new()], || 0);
        assert_eq!(model(&able, CpuChoice::Auto), Ok(CpuModel::Portable));
        let unable = able.without_portable("too old");
        assert_eq!(model(&unable, CpuChoice::Auto), Ok(CpuModel::Host));
    }

    #[test]
    fn what_was_asked_for_by_name_is_had_or_refused_with_the_way_out() {
        let unable = Scripted::new(vec![Script::new()], || 0).without_portable("too old");
        let only = CpuChoice::Only;
        assert_eq!(model(&unable, only(CpuModel::Host)), Ok(CpuModel::Host));
        let Err(StartError::Input(line)) = model(&unable, only(CpuModel::Portable)) else {
            panic!("accepted")
        };
        assert!(line.starts_with("--cpu portable: "), "{line}");
        assert!(
            line.contains("too old") && line.contains("--cpu host"),
            "{line}"
        );
    }

    #[test]
    fn the_software_cpu_is_portable_and_nothing_else() {
        let soft = Soft::default();
        assert_eq!(model(&soft, CpuChoice::Auto), Ok(CpuModel::Portable));
        let Err(StartError::Input(line)) = model(&soft, CpuChoice::Only(CpuModel::Host)) else {
            panic!("accepted")
        };
        assert!(line.contains("use --cpu portable"), "{line}");
    }

    #[test]
    fn other_failures_are_the_hosts() {
        let none = Scripted::new(Vec::new(), || 0);
        assert!(matches!(
            model(&none, CpuChoice::Auto),
            Err(StartError::Host(_))
        ));
    }
}
