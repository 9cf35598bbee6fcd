/* SPDX-License-Identifier: MIT
 *
 * switch_aarch64.S: the register swap for 64-bit Arm, AAPCS64.
 *
 * A stopped coroutine's sp points at this, 160 bytes, lowest address first:
 *
 *     x29 x30  x19 x20  x21 x22  x23 x24  x25 x26  x27 x28  d8 d9  d10 d11  d12 d13  d14 d15
 *
 * The convention keeps the low halves of v8 to v15, so the d registers are enough. CFI describes
 * every store and load; `hint #34` is `bti c`, a landing pad where the CPU asks for one and nothing
 * elsewhere. */

    .text

/* void coil__switch(void **save_sp: x0, void *load_sp: x1) */
    .globl  coil__switch
    .hidden coil__switch
    .type   coil__switch, %function
    .p2align 5
coil__switch:
    .cfi_startproc
    hint    #34
    stp     x29, x30, [sp, #-160]!
    .cfi_def_cfa_offset 160
    .cfi_rel_offset x29, 0
    .cfi_rel_offset x30, 8
    stp     x19, x20, [sp, #16]
    .cfi_rel_offset x19, 16
    .cfi_rel_offset x20, 24
    stp     x21, x22, [sp, #32]
    .cfi_rel_offset x21, 32
    .cfi_rel_offset x22, 40
    stp     x23, x24, [sp, #48]
    .cfi_rel_offset x23, 48
    .cfi_rel_offset x24, 56
    stp     x25, x26, [sp, #64]
    .cfi_rel_offset x25, 64
    .cfi_rel_offset x26, 72
    stp     x27, x28, [sp, #80]
    .cfi_rel_offset x27, 80
    .cfi_rel_offset x28, 88
    stp     d8, d9, [sp, #96]
    .cfi_rel_offset d8, 96
    .cfi_rel_offset d9, 104
    stp     d10, d11, [sp, #112]
    .cfi_rel_offset d10, 112
    .cfi_rel_offset d11, 120
    stp     d12, d13, [sp, #128]
    .cfi_rel_offset d12, 128
    .cfi_rel_offset d13, 136
    stp     d14, d15, [sp, #144]
    .cfi_rel_offset d14, 144
    .cfi_rel_offset d15, 152
    mov     x9, sp
    str     x9, [x0]
    mov     sp, x1
    ldp     d14, d15, [sp, #144]
    .cfi_restore d14
    .cfi_restore d15
    ldp     d12, d13, [sp, #128]
    .cfi_restore d12
    .cfi_restore d13
    ldp     d10, d11, [sp, #112]
    .cfi_restore d10
    .cfi_restore d11
    ldp     d8, d9, [sp, #96]
    .cfi_restore d8
    .cfi_restore d9
    ldp     x27, x28, [sp, #80]
    .cfi_restore x27
    .cfi_restore x28
    ldp     x25, x26, [sp, #64]
    .cfi_restore x25
    .cfi_restore x26
    ldp     x23, x24, [sp, #48]
    .cfi_restore x23
    .cfi_restore x24
    ldp     x21, x22, [sp, #32]
    .cfi_restore x21
    .cfi_restore x22
    ldp     x19, x20, [sp, #16]
    .cfi_restore x19
    .cfi_restore x20
    ldp     x29, x30, [sp], #160
    .cfi_restore x29
    .cfi_restore x30
    .cfi_def_cfa_offset 0
    ret
    .cfi_endproc
    .size   coil__switch, . - coil__switch

/* void *coil__switch_make(void *low: x0, void *top: x1, void (*fn)(struct coro *): x2,
 *                         struct coro *self: x3) */
    .globl  coil__switch_make
    .hidden coil__switch_make
    .type   coil__switch_make, %function
    .p2align 4
coil__switch_make:
    .cfi_startproc
    hint    #34
    sub     x0, x1, #176            /* the frame, and two zeros above it */
    adr     x9, coil__switch_start
    stp     xzr, x9, [x0]           /* x29, x30 */
    stp     x3, x2, [x0, #16]       /* x19: self, x20: fn */
    stp     xzr, xzr, [x0, #32]
    stp     xzr, xzr, [x0, #48]
    stp     xzr, xzr, [x0, #64]
    stp     xzr, xzr, [x0, #80]
    stp     xzr, xzr, [x0, #96]
    stp     xzr, xzr, [x0, #112]
    stp     xzr, xzr, [x0, #128]
    stp     xzr, xzr, [x0, #144]
    stp     xzr, xzr, [x0, #160]
    ret
    .cfi_endproc
    .size   coil__switch_make, . - coil__switch_make

/* Where a coroutine begins: the outermost frame, so the return address is undefined and a
 * backtrace ends here. The CPU itself checks that sp is a multiple of 16. */
    .section coil_entry, "ax", %progbits
    .hidden coil__switch_start
    .type   coil__switch_start, %function
    .p2align 4
coil__switch_start:
    .cfi_startproc
    .cfi_undefined x30
    hint    #34
    mov     x0, x19
    blr     x20
    brk     #1
    .cfi_endproc
    .size   coil__switch_start, . - coil__switch_start

    .section .note.GNU-stack, "", %progbits

#if defined(__ARM_FEATURE_BTI_DEFAULT)
/* "This object has its landing pads" (BTI). The linker drops the mark from the whole library if one
 * object lacks it. */
    .section .note.gnu.property, "a", %note
    .p2align 3
    .long   4, 16, 5                /* name size, contents size, NT_GNU_PROPERTY_TYPE_0 */
    .asciz  "GNU"
    .long   0xc0000000, 4, 1, 0     /* AARCH64_FEATURE_1_AND, 4 bytes: BTI, padding */
#endif
