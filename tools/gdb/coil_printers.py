# SPDX-License-Identifier: MIT
"""coil_printers.py: futures, tasks, loops, errors and handles as what they say.

Pointers to futures, tasks and loops need no debug information of libcoil: the public headers declare them.
"""
import gdb
import gdb.printing

from coil_seen import Future, Task, all_loops, code_words, number, symbol

class Says:
    """A value that is printed as a sentence; print /r shows its fields. Before a pointer's its type and address stand."""

    def __init__(self, value, sentence):
        self.sentence = sentence
        if value.type.strip_typedefs().code == gdb.TYPE_CODE_PTR:
            self.sentence = f"({value.type}) {int(value):#x} <{sentence}>"

    def to_string(self):
        return self.sentence


def future_says(at, _value):
    for loop in all_loops():
        if loop.layout and number(at + loop.layout.future_loop) == loop.at:
            future = Future(loop.layout, at)
            if not future.is_task:
                return f"future {future.words()}, {future.end()}"
            task = Task(loop, at)
            waits = task.waits_for()
            if task.state == "waiting":
                return f"task {task.name}, waits for {waits}"
            return f"task {task.name}, {task.end() if task.done != 'pending' else task.state}"
    return None


def loop_says(at, _value):
    for loop in all_loops():
        if loop.at == at:
            return loop.title()
    return "closed loop"


def error_says(_at, error):
    if not error["code"]:
        return "no error"
    words = f"{code_words(int(error['code']))}: {error['message'].string()}"
    if error["file"]:
        words += f", at {error['file'].string()}:{int(error['line'])}"
    if error["task"] and error["task"].string():
        words += f", in {error['task'].string()}"
    return words + (f"; because of {error_says(0, error['cause'])}" if error["cause"] else "")


def handle_says(_at, handle):
    state = next((field.name[len("HANDLE_"):].lower() for field in gdb.lookup_type("enum handle_state").fields()
                  if field.enumval == int(handle["state"])), "?")
    return f"handle of {symbol(int(handle['fn']))}, {state}"


SAYS = {
    "coil_future": future_says, "coil__task": future_says, "coil_loop": loop_says, "coil_error": error_says,
    "error_record": lambda at, record: error_says(at, record["pub"]), "coil_handle": handle_says,
}


class Printer(gdb.printing.PrettyPrinter):
    def __call__(self, value):
        kind = value.type.strip_typedefs()
        pointer = kind.code == gdb.TYPE_CODE_PTR
        says = SAYS.get((kind.target().strip_typedefs() if pointer else kind).tag)
        # What gdb made up itself lies nowhere.
        at = int(value) if pointer else int(value.address) if value.address is not None else 0
        if not says or not at:
            return None
        try:
            sentence = says(at, value.dereference() if pointer else value)
        except (gdb.error, gdb.GdbError):  # rubbish, no process, an unknown type: as if there were no printer
            return None
        return Says(value, sentence) if sentence else None


gdb.printing.register_pretty_printer(None, Printer("coil"), replace=True)
