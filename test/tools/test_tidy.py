"""test_tidy.py: each check of tools/tidy.py finds what it is for and passes what is right."""

import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import tidy  # noqa: E402

OPENING = "/* SPDX-License-Identifier: MIT\n *\n * {name}: a thing. */\n"


class Tree(unittest.TestCase):
    """A tree of its own for each test, with three floors."""

    def setUp(self):
        self.root = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root)
        self.write("tools/floors.txt", "base 0\ncoro 1\nio 1\nloop 2\n")

    def write(self, path, text):
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def found(self, check, subject=None):
        return [finding.sentence for finding in check(subject or self.root)]


class Arrows(Tree):
    def test_downward_own_and_public_includes_pass(self):
        self.write("src/loop/a.c", '#include "a.h"\n#include "loop/b.h"\n#include "base/list.h"\n'
                                   '#include "io/op.h"\n#include <coil/loop.h>\n')
        self.assertEqual(self.found(tidy.check_arrows), [])

    def test_upward_include_is_found_with_its_line(self):
        self.write("src/base/a.c", '\n\n#include "loop/loop.h"\n')
        finding, = tidy.check_arrows(self.root)
        self.assertEqual(finding.line, 3)
        self.assertIn("points up", finding.sentence)

    def test_sideways_include_is_found(self):
        self.write("src/coro/a.c", '# include "io/op.h"\n')
        self.assertIn("points sideways", self.found(tidy.check_arrows)[0])

    def test_unknown_floor_is_found(self):
        self.write("src/attic/a.c", "")
        self.write("src/loop/a.c", '#include "cellar/b.h"\n')
        self.assertEqual(len(self.found(tidy.check_arrows)), 2)

    def test_programs_see_public_headers_only(self):
        self.write("examples/a.c", '#include <coil.h>\n#include "helper.h"\n#include "base/list.h"\n')
        self.write("examples/helper.h", "")
        self.assertEqual(len(self.found(tidy.check_arrows)), 1)


class OpenSSL(Tree):
    def test_openssl_is_seen_from_its_folder_alone(self):
        self.write("src/tls/a.c", "#include <openssl/ssl.h>\n")
        self.assertEqual(self.found(tidy.check_openssl), [])
        self.write("src/net/a.c", "#include <openssl/ssl.h>\n")
        self.write("include/coil/a.h", "#include <openssl/ssl.h>\n")
        self.assertEqual(len(self.found(tidy.check_openssl)), 2)


class Openings(Tree):
    def test_right_opening_passes(self):
        self.write("src/base/a.c", OPENING.format(name="a.c"))
        self.assertEqual(self.found(tidy.check_openings), [])

    def test_missing_tag_and_wrong_name_are_found(self):
        self.write("src/base/a.c", "int x;\n")
        self.write("src/base/b.c", OPENING.format(name="a.c"))
        self.assertEqual(len(self.found(tidy.check_openings)), 2)


class Leftovers(Tree):
    def test_note_is_found(self):
        self.write("src/base/a.c", "/* TO" "DO: later */\nint todo;\n")
        self.assertEqual(len(self.found(tidy.check_leftovers)), 1)


class Architecture(Tree):
    def test_what_is_there_passes(self):
        self.write("src/io/epoll.c", "static int epoll_wait_ops(void);\n")
        self.write("docs/architecture.md", "`epoll_wait_ops` (`io/epoll.c`) is called; `recv` is libc's.\n")
        self.assertEqual(self.found(tidy.check_architecture), [])

    def test_names_of_nothing_are_found(self):
        self.write("src/io/epoll.c", "static int epoll_wait_ops(void);\n")
        self.write("docs/architecture.md", "\n`epoll_wait_all()` (`io/epoll.c`, `io/kqueue.c`)\n")
        findings = list(tidy.check_architecture(self.root))
        self.assertEqual([f.line for f in findings], [2, 2])
        self.assertIn("epoll_wait_all", findings[0].sentence)
        self.assertIn("kqueue", findings[1].sentence)


class Labels(Tree):
    def labels(self, text):
        self.write("include/coil/a.h", text)
        return self.found(tidy.check_labels)

    def test_commented_declarations_pass(self):
        self.assertEqual(self.labels(
            "/* Say it. */\nCOIL_API int coil_say(void);\nCOIL_API int coil_say_more(\n    int n);\n"
            "\n/* Wait.\n *\n *   Cancel: returns -ECANCELED. */\nCOIL_ASYNC int coil_wait(void);\n"
            "\nCOIL_API int coil_ask(void); /* true when asked */\n"), [])

    def test_bare_declaration_is_found(self):
        self.assertEqual(self.labels("/* Other. */\nint x;\n\nCOIL_API void coil_say(int n);\n"),
                         ["coil_say has no comment"])

    def test_waiting_without_cancel_is_found(self):
        self.assertEqual(len(self.labels("/* Wait. */\nCOIL_API COIL_ASYNC int coil_wait(void);\n")), 1)


class Objects(Tree):
    def library(self, code, member):
        self.write("a.c", code)
        target = self.root / "libcoil.a"
        subprocess.run(["gcc", "-c", "-o", member, "a.c"], check=True, cwd=self.root)
        subprocess.run(["ar", "rcs", str(target), member], check=True, cwd=self.root)
        return target

    def test_foreign_global_name_is_found(self):
        library = self.library("int coil_a, coil__b, other; static int hidden(void) { return 0; }\n"
                               "int (*coil_p)(void) = hidden;\n", "src_base_a.c.o")
        self.assertEqual(len(self.found(tidy.check_names, library)), 1)

    def test_door_is_found_outside_the_seams_only(self):
        code = "#include <sys/socket.h>\nint coil_a(void) { return socket(0, 0, 0); }\n"
        self.assertEqual(len(self.found(tidy.check_doors, self.library(code, "src_io_a.c.o"))), 1)
        (self.root / "libcoil.a").unlink()
        self.assertEqual(self.found(tidy.check_doors, self.library(code, "src_base_sys.c.o")), [])

    def test_what_nobody_knows_is_a_door_and_what_computes_is_none(self):
        code = "#include <string.h>\n#include <unistd.h>\nint coil_a(char *p) { return (int)strlen(p) + %s; }\n"
        self.assertEqual(self.found(tidy.check_doors, self.library(code % "0", "src_io_a.c.o")), [])
        (self.root / "libcoil.a").unlink()
        found, = self.found(tidy.check_doors, self.library(code % "getpid()", "src_io_a.c.o"))
        self.assertIn("getpid is not known to ask nobody", found)

    def test_a_files_own_door_is_its_alone(self):
        code = "#include <stdlib.h>\nint coil_a(void) { return getenv(\"A\") != 0; }\n"
        self.assertEqual(self.found(tidy.check_doors, self.library(code, "src_base_env.c.o")), [])
        (self.root / "libcoil.a").unlink()
        self.assertEqual(len(self.found(tidy.check_doors, self.library(code, "src_net_env.c.o"))), 1)

    def test_openssl_that_does_its_own_io_is_found(self):
        library = self.library("int SSL_set_fd(void *, int);\nint coil_a(void) { return SSL_set_fd(0, 1); }\n", "a.c.o")
        self.assertEqual(len(self.found(tidy.check_openssl_io, library)), 1)

    def shared(self, code, *options, name="libcoil.so"):
        self.write("a.c", code)
        self.write("a.map", "COIL_0.1 { global: coil_*; local: *; };")
        target = self.root / name
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(target), "a.c", *options], check=True, cwd=self.root)
        return target

    def exports_found(self, library):
        return [finding.sentence for finding in tidy.check_exports(self.root, library)]

    def test_exports_that_are_the_promised_names_pass(self):
        self.write("include/coil/a.h", "/* One. */\nCOIL_API int coil_a(void);\n"
                                       "/* Two. */\nstatic inline COIL_API int coil_b(void) { return 0; }\n")
        code = "int coil_a(void) { return 0; }\nint other(void) { return 0; }\n"
        self.assertEqual(self.exports_found(self.shared(code, "-Wl,--version-script,a.map")), [])

    def test_promised_name_that_is_not_shown_is_found_with_its_line(self):
        self.write("include/coil/a.h", "/* One. */\nCOIL_API int coil_a(void);\n")
        finding, = tidy.check_exports(self.root, self.shared("int x;", "-Wl,--version-script,a.map"))
        self.assertEqual((finding.line, finding.path.name), (2, "a.h"))
        self.assertIn("does not show", finding.sentence)

    def test_headers_of_tls_belong_to_its_own_library(self):
        self.write("include/coil/a.h", "/* One. */\nCOIL_API int coil_a(void);\n")
        self.write("include/coil/tls.h", "/* Two. */\nCOIL_API int coil_tls_b(void);\n")
        version = "-Wl,--version-script,a.map"
        self.assertEqual(self.exports_found(self.shared("int coil_a(void) { return 0; }\n", version)), [])
        library = self.shared("int coil_tls_b(void) { return 0; }\n", version, name="libcoil-tls.so")
        self.assertEqual(self.exports_found(library), [])
        library = self.shared("int coil_a(void) { return 0; }\n", version, name="libcoil-tls.so")
        self.assertEqual(len(self.exports_found(library)), 2)

    def test_name_that_nobody_promised_is_found(self):
        library = self.shared("int coil__a(void) { return 0; }\n", "-Wl,--version-script,a.map")
        self.assertIn("no header promises it", self.exports_found(library)[0])

    def test_name_without_a_version_is_found(self):
        self.write("include/coil/a.h", "/* One. */\nCOIL_API int coil_a(void);\n")
        library = self.shared("int coil_a(void) { return 0; }\n")
        self.assertIn("without a version", self.exports_found(library)[0])


if __name__ == "__main__":
    unittest.main()
