// Entry to and return from the instructions under test. See runner.c.
//
// struct state, by offset: x0-x30 0, sp 248, pc 256, nzcv 264, fpcr 272, fpsr 280, kind 288,
// address 296, tpidr 304, v0-v31 320.

        .macro  load_v n
        load_v2 \n, %(\n + 1)
        .endm
        .macro  load_v2 n, m
        ldp     q\n, q\m, [x0, #320 + 16 * \n]
        .endm
        .macro  store_v n
        store_v2 \n, %(\n + 1)
        .endm
        .macro  store_v2 n, m
        stp     q\n, q\m, [x30, #320 + 16 * \n]
        .endm
        .altmacro

        .text

// void enter(const struct state *in): loads everything and goes to the slot. Returns when the
// instructions under test reach `leave`, or when the signal handler sends them to `restore`.
        .global enter
        .type   enter, %function
enter:
        ldr     x1, =context
        stp     x19, x20, [x1]
        stp     x21, x22, [x1, #16]
        stp     x23, x24, [x1, #32]
        stp     x25, x26, [x1, #48]
        stp     x27, x28, [x1, #64]
        stp     x29, x30, [x1, #80]
        stp     d8, d9, [x1, #96]
        stp     d10, d11, [x1, #112]
        stp     d12, d13, [x1, #128]
        stp     d14, d15, [x1, #144]
        mov     x2, sp
        str     x2, [x1, #160]

        .irp    n, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
        load_v  \n
        .endr
        ldr     x1, [x0, #248]
        mov     sp, x1
        ldr     x1, [x0, #264]
        msr     nzcv, x1
        ldr     x1, [x0, #272]
        msr     fpcr, x1
        ldr     x1, [x0, #280]
        msr     fpsr, x1
        ldr     x1, [x0, #304]
        msr     tpidr_el0, x1
        clrex
        ldp     x2, x3, [x0, #16]
        ldp     x4, x5, [x0, #32]
        ldp     x6, x7, [x0, #48]
        ldp     x8, x9, [x0, #64]
        ldp     x10, x11, [x0, #80]
        ldp     x12, x13, [x0, #96]
        ldp     x14, x15, [x0, #112]
        ldp     x16, x17, [x0, #128]
        ldp     x18, x19, [x0, #144]
        ldp     x20, x21, [x0, #160]
        ldp     x22, x23, [x0, #176]
        ldp     x24, x25, [x0, #192]
        ldp     x26, x27, [x0, #208]
        ldp     x28, x29, [x0, #224]
        ldr     x30, [x0, #240]
        ldp     x0, x1, [x0]
        b       slot

// The word after the instructions under test branches here. TPIDR_EL0 is the one place to put a
// register in while finding the memory for it.
        .global leave
leave:
        msr     tpidr_el0, x30
        ldr     x30, =result
        stp     x0, x1, [x30]
        stp     x2, x3, [x30, #16]
        stp     x4, x5, [x30, #32]
        stp     x6, x7, [x30, #48]
        stp     x8, x9, [x30, #64]
        stp     x10, x11, [x30, #80]
        stp     x12, x13, [x30, #96]
        stp     x14, x15, [x30, #112]
        stp     x16, x17, [x30, #128]
        stp     x18, x19, [x30, #144]
        stp     x20, x21, [x30, #160]
        stp     x22, x23, [x30, #176]
        stp     x24, x25, [x30, #192]
        stp     x26, x27, [x30, #208]
        stp     x28, x29, [x30, #224]
        mrs     x0, tpidr_el0
        mov     x1, sp
        stp     x0, x1, [x30, #240]
        mrs     x0, nzcv
        str     x0, [x30, #264]
        mrs     x0, fpcr
        str     x0, [x30, #272]
        mrs     x0, fpsr
        str     x0, [x30, #280]
        .irp    n, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
        store_v \n
        .endr

        .global restore
restore:
        ldr     x1, =context
        ldp     x19, x20, [x1]
        ldp     x21, x22, [x1, #16]
        ldp     x23, x24, [x1, #32]
        ldp     x25, x26, [x1, #48]
        ldp     x27, x28, [x1, #64]
        ldp     x29, x30, [x1, #80]
        ldp     d8, d9, [x1, #96]
        ldp     d10, d11, [x1, #112]
        ldp     d12, d13, [x1, #128]
        ldp     d14, d15, [x1, #144]
        ldr     x2, [x1, #160]
        mov     sp, x2
        ret

        .global _start
_start:
        bl      run
        .ltorg

        .bss
        .balign 16
context:
        .skip   176
        .section .note.GNU-stack, "", %progbits
