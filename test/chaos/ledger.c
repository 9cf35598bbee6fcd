/* SPDX-License-Identifier: MIT
 *
 * ledger.c: the table that all processes of a run have mapped, and what is drawn into it.
 *
 * The file is sparse: only rows that were used take memory. */
#include "chaos.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

struct shared *shared;
char folder[256];

const char *const way_names[WAYS] = {"tcp", "unix", "tls"};
const char *const conduct_names[CONDUCTS] = {
    "plain",       "slow",          "impatient", "bare", "send first", "server ends", "reset",
    "reset early", "server resets", "silent",    "cut",  "garbage",    "hold"};

uint64_t roll(struct dice *dice)
{
    uint64_t z = (dice->state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint32_t below(struct dice *dice, uint32_t n)
{
    return (uint32_t)(((roll(dice) >> 32) * n) >> 32);
}

uint64_t mix(uint64_t a, uint64_t b)
{
    struct dice dice = {a ^ b * UINT64_C(0xd6e8feb86659fd93)};
    roll(&dice);
    return roll(&dice);
}

struct plan plan_draw(struct dice *dice)
{
    static const uint8_t often[] = {
        CONDUCT_PLAIN,       CONDUCT_PLAIN,         CONDUCT_SLOW,          CONDUCT_SLOW,
        CONDUCT_IMPATIENT,   CONDUCT_IMPATIENT,     CONDUCT_BARE,          CONDUCT_BARE,
        CONDUCT_SEND_FIRST,  CONDUCT_RESET,         CONDUCT_RESET,         CONDUCT_RESET_EARLY,
        CONDUCT_SERVER_ENDS, CONDUCT_SERVER_RESETS, CONDUCT_SERVER_RESETS, CONDUCT_SILENT};
    struct plan p = {.way = (uint8_t)below(dice, WAYS), .seed = roll(dice)};
    p.conduct = often[below(dice, sizeof often)];
    if (p.way == WAY_TLS && one_in(dice, 4))
        p.conduct = one_in(dice, 3) ? CONDUCT_GARBAGE : CONDUCT_CUT;
    if (p.way == WAY_TLS && p.conduct == CONDUCT_BARE)
        p.conduct = CONDUCT_PLAIN;
    p.frames = 2 + below(dice, one_in(dice, 8) ? 200 : 20);
    p.payload_max = one_in(dice, 8) ? FRAME_PAYLOAD_MAX : 800;
    p.by_pieces = one_in(dice, 2);
    p.greeted = p.way == WAY_TLS || one_in(dice, 2);
    p.hold_ms = one_in(dice, 3) ? 0 : below(dice, 100);
    switch (p.conduct) {
    case CONDUCT_SLOW: p.pace_us = 200 + below(dice, 8000); break;
    case CONDUCT_IMPATIENT: p.pace_us = below(dice, 500); break;
    case CONDUCT_SEND_FIRST:
    case CONDUCT_RESET:
    case CONDUCT_SERVER_RESETS:
        /* Buffers of the kernel hold all of it, so that nobody waits for who does not read. */
        p.payload_max = 1000;
        p.frames = 2 + below(dice, 40);
        break;
    case CONDUCT_CUT: p.cut = below(dice, one_in(dice, 2) ? 1200 : 40000); break;
    case CONDUCT_SILENT: p.cut = below(dice, sizeof(struct frame_header)); break;
    }
    p.after = 1 + below(dice, p.frames - 1);
    return p;
}

void path_in_folder(char *out, size_t n, const char *name, unsigned number)
{
    snprintf(out, n, "%s/%s%.0u", folder, name, number);
}

int shared_open(const char *in_folder, bool create)
{
    char path[300];
    snprintf(folder, sizeof folder, "%s", in_folder);
    path_in_folder(path, sizeof path, "ledger", 0);
    int fd = open(path, O_RDWR | O_CLOEXEC | (create ? O_CREAT | O_EXCL : 0), 0600);
    if (fd < 0)
        return -errno;
    int err = create && ftruncate(fd, sizeof *shared) < 0 ? -errno : 0;
    if (!err) {
        void *map = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        err = map == MAP_FAILED ? -errno : 0;
        shared = err ? NULL : map;
    }
    close(fd);
    return err;
}

void die_with_parent(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}
