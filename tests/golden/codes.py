"""Sections CODE, PACK and CLUS of core/FORMAT.md (4, 5.4, 5.5): parameters of networks, and the range decoder,
for read_kdm.py."""
import numpy as np

from file_bytes import Reader, U32, require, xxh32

CONSTANT, QUANTISED, FLOAT16, FLOAT32, CLUSTERED = range(5)


class RangeDecoder:
    """4.1. A context is a list [p, n]."""

    def __init__(self, data, limit):
        self.data, self.limit, self.at = data, limit, 0
        self.range, self.code = U32, 0
        for _ in range(4):
            self.code = self.code << 8 | self.next()

    def next(self):
        self.at += 1
        return self.data[self.at - 1] if self.at <= len(self.data) else 0

    def decide(self, yes):
        answer = self.code < yes
        if answer:
            self.range = yes
        else:
            self.range -= yes
            self.code -= yes
        while self.range < 1 << 24:
            self.range <<= 8
            self.code = (self.code << 8 | self.next()) & U32
        return answer

    def even(self):
        return self.decide(self.range >> 1)

    def learned(self, context):
        answer = self.decide(self.range * max(context[0] >> 16, 1) >> 16)
        return self.learn(context, answer)

    def paired(self, one, other):
        q = max((one[0] >> 1) + (other[0] >> 1) >> 16, 1)
        answer = self.decide(self.range * q >> 16)
        self.learn(one, answer)
        return self.learn(other, answer)

    def learn(self, context, answer):
        p, n = context
        rate = (1 << 17) // (2 * n + 3)
        context[0] = p + ((U32 - p) * rate >> 16) if answer else p - (p * rate >> 16)
        context[1] = min(n + 1, self.limit)
        return answer


def contexts(*shape):
    if not shape:
        return [1 << 31, 0]
    return [contexts(*shape[1:]) for _ in range(shape[0])]


def read_codes(decoder, networks):
    """4.2: the codes of QUANTISED and CLUSTERED networks, as parameters."""
    longer, second, third = contexts(200, 15), contexts(16), contexts(16, 2)

    def one(t, clustered=False):
        b = 0
        while b < 15 and decoder.learned(longer[t][b]):
            b += 1
        if b == 0 and not clustered:
            return 0
        v = min(b, 1)
        for i in range(b - 1):
            if i == 0:
                first = decoder.learned(second[b])
                v = 2 * v + first
            elif i == 1:
                v = 2 * v + decoder.learned(third[b][first])
            else:
                v = 2 * v + decoder.even()
        if decoder.even():
            return -v - clustered
        return v

    for network in networks:
        if network.kind == CLUSTERED:
            expand_clusters(network, one)
            continue
        parts = []
        for t, n in enumerate(network.tensors):
            codes = np.array([one(t) for _ in range(n)], "f4")
            parts.append(codes * np.float32(2.0 ** (-network.steps[t] / 8)))
        network.params = np.concatenate(parts)


def coded_tensors(network):
    """Which tensors have codes?"""
    return network.clustered if network.kind == CLUSTERED else [True] * len(network.tensors)


def expand_clusters(network, one):
    """5.5: `one` gives the next code of a tensor."""
    half = 2 ** network.bits // 2
    for t, part in enumerate(network.parts):
        if not network.clustered[t]:
            continue
        codes = np.array([one(t, True) for _ in range(network.tensors[t])])
        require((codes >= -half).all() and (codes < half).all(), "a code without a centre")
        network.parts[t] = part[codes + half]
    network.params = np.concatenate(network.parts)


def read_stream(stream, networks):
    """One stream of codes, that of all networks or of a pack."""
    networks = [network for network in networks if network.kind in (QUANTISED, CLUSTERED)]
    n_codes = sum(n for network in networks for n, coded in zip(network.tensors, coded_tensors(network))
                  if coded)
    least = -(-n_codes // 64)
    require(len(stream) >= least and (n_codes > 0 or not stream), "CODE: size of a stream")
    if n_codes > 0:
        decoder = RangeDecoder(stream, 255)
        read_codes(decoder, networks)
        require(len(stream) <= max(decoder.at, least), "CODE: bytes left over")


def read_clusters(data, model):
    """5.5; None if the section is not there."""
    bits = [0] * len(model.arrays) if data is None else list(data)
    require(len(bits) == len(model.arrays), "CLUS: its length")
    for a, b in zip(model.arrays, bits):
        networks = [network for network in a.networks if network.kind == CLUSTERED]
        require(1 <= b <= 9 if networks else b == 0, "CLUS: bits")
        for network in networks:
            last = len(network.tensors) - 2
            network.bits = b
            network.clustered = [t % 2 == 0 and 0 < t < last and 32 * 2**b + b * n < 32 * n
                                 for t, n in enumerate(network.tensors)]


def read_floats(r, network):
    """Of a FLOAT16, FLOAT32 or CLUSTERED network."""
    code = "<f2" if network.kind == FLOAT16 else "<f4"
    clustered = network.clustered if network.kind == CLUSTERED else [False] * len(network.tensors)
    network.parts = []
    for n, centres in zip(network.tensors, clustered):
        n = 2**network.bits if centres else n
        network.parts.append(np.frombuffer(r.bytes(n * int(code[2])), code).astype("f4"))
        require(np.isfinite(network.parts[-1]).all(), "parameters")
        require(not centres or (np.diff(network.parts[-1]) >= 0).all(), "order of centres")
    network.params = np.concatenate(network.parts)


def read_packs(data, table, networks):
    """5.4"""
    r, code = Reader(table, "PACK"), Reader(data, "CODE")
    n = r.get("I")
    require(1 <= n <= 1 << 20, f"packs of {n} networks")
    require(all(network.kind in (CONSTANT, QUANTISED) for network in networks), "floats in packs")
    for first in range(0, len(networks), n):
        size, checksum = r.list("I", 2)
        stream = code.bytes(size)
        require(xxh32(stream) == checksum, f"pack {first // n}: wrong checksum")
        read_stream(stream, networks[first:first + n])
    r.finish()
    code.finish()


def read_code(data, table, model):
    """Sections CODE and PACK (None if it is not there)."""
    networks = [network for a in model.arrays for network in a.networks]
    if table is not None:
        return read_packs(data, table, networks)
    r = Reader(data, "CODE")
    for network in networks:
        if network.kind in (FLOAT16, FLOAT32, CLUSTERED):
            read_floats(r, network)
    return read_stream(r.bytes(len(data) - r.at), networks)
