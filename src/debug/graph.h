/* SPDX-License-Identifier: MIT
 *
 * graph.h: capturing a call graph for whoever was called from `here`. */
#ifndef COIL_DEBUG_GRAPH_H
#define COIL_DEBUG_GRAPH_H

#include "debug/stack.h"

/* As coil_capture_call_graph. */
int coil__graph_capture(coil_future *future, const coil_call_graph_opts *opts, struct frame here,
                        coil_call_graph **out);

#endif
