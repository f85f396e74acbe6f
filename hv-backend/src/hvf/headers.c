// Compares the numbers and types in abi.rs and sys/table.rs with Apple's own headers. It is compiled
// on Macs only, and never linked: clang -fsyntax-only -Wall -Werror headers.c
// The test of headers.rs keeps the numbers here equal to those in abi.rs.

#include <Hypervisor/Hypervisor.h>
#include <mach/mach_time.h>
#include <stddef.h>

#define SAME(name, value) _Static_assert((long long)(name) == (long long)(value), #name)
#define STATUS(name, code) SAME(name, (int)(0xfae94000u | (code)))
#define BYTES(type, bytes) _Static_assert(sizeof(type) == (bytes), #type)
#define AT(type, field, offset) _Static_assert(offsetof(type, field) == (offset), #field)

SAME(HV_SUCCESS, 0);
STATUS(HV_ERROR, 0x01);
STATUS(HV_BUSY, 0x02);
STATUS(HV_BAD_ARGUMENT, 0x03);
STATUS(HV_ILLEGAL_GUEST_STATE, 0x04);
STATUS(HV_NO_RESOURCES, 0x05);
STATUS(HV_NO_DEVICE, 0x06);
STATUS(HV_DENIED, 0x07);
STATUS(HV_EXISTS, 0x08);
STATUS(HV_UNSUPPORTED, 0x0f);

SAME(HV_EXIT_REASON_CANCELED, 0);
SAME(HV_EXIT_REASON_EXCEPTION, 1);
SAME(HV_EXIT_REASON_VTIMER_ACTIVATED, 2);
SAME(HV_EXIT_REASON_UNKNOWN, 3);

SAME(HV_REG_X0, 0);
SAME(HV_REG_X30, 30);
SAME(HV_REG_PC, 31);
SAME(HV_REG_FPCR, 32);
SAME(HV_REG_FPSR, 33);
SAME(HV_REG_CPSR, 34);
SAME(HV_SIMD_FP_REG_Q0, 0);
SAME(HV_SIMD_FP_REG_Q31, 31);

SAME(HV_INTERRUPT_TYPE_IRQ, 0);
SAME(HV_INTERRUPT_TYPE_FIQ, 1);

SAME(HV_MEMORY_READ, 1);
SAME(HV_MEMORY_WRITE, 2);
SAME(HV_MEMORY_EXEC, 4);

SAME(HV_FEATURE_REG_ID_AA64DFR0_EL1, 0);
SAME(HV_FEATURE_REG_ID_AA64DFR1_EL1, 1);
SAME(HV_FEATURE_REG_ID_AA64ISAR0_EL1, 2);
SAME(HV_FEATURE_REG_ID_AA64ISAR1_EL1, 3);
SAME(HV_FEATURE_REG_ID_AA64MMFR0_EL1, 4);
SAME(HV_FEATURE_REG_ID_AA64MMFR1_EL1, 5);
SAME(HV_FEATURE_REG_ID_AA64MMFR2_EL1, 6);
SAME(HV_FEATURE_REG_ID_AA64PFR0_EL1, 7);
SAME(HV_FEATURE_REG_ID_AA64PFR1_EL1, 8);
SAME(HV_FEATURE_REG_CTR_EL0, 9);
SAME(HV_FEATURE_REG_CLIDR_EL1, 10);
SAME(HV_FEATURE_REG_DCZID_EL0, 11);

SAME(HV_CACHE_TYPE_DATA, 0);
SAME(HV_CACHE_TYPE_INSTRUCTION, 1);

// op0 << 14 | op1 << 11 | CRn << 7 | CRm << 3 | op2
#define SYSREG(name, op0, op1, crn, crm, op2) \
    SAME(HV_SYS_REG_##name, op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2)
SYSREG(MIDR_EL1, 3, 0, 0, 0, 0);
SYSREG(MPIDR_EL1, 3, 0, 0, 0, 5);
SYSREG(ID_AA64PFR0_EL1, 3, 0, 0, 4, 0);
SYSREG(ID_AA64MMFR0_EL1, 3, 0, 0, 7, 0);
SYSREG(SCTLR_EL1, 3, 0, 1, 0, 0);
SYSREG(TTBR0_EL1, 3, 0, 2, 0, 0);
SYSREG(SP_EL0, 3, 0, 4, 1, 0);
SYSREG(SP_EL1, 3, 4, 4, 1, 0);
SYSREG(VBAR_EL1, 3, 0, 12, 0, 0);
SYSREG(TPIDR_EL0, 3, 3, 13, 0, 2);
SYSREG(CNTV_CTL_EL0, 3, 3, 14, 3, 1);
SYSREG(CNTV_CVAL_EL0, 3, 3, 14, 3, 2);
SYSREG(MDSCR_EL1, 2, 0, 0, 2, 2);
SYSREG(DBGBVR0_EL1, 2, 0, 0, 0, 4);
SYSREG(DBGWCR3_EL1, 2, 0, 0, 3, 7);

BYTES(hv_return_t, 4);
BYTES(hv_vcpu_t, 8);
BYTES(hv_reg_t, 4);
BYTES(hv_simd_fp_reg_t, 4);
BYTES(hv_sys_reg_t, 2);
BYTES(hv_interrupt_type_t, 4);
BYTES(hv_feature_reg_t, 4);
BYTES(hv_cache_type_t, 4);
BYTES(hv_memory_flags_t, 8);
BYTES(hv_ipa_t, 8);
BYTES(hv_simd_fp_uchar16_t, 16);
BYTES(mach_timebase_info_data_t, 8);
BYTES(hv_vcpu_exit_t, 32);
AT(hv_vcpu_exit_t, reason, 0);
AT(hv_vcpu_exit_t, exception.syndrome, 8);
AT(hv_vcpu_exit_t, exception.virtual_address, 16);
AT(hv_vcpu_exit_t, exception.physical_address, 24);

// The types of the functions, in Apple's names; the sizes above say which integers those are.
#define TYPE(result, name, ...) result (*check_##name)(__VA_ARGS__) = name
TYPE(hv_return_t, hv_vm_create, hv_vm_config_t);
TYPE(hv_return_t, hv_vm_destroy, void);
TYPE(hv_return_t, hv_vm_get_max_vcpu_count, uint32_t *);
TYPE(hv_vm_config_t, hv_vm_config_create, void);
TYPE(hv_return_t, hv_vm_config_get_max_ipa_size, uint32_t *);
TYPE(hv_return_t, hv_vm_config_get_default_ipa_size, uint32_t *);
TYPE(hv_return_t, hv_vm_config_set_ipa_size, hv_vm_config_t, uint32_t);
TYPE(hv_return_t, hv_vm_config_get_ipa_size, hv_vm_config_t, uint32_t *);
TYPE(hv_return_t, hv_vm_map, void *, hv_ipa_t, size_t, hv_memory_flags_t);
TYPE(hv_return_t, hv_vm_unmap, hv_ipa_t, size_t);
TYPE(hv_return_t, hv_vm_protect, hv_ipa_t, size_t, hv_memory_flags_t);
TYPE(hv_vcpu_config_t, hv_vcpu_config_create, void);
TYPE(hv_return_t, hv_vcpu_config_get_feature_reg, hv_vcpu_config_t, hv_feature_reg_t, uint64_t *);
TYPE(hv_return_t, hv_vcpu_config_get_ccsidr_el1_sys_reg_values, hv_vcpu_config_t, hv_cache_type_t,
     uint64_t *);
TYPE(hv_return_t, hv_vcpu_create, hv_vcpu_t *, hv_vcpu_exit_t **, hv_vcpu_config_t);
TYPE(hv_return_t, hv_vcpu_destroy, hv_vcpu_t);
TYPE(hv_return_t, hv_vcpu_run, hv_vcpu_t);
TYPE(hv_return_t, hv_vcpus_exit, hv_vcpu_t *, uint32_t);
TYPE(hv_return_t, hv_vcpu_get_reg, hv_vcpu_t, hv_reg_t, uint64_t *);
TYPE(hv_return_t, hv_vcpu_set_reg, hv_vcpu_t, hv_reg_t, uint64_t);
TYPE(hv_return_t, hv_vcpu_get_simd_fp_reg, hv_vcpu_t, hv_simd_fp_reg_t, hv_simd_fp_uchar16_t *);
TYPE(hv_return_t, hv_vcpu_set_simd_fp_reg, hv_vcpu_t, hv_simd_fp_reg_t, hv_simd_fp_uchar16_t);
TYPE(hv_return_t, hv_vcpu_get_sys_reg, hv_vcpu_t, hv_sys_reg_t, uint64_t *);
TYPE(hv_return_t, hv_vcpu_set_sys_reg, hv_vcpu_t, hv_sys_reg_t, uint64_t);
TYPE(hv_return_t, hv_vcpu_get_pending_interrupt, hv_vcpu_t, hv_interrupt_type_t, bool *);
TYPE(hv_return_t, hv_vcpu_set_pending_interrupt, hv_vcpu_t, hv_interrupt_type_t, bool);
TYPE(hv_return_t, hv_vcpu_get_vtimer_mask, hv_vcpu_t, bool *);
TYPE(hv_return_t, hv_vcpu_set_vtimer_mask, hv_vcpu_t, bool);
TYPE(hv_return_t, hv_vcpu_get_vtimer_offset, hv_vcpu_t, uint64_t *);
TYPE(hv_return_t, hv_vcpu_set_vtimer_offset, hv_vcpu_t, uint64_t);
TYPE(hv_return_t, hv_vcpu_get_trap_debug_exceptions, hv_vcpu_t, bool *);
TYPE(hv_return_t, hv_vcpu_set_trap_debug_exceptions, hv_vcpu_t, bool);
TYPE(hv_return_t, hv_vcpu_get_trap_debug_reg_accesses, hv_vcpu_t, bool *);
TYPE(hv_return_t, hv_vcpu_set_trap_debug_reg_accesses, hv_vcpu_t, bool);
