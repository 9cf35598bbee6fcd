#!/usr/bin/env python3
"""tools/hot.py finds what it looks for."""
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tools"))
import hot  # noqa: E402

LISTING = """
0000000000001000 <plain>:
    1000:\tmov    %rax,(%rdi)
    1003:\txchg   %ax,%ax
    1005:\tret

0000000000001010 <locked>:
    1010:\tlock xadd %eax,0x10(%rdi)
    1015:\tret

0000000000001020 <exchanges.part.0>:
    1020:\txchg   %al,(%rdi)
    1023:\tret

0000000000001030 <on_arm>:
    1030:\tldaxr  w0, [x1]
"""


class Hot(unittest.TestCase):
    def found(self, *names):
        return list(hot.findings(LISTING, dict.fromkeys(names, "why")))

    def test_plain_instructions_are_fine(self):
        self.assertEqual(self.found("plain"), [])

    def test_a_locked_one_is_found(self):
        self.assertEqual(self.found("locked"), ["locked: lock xadd %eax,0x10(%rdi) (why)"])

    def test_an_exchange_with_memory_locks_by_itself(self):
        self.assertEqual(self.found("exchanges"), ["exchanges: xchg %al,(%rdi) (why)"])

    def test_arm_is_read_as_well(self):
        self.assertEqual(self.found("on_arm"), ["on_arm: ldaxr w0, [x1] (why)"])

    def test_a_name_that_is_gone_is_found(self):
        self.assertEqual(len(self.found("gone")), 1)


if __name__ == "__main__":
    unittest.main()
