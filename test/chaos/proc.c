/* SPDX-License-Identifier: MIT
 *
 * proc.c: what /proc says of a process of ours. -1 where it says nothing. */
#include "supervisor.h"

#include <dirent.h>

int proc_descriptors(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *dir = opendir(path);
    if (!dir)
        return -1;
    int n = 0;
    for (struct dirent *entry; (entry = readdir(dir));)
        n += entry->d_name[0] != '.';
    closedir(dir);
    return n;
}

long proc_anonymous_kb(pid_t pid)
{
    char path[64], line[200];
    long kb = -1;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return -1;
    while (kb < 0 && fgets(line, sizeof line, file))
        if (sscanf(line, "RssAnon: %ld", &kb) != 1)
            kb = -1;
    fclose(file);
    return kb;
}

int64_t proc_cpu_ns(pid_t pid)
{
    char path[320];
    int64_t all = 0;
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *dir = opendir(path);
    if (!dir)
        return -1;
    for (struct dirent *entry; (entry = readdir(dir));) {
        snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", (int)pid, entry->d_name);
        FILE *file = entry->d_name[0] == '.' ? NULL : fopen(path, "re");
        long long ns = 0;
        if (file && fscanf(file, "%lld", &ns) == 1)
            all += ns;
        if (file)
            fclose(file);
    }
    closedir(dir);
    return all;
}

int proc_children(pid_t pid, int *out_zombies)
{
    int children = 0, zombies = 0;
    DIR *dir = opendir("/proc");
    if (!dir)
        return -1;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char path[300], line[400];
        snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
        FILE *file = entry->d_name[0] < '0' || entry->d_name[0] > '9' ? NULL : fopen(path, "re");
        if (!file)
            continue;
        /* The name stands in parentheses and may hold anything. */
        const char *rest = fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
        char state;
        int parent;
        if (rest && sscanf(rest + 1, " %c %d", &state, &parent) == 2 && parent == (int)pid) {
            children++;
            zombies += state == 'Z';
        }
        fclose(file);
    }
    closedir(dir);
    *out_zombies = zombies;
    return children;
}
