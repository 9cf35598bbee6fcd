/* SPDX-License-Identifier: MIT
 *
 * scenarios.h: what a file of scenarios gives to main.c. */
#ifndef TEST_LOOM_SCENARIOS_H
#define TEST_LOOM_SCENARIOS_H

struct loom_scenario {
    const char *name;
    void (*run)(void);
    unsigned preemptions;
};

extern const struct loom_scenario loom_scenarios[]; /* ends with a NULL name */

#endif
