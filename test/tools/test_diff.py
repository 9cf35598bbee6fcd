"""test_diff.py: the parts of the differential runner that stand alone: scripts as text, and shrinking."""

import sys
import unittest
from pathlib import Path

TOP = Path(__file__).parents[2]
sys.path.insert(0, str(TOP / "test" / "diff"))
import shrink  # noqa: E402
from script import Script  # noqa: E402

TEXT = """script 7 level 13
with S0=2 S1=1 B0=2 Q0=fifo:1 Q1=priority:0 start=2
task 0
    timeout T0 4 !{
        await t1
        sleep 8 !
    }
    callback k0 f1 : cancel t1
task 1
    try {
        with L0 {
            gather t2 f0 a1
        }
    } finally {
        look
    }
    return 3
"""


class Scripts(unittest.TestCase):
    def test_text_comes_back_as_it_went_in(self):
        self.assertEqual(str(Script.parse(TEXT)), TEXT)

    def test_copy_is_another_script(self):
        script = Script.parse(TEXT)
        copy = script.copy()
        copy.bodies[0][0].inner[1].words[1] = "1"
        self.assertEqual(str(script), TEXT)
        self.assertNotEqual(str(copy), TEXT)


class Shrinking(unittest.TestCase):
    def smallest(self, differs):
        return str(shrink.shrink(Script.parse(TEXT), differs))

    def test_only_what_differs_is_left(self):
        small = self.smallest(lambda script: "sleep" in str(script))
        self.assertEqual(small, "script 7 level 13\nwith S0=1 S1=1 B0=1 Q0=fifo:0 Q1=fifo:0 start=1\n"
                                "task 0\n    sleep 1\n")

    def test_a_block_goes_and_what_is_in_it_stays(self):
        small = self.smallest(lambda script: "gather" in str(script))
        self.assertNotIn("with L0", small)
        self.assertNotIn("try", small)
        self.assertTrue(small.endswith("task 1\n    gather a1\n"), small)

    def test_what_cannot_be_smaller_stays(self):
        script = Script.parse(TEXT)
        self.assertEqual(str(shrink.shrink(script, lambda other: False)), TEXT)


class Traces(unittest.TestCase):
    def test_recorded_scripts_come_back_as_they_went_in(self):
        parts = (TOP / "test" / "diff" / "recorded" / "traces.txt").read_text().split("\n.\n")
        first = parts[0].split("\n", 1)[1] + "\n"  # behind the comment
        for text in [first] + [part + "\n" for part in parts[2:-1:2]]:
            self.assertEqual(str(Script.parse(text)), text)


if __name__ == "__main__":
    unittest.main()
