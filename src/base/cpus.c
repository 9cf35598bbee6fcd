/* SPDX-License-Identifier: MIT
 *
 * cpus.c: how many processors there are, for who wants to know whether somebody can work beside this thread.
 *
 * A thread that is pinned to one processor has the others beside it, so its affinity is no answer. (libc is none either: musl
 * counts by affinity.) What nobody in here can leave is the cpuset of the process, which is how containers are held to
 * some processors:
 *
 *     /proc/self/cgroup --names it--> its file of processors, or that of the nearest group above --> count
 *     no such file --> /sys/devices/system/cpu/online --> count
 *     neither can be read --> as many as the thread may use
 *
 * Inside a container the name may be one that only the outside knows; then the walk upward ends at the mount, which is the
 * container's own group.
 *
 * Any thread. */
#include "base/cpus.h"

#include "base/sys.h"
#include "base/thread.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "0-3,7" are five; 0: that is no such list. */
static unsigned count(const char *list)
{
    unsigned n = 0;
    for (;; list++) {
        char *end;
        unsigned long first = strtoul(list, &end, 10), last = first;
        if (end == list)
            return 0;
        if (*end == '-') {
            list = end + 1;
            last = strtoul(list, &end, 10);
            if (end == list || last < first)
                return 0;
        }
        n += (unsigned)(last - first) + 1;
        if (*end != ',')
            return n;
        list = end;
    }
}

static unsigned count_in(const char *path)
{
    char text[1024];
    return coil__sys_text(path, text, sizeof text) > 0 ? count(text) : 0;
}

/* `group` is where the walk upward begins; it is eaten on the way. */
static unsigned count_of_group(const char *mount, char *group, const char *file)
{
    if (strcmp(group, "/") == 0)
        *group = '\0'; /* the names of the others end without one */
    for (;;) {
        char path[2048], *last; /* a longer one is no file */
        int n = snprintf(path, sizeof path, "%s%s/%s", mount, group, file);
        unsigned cpus = n < (int)sizeof path ? count_in(path) : 0;
        if (cpus > 0 || !(last = strrchr(group, '/')))
            return cpus;
        *last = '\0';
    }
}

static bool has_word(const char *words, const char *word)
{
    size_t n = strlen(word);
    for (const char *at = words; (at = strstr(at, word)); at += n)
        if ((at == words || at[-1] == ',') && (at[n] == ',' || at[n] == '\0'))
            return true;
    return false;
}

/* A line is NUMBER:CONTROLLERS:GROUP; version 2 has one, without controllers. */
static unsigned count_of_line(char *line)
{
    char *words = strchr(line, ':'), *group = words ? strchr(words + 1, ':') : NULL;
    if (!group)
        return 0;
    *group++ = '\0';
    words++;
    if (*words == '\0')
        return count_of_group("/sys/fs/cgroup", group, "cpuset.cpus.effective");
    if (has_word(words, "cpuset"))
        return count_of_group("/sys/fs/cgroup/cpuset", group, "cpuset.effective_cpus");
    return 0;
}

static unsigned count_of_cpuset(void)
{
    char text[4096], *next;
    unsigned n = 0;
    if (coil__sys_text("/proc/self/cgroup", text, sizeof text) <= 0)
        return 0;
    for (char *line = text; line && n == 0; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        n = count_of_line(line);
    }
    return n;
}

unsigned coil__cpus_there(void)
{
    unsigned n = count_of_cpuset();
    if (n == 0)
        n = count_in("/sys/devices/system/cpu/online");
    return n > 0 ? n : coil__thread_cpus();
}
