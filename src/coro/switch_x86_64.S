/* SPDX-License-Identifier: MIT
 *
 * switch_x86_64.S: the register swap for x86-64, System V convention.
 *
 * A stopped coroutine's sp points at this, lowest address first:
 *
 *     r15  r14  r13  r12  rbx  rbp  return address
 *
 * Every push and pop has its CFI line, so that debuggers and profilers unwind from any instruction;
 * after rsp changes, the same lines describe the other coroutine's frame, which has the same shape.
 * Leaving by `ret` keeps the CPU's return predictor in step with the `call` that came in. Landing
 * pads are here for indirect branch tracking; shadow stacks are not followed and not claimed. */

    .text

/* void coil__switch(void **save_sp: rdi, void *load_sp: rsi) */
    .globl  coil__switch
    .hidden coil__switch
    .type   coil__switch, @function
    .p2align 5
coil__switch:
    .cfi_startproc
    endbr64
    pushq   %rbp
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbp, 0
    pushq   %rbx
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbx, 0
    pushq   %r12
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r12, 0
    pushq   %r13
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r13, 0
    pushq   %r14
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r14, 0
    pushq   %r15
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r15, 0
    movq    %rsp, (%rdi)
    movq    %rsi, %rsp
    popq    %r15
    .cfi_adjust_cfa_offset -8
    .cfi_restore %r15
    popq    %r14
    .cfi_adjust_cfa_offset -8
    .cfi_restore %r14
    popq    %r13
    .cfi_adjust_cfa_offset -8
    .cfi_restore %r13
    popq    %r12
    .cfi_adjust_cfa_offset -8
    .cfi_restore %r12
    popq    %rbx
    .cfi_adjust_cfa_offset -8
    .cfi_restore %rbx
    popq    %rbp
    .cfi_adjust_cfa_offset -8
    .cfi_restore %rbp
    ret
    .cfi_endproc
    .size   coil__switch, . - coil__switch

/* void *coil__switch_make(void *low: rdi, void *top: rsi, void (*fn)(struct coro *): rdx,
 *                         struct coro *self: rcx)
 * The first `ret` leaves rsp at top - 16, where two zeros end a walk along frame pointers. */
    .globl  coil__switch_make
    .hidden coil__switch_make
    .type   coil__switch_make, @function
    .p2align 4
coil__switch_make:
    .cfi_startproc
    endbr64
    leaq    -72(%rsi), %rax
    xorl    %r8d, %r8d
    leaq    coil__switch_start(%rip), %r9
    movq    %r8, 0(%rax)            /* r15 */
    movq    %r8, 8(%rax)            /* r14 */
    movq    %r8, 16(%rax)           /* r13 */
    movq    %rdx, 24(%rax)          /* r12: fn */
    movq    %rcx, 32(%rax)          /* rbx: self */
    movq    %r8, 40(%rax)           /* rbp */
    movq    %r9, 48(%rax)           /* return address */
    movq    %r8, 56(%rax)
    movq    %r8, 64(%rax)
    ret
    .cfi_endproc
    .size   coil__switch_make, . - coil__switch_make

/* Where a coroutine begins: the outermost frame, so the return address is undefined and a
 * backtrace ends here. Not by `call`: this begins after a ret, and another ret ends it, so a call
 * would leave the return predictor one off, and each return of whoever runs next would miss. */
    .section coil_entry, "ax", @progbits
    .hidden coil__switch_start
    .type   coil__switch_start, @function
    .p2align 4
coil__switch_start:
    .cfi_startproc
    .cfi_undefined %rip
    endbr64
    testb   $15, %spl               /* fn's SSE spills fault far from here if this is off */
    jnz     1f
    movq    %rbx, %rdi
    leaq    1f(%rip), %rax
    pushq   %rax
    jmp     *%r12
1:  ud2
    .cfi_endproc
    .size   coil__switch_start, . - coil__switch_start

    .section .note.GNU-stack, "", @progbits

#if defined(__CET__) && (__CET__ & 1)
/* "This object has its landing pads" (IBT). The linker drops the mark from the whole library if one
 * object lacks it. */
    .section .note.gnu.property, "a", @note
    .p2align 3
    .long   4, 16, 5                /* name size, contents size, NT_GNU_PROPERTY_TYPE_0 */
    .asciz  "GNU"
    .long   0xc0000002, 4, 1, 0     /* X86_FEATURE_1_AND, 4 bytes: IBT, padding */
#endif
