#!/usr/bin/env python3
"""The quality benchmark: kdinr and other compressors on the same series, at equal file ratio and at
equal PSNR; prints one table per series and keeps every result in results/*.csv.

    compare.py FOLDER [--quick] [--kdinr PROGRAM] [--series NAME...] [--methods NAME...] ...

FOLDER holds series as series.py says (make_series.py makes some). A run that is ended goes on where it
was when started again: a result is written as soon as it is there, and what a CSV has is not run
again (ours: what it has of this commit with the same options). README.md says what the columns are."""
import argparse
import csv
import glob
import os

import measures
import ours
import peers
import perception
import picture
import series as series_module

HERE = os.path.dirname(os.path.abspath(__file__))
COLUMNS = ["series", "method", "target", "options", "setting", "version", "commit", "bytes", "ratio",
           "psnr", "ssim", "lpips", "chamfer_to_original", "chamfer_from_original", "isovalue",
           "max_error", "compress_seconds", "decompress_seconds", "note"]
SHOWN = [("method", 24), ("ratio", 7), ("psnr", 7), ("ssim", 7), ("lpips", 7), ("chamfer", 8),
         ("max error", 9), ("compress s", 10), ("decompress s", 12)]
ABSENT = "not computed"


class Book:
    """The results in a folder of CSV files, one file per group of methods."""

    def __init__(self, folder):
        self.folder, self.rows = folder, []
        os.makedirs(folder, exist_ok=True)
        for path in sorted(glob.glob(os.path.join(folder, "*.csv"))):
            with open(path, newline="") as file:
                self.rows += csv.DictReader(file)

    def has(self, series, method, target):
        return any(row["series"] == series.name and row["method"] == method.name
                   and row["target"] == target and row["options"] == method.options
                   and row["version"] == method.version for row in self.rows)

    def add(self, group, row):
        row = {column: shorten(row.get(column, "")) for column in COLUMNS}
        path = os.path.join(self.folder, group + ".csv")
        is_new = not os.path.exists(path)
        with open(path, "a", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            if is_new:
                writer.writeheader()
            writer.writerow(row)
        self.rows.append(row)

    def latest(self, series, target):
        """Of every method and options the last row."""
        found = {}
        for row in self.rows:
            if row["series"] == series.name and row["target"] == target:
                found[row["method"], row["options"]] = row
        return list(found.values())


def shorten(value):
    return f"{value:.6g}" if isinstance(value, float) else str(value)


class Judge:
    """Measures results on one series; its original picture and isovalue are made once."""

    def __init__(self, series, painter, lpips):
        self.series, self.painter, self.lpips = series, painter, lpips
        self.volume = series.values[series.step_shown]
        there = self.volume[series.present[series.step_shown]]
        self.shades = float(there.min()), float(there.max())
        self.isovalue = measures.isovalue(self.volume)
        self.picture = painter.draw(self.volume, self.shades)

    def judge(self, decoded):
        values, (low, high) = self.series.values, self.series.range
        decoded = decoded.copy()
        decoded[~self.series.present] = float("nan")
        shown = decoded[self.series.step_shown]
        to, back = measures.chamfer(self.volume, shown, self.isovalue)
        return {"psnr": measures.psnr(values, decoded, high - low), **self.look(shown),
                "chamfer_to_original": to, "chamfer_from_original": back,
                "isovalue": self.isovalue, "max_error": measures.max_error(values, decoded)}

    def look(self, shown):
        drawn = self.painter.draw(shown, self.shades)
        if drawn is None or self.picture is None:
            return {"ssim": ABSENT, "lpips": ABSENT}
        distance = self.lpips.distance(self.picture, drawn)
        return {"ssim": measures.ssim(measures.grey(self.picture), measures.grey(drawn)),
                "lpips": ABSENT if distance is None else distance}


def measure(method, series, judge, kind, target):
    """A row: what the method gives nearest to the target, or why it gives nothing."""
    row = {"series": series.name, "method": method.name, "target": f"{kind} {target:g}",
           "options": method.options, "version": method.version, "commit": ours.commit()}
    try:
        result = method.run(series, kind, target)
        decoded = result.decoded()
    except (RuntimeError, *peers.FAILURES) as failure:
        return {**row, "note": str(failure)}
    return {**row, **judge.judge(decoded), "setting": result.setting, "bytes": result.bytes,
            "ratio": result.ratio, "compress_seconds": result.compress_seconds,
            "decompress_seconds": result.decompress_seconds}


def print_table(book, series, targets):
    low, high = series.range
    rows = [row for kind, target in targets for row in book.latest(series, f"{kind} {target:g}")]
    print(f"\n{series.name}: {'x'.join(map(str, series.dims))} x {len(series.files)} steps, values "
          f"{low:g} ... {high:g}")
    print(f"{'target':11}" + "".join(f"{name:{'' if name == 'method' else '>'}{width}} "
                                     for name, width in SHOWN) + "options")
    for row in rows:
        if not row["bytes"]:
            print(f"{row['target']:11}{row['method']:24} {row['note']}")
            continue
        chamfer = float(row["chamfer_to_original"]) + float(row["chamfer_from_original"])
        words = [f"{float(row['ratio']):.1f}", f"{float(row['psnr']):.2f}", picture_words(row["ssim"]),
                 picture_words(row["lpips"]), f"{chamfer:.3f}", f"{float(row['max_error']):.4g}",
                 f"{float(row['compress_seconds']):.2f}", f"{float(row['decompress_seconds']):.2f}"]
        print(f"{row['target']:11}{row['method']:24} "
              + " ".join(f"{word:>{width}}" for word, (_, width) in zip(words, SHOWN[1:]))
              + f" {row['options']}")


def picture_words(value):
    """Of SSIM and LPIPS, which need what may not be installed."""
    return "-" if value == ABSENT else f"{float(value):.4f}"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--quick", action="store_true",
                        help="ratio 100 and effort low only, and the default of kdinr only")
    parser.add_argument("--kdinr", default="kdinr", help="the program (kdinr)")
    parser.add_argument("--results", default=os.path.join(HERE, "results"), help="folder of the CSVs")
    parser.add_argument("--series", nargs="+", help="these only")
    parser.add_argument("--methods", nargs="+", help="these only, by the names in the table")
    parser.add_argument("--ratios", nargs="*", type=float, default=[100, 300, 1000, 3000])
    parser.add_argument("--psnrs", nargs="*", type=float, default=[35, 40, 45])
    parser.add_argument("--effort", default="normal", help="of kdinr (normal)")
    parser.add_argument("--threads", type=int, default=1, help="of kdinr (1)")
    parser.add_argument("--studies", action="store_true",
                        help="instead of the methods, variants of kdinr as in the paper's studies")
    parser.add_argument("--tables", action="store_true", help="run nothing, print what is there")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.ratios, chosen.psnrs, chosen.effort = [100], [], "low"
    return chosen


def choose_methods(chosen):
    every = ours.methods(chosen.kdinr, chosen.effort, chosen.threads, chosen.studies)
    if chosen.quick:
        every = every[:1]
    if not chosen.studies:
        every += peers.methods()
    names = [method.name for method in every]
    for name in chosen.methods or []:
        if name not in names:
            raise SystemExit(f"no method {name!r} here; there are: {', '.join(names)}")
    return [method for method in every if not chosen.methods or method.name in chosen.methods]


def run(chosen, book, every, targets):
    methods = choose_methods(chosen)
    command = picture.command()
    if command is None:
        print("SSIM and LPIPS are not computed; to have them: apt-get install python3-paraview xvfb")
    lpips = perception.Lpips()
    if lpips.evaluate is None:
        print("LPIPS is not computed; to have it:", perception.GET)
    painter = picture.Painter(command)
    try:
        for series in every:
            judge = None
            for method in methods:
                for kind, target in targets:
                    if book.has(series, method, f"{kind} {target:g}"):
                        continue
                    judge = judge or Judge(series, painter, lpips)
                    row = measure(method, series, judge, kind, target)
                    book.add(method.group, row)
                    print(f"{series.name}, {method.name}, {row['target']}: "
                          f"{row.get('psnr', row.get('note'))}", flush=True)
            print_table(book, series, targets)
    finally:
        painter.close()


def main():
    chosen = arguments()
    book = Book(chosen.results)
    every = series_module.find(chosen.folder, chosen.series)
    targets = [("ratio", r) for r in chosen.ratios] + [("psnr", p) for p in chosen.psnrs]
    if chosen.tables:
        for series in every:
            print_table(book, series, targets)
    else:
        run(chosen, book, every, targets)


if __name__ == "__main__":
    main()
