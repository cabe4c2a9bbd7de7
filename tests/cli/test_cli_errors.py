"""The command line, from outside: what it says of errors and returns, as test_cli.py."""
import math
import os
import random
import resource
import subprocess
import unittest

from case import Case, FAST, KDINR, wave


class Failures(Case):
    """Exit code 1, one line that says what is wrong, nothing left behind."""

    def setUp(self):
        super().setUp()
        self.dims = (16, 12, 10)
        self.raw = self.write("s.raw", wave(self.dims, 0))
        self.flags = ["compress", "-o", "a.kdm", "--dims", "16,12,10", "--ratio", "5", *FAST]

    def make_kdm(self):
        self.ok(*self.flags, self.raw)

    def test_missing_files(self):
        for command in (["info", "no.kdm"], ["decode", "no.kdm", "-o", "d.raw"],
                        ["eval", "no.kdm", "s.raw"], [*self.flags, "no.raw"]):
            self.fails(1, "No such file", *command)

    def test_not_a_kdm(self):
        for command in (["info", "s.raw"], ["decode", "s.raw", "-o", "d.raw"]):
            self.fails(1, "s.raw", *command)

    def test_truncated_kdm(self):
        self.make_kdm()
        whole = self.bytes("a.kdm")
        for size in (0, 7, 20, len(whole) // 2, len(whole) - 1):
            with open(self.path("cut.kdm"), "wb") as file:
                file.write(whole[:size])
            self.fails(1, "cut.kdm", "decode", "cut.kdm", "-o", "d.raw")

    def test_newer_major_version(self):
        self.make_kdm()
        changed = bytearray(self.bytes("a.kdm"))
        changed[8] = 2
        with open(self.path("new.kdm"), "wb") as file:
            file.write(changed)
        self.fails(1, "version", "info", "new.kdm")

    def test_changed_byte(self):
        self.make_kdm()
        whole = self.bytes("a.kdm")
        for place in range(0, len(whole), max(1, len(whole) // 50)):
            changed = bytearray(whole)
            changed[place] ^= 0x10
            with open(self.path("bad.kdm"), "wb") as file:
                file.write(changed)
            self.fails(1, "", "decode", "bad.kdm", "-o", "d.raw")

    def test_wrong_raw_size(self):
        self.fails(1, "7680 bytes found, 8448 expected", "compress", "-o", "a.kdm", "--dims",
                   "16,12,11", "s.raw")
        self.make_kdm()
        self.write("short.raw", [0, 1])
        self.fails(1, "8 bytes found, 7680 expected", "eval", "a.kdm", "short.raw")

    def test_nothing_but_nan(self):
        self.write("nan.raw", [math.nan] * (16 * 12 * 10))
        self.fails(1, "values", *self.flags, "nan.raw")

    def test_no_folder_to_write_into(self):
        self.make_kdm()
        self.flags[2] = "no/a.kdm"
        self.fails(1, "no/a.kdm", *self.flags, self.raw)
        self.fails(1, "no/d.raw", "decode", "a.kdm", "-o", "no/d.raw")

    def test_folder_that_takes_no_files(self):
        self.flags[2] = "/proc/a.kdm"
        self.fails(1, "/proc/a.kdm", *self.flags, self.raw)

    def test_read_only_folder(self):
        self.make_kdm()
        os.chmod(self.folder, 0o555)
        self.addCleanup(os.chmod, self.folder, 0o755)
        user = {"user": 65534} if os.geteuid() == 0 else {}  # root may write anywhere
        try:
            subprocess.run([KDINR, "--version"], capture_output=True, check=True, **user)
        except (OSError, subprocess.CalledProcessError):
            self.skipTest("another user may not run the program")
        self.fails(1, "a.kdm: no file can be made in '.': Permission denied", *self.flags, self.raw,
                   **user)
        self.fails(1, "Permission denied", "decode", "a.kdm", "-o", "d.raw", **user)

    def test_full_disk(self):
        self.make_kdm()
        self.fails(1, "No space left", "decode", "a.kdm", "-o", "/dev/full")

    def test_file_size_limit_leaves_the_older_file(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))
        self.make_kdm()
        self.fails(1, "too large", *self.flags, self.raw, preexec_fn=limit)
        self.fails(1, "too large", "decode", "a.kdm", "-o", "d.raw", preexec_fn=limit)

    def test_output_that_is_no_file(self):
        os.mkdir(self.path("folder"))
        self.flags[2] = "folder"
        before = os.listdir(self.folder)
        result = self.run_kdinr(*self.flags, self.raw)
        self.assertEqual((result.returncode, os.listdir(self.folder)), (1, before), result.stderr)

    def test_networks_that_learned_nothing(self):
        chance = random.Random(1)
        self.write("noise.raw", [chance.gauss(0, 1) for _ in range(32 * 32 * 20)])
        self.flags.remove("--keep-bad")
        self.flags[4:7] = ["32,32,20", "--ratio", "80"]  # too small to learn it by heart
        result = self.run_kdinr(*self.flags, "noise.raw")
        self.assertEqual(result.returncode, 1, result.stdout)
        self.assertIn("they did not learn the data", result.stderr)
        self.assertEqual(sorted(os.listdir(self.folder)), ["a.kdm.part", "noise.raw", "s.raw"])
        self.ok(*self.flags, "--resume", "--keep-bad", "noise.raw")  # without training again
        self.assertEqual(sorted(os.listdir(self.folder)), ["a.kdm", "noise.raw", "s.raw"])

    def test_impossible_ratio(self):
        self.flags[6] = "1000000"
        result = self.run_kdinr(*self.flags, self.raw)
        self.assertNotEqual(result.returncode, 0)
        self.assertFalse(os.path.exists(self.path("a.kdm")))


class Usage(Case):
    """Exit code 2 when the command line asks for what cannot be."""

    def setUp(self):
        super().setUp()
        self.raw = self.write("s.raw", wave((16, 12, 10), 0))

    def test_bad_flags(self):
        for message, arguments in (
                ("there is no command 'shrink'", ["shrink"]),
                ("-o FILE", ["compress", "s.raw"]),
                ("files given", ["compress", "-o", "a.kdm"]),
                ("files given", ["info"]),
                ("there is no flag --what", ["info", "--what"]),
                ("--dims needs X,Y,Z, found '1,2'", ["compress", "--dims", "1,2"]),
                ("--dims needs X,Y,Z, found '1,2,x'", ["compress", "--dims=1,2,x"]),
                ("--dims X,Y,Z must", ["compress", "-o", "a.kdm", "s.raw"]),
                ("--ratio needs R", ["compress", "--ratio"]),
                ("--effort needs low|normal|high", ["compress", "--effort", "huge"]),
                ("--seed needs", ["compress", "--seed", "-1"]),
                ("--json takes no value", ["info", "--json=yes"]),
                ("--times must give 1 numbers", ["compress", "-o", "a.kdm", "--dims", "16,12,10",
                                                 "--times", "1,2", "s.raw"])):
            self.fails(2, message, *arguments)

    def test_options_out_of_range(self):
        flags = ["compress", "-o", "a.kdm", "--dims", "16,12,10", "s.raw"]
        for option in (["--ratio", "0.5"], ["--width", "1000"], ["--block-size", "3"],
                       ["--backend", "abacus"], ["--components", "0"], ["--batch", "-1"],
                       ["--sampling-rate", "7"], ["--threads", "-1"]):
            self.fails(2, "", *flags, *option)

    def test_requests_out_of_range(self):
        self.ok("compress", "-o", "a.kdm", "--dims", "16,12,10", "--ratio", "5", *FAST, "s.raw")
        decode = ["decode", "a.kdm", "-o", "d.raw"]
        self.fails(2, "--step is 1", *decode, "--step", "1")
        self.fails(2, "there is no array 'wind'", *decode, "--array", "wind")
        self.fails(2, "", *decode, "--extent", "0,16,0,11,0,9")
        self.fails(2, "", *decode, "--extent", "5,4,0,11,0,9")
        self.fails(2, "", *decode, "--dims", "16,0,10")
        self.fails(2, "2 original files", "eval", "a.kdm", "s.raw", "s.raw")

    def test_help(self):
        self.assertIn("compress", self.ok("--help"))
        for command in ("compress", "decode", "info", "eval"):
            self.assertIn("kdinr " + command, self.ok(command, "--help"))
        self.assertEqual(self.run_kdinr().returncode, 2)

    def test_backends(self):
        lines = self.ok("info", "--backends").splitlines()
        self.assertEqual([line.split()[0] for line in lines], ["cuda", "cpu", "reference", "auto"])
        self.assertRegex(lines[0], "^cuda +(available|not available: .+)$")
        self.assertRegex(lines[1], "^cpu +available$")
        self.assertRegex(lines[3], "^auto +chooses (cuda|cpu)$")


if __name__ == "__main__":
    unittest.main()
