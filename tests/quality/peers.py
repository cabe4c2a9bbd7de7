"""The compressors that kdinr is compared with, each as its authors ship it, on one thread.

A peer turns one array into bytes and back, and has one knob, a length on the scale of the data. Per
step, every step gets the same setting; 4-D, the whole series is one array. search.py finds the knob
for a ratio or a PSNR; compare.py measures what it gives."""
import functools
import importlib.metadata
import math
import os
import shutil
import subprocess
import tempfile

import numpy as np

import measures
import search
FAILURES = (subprocess.CalledProcessError, RuntimeError, ValueError, OSError)


class Sz3:
    label, knob, coarsest, dimensions = "SZ3", "absolute error bound", 1, (3, 4)
    get = "pip install pysz"

    @staticmethod
    def version():
        return "pysz " + importlib.metadata.version("pysz")

    @staticmethod
    def compress(part, knob):
        from pysz import sz, szConfig, szErrorBoundMode
        config = szConfig(part.shape)
        config.errorBoundMode = szErrorBoundMode.ABS
        config.absErrorBound = knob
        return sz.compress(part, config)[0].tobytes()

    @staticmethod
    def decompress(code, shape):
        from pysz import sz
        return sz.decompress(np.frombuffer(code, np.uint8), np.float32, shape)[0]


class Zfp:
    label, knob, coarsest, dimensions = "ZFP", "absolute tolerance", 10, (3, 4)
    get = "pip install zfpy"

    @staticmethod
    def version():
        return "zfpy " + importlib.metadata.version("zfpy")

    @staticmethod
    def compress(part, knob):
        import zfpy
        return zfpy.compress_numpy(part, tolerance=knob)

    @staticmethod
    def decompress(code, shape):
        import zfpy
        return zfpy.decompress_numpy(code)


class Program:
    """A peer that is a program in PATH and works on files."""

    @classmethod
    def version(cls):
        if not shutil.which(cls.program):
            raise ImportError(cls.program)
        return cls.program

    @staticmethod
    def run(*command):
        subprocess.run([str(word) for word in command], check=True, capture_output=True,
                       env={**os.environ, "OMP_NUM_THREADS": "1"})

    @classmethod
    def compress(cls, part, knob):
        with tempfile.TemporaryDirectory() as folder:
            raw, coded = os.path.join(folder, "raw"), os.path.join(folder, "coded")
            part.tofile(raw)
            cls.encode(raw, coded, part, knob)
            with open(coded, "rb") as file:
                return file.read()

    @classmethod
    def decompress(cls, code, shape):
        with tempfile.TemporaryDirectory() as folder:
            raw, coded = os.path.join(folder, "raw"), os.path.join(folder, "coded")
            with open(coded, "wb") as file:
                file.write(code)
            cls.decode(coded, raw)
            return np.fromfile(raw, "<f4").reshape(shape)


class Tthresh(Program):
    label, knob, coarsest, dimensions = "TTHRESH", "RMSE", -1, (3, 4)
    program = "tthresh"
    get = "build github.com/rballester/tthresh with cmake, put tthresh into PATH"

    @classmethod
    def compress(cls, part, knob):
        """Where the RMSE is about the spread of the values, it may write a larger file than for a
        smaller RMSE: the smallest file counts."""
        spread = float(part.std())
        settings = {min(knob, most) for most in (0.5 * spread, spread, math.inf)}
        return min((super(Tthresh, cls).compress(part, setting) for setting in settings), key=len)

    @classmethod
    def encode(cls, raw, coded, part, knob):
        cls.run(cls.program, "-i", raw, "-t", "float", "-s", *part.shape[::-1], "-r", knob,
                "-c", coded)

    @classmethod
    def decode(cls, coded, raw):
        cls.run(cls.program, "-c", coded, "-o", raw)


class Sperr(Program):
    label, knob, coarsest, dimensions = "SPERR", "RMSE", 3, (3,)
    program = "sperr3d"
    get = "build github.com/NCAR/SPERR with cmake, put sperr3d into PATH"

    @classmethod
    def encode(cls, raw, coded, part, knob):
        """Its PSNR counts from the range of the step, so that a given RMSE is another PSNR in each."""
        extent = float(part.max()) - float(part.min())
        target = 20 * math.log10(max(extent / knob, 1.001))
        cls.run(cls.program, "-c", "--ftype", 32, "--dims", *part.shape[::-1], "--psnr", target,
                "--bitstream", coded, raw)

    @classmethod
    def decode(cls, coded, raw):
        cls.run(cls.program, "-d", "--decomp_f", raw, coded)


PEERS = (Sz3, Zfp, Tthresh, Sperr)


def found():
    """Those that are installed; a line for each that is not."""
    there = []
    for peer in PEERS:
        try:
            peer.version()
            there.append(peer)
        except ImportError:
            print(f"{peer.label} is not installed and left out; to have it: {peer.get}")
    return there


class Trial:
    """One series compressed and decoded with one setting of the knob."""

    def __init__(self, peer, series, whole, knob):
        parts = [series.filled] if whole else list(series.filled)
        self.peer, self.knob, self.shape = peer, knob, parts[0].shape
        self.series = series
        start = processor_seconds()
        self.codes = [peer.compress(part, knob) for part in parts]
        self.compress_seconds = processor_seconds() - start
        self.bytes = sum(map(len, self.codes))
        self.ratio = series.size / self.bytes
        self.setting = f"{peer.knob} {knob:.6g}"

    @functools.cached_property
    def psnr(self):
        """Decoded for when a search asks; NaN if that fails."""
        low, high = self.series.range
        try:
            return measures.psnr(self.series.values, self.decoded(), high - low)
        except FAILURES:
            return math.nan

    def decoded(self):
        """All steps; not kept, since a search makes many of these."""
        start = processor_seconds()
        decoded = [self.peer.decompress(code, self.shape) for code in self.codes]
        self.decompress_seconds = processor_seconds() - start
        return np.stack(decoded).reshape(self.series.values.shape)


class PeerMethod:
    """A peer per step or on the whole series, as compare.py runs it."""

    group = "peers"

    def __init__(self, peer, whole):
        self.peer, self.whole = peer, whole
        self.name = peer.label + (" 4-D" if whole else "")
        self.options = ""
        self.version = peer.version()
        self.series, self.knob = None, None

    def run(self, series, kind, target):
        """The Trial nearest to a target; raises RuntimeError if there is none."""
        if self.series is not series:  # what was tried for one target helps the next
            self.series = series
            self.knob = search.Knob(lambda knob: self._try(series, knob),
                                    series.range[1] - series.range[0], self.peer.coarsest)
        trial = self.knob.find(kind, target)
        if trial is None:
            raise RuntimeError("it compresses at no setting")
        return trial

    def _try(self, series, knob):
        try:
            return Trial(self.peer, series, self.whole, knob)
        except FAILURES:
            return None


def methods():
    return [PeerMethod(peer, dimension == 4) for peer in found() for dimension in peer.dimensions]


def processor_seconds():
    """Of this process and the programs it has run: other load on the machine changes it little."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
