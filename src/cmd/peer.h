/* SPDX-License-Identifier: MIT
 *
 * peer.h: a process that is only looked at: its memory, running, stopped or as a core file has it.
 *
 * Nothing in it runs or is changed. What is read may be in the middle of a change, or rubbish. */
#ifndef COIL_CMD_PEER_H
#define COIL_CMD_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A stretch of its addresses. */
struct peer_map {
    uint64_t from, to;
    uint64_t offset;          /* in the file */
    bool readable, code;      /* code: may be executed */
    char *path;               /* of the file; "" if there is none */
    uint64_t core_at, core_n; /* where the core file has it, and how much of it */
};

struct peer {
    pid_t pid; /* 0: a core file */
    int core;  /* its descriptor; -1 */
    struct peer_map *maps;
    size_t maps_n;
    struct peer_page *pages; /* what was read lately */
};

/* 0, or an exit status after saying why. */
int peer_open(struct peer *p, pid_t pid);
int peer_open_core(struct peer *p, const char *path);
void peer_close(struct peer *p);

/* All n bytes, or false. */
bool peer_read(struct peer *p, uint64_t at, void *out, size_t n);
/* Forget what was read: the next read sees what is there by then. */
void peer_refresh(struct peer *p);

/* Text up to its NUL, cut to n - 1 bytes; control characters become '?'. "" if it cannot be read. */
void peer_text(struct peer *p, uint64_t at, char *out, size_t n);
void peer_clean(char *text);

static inline uint64_t peer_word(struct peer *p, uint64_t at)
{
    uint64_t word = 0;
    return peer_read(p, at, &word, sizeof word) ? word : 0;
}
static inline uint32_t peer_u32(struct peer *p, uint64_t at)
{
    uint32_t word = 0;
    return peer_read(p, at, &word, sizeof word) ? word : 0;
}
static inline uint8_t peer_u8(struct peer *p, uint64_t at)
{
    uint8_t byte = 0;
    return peer_read(p, at, &byte, 1) ? byte : 0;
}

/* The map that holds an address; NULL. */
const struct peer_map *peer_map_of(const struct peer *p, uint64_t at);

/* Where a thread that runs stands: program counter and frame pointer. It is stopped for the time of the look. */
bool peer_registers(struct peer *p, pid_t tid, uint64_t *out_pc, uint64_t *out_fp);

#endif
