"""Kill the compressor at random moments and resume it. Python's standard library only.

    KDINR=build/bin/kdinr test_kill.py [KILLS] [SEED]

After every kill the output must be the older file or the complete new one; resuming, which is killed
again now and then, must in the end give the bytes of an undisturbed run and leave no part."""
import os
import random
import subprocess
import sys
import tempfile
import time

KDINR = os.environ["KDINR"]
BLOBS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../testing-data/volumes")
FILES = [os.path.join(BLOBS, "blob_%04d.raw" % step) for step in range(4)]
FLAGS = ["--dims", "24,20,16", "--ratio", "15", "--effort", "low", "--omega", "10", "--bricks", "2,1,1",
         "--window", "2", "--teacher-samples", "40000", "--student-samples", "60000", "--keep-bad",
         "--quiet"]


def start(folder, *flags):
    return subprocess.Popen([KDINR, "compress", "-o", "a.kdm", *FLAGS, *flags, *FILES], cwd=folder)


def content(folder, name="a.kdm"):
    with open(os.path.join(folder, name), "rb") as file:
        return file.read()


def finish(folder, *flags):
    """An undisturbed run: its bytes and seconds."""
    begin = time.monotonic()
    code = start(folder, *flags).wait()
    assert code == 0, "exit code %d" % code
    return content(folder), time.monotonic() - begin


class Tally:
    kills = missed = replaced = with_part = temporary = 0


def kill_once(folder, seconds, chance, old, new, tally):
    process = start(folder, "--resume", "--threads", str(chance.choice([1, 2])))
    late = chance.random() < 0.3  # more of them while the file is checked and written
    time.sleep(seconds * (chance.uniform(0.9, 1.1) if late else chance.uniform(0.0, 1.0)))
    process.kill()
    if process.wait() == 0:
        tally.missed += 1  # it was done before
    else:
        tally.kills += 1
    found = content(folder)
    assert found in (old, new), "neither the older nor the new file: %d bytes" % len(found)
    names = set(os.listdir(folder)) - {"a.kdm", "a.kdm.part"}
    assert all(name.startswith("a.kdm.tmp-") for name in names), names
    tally.replaced += found == new
    tally.with_part += os.path.exists(os.path.join(folder, "a.kdm.part"))
    tally.temporary += len(names)
    for name in names:
        os.remove(os.path.join(folder, name))


def trial(seconds, chance, old, new, tally):
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "a.kdm"), "wb") as file:
            file.write(old)
        kill_once(folder, seconds, chance, old, new, tally)
        while chance.random() < 0.4:
            kill_once(folder, seconds, chance, old, new, tally)
        resumed, _ = finish(folder, "--resume")
        assert resumed == new, "resumed: other bytes than the undisturbed run"
        assert os.listdir(folder) == ["a.kdm"], os.listdir(folder)


def main(n_kills, seed):
    chance = random.Random(seed)
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        old, _ = finish(folder, "--seed", "2")
        new, seconds = finish(folder)
    assert old != new
    while tally.kills < n_kills:
        trial(seconds, chance, old, new, tally)
    print("%d kills (%d runs were done before): output replaced after %d, part there after %d, "
          "temporary file after %d; all resumed to the same %d bytes"
          % (tally.kills, tally.missed, tally.replaced, tally.with_part, tally.temporary, len(new)))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200,
         int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time()))
