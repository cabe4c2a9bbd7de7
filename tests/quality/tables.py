#!/usr/bin/env python3
"""README.md's tables from results/*.csv, which compare.py writes: run nothing, print Markdown.

    tables.py peers ratio|psnr      what the others reach at each target, the best in bold
    tables.py ours EFFORT [psnr]    KD-INR against the best of them at each ratio, or each PSNR
    tables.py networks              KD-INR against the paper's other networks, ratio 1000
    tables.py efforts               low, normal and high, ratio 1000
    tables.py studies SERIES RATIO  what differs from the default

A peer that cannot give a target has its nearest, with what that is after an @. A dash: no row."""
import csv
import glob
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SERIES = ("isabel_wind", "viscousfingers_run01_sub16", "bubble_small", "blast_small", "turb_small",
          "mri_asl_mpld", "grayscott_small", "ocean_atlas_temp")
PEERS = ("SZ3", "SZ3 4-D", "ZFP", "ZFP 4-D", "TTHRESH", "TTHRESH 4-D", "SPERR")
TARGETS = {"ratio": (100, 300, 1000, 3000), "psnr": (35, 40, 45)}
NETWORKS = ("coordnet", "siren", "neurcomp")
NEAR = 0.025  # a ratio this close to its target is shown without it
NEAR_DB = 0.3
COUNTS = {"ratio": "psnr", "psnr": "ratio"}  # what is compared at a target of this kind


def read():
    """{(series, method, options, target): row}, of several the last."""
    found = {}
    for path in sorted(glob.glob(os.path.join(HERE, "results", "*.csv"))):
        with open(path, newline="") as file:
            for row in csv.DictReader(file):
                key = row["series"], row["method"], row["options"], row["target"]
                found[key] = row
    return found


def line(*cells):
    print("| " + " | ".join(map(str, cells)) + " |")


def head(*cells):
    line(*cells)
    print("|" + "---|" * len(cells))


def bold_best(numbers, texts):
    best = max((number for number in numbers if number is not None), default=None)
    return [f"**{text}**" if number is not None and number == best else text
            for number, text in zip(numbers, texts)]


def cell(row, kind, target):
    """(what counts, the text) of a peer's row."""
    if row is None or not row["bytes"]:
        return None, "–"
    ratio, psnr = float(row["ratio"]), float(row["psnr"])
    if kind == "ratio":
        off = f" @{ratio:.0f}" if abs(ratio / target - 1) > NEAR else ""
        return round(psnr, 1), f"{psnr:.1f}{off}"
    off = f" @{psnr:.1f}" if abs(psnr - target) > NEAR_DB else ""
    return round(ratio), f"{ratio:.0f}{off}"


def peers(found, kind):
    head("series", kind, *PEERS)
    for series in SERIES:
        for target in TARGETS[kind]:
            cells = [cell(found.get((series, peer, "", f"{kind} {target:g}")), kind, target)
                     for peer in PEERS]
            if any(number is not None for number, _ in cells):
                line(series, target, *bold_best(*zip(*cells)))


def best_peer(found, series, kind, target):
    """By what counts: the row of that target that has most of it; one of a PSNR must nearly reach it."""
    rows = [found.get((series, peer, "", f"{kind} {target:g}")) for peer in PEERS]
    rows = [row for row in rows if row and row["bytes"]
            and (kind == "ratio" or float(row["psnr"]) > target - NEAR_DB)]
    return max(rows, key=lambda row: float(row[COUNTS[kind]]), default=None)


def ours(found, effort, kind="ratio"):
    targets = TARGETS[kind][1:] if kind == "ratio" else TARGETS[kind]
    head("series", *[title for target in targets
                     for title in (f"{kind} {target}", "best other", "s")])
    for series in SERIES:
        cells = [series]
        for target in targets:
            row = found.get((series, "KD-INR", f"--effort {effort}", f"{kind} {target}"))
            peer = best_peer(found, series, kind, target)
            if row is None or peer is None:
                cells += ["–"] * 3
                continue
            numbers = [float(row[COUNTS[kind]]), float(peer[COUNTS[kind]])]
            places = 2 if kind == "ratio" else 0
            texts = [f"{numbers[0]:.{places}f}", f"{peer['method']} {numbers[1]:.{places}f}"]
            cells += [*bold_best(numbers, texts), f"{float(row['compress_seconds']):.0f}"]
        line(*cells)


def networks(found):
    """Of the settings of each network the best, which is named."""
    head("series", "KD-INR", *NETWORKS)
    for series in SERIES:
        rows = [found.get((series, "KD-INR", "--effort low", "ratio 1000"))]
        rows += [max((row for (name, method, _, target), row in found.items()
                      if name == series and target == "ratio 1000" and row["bytes"]
                      and method.startswith(network + ", ")),
                     key=lambda row: float(row["psnr"]), default=None) for network in NETWORKS]
        numbers = [row and float(row["psnr"]) for row in rows]
        texts = [row and f"{float(row['psnr']):.2f} {row['method'].partition(', ')[2]}".strip() or "–"
                 for row in rows]
        line(series, *bold_best(numbers, texts))


def efforts(found):
    names = ("low", "normal", "high")
    head("series", *[title for name in names for title in (f"{name}, dB", "s")])
    for series in SERIES:
        cells = []
        for name in names:
            row = found.get((series, "KD-INR", f"--effort {name}", "ratio 1000"))
            cells += [f"{float(row['psnr']):.2f}", f"{float(row['compress_seconds']):.0f}"] \
                if row else ["–", "–"]
        line(series, *cells)


def in_order(item):
    """KD-INR as it is first, by its seconds, then study by study in the order of the file."""
    (_, method, _, _), row = item
    return (method.partition(": ")[0], 0) if ": " in method else \
        ("", float(row["compress_seconds"] or 0))


def studies(found, series, ratio):
    head("study", "PSNR, dB", "chamfer", "largest error", "ratio", "s")
    for (name, method, options, target), row in sorted(found.items(), key=in_order):
        study = method.partition(": ")[0] if ": " in method else "time"
        if name != series or target != f"ratio {float(ratio):g}" or not row["bytes"] \
                or (": " not in method and method != "KD-INR"):
            continue
        chamfer = float(row["chamfer_to_original"]) + float(row["chamfer_from_original"])
        line(f"{study}: `{options}`", f"{float(row['psnr']):.2f}", f"{chamfer:.3f}",
             f"{float(row['max_error']):.4g}", f"{float(row['ratio']):.0f}",
             f"{float(row['compress_seconds']):.0f}")


def main():
    tables = {"peers": peers, "ours": ours, "networks": networks, "efforts": efforts,
              "studies": studies}
    if len(sys.argv) < 2 or sys.argv[1] not in tables:
        sys.exit(__doc__)
    tables[sys.argv[1]](read(), *sys.argv[2:])


if __name__ == "__main__":
    main()
