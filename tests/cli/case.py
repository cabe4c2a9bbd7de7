"""What the tests of the command line share: a folder of their own, and ways to run the program in it.

KDINR in the environment is the program."""
import array
import json
import math
import os
import subprocess
import tempfile
import unittest

KDINR = os.environ["KDINR"]
FAST = ["--effort", "low", "--teacher-samples", "20000", "--student-samples", "40000",
        "--omega", "10",  # a fixed frequency saves the pilot, which would take most of the time
        "--keep-bad"]  # so little training may well learn nothing
BLOBS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../testing-data/volumes")
BLOB_DIMS = (24, 20, 16)


def wave(dims, t, components=1):
    """A smooth field, x fastest, components together."""
    def value(x, y, z, c):
        return math.sin(0.2 * x + 0.3 * t + c) + 0.5 * math.cos(0.25 * y - 0.1 * z)
    return [value(x, y, z, c) for z in range(dims[2]) for y in range(dims[1])
            for x in range(dims[0]) for c in range(components)]


def crop(values, dims, extent):
    x0, x1, y0, y1, z0, z1 = extent
    out = array.array("f")
    for z in range(z0, z1 + 1):
        for y in range(y0, y1 + 1):
            row = (z * dims[1] + y) * dims[0]
            out.extend(values[row + x0:row + x1 + 1])
    return out


class Case(unittest.TestCase):
    """A fresh folder as working directory, and ways to run the program in it."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, values, code="f"):
        with open(self.path(name), "wb") as file:
            array.array(code, values).tofile(file)
        return name

    def read(self, name, code="f"):
        values = array.array(code)
        with open(self.path(name), "rb") as file:
            values.frombytes(file.read())
        return values

    def bytes(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def run_kdinr(self, *arguments, **keywords):
        return subprocess.run([KDINR, *map(str, arguments)], cwd=self.folder, capture_output=True,
                              text=True, timeout=300, **keywords)

    def ok(self, *arguments):
        result = self.run_kdinr(*arguments)
        self.assertEqual(result.returncode, 0, "%s\n%s" % (arguments, result.stderr))
        self.assertEqual(result.stderr, "")
        return result.stdout

    def fails(self, code, message, *arguments, **keywords):
        """The exit code, a message that contains `message`, and no file left behind."""
        before = self.snapshot()
        result = self.run_kdinr(*arguments, **keywords)
        self.assertEqual(result.returncode, code, result.stdout + result.stderr)
        self.assertIn(message, result.stderr)
        self.assertEqual(len(result.stderr.strip().splitlines()), 1, result.stderr)
        self.assertEqual(self.snapshot(), before)

    def snapshot(self):
        return {name: self.bytes(name) for name in os.listdir(self.folder)}

    def compress(self, output, dims, files, *flags, ratio=8):
        return self.ok("compress", "-o", output, "--dims", "%d,%d,%d" % tuple(dims), "--ratio",
                       ratio, *FAST, *flags, *files)

    def info(self, name):
        return json.loads(self.ok("info", name, "--json"))

    def evaluate(self, name, files, *flags):
        return json.loads(self.ok("eval", name, *files, "--json", *flags))

    def blobs(self):
        return [os.path.join(BLOBS, "blob_%04d.raw" % step) for step in range(4)]
