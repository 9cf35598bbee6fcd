/* SPDX-License-Identifier: MIT
 *
 * peers.c: the supervisor's processes: started, told what to do, killed and started again, waited for. */
#include "supervisor.h"

#include <signal.h>
#include <stdarg.h>

static const double START_S = 60, COMMAND_S = 60;

/* One line of a server. */
static coil_ret expect(struct peer *p, const char *word, double limit_s)
{
    const char *line;
    coil_timeout(patience, limit_s);
    coil_ret rc = coil_reader_readline(coil_process_stdout(p->process), &line, NULL);
    rc = coil_timeout_exit(&patience, rc);
    if (rc > 0)
        return strncmp(line, word, strlen(word)) == 0 ? 0 : COIL_EUSER;
    return rc == 0 ? -ECONNRESET : rc;
}

coil_ret peer_start(struct peer *p)
{
    char number[16], slots[16];
    snprintf(number, sizeof number, "%u", p->number);
    snprintf(slots, sizeof slots, "%u", p->slots);
    const char *server[] = {"/proc/self/exe", "server", folder, number, p->backend, NULL};
    const char *client[] = {"/proc/self/exe", "client", folder, number, slots, p->backend, NULL};
    coil_subprocess_opts opts = {.size = sizeof opts, .in = COIL_DEVNULL};
    if (p->is_server)
        opts.in = opts.out = COIL_PIPE;
    coil_ret rc = coil_create_subprocess_exec(p->is_server ? server : client, &opts, &p->process);
    p->counted_signals = 0;
    if (coil_iserr(rc) || !p->is_server)
        return rc;
    shared->servers[p->number].counted_signals = 0;
    rc = expect(p, "ready", START_S);
    shared->servers[p->number].up = rc == 0;
    if (rc != 0)
        breach("server %u does not start: %s", p->number, coil_strerror(rc));
    return rc;
}

coil_ret peer_command(struct peer *p, const char *format, ...)
{
    char line[100];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line - 1, format, args);
    va_end(args);
    line[n++] = '\n';
    uint32_t killed = p->killed;
    coil_ret rc = coil_lock_acquire(&p->talking);
    if (coil_iserr(rc))
        return rc;
    rc = -ECONNRESET;
    if (!p->down && p->killed == killed) {
        rc = coil_writer_write(coil_process_stdin(p->process), line, (size_t)n);
        if (!coil_iserr(rc))
            rc = expect(p, "done", COMMAND_S);
    }
    coil_ignore(coil_lock_release(&p->talking));
    if (coil_iserr(rc) && rc != -ECANCELED && rc != COIL_EEXIT && !p->down && p->killed == killed)
        breach("server %u does not do what it is told (%s): %s", p->number, format,
               coil_strerror(rc));
    return rc;
}

coil_ret peer_kill_and_restart(struct peer *p)
{
    if (p->is_server) {
        shared->servers[p->number].up = false;
        shared->servers[p->number].kills++;
    } else {
        shared->clients[p->number].kills++;
    }
    p->killed++;
    p->down = true;
    int status = 0;
    coil_ret rc = coil_process_kill(p->process);
    if (!coil_iserr(rc))
        rc = coil_process_wait(p->process, &status);
    if (rc == 0 && status != -SIGKILL)
        breach("%s %u ended with %d before it was killed", p->is_server ? "server" : "client",
               p->number, status);
    if (!coil_iserr(rc))
        rc = coil_lock_acquire(&p->talking);
    if (coil_iserr(rc))
        return rc;
    /* Nobody commands it before it is ready. */
    peer_free(p);
    rc = peer_start(p);
    p->down = false;
    coil_ignore(coil_lock_release(&p->talking));
    return rc;
}

coil_ret peer_ends(struct peer *p, double limit_s)
{
    if (!p->process)
        return 0;
    int status = 0;
    coil_timeout(patience, limit_s);
    coil_ret rc = coil_process_wait(p->process, &status);
    rc = coil_timeout_exit(&patience, rc);
    const char *what = p->is_server ? "server" : "client";
    if (rc == -ETIMEDOUT)
        breach("%s %u (%s) does not end", what, p->number, p->backend);
    else if (rc == 0 && status != 0)
        breach("%s %u (%s) ended with %d", what, p->number, p->backend, status);
    peer_free(p);
    return rc == -ETIMEDOUT ? 0 : rc;
}

bool peer_is_gone(const struct peer *p)
{
    int status;
    return p->process && !p->busy && coil_process_returncode(p->process, &status);
}

void peer_free(struct peer *p)
{
    coil_process_unref(p->process);
    p->process = NULL;
}
