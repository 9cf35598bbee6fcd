// SPDX-License-Identifier: MIT
//
// program.cpp: a C++17 program on an installed coil: lambdas as coroutines, destructors while a task unwinds.
#include <coil.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

static int alive;

struct guest {
    std::string name;
    explicit guest(std::string n) : name(std::move(n)) { alive++; }
    ~guest() { alive--; }
};

static coil_ret program(void *)
{
    std::vector<std::unique_ptr<guest>> guests;
    for (const char *name : {"one", "two"})
        guests.push_back(std::make_unique<guest>(name));
    auto greet = [](void *arg) -> coil_ret {
        coil_ret rc = coil_sleep(0.01);
        std::printf("%s\n", static_cast<guest *>(arg)->name.c_str());
        return rc;
    };
    coil_task *tasks[] = {coil_create_task(greet, guests[0].get()), coil_create_task(greet, guests[1].get())};
    coil_ret rc = coil_gather(tasks, 2, nullptr, COIL_UNREF);
    if (coil_iserr(rc))
        return rc;

    // Cancelled while it sleeps, a task leaves through its own destructors.
    coil_task *sleeper = coil_create_task(
        [](void *) -> coil_ret {
            guest third("three");
            return coil_sleep(3600);
        },
        nullptr);
    coil_ignore(coil_sleep(0));
    int before = alive;
    coil_task_cancel(sleeper, nullptr);
    rc = coil_join(sleeper);
    std::printf("%d then %d, %s\n", before, alive, rc == -ECANCELED ? "cancelled" : "not cancelled");
    return 0;
}

int main()
{
    return coil_report(coil_run(program, nullptr));
}
