"""What sections are read with: numbers within bounds, checksums, zstd; for read_kdm.py."""
import ctypes
import ctypes.util
import struct
import subprocess

U32 = 0xFFFFFFFF


class FormatError(Exception):
    """The file breaks a rule of FORMAT.md."""


def require(holds, message):
    if not holds:
        raise FormatError(message)


class Reader:
    """Little-endian numbers from bytes, within their bounds."""

    def __init__(self, data, what):
        self.data, self.what, self.at = data, what, 0

    def bytes(self, n):
        require(n <= len(self.data) - self.at, f"{self.what}: {n} bytes needed at {self.at}")
        self.at += n
        return self.data[self.at - n:self.at]

    def get(self, code, n=1):
        values = struct.unpack(f"<{n}{code}", self.bytes(n * struct.calcsize("<" + code)))
        return values[0] if n == 1 else list(values)

    def list(self, code, n):
        return list(struct.unpack(f"<{n}{code}", self.bytes(n * struct.calcsize("<" + code))))

    def finish(self):
        require(self.at == len(self.data), f"{self.what}: {len(self.data) - self.at} bytes left")


def xxh32(data):
    """XXH32 with seed 0."""
    p1, p2, p3, p4, p5 = 2654435761, 2246822519, 3266489917, 668265263, 374761393

    def rotate(x, r):
        return (x << r | x >> (32 - r)) & U32

    n, at = len(data), 0
    if n >= 16:
        lanes = [(p1 + p2) & U32, p2, 0, -p1 & U32]
        while at + 16 <= n:
            words = struct.unpack_from("<4I", data, at)
            lanes = [rotate((lane + word * p2) & U32, 13) * p1 & U32
                     for lane, word in zip(lanes, words)]
            at += 16
        h = sum(rotate(lane, r) for lane, r in zip(lanes, (1, 7, 12, 18))) & U32
    else:
        h = p5
    h = (h + n) & U32
    while at + 4 <= n:
        h = rotate((h + struct.unpack_from("<I", data, at)[0] * p3) & U32, 17) * p4 & U32
        at += 4
    for byte in data[at:]:
        h = rotate((h + byte * p5) & U32, 11) * p1 & U32
    h = (h ^ h >> 15) * p2 & U32
    h = (h ^ h >> 13) * p3 & U32
    return h ^ h >> 16


def unzstd(data, size):
    try:
        import zstandard
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=size)
    except ImportError:
        pass
    name = ctypes.util.find_library("zstd")
    if name is None:
        return subprocess.run(["zstd", "-dc"], input=data, capture_output=True, check=True).stdout
    library = ctypes.CDLL(name)
    library.ZSTD_decompress.restype = ctypes.c_size_t
    out = ctypes.create_string_buffer(size)
    n = library.ZSTD_decompress(out, ctypes.c_size_t(size), data, ctypes.c_size_t(len(data)))
    return out.raw[:n] if n <= size else b""
