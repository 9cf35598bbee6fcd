// SPDX-License-Identifier: MIT
//
// asio_micro.cpp: the peer of coil_micro.c on Asio, one thread: asio_micro MODE N

#include "micro.h"

#include <asio.hpp>

#include <chrono>
#include <memory>
#include <vector>

namespace
{

using clock_type = std::chrono::steady_clock;
using timers = std::vector<std::unique_ptr<asio::steady_timer>>;

asio::io_context context(1);

void ignore(std::error_code = {})
{
}

void call_soon(long n, long)
{
    for (long i = 0; i < n; i += 1000) {
        for (int k = 0; k < 1000; k++)
            asio::post(context, [] { ignore(); });
        context.restart();
        context.run();
    }
}

// All of n, each of them waited for.
timers filled(long n, std::chrono::nanoseconds first, long step_ns)
{
    timers all(static_cast<std::size_t>(n));
    const auto now = clock_type::now() + first;
    micro_start();
    for (long i = 0; i < n; i++) {
        auto &timer = all[static_cast<std::size_t>(i)];
        const auto when = now + std::chrono::nanoseconds(micro_scattered(i, n) * step_ns);
        timer = std::make_unique<asio::steady_timer>(context, when);
        timer->async_wait(ignore);
    }
    return all;
}

void timer_insert(long n, long)
{
    timers all = filled(n, std::chrono::seconds(1000), 1000);
    micro_stop();
}

// What a cancel queues is run, too.
void timer_cancel(long n, long)
{
    timers all = filled(n, std::chrono::seconds(1000), 1000);
    micro_start();
    for (auto &timer : all)
        timer->cancel();
    context.run();
    micro_stop();
}

void timer_expire(long n, long)
{
    timers all = filled(n, std::chrono::nanoseconds(0), 1);
    context.run();
    micro_stop();
}

void timer_pair(long n, long)
{
    asio::steady_timer timer(context);
    for (long i = 0; i < n; i++) {
        timer.expires_after(std::chrono::seconds(1000));
        timer.async_wait(ignore);
        timer.cancel();
    }
    context.run();
}

} // namespace

int main(int argc, char **argv)
{
    static const micro_mode modes[] = {
        {"call_soon", call_soon},       {"timer_insert", timer_insert},
        {"timer_cancel", timer_cancel}, {"timer_expire", timer_expire},
        {"timer_pair", timer_pair},     {nullptr, nullptr},
    };
    long n;
    if (argc < 3 || (n = std::atol(argv[2])) < 1)
        return 2;
    return micro_run(modes, argv[1], n, 0);
}
