"""How the program finds the cuda backend, and says why it did not; and a series compressed and
decoded by it, on the host's stand-in.

KDINR in the environment is the program, MACHINE the folder with the stand-in's driver and modules."""
import array
import ctypes
import math
import os
import shutil
import subprocess
import tempfile
import unittest

KDINR = os.environ["KDINR"]
MACHINE = os.environ["MACHINE"]
DIMS = (16, 12, 10)


class Loader(unittest.TestCase):
    """The program is copied to a folder of its own, since it looks for the module beside itself."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        os.makedirs(self.path("bin"))
        os.makedirs(self.path("driver"))
        shutil.copy(KDINR, self.path("bin/kdinr"))

    def path(self, name):
        return os.path.join(self.folder, name)

    def put(self, name, to):
        os.makedirs(os.path.dirname(self.path(to)), exist_ok=True)
        shutil.copy(os.path.join(MACHINE, name), self.path(to))

    def run_kdinr(self, *arguments, code=0, program=None, **machine):
        environment = dict(os.environ, LD_LIBRARY_PATH=self.path("driver"), **machine)
        done = subprocess.run([program or self.path("bin/kdinr"), *arguments], cwd=self.folder,
                              env=environment, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def check_refusal(self, text):
        lines = self.run_kdinr("info", "--backends").splitlines()
        self.assertRegex(lines[0], "^cuda +not available: .*" + text)
        self.assertRegex(lines[-1], "^auto +chooses cpu$")

    def test_no_driver(self):
        try:
            ctypes.CDLL("libcuda.so.1")
        except OSError:
            self.put("kdinr_cuda.so", "bin/kdinr_cuda.so")
            self.check_refusal("no NVIDIA driver is installed")
            self.write_wave()
            message = self.run_kdinr("compress", "-o", "o.kdm", "--dims", "16,12,10", "--backend",
                                     "cuda", "wave.raw", code=1)
            self.assertIn("\"cuda\" cannot run here: no NVIDIA driver", message)
            return
        self.skipTest("this machine has a driver")

    def test_no_module(self):
        self.put("libcuda.so.1", "driver/libcuda.so.1")
        self.check_refusal("kdinr_cuda.so was not built, or is neither beside")

    def test_damaged_module(self):
        self.put("libcuda.so.1", "driver/libcuda.so.1")
        with open(self.path("bin/kdinr_cuda.so"), "w", encoding="ascii") as file:
            file.write("no library")
        self.check_refusal("cannot be loaded: .*bin/kdinr_cuda.so: ")

    def test_module_without_entry(self):
        self.put("libcuda.so.1", "driver/libcuda.so.1")
        self.put("libcuda.so.1", "bin/kdinr_cuda.so")
        self.check_refusal("bin/kdinr_cuda.so has no entry kdinr_cuda_module")

    def test_module_of_another_release(self):
        self.put("libcuda.so.1", "driver/libcuda.so.1")
        self.put("other_module.so", "bin/kdinr_cuda.so")
        self.check_refusal("bin/kdinr_cuda.so is of release 7.7.7, interface 99; this program is")

    def check_found(self, program=None):
        lines = self.run_kdinr("info", "--backends", program=program).splitlines()
        self.assertRegex(lines[0], "^cuda +available$")
        self.assertRegex(lines[-1], "^auto +chooses cuda$")

    def test_module_in_library_folder(self):
        self.put("libcuda.so.1", "driver/libcuda.so.1")
        self.put("kdinr_cuda.so", "lib/kdinr_cuda.so")
        self.check_found()

    def test_program_called_through_a_link(self):
        self.put("libcuda.so.1", "driver/libcuda.so.1")
        self.put("kdinr_cuda.so", "bin/kdinr_cuda.so")
        os.symlink(self.path("bin/kdinr"), self.path("link"))
        self.check_found(program="./link")

    def write_wave(self):
        values = array.array("f", (math.sin(0.2 * x) + 0.5 * math.cos(0.25 * y - 0.1 * z)
                                   for z in range(DIMS[2]) for y in range(DIMS[1])
                                   for x in range(DIMS[0])))
        with open(self.path("wave.raw"), "wb") as file:
            values.tofile(file)

    def compress(self, name, backend, *flags, **machine):
        self.run_kdinr("compress", "-o", name, "--dims", "16,12,10", "--ratio", "5", "--width", "8",
                       "--depth", "1", "--bricks", "1,1,1", "--omega", "5", "--batch", "100",
                       "--teacher-samples", "4000", "--student-samples", "4000", "--keep-bad",
                       "--window-memory", "1", "--backend", backend, *flags, **machine)

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def decode(self, backend, name="o.kdm"):
        self.run_kdinr("decode", name, "-o", "values.raw", "--backend", backend)
        with open(self.path("values.raw"), "rb") as file:
            return array.array("f", file.read())

    def test_series(self):
        self.put("libcuda.so.1", "driver/libcuda.so.1")
        self.put("kdinr_cuda.so", "bin/kdinr_cuda.so")
        self.write_wave()
        shutil.copy(self.path("wave.raw"), self.path("again.raw"))
        self.compress("o.kdm", "cuda", "wave.raw", "again.raw")
        by_cuda, by_cpu = self.decode("cuda"), self.decode("cpu")
        self.assertEqual(len(by_cuda), 16 * 12 * 10)
        self.assertLess(max(abs(a - b) for a, b in zip(by_cuda, by_cpu)), 1e-4)
        with open(self.path("wave.raw"), "rb") as file:
            wave = array.array("f", file.read())
        mean = sum((a - b) ** 2 for a, b in zip(wave, by_cuda)) / len(wave)
        self.assertLess(mean, 0.45)  # the wave's own variance is 0.5

    def test_training_sees_the_samples_that_the_cpu_sees(self):
        self.put("libcuda.so.1", "driver/libcuda.so.1")
        self.put("kdinr_cuda.so", "bin/kdinr_cuda.so")
        self.write_wave()
        shutil.copy(self.path("wave.raw"), self.path("again.raw"))
        self.compress("cuda.kdm", "cuda", "--precision", "32", "wave.raw", "again.raw")
        self.compress("cpu.kdm", "cpu", "wave.raw", "again.raw")
        by_cuda, by_cpu = self.decode("cpu", "cuda.kdm"), self.decode("cpu", "cpu.kdm")
        # with other samples they differ by more than 0.1
        self.assertLess(max(abs(a - b) for a, b in zip(by_cuda, by_cpu)), 0.01)

    def test_bricks_and_windows_train_together_as_one_by_one(self):
        self.put("libcuda.so.1", "driver/libcuda.so.1")
        self.put("kdinr_cuda.so", "bin/kdinr_cuda.so")
        self.write_wave()
        shutil.copy(self.path("wave.raw"), self.path("again.raw"))
        # on either path; teachers answer, or the data itself is learnt, of two windows at once
        for blocks, memory, window in (("bottleneck", "1", "2"), ("bottleneck", "1e9", "1"),
                                       ("even", "1e9", "2")):
            bricks = ["--bricks", "2,1,1", "--blocks", blocks, "--window-memory", memory,
                      "--window", window, "--teacher-samples", "200", "--student-samples", "300",
                      "wave.raw", "again.raw"]
            self.compress("alone.kdm", "cuda", *bricks, SHIM_MEMORY=str(60 << 20))
            self.compress("together.kdm", "cuda", *bricks)
            self.assertEqual(self.read("together.kdm"), self.read("alone.kdm"))
        self.compress("shared.kdm", "cuda", "--devices", "all", *bricks, SHIM_DEVICES="2")
        self.assertEqual(self.read("shared.kdm"), self.read("alone.kdm"))

    def test_devices_are_checked(self):
        self.put("libcuda.so.1", "driver/libcuda.so.1")
        self.put("kdinr_cuda.so", "bin/kdinr_cuda.so")
        self.write_wave()
        some = ["compress", "-o", "o.kdm", "--dims", "16,12,10", "wave.raw", "--devices"]
        for devices in "2", "0,1,2":
            message = self.run_kdinr(*some, devices, code=2, SHIM_DEVICES="2")
            self.assertIn("device 2 was asked for; this machine has 2, numbered from 0", message)
        message = self.run_kdinr(*some, "0", "--backend", "cpu", code=2)
        self.assertIn("the cpu backend computes, which has none; the cuda backend has\n", message)
        os.remove(self.path("bin/kdinr_cuda.so"))
        message = self.run_kdinr(*some, "all", code=2)
        self.assertIn("has, and cannot run here: its module kdinr_cuda.so was not built", message)
        for devices in "-1", "64", "0;1", "1.5", "":
            message = self.run_kdinr(*some, devices, code=2)
            self.assertIn("--devices needs all", message)


if __name__ == "__main__":
    unittest.main()
