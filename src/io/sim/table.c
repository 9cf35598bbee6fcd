/* SPDX-License-Identifier: MIT
 *
 * table.c: descriptor numbers of imaginary files.
 *
 * As POSIX has it, a new file gets the lowest free number, and so a number that was just closed is used
 * again at once: what kept an old number too long is found out. */
#include "io/sim/sim.h"

#include <errno.h>

int coil__sim_file_new(struct sim *sim, enum file_kind kind, int domain, int type,
                       struct file **out)
{
    struct file *file = coil__zalloc(sizeof *file);
    if (!file)
        return -ENOMEM;
    file->sim = sim;
    file->kind = kind;
    file->fd = -1;
    file->domain = domain;
    file->type = type;
    file->mode = 0777;
    list_init(&file->ops);
    list_init(&file->stirred);
    list_init(&file->bound);
    list_init(&file->accept_queue);
    list_init(&file->accept_link);
    list_init(&file->packets);
    *out = file;
    return 0;
}

int coil__sim_file_install(struct sim *sim, struct file *file)
{
    if (sim->files_n >= sim->files_max || sim_fault(sim, SIM_NO_DESCRIPTOR))
        return -EMFILE;
    uint32_t i = sim->files_lowest;
    while (i < sim->files_size && sim->files[i])
        i++;
    if (i == sim->files_size) {
        uint32_t size = sim->files_size ? sim->files_size * 2 : 64;
        struct file **files = coil__realloc(sim->files, size * sizeof(struct file *));
        if (!files)
            return -ENOMEM;
        for (uint32_t k = sim->files_size; k < size; k++)
            files[k] = NULL;
        sim->files = files;
        sim->files_size = size;
    }
    sim->files[i] = file;
    sim->files_lowest = i + 1;
    sim->files_n++;
    file->fd = SIM_FD_BASE + (int)i;
    file->had_fd = true;
    return file->fd;
}

struct file *coil__sim_file(struct sim *sim, int fd)
{
    uint32_t i = (uint32_t)(fd - SIM_FD_BASE);
    return fd >= SIM_FD_BASE && i < sim->files_size ? sim->files[i] : NULL;
}

/* Nobody has it any more. */
static void file_gone(struct sim *sim, struct file *file)
{
    list_remove(&file->stirred);
    list_remove(&file->bound);
    list_remove(&file->accept_link);
    coil__sim_node_leave(file);
    coil__sim_event_fini(sim, &file->connecting);
    coil__sim_listener_close(sim, file);
    coil__sim_datagram_close(sim, file);
    coil__sim_stream_close(sim, file);
    coil__sim_process_close(file);
    coil__free(file);
}

void coil__sim_file_close(struct sim *sim, struct file *file)
{
    COIL_CHECK(file->ops_n == 0);
    if (file->fd >= 0) {
        uint32_t i = (uint32_t)(file->fd - SIM_FD_BASE);
        sim->files[i] = NULL;
        sim->files_n--;
        if (i < sim->files_lowest)
            sim->files_lowest = i;
    }
    if (file->held == 0) {
        file_gone(sim, file);
        return;
    }
    file->fd = -1;
    file->owned = false;
    list_remove(&file->stirred);
}

void coil__sim_file_release(struct sim *sim, struct file *file)
{
    if (--file->held == 0 && file->fd < 0)
        file_gone(sim, file);
}
