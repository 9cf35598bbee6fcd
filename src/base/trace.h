/* SPDX-License-Identifier: MIT
 *
 * trace.h: named points that debuggers and tracers can listen to while the program runs (USDT probes).
 *
 *     TRACE_POINT(task_done, "8@%0 -8@%1", "r"(t), "r"(rc));
 *
 * In the code a point is one `nop`, or a store that is wanted anyway (TRACE_STORE). Beside the code, where nothing is loaded, a
 * note says where it is, how it is called (coil:task_done) and where its arguments are: `8@%rbx -8@%rax`, the size in bytes
 * (negative: signed), then a register or a place in memory. Who listens puts a breakpoint over that instruction: gdb, bpftrace, perf, SystemTap. The form of the notes is
 * SystemTap's, version 3 (the section .note.stapsdt), which all of them read.
 *
 * Always true:
 *   - a point asks for nothing that is not at hand: its arguments are in registers there ("r"), or stay in memory ("o"),
 *     where the listener fetches them. So it costs its nop, and one who adds a point looks at what the compiler made of it;
 *   - names and arguments are told in docs/guide/gdb-and-probes.md, and only ever added to.
 *
 * Any thread. Elsewhere: marks for the tests of this library, which count (probe.h). */
#ifndef COIL_BASE_TRACE_H
#define COIL_BASE_TRACE_H

#if defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__))

/* The note: sizes of name and contents, kind 3, the name; the point's address, an address that tells how the file was moved
 * since (.stapsdt.base, one byte for each file), no counter of listeners; provider, name and arguments. The labels are local,
 * since a point may be inlined in many places, each with its own note. `inline`: gcc would take the lines for code, and no
 * longer inline the functions around it. */
#define TRACE_NOTE(name_, arguments_)                                           \
    ".pushsection .note.stapsdt, \"?\", \"note\"\n"                             \
    ".balign 4\n"                                                               \
    ".4byte 992f - 991f, 994f - 993f, 3\n"                                      \
    "991: .asciz \"stapsdt\"\n"                                                 \
    "992: .balign 4\n"                                                          \
    "993: .8byte 990b, _.stapsdt.base, 0\n"                                     \
    ".asciz \"coil\", \"" #name_ "\", \"" arguments_ "\"\n"                     \
    "994: .balign 4\n"                                                          \
    ".popsection\n"                                                             \
    ".ifndef _.stapsdt.base\n"                                                  \
    ".pushsection .stapsdt.base, \"aG\", \"progbits\", .stapsdt.base, comdat\n" \
    ".weak _.stapsdt.base\n"                                                    \
    ".hidden _.stapsdt.base\n"                                                  \
    "_.stapsdt.base: .space 1\n"                                                \
    ".size _.stapsdt.base, 1\n"                                                 \
    ".popsection\n"                                                             \
    ".endif\n"

#define TRACE_POINT(name_, arguments_, ...) \
    __asm__ volatile inline("990: nop\n" TRACE_NOTE(name_, arguments_) : : __VA_ARGS__)

#if defined(__x86_64__)
#define TRACE_MOVE "movq %1, %0"
#else
#define TRACE_MOVE "str %1, %0"
#endif
/* `place_ = value_;` (a pointer), and a point there, which costs nothing. The arguments begin at %2. */
#define TRACE_STORE(name_, arguments_, place_, value_, ...)                       \
    __asm__ volatile inline("990: " TRACE_MOVE "\n" TRACE_NOTE(name_, arguments_) \
                            : "=m"(place_)                                        \
                            : "r"(value_), __VA_ARGS__)

#else
#define TRACE_POINT(name_, arguments_, ...)                 ((void)0)
#define TRACE_STORE(name_, arguments_, place_, value_, ...) ((place_) = (value_))
#endif

#endif
