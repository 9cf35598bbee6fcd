/* SPDX-License-Identifier: MIT
 *
 * service.c: what a service manager might have written into the environment. A mistake has a name, nothing is answered
 * beyond what was asked for, and names of descriptors are whole or "unknown". */
#include "fuzz.h"

#include <coil/service.h>

#include <fcntl.h>
#include <unistd.h>

static const char *const variables[] = {"LISTEN_PID",    "LISTEN_FDS",   "LISTEN_FDNAMES",
                                        "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"};
enum { VARIABLES = sizeof variables / sizeof *variables, ROOM = 4 };

/* "\1" stands for our own number: no input could guess it. */
static void set(const char *variable, struct input *in)
{
    char text[512] = "";
    size_t n = 0;
    unsigned byte = next(in);
    if (byte == 1) {
        snprintf(text, sizeof text, "%d", (int)getpid());
        byte = next(in);
        n = strlen(text);
    }
    for (; byte != 0 && n < sizeof text - 1; byte = next(in))
        text[n++] = (char)byte;
    text[n] = 0;
    HOLDS(setenv(variable, text, 1) == 0);
}

static void named(coil_ret rc)
{
    HOLDS(rc >= 0 ||
          (coil_last_error() && coil_last_error()->code == rc && coil_last_error()->message[0]));
}

static void take_descriptors(void)
{
    char fds[512], names[512];
    bool ours = atol(getenv("LISTEN_PID")) == getpid();
    snprintf(fds, sizeof fds, "%s", getenv("LISTEN_FDS"));
    snprintf(names, sizeof names, "%s", getenv("LISTEN_FDNAMES"));
    coil_service_fd out[ROOM];
    memset(out, 0x5a, sizeof out);
    int n = coil_service_listen_fds(out, ROOM);
    named(n);
    HOLDS(n <= ROOM);
    HOLDS(n <= 0 || (ours && n == atol(fds)));
    HOLDS(n == -E2BIG || !getenv("LISTEN_FDS"));
    const char *at = names;
    for (int i = 0; i < n; i++) {
        size_t length = at ? strcspn(at, ":") : 0;
        bool whole = length > 0 && length <= COIL_SERVICE_NAME_MAX;
        HOLDS(out[i].fd == 3 + i);
        HOLDS(whole ? strlen(out[i].name) == length && memcmp(out[i].name, at, length) == 0
                    : strcmp(out[i].name, "unknown") == 0);
        at = at && at[length] ? at + length + 1 : NULL;
    }
}

static coil_ret play(void *arg)
{
    (void)arg;
    coil_ret rc = coil_service_notify_nowait("READY=1");
    named(rc);
    const char *to = getenv("NOTIFY_SOCKET");
    HOLDS(rc == 0 ? !to[0] : rc < 0 || to[0] == '/' || to[0] == '@');
    HOLDS(rc >= 0 || rc != -EAFNOSUPPORT || (to[0] != '/' && to[0] != '@'));
    rc = coil_service_watchdog(NULL);
    named(rc);
    HOLDS(rc == 0 || rc == 1 || rc == -EINVAL);
    HOLDS(rc != 1 || atoll(getenv("WATCHDOG_USEC")) > 0);
    if (rc == 1)
        HOLDS(coil_sleep(0.00001) == 0);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    /* More than there is room for, whoever started us. */
    for (int fd = 3; fd < 3 + ROOM + 3; fd++)
        HOLDS(fcntl(fd, F_GETFD) >= 0 || dup2(2, fd) == fd);
    for (size_t i = 0; i < VARIABLES; i++)
        set(variables[i], &in);
    take_descriptors();
    fuzz_run_alone(play, NULL);
    for (size_t i = 0; i < VARIABLES; i++)
        unsetenv(variables[i]);
    return 0;
}
