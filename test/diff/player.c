/* SPDX-License-Identifier: MIT
 *
 * player.c: the program behind ./dev diff: makes scripts, plays them on coil, compares with what was recorded.
 *
 *     diff_player play FIRST N [LEVEL]      scripts and traces of N seeds, each part ended by a line with one dot
 *     diff_player make FIRST N [LEVEL]      the scripts alone
 *     diff_player serve                     scripts from standard input, each ended by a dot; their traces
 *     diff_player replay HASHES TRACES [N]  what was recorded, or the first N of it; exit status 1 if coil does otherwise
 */
#include "play.h"

#include <coil/error.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SECONDS_MAX = 10, LEVEL = 13, DIFFERENCES_MAX = 10 };

static struct script script;

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "diff_player: %s: %s\n", what, why);
    exit(2);
}

/* A script that never ends is ended, and is an outcome as others are. */
static char *play_for_a_while(void)
{
    alarm(SECONDS_MAX);
    char *trace = play_script(&script);
    alarm(0);
    return trace;
}

static void play_and_print(void)
{
    char *trace = play_for_a_while();
    fputs(trace, stdout);
    puts(".");
    free(trace);
}

/* ---- what was recorded ---- */

/* FNV-1a. */
static uint64_t hash_of(const char *text)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    return hash;
}

/* The script of a seed and its trace, as they stand in traces.txt. To be freed. */
static char *text_of_seed(uint64_t seed, int level)
{
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    if (!out)
        fail("memory", strerror(errno));
    script_generate(&script, seed, level);
    script_print(&script, out);
    char *trace = play_for_a_while();
    fputs(trace, out);
    free(trace);
    fclose(out);
    return text;
}

/* The first line in which they are not the same, for a reader's eyes. */
static void show_first_difference(const char *ours, const char *theirs)
{
    while (*ours && *ours == *theirs)
        ours++, theirs++;
    fprintf(stdout, "    coil:    ...%.*s\n", (int)strcspn(ours, "\n"), ours);
    fprintf(stdout, "    CPython: ...%.*s\n", (int)strcspn(theirs, "\n"), theirs);
}

/* The next script and trace of traces.txt; NULL behind the last. To be freed. */
static char *next_recorded(FILE *file)
{
    char *text = NULL, *line = NULL;
    size_t n = 0, line_n = 0;
    int dots = 0;
    FILE *out = open_memstream(&text, &n);
    while (out && dots < 2 && getline(&line, &line_n, file) > 0) {
        if (strcmp(line, ".\n") == 0)
            dots++;
        else if (line[0] != '#')
            fputs(line, out);
    }
    if (out)
        fclose(out);
    free(line);
    if (dots == 2)
        return text;
    free(text);
    return NULL;
}

static FILE *open_recorded(const char *path)
{
    FILE *file = fopen(path, "r");
    if (!file)
        fail(path, strerror(errno));
    return file;
}

/* hashes.txt: a line of words about it, then a hash a line for the seeds 0, 1, 2, ... traces.txt: the first of them in
 * full. */
static int replay(const char *hashes_path, const char *traces_path, uint64_t most)
{
    FILE *hashes = open_recorded(hashes_path), *traces = open_recorded(traces_path);
    char line[256];
    if (!fgets(line, sizeof line, hashes))
        fail(hashes_path, "it is empty");
    uint64_t seed = 0;
    int differ = 0;
    for (; seed < most && differ < DIFFERENCES_MAX && fgets(line, sizeof line, hashes); seed++) {
        char *text = text_of_seed(seed, LEVEL), *recorded = next_recorded(traces);
        if (strtoull(line, NULL, 16) != hash_of(text)) {
            printf("seed %llu differs: ./dev diff 1 %llu\n", (unsigned long long)seed,
                   (unsigned long long)seed);
            if (recorded)
                show_first_difference(text, recorded);
            differ++;
        } else if (recorded && strcmp(text, recorded) != 0) {
            printf("seed %llu: %s and %s do not belong together\n", (unsigned long long)seed,
                   hashes_path, traces_path);
            differ++;
        }
        free(text);
        free(recorded);
        fflush(stdout);
    }
    fclose(hashes);
    fclose(traces);
    printf("%llu scripts played, %d differ from what CPython did%s\n", (unsigned long long)seed,
           differ, differ == DIFFERENCES_MAX ? ", and perhaps more" : "");
    return differ || !seed;
}

/* ---- the scripts that come in ---- */

static int serve(void)
{
    char *text = NULL, *line = NULL;
    size_t text_n = 0, line_n = 0;
    FILE *in = open_memstream(&text, &text_n);
    while (in && getline(&line, &line_n, stdin) > 0) {
        if (strcmp(line, ".\n") != 0) {
            fputs(line, in);
            continue;
        }
        fclose(in);
        int at;
        const char *wrong = script_parse(&script, text, &at);
        if (wrong)
            printf("line %d: %s\n.\n", at, wrong);
        else
            play_and_print();
        fflush(stdout);
        free(text);
        in = open_memstream(&text, &text_n);
    }
    if (in)
        fclose(in);
    free(text);
    free(line);
    return 0;
}

static unsigned long long number(const char *word)
{
    char *end;
    unsigned long long n = strtoull(word, &end, 10);
    if (*end || end == word)
        fail(word, "not a number");
    return n;
}

int main(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";
    if (strcmp(word, "serve") == 0 && argc == 2)
        return serve();
    if (strcmp(word, "replay") == 0 && (argc == 4 || argc == 5))
        return replay(argv[2], argv[3], argc == 5 ? number(argv[4]) : UINT64_MAX);
    bool plays = strcmp(word, "play") == 0;
    if ((!plays && strcmp(word, "make") != 0) || argc < 4 || argc > 5) {
        fprintf(
            stderr,
            "usage: diff_player play|make FIRST N [LEVEL] | serve | replay HASHES TRACES [N]\n");
        return 2;
    }
    int level = argc == 5 ? (int)number(argv[4]) : LEVEL;
    uint64_t first = number(argv[2]), n = number(argv[3]);
    for (uint64_t seed = first; seed < first + n; seed++) {
        script_generate(&script, seed, level);
        script_print(&script, stdout);
        puts(".");
        if (plays)
            play_and_print();
        fflush(stdout);
    }
    return 0;
}
