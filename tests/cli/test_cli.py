"""The command line, from outside: what it writes. Python's standard library only; what it refuses is in
test_cli_errors.py.

KDINR in the environment is the program; arguments are unittest's (a class, or Class.test)."""
import math
import os
import shutil
import signal
import subprocess
import time
import unittest

from case import BLOB_DIMS, Case, crop, FAST, KDINR, wave


class RoundTrip(Case):
    """compress, then everything that reads."""

    def setUp(self):
        super().setUp()
        self.compress("a.kdm", BLOB_DIMS, self.blobs(), "--origin", "-1,2,3", "--spacing",
                      "0.5,1,2", "--times", "0,1,2.5,7", "--name", "blob", ratio=15)

    def test_info_says_what_was_given(self):
        info = self.info("a.kdm")
        self.assertEqual(info["dims"], list(BLOB_DIMS))
        self.assertEqual(info["origin"], [-1, 2, 3])
        self.assertEqual(info["spacing"], [0.5, 1, 2])
        self.assertEqual(info["times"], [0, 1, 2.5, 7])
        self.assertEqual(info["file_bytes"], os.path.getsize(self.path("a.kdm")))
        self.assertEqual(info["data_bytes"], 4 * 4 * 24 * 20 * 16)
        self.assertEqual(info["arrays"][0]["name"], "blob")
        self.assertTrue(info["arrays"][0]["quality_exact"])
        self.assertIn("blob", self.ok("info", "a.kdm"))

    def test_file_has_the_ratio_asked_for(self):
        self.assertAlmostEqual(self.info("a.kdm")["ratio"], 15, delta=15 * 0.03)

    def test_eval_agrees_with_decode_and_with_the_file(self):
        result = self.evaluate("a.kdm", self.blobs())
        squares, peak, n = 0.0, [math.inf, -math.inf], 0
        for step, path in enumerate(self.blobs()):
            self.ok("decode", "a.kdm", "-o", "d.raw", "--step", step, "--quiet")
            original, decoded = self.read(path), self.read("d.raw")
            errors = [a - b for a, b in zip(original, decoded)]
            self.assertAlmostEqual(max(map(abs, errors)), result["steps"][step]["max_error"], 6)
            squares += sum(e * e for e in errors)
            n += len(errors)
            peak = [min(peak[0], min(original)), max(peak[1], max(original))]
        psnr = -10 * math.log10(squares / n / (peak[1] - peak[0]) ** 2)
        self.assertAlmostEqual(result["overall"]["psnr"], psnr, places=4)
        self.assertAlmostEqual(self.info("a.kdm")["arrays"][0]["psnr_overall"], psnr, delta=0.02)
        self.assertGreater(psnr, 18)
        self.assertIn("PSNR", self.ok("eval", "a.kdm", *self.blobs()))

    def test_sub_extent_is_the_crop_of_the_whole(self):
        for dims in (BLOB_DIMS, (31, 20, 45)):
            flags = ["a.kdm", "-o", "d.raw", "--time", "1.7", "--dims", "%d,%d,%d" % dims]
            self.ok("decode", *flags)
            whole = self.read("d.raw")
            self.assertEqual(len(whole), dims[0] * dims[1] * dims[2])
            for extent in ((0, dims[0] - 1, 3, 3, 0, 5), (5, 9, 0, 19, 7, 15), (2, 2, 2, 2, 2, 2)):
                self.ok("decode", *flags, "--extent", ",".join(map(str, extent)))
                self.assertEqual(self.bytes("d.raw"), crop(whole, dims, extent).tobytes())

    def test_decode_does_not_depend_on_threads(self):
        for threads in (1, 2):
            self.ok("decode", "a.kdm", "-o", "%d.raw" % threads, "--threads", threads)
        self.assertEqual(self.bytes("1.raw"), self.bytes("2.raw"))

    def test_compress_does_not_depend_on_threads(self):
        for threads in (1, 2):
            self.compress("%d.kdm" % threads, BLOB_DIMS, self.blobs()[:2], "--threads", threads)
        self.assertEqual(self.bytes("1.kdm"), self.bytes("2.kdm"))

    def test_time_is_continuous_and_ends_with_the_series(self):
        for name, time in (("first", 0), ("before", -5), ("between", 0.5)):
            self.ok("decode", "a.kdm", "-o", name, "--time", time)
        self.assertEqual(self.bytes("first"), self.bytes("before"))
        self.assertNotEqual(self.bytes("first"), self.bytes("between"))

    def test_output_may_be_a_device(self):
        self.ok("decode", "a.kdm", "-o", "/dev/null")
        self.assertFalse(os.path.isfile("/dev/null"))

    def test_older_output_is_replaced(self):
        self.write("d.raw", [1, 2, 3])
        self.ok("decode", "a.kdm", "-o", "d.raw")
        self.assertEqual(len(self.read("d.raw")), 24 * 20 * 16)


LONGER = ["--teacher-samples", "60000", "--student-samples", "120000"]  # what images need


class Shapes(Case):
    """Series that are unusual but right."""

    def check(self, dims, n_steps, components=1, code="f", scale=1.0, flags=(), ratio=6,
              least_psnr=15):
        files = []
        for t in range(n_steps):
            values = [scale * v for v in wave(dims, t, components)]
            values = values if code in "fd" else [round(v) for v in values]
            files.append(self.write("s%d.raw" % t, values, code))
        shown = [d + 1 for d in dims] if "--cells" in flags else dims
        self.compress("a.kdm", shown, files, *flags, ratio=ratio)
        result = self.evaluate("a.kdm", files)
        self.assertGreater(result["overall"]["psnr"], least_psnr)
        self.ok("decode", "a.kdm", "-o", "own.raw", "--type", "own")
        self.assertEqual(len(self.bytes("own.raw")), len(self.bytes(files[0])))
        return files

    def test_one_step(self):
        self.check((20, 16, 12), 1)

    def test_image(self):
        self.check((64, 48, 1), 3, flags=LONGER)

    def test_image_across_x(self):
        self.check((1, 48, 64), 3, flags=LONGER)

    def test_line(self):
        self.check((1, 1, 600), 3, ratio=3, least_psnr=10)

    def test_vectors(self):
        self.check((16, 12, 10), 3, components=3, flags=["--components", "3"])

    def test_cells(self):
        self.check((16, 12, 10), 3, flags=["--cells"])

    def test_float64(self):
        self.check((16, 12, 10), 3, code="d", flags=["--type", "f64"])

    def test_int16(self):
        self.check((20, 16, 12), 3, code="h", scale=1000, flags=["--type", "i16"], ratio=4)

    def test_bricks_and_windows(self):
        self.check((24, 20, 16), 4, flags=["--bricks", "2,1,1", "--window", "2"], ratio=5)
        array_info = self.info("a.kdm")["arrays"][0]
        self.assertEqual((array_info["bricks"], array_info["windows"]), ([2, 1, 1], 2))

    def test_constant_is_exact(self):
        files = [self.write("s%d.raw" % t, [2.5] * 1000) for t in range(2)]
        self.compress("a.kdm", (10, 10, 10), files)
        self.assertEqual(self.evaluate("a.kdm", files)["overall"]["max_error"], 0)

    def test_estimated_quality(self):
        dims = (20, 16, 12)
        files = [self.write("s%d.raw" % t, wave(dims, t)) for t in range(2)]
        self.compress("a.kdm", dims, files, "--no-verify")
        self.assertFalse(self.info("a.kdm")["arrays"][0]["quality_exact"])

    def test_options_of_the_method(self):
        dims = (20, 16, 12)
        files = [self.write("s%d.raw" % t, wave(dims, t)) for t in range(2)]
        for flags in (["--direct"], ["--weights", "float16"], ["--optimizer", "adam"],
                      ["--weights", "clustered", "--cluster-bits", "4"], ["--direct", "--gradient-weight", "1e-3"],
                      ["--blocks=bottleneck"], ["--blocks", "plain"], ["--sampling", "uniform"], ["--block-size", "8"],
                      ["--omega", "auto"], ["--warm-start", "no", "--batch", "256"]):
            self.compress("a.kdm", dims, files, *flags, ratio=4)
            self.evaluate("a.kdm", files)

    def test_networks_of_other_methods(self):
        dims = (20, 16, 12)
        files = [self.write("s%d.raw" % t, wave(dims, t)) for t in range(2)]
        for number, network in enumerate(("coordnet", "siren", "neurcomp"), 1):
            self.compress("a.kdm", dims, files, "--depth=1", "--network", network, ratio=4)
            self.evaluate("a.kdm", files)
            self.assertIn("network=%d" % number, self.info("a.kdm")["provenance"])
        # the paper's settings with another network: its rate, and floats as weights
        self.ok("compress", "-o", "a.kdm", "--preset", "paper", "--dims", "20,16,12", "--width", 3,
                "--depth", 1, "--epochs", 4, "--keep-bad", "--network=siren", *files)
        info = self.info("a.kdm")
        self.assertEqual(info["arrays"][0]["parameters"], 5 * 3 + 12 + 4)
        self.assertRegex(info["provenance"], "network=2 preset=1 epochs=4$")
        self.fails(2, "option gradient_weight is 0.5, which needs direct", "compress", "-o", "a.kdm",
                   "--dims", "20,16,12", "--gradient-weight", "0.5", *files)
        self.fails(2, "option blocks is 1, but network 2 has its own", "compress", "-o", "a.kdm",
                   "--dims", "20,16,12", "--network", "siren", "--blocks", "bottleneck", *files)
        self.fails(2, "--network needs kdinr|coordnet|siren|neurcomp, found 'resnet'", "compress",
                   "-o", "a.kdm", "--dims", "20,16,12", "--network", "resnet", *files)

    def test_bits_of_a_width_follow_from_the_drop(self):
        dims = (20, 16, 12)
        files = [self.write("s%d.raw" % t, wave(dims, t)) for t in range(2)]

        def compress(drop):
            self.ok("compress", "-o", "a.kdm", "--dims", "20,16,12", "--width", 16, *FAST,
                    "--quantisation-drop", drop, *files)
            return os.path.getsize(os.path.join(self.folder, "a.kdm")), self.evaluate("a.kdm", files)

        (fine_size, fine), (size, usual), (coarse_size, coarse) = map(compress, (0.001, 0.2, 3))
        self.assertLess(coarse_size, size)
        self.assertLess(size, fine_size)
        lost = [fine["overall"]["psnr"] - one["overall"]["psnr"] for one in (usual, coarse)]
        self.assertLess(lost[0], 0.3)
        self.assertLess(lost[0], lost[1])
        self.assertLess(lost[1], 4)
        self.fails(2, "option quantisation_drop is 9, allowed are 0.001 to 6", "compress", "-o", "a.kdm",
                   "--dims", "20,16,12", "--width", 16, "--quantisation-drop", 9, *files)

    def test_paper(self):
        dims = (20, 16, 12)
        files = [self.write("s%d.raw" % t, wave(dims, t)) for t in range(2)]
        self.ok("compress", "-o", "a.kdm", "--preset", "paper", "--dims", "20,16,12", "--width", 2,
                "--depth", 1, "--epochs", 4, "--keep-bad", *files)
        self.assertIn("epochs=4", self.info("a.kdm")["provenance"])


class Resume(Case):
    """A run that was ended goes on with --resume and gives the same bytes."""

    def setUp(self):
        super().setUp()
        self.flags = ["compress", "-o", "a.kdm", "--dims", "24,20,16", "--ratio", "15", *FAST,
                      "--teacher-samples", "200000", *self.blobs()]

    def interrupt(self, signal_number):
        """Start, send a signal once something was trained; the exit code and stderr."""
        process = subprocess.Popen([KDINR, *self.flags], cwd=self.folder, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        part = self.path("a.kdm.part")
        while process.poll() is None and not (os.path.exists(part) and
                                              os.path.getsize(part) > 4000):
            time.sleep(0.002)
        process.send_signal(signal_number)
        return process.wait(), process.communicate()[1]

    def test_interrupted_run_resumes_to_the_same_bytes(self):
        self.ok(*self.flags)
        whole = self.bytes("a.kdm")
        for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            os.remove(self.path("a.kdm"))
            code, message = self.interrupt(signal_number)
            self.assertEqual(os.listdir(self.folder), ["a.kdm.part"], message)
            if signal_number != signal.SIGKILL:
                self.assertEqual(code, 1)
                self.assertIn("a.kdm.part keeps what was trained so far", message)
            self.ok(*self.flags, "--resume")
            self.assertEqual(self.bytes("a.kdm"), whole)
            self.assertEqual(os.listdir(self.folder), ["a.kdm"])

    def test_other_options_and_data_are_refused(self):
        self.interrupt(signal.SIGKILL)
        self.fails(2, "option ratio is not the one", *self.flags, "--resume", "--ratio", "16")
        self.flags[-1], self.flags[-4] = self.flags[-4], self.flags[-1]
        self.fails(2, "step 0, at time 0, is not the one", *self.flags, "--resume")

    def test_input_that_is_cut_short_while_it_is_read(self):
        self.ok(*self.flags)
        whole = self.bytes("a.kdm")
        os.remove(self.path("a.kdm"))
        last = self.path("last.raw")
        shutil.copy(self.flags[-1], last)
        original, self.flags[-1] = self.flags[-1], "last.raw"
        for damage, message in ((lambda: os.truncate(last, 100), "last.raw: 100 of 30720 bytes"),
                                (lambda: os.remove(last), "last.raw: No such file")):
            process = subprocess.Popen([KDINR, *self.flags], cwd=self.folder, text=True,
                                       stderr=subprocess.PIPE)
            while not os.path.exists(self.path("a.kdm.part")):
                time.sleep(0.001)
            damage()
            self.assertIn(message, process.communicate()[1])
            self.assertEqual(process.returncode, 1)
            self.assertFalse(os.path.exists(self.path("a.kdm")))
            shutil.copy(original, last)
        self.ok(*self.flags, "--resume")
        self.assertEqual(self.bytes("a.kdm"), whole)

    def test_no_part(self):
        with open(self.path("a.kdm.part"), "w") as file:
            file.write("something else")
        self.fails(1, "move it away", *self.flags)
        self.ok(*self.flags, "--no-part")
        self.assertEqual(self.bytes("a.kdm.part"), b"something else")


class Quality(Case):
    """Missing samples come back exactly."""

    def masked(self, missing):
        dims = (24, 20, 16)
        files = []
        for t in range(3):
            values = wave(dims, t)
            for i in range(0, len(values), 7):
                values[i] = missing
            files.append(self.write("s%d.raw" % t, values))
        return dims, files

    def check(self, dims, files, *flags):
        self.compress("a.kdm", dims, files, *flags, ratio=5)
        result = self.evaluate("a.kdm", files)
        self.assertTrue(self.info("a.kdm")["arrays"][0]["has_missing"])
        self.assertEqual(result["missing_wrong"], 0)
        self.assertGreater(result["overall"]["psnr"], 15)
        self.assertLess(result["overall"]["max_error"], 10)
        self.ok("decode", "a.kdm", "-o", "d.raw", "--step", 1)
        return self.read("d.raw")

    def test_nan(self):
        dims, files = self.masked(math.nan)
        decoded = self.check(dims, files)
        self.assertTrue(all(math.isnan(v) == (i % 7 == 0) for i, v in enumerate(decoded)))

    def test_fill_value(self):
        dims, files = self.masked(-9999.0)
        decoded = self.check(dims, files, "--fill", "-9999")
        self.assertTrue(all((v == -9999) == (i % 7 == 0) for i, v in enumerate(decoded)))

    def test_fill_value_that_is_no_float32(self):
        dims, files = self.masked(1e20)
        decoded = self.check(dims, files, "--fill", "1e20")
        self.assertTrue(all((v > 9e19) == (i % 7 == 0) for i, v in enumerate(decoded)))


class Bounds(Case):
    """--max-error and --psnr."""

    def bounded(self, *flags):
        self.ok("compress", "-o", "a.kdm", "--dims", "%d,%d,%d" % BLOB_DIMS, *flags, *FAST, "--quiet",
                *self.blobs())
        return self.info("a.kdm")["arrays"][0], self.evaluate("a.kdm", self.blobs())["overall"]

    def test_absolute_bound_holds(self):
        array, found = self.bounded("--max-error", "0.01")
        self.assertEqual(array["bound"], [0.01])
        self.assertLessEqual(found["max_error"], 0.01)
        self.assertTrue(array["quality_exact"])
        self.assertIn("no stored sample is off by more than 0.01", self.ok("info", "a.kdm"))

    def test_relative_bounds_are_of_the_range(self):
        for text in ("1e-3r", "0.1%"):
            array, found = self.bounded("--max-error", text)
            low, high = array["range"][0]
            extent = high - low
            self.assertAlmostEqual(array["bound"][0], 1e-3 * extent, delta=1e-6 * extent)
            self.assertLessEqual(found["max_error"], array["bound"][0])

    def test_networks_of_a_given_size_never_make_the_file_larger(self):
        self.bounded("--max-error", "5%")
        alone = self.info("a.kdm")["file_bytes"]
        array, found = self.bounded("--max-error", "5%", "--ratio", "15")
        self.assertLessEqual(self.info("a.kdm")["file_bytes"], alone + 64)
        self.assertLessEqual(found["max_error"], array["bound"][0])

    def test_psnr_is_reached(self):
        _, found = self.bounded("--psnr", "50")
        self.assertAlmostEqual(found["psnr"], 50, delta=0.35)
        self.assertEqual(os.listdir(self.folder), ["a.kdm"])

    def test_psnr_makes_networks_as_small_as_they_can_be(self):
        """Waves across all axes: residuals alone take a ratio of 92, networks about 700."""
        dims = (32, 28, 24)

        def value(x, y, z, t):
            x, y, z = (9 * x / (dims[0] - 1), 6 * y / (dims[1] - 1), 3 * z / (dims[2] - 1))
            return math.sin(x + y + z + 0.6 * t) + math.sin(x / 3 - y + 2.5 * z - t)
        files = [self.write("w%d.raw" % t, [value(x, y, z, t) for z in range(dims[2])
                                            for y in range(dims[1]) for x in range(dims[0])])
                 for t in range(6)]
        said = self.ok("compress", "-o", "a.kdm", "--dims", "%d,%d,%d" % dims, "--psnr", "40",
                       "--effort", "low", "--teacher-samples", "1e5", "--student-samples", "1e6",
                       "--omega", "6", "--threads", "1", *files)
        info = self.info("a.kdm")
        psnr = info["arrays"][0]["psnr_overall"]
        self.assertGreater(info["ratio"], 300)
        self.assertGreaterEqual(psnr, 39.7)
        # trainings this short differ by some dB from one to the next; the first one has 42 to 47
        self.assertLess(psnr, 45)
        self.assertEqual("dB instead of 40: of " in said, psnr > 40.3)

    def test_psnr_that_cannot_be_had_is_explained(self):
        """Two values: a file has them or one in the middle, which is 6 dB."""
        path = self.write("two.raw", [(i * 7 // 3) % 2 for i in range(12 * 10 * 8)], "B")
        said = self.ok("compress", "-o", "a.kdm", "--dims", "12,10,8", "--type", "u8", "--psnr",
                       "40", path)
        self.assertIn("inf dB instead of 40: of 8 error bounds none gives a smaller file", said)
        self.assertEqual(sorted(os.listdir(self.folder)), ["a.kdm", "two.raw"])

    def test_wrong_wishes_are_refused(self):
        common = ["compress", "-o", "x.kdm", "--dims", "%d,%d,%d" % BLOB_DIMS, *self.blobs()]
        for text in ("0", "-1", "1x", "r", "nan", "1%r"):
            self.fails(2, "--max-error needs E, Er or P%", *common, "--max-error", text)
        self.fails(2, "--no-verify", *common, "--max-error", "1", "--no-verify")
        self.fails(2, "--psnr cannot be combined", *common, "--psnr", "40", "--ratio", "100")
        self.fails(2, "--psnr cannot be combined", *common, "--psnr", "40", "--max-error", "1")


if __name__ == "__main__":
    unittest.main()
