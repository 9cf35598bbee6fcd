/* SPDX-License-Identifier: MIT
 *
 * coil.h: all of coil. Each chapter also stands alone: <coil/queue.h> and so on. */
#ifndef COIL_H
#define COIL_H

#include <coil/combine.h>
#include <coil/context.h>
#include <coil/coroutine.h>
#include <coil/datagram.h>
#include <coil/debug.h>
#include <coil/error.h>
#include <coil/file.h>
#include <coil/future.h>
#include <coil/generator.h>
#include <coil/group.h>
#include <coil/loop.h>
#include <coil/net.h>
#include <coil/pool.h>
#include <coil/process.h>
#include <coil/queue.h>
#include <coil/run.h>
#include <coil/select.h>
#include <coil/service.h>
#include <coil/signal.h>
#include <coil/stream.h>
#include <coil/sync.h>
#include <coil/task.h>
#include <coil/timeout.h>
#include <coil/transport.h>
#include <coil/work.h>
#include <coil/workers.h>

#endif
