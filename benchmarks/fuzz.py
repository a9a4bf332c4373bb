"""Every reader on damaged files: an answer or a BrainLDMError, within 2 GB and 10 seconds.

    python benchmarks/fuzz.py --minutes 10            # another seed each time, which it prints
    python benchmarks/fuzz.py --case 123456           # the one case of that number again

A case is a sound file of one of the kinds in `fuzz_cases.py`, damaged: bits flipped, pieces cut,
doubled or taken out, values replaced by such as NaN, 1e999, other types, deep lists, inside
archives and packed streams too. Its number decides all of it. Each is read in a process of its own.
A traceback, a signal, more memory or more time is a failure: its files are kept, and the exit code
is 1.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

import psutil
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.fuzz_cases import READERS, Reader
from benchmarks.fuzz_damage import damage
from brainldm.errors import BrainLDMError

MEMORY, SECONDS, WAIT = 2 * 2**30, 10, 120
"""Bytes beyond the program's own, seconds of computing, seconds until one that sleeps is ended."""
MOST = 10
"""Failures after which there is no point in going on."""
READ, REFUSED = "read", "refused"


def main() -> None:
    """Read until the time is over, and count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, help="number of the first case")
    parser.add_argument("--only", choices=sorted(READERS), help="the one reader to try")
    parser.add_argument("--case", type=int, help="the one case to try")
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz"), help="for files that fail")
    a = parser.parse_args()
    torch.set_num_threads(1)  # a process with threads is not forked
    seed = random.SystemRandom().randrange(2**40) if a.seed is None else a.seed
    end = time.monotonic() + 60 * a.minutes
    counts: Counter[tuple[str, str]] = Counter()
    failures: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        sound = make_sound(Path(scratch) / "sound", [a.only] if a.only else sorted(READERS))
        number = seed if a.case is None else a.case
        print(f"the first case is {number}", flush=True)
        while len(failures) < MOST and (a.case is None or number == a.case):
            if a.case is None and time.monotonic() > end:
                break
            place = Path(scratch) / "case"
            reader = prepare(number, sound, place)
            said = attempt(reader, place)
            counts[reader.name, said if said in (READ, REFUSED) else "failed"] += 1
            if said not in (READ, REFUSED):
                failures[said.splitlines()[-1]] += 1
                if failures[said.splitlines()[-1]] == 1:
                    report(number, reader, said, place, a.keep, a.only)
            shutil.rmtree(place)
            number += 1
    for name in sorted({name for name, _ in counts}):
        each = {what: counts[name, what] for what in (READ, REFUSED, "failed")}
        print(f"{name:24} {sum(each.values()):7} tried", *(f"{n:7} {w}" for w, n in each.items()))
    print(
        f"{sum(counts.values())} cases, {sum(failures.values())} failures of {len(failures)} kinds"
    )
    sys.exit(bool(failures))


def make_sound(folder: Path, names: list[str]) -> dict[str, Path]:
    """A folder of sound files for each reader, which reads them."""
    for name in names:
        (folder / name).mkdir(parents=True)
        READERS[name].make(folder / name)
        if (said := attempt(READERS[name], folder / name)) != READ:
            raise SystemExit(f"{name} does not read sound files: {said}")
    return {name: folder / name for name in names}


def prepare(number: int, sound: dict[str, Path], place: Path) -> Reader:
    """Make the files of a case."""
    rng = random.Random(number)
    reader = READERS[rng.choice(sorted(sound))]
    shutil.copytree(sound[reader.name], place)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        damage(rng, place)
    return reader


def attempt(reader: Reader, folder: Path) -> str:
    """What comes of reading in a process of its own: `READ`, `REFUSED`, or what went wrong."""
    ours, theirs = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.close(ours)
        try:
            said = limited(reader, folder)
            os.write(theirs, said.encode(errors="replace")[-4000:])
        finally:
            os._exit(0)
    os.close(theirs)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
    signal.alarm(WAIT)
    with os.fdopen(ours, "rb") as pipe:
        said = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    signal.alarm(0)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        known = {"SIGXCPU": f"more than {SECONDS} s", "SIGKILL": f"no end within {WAIT} s"}
        return known.get(name, f"ended by {name}")
    return said or "ended without a word"


def limited(reader: Reader, folder: Path) -> str:
    """Read with little memory and time."""
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    most = psutil.Process().memory_info().vms + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    try:
        reader.read(folder)
    except BrainLDMError as error:
        return REFUSED if str(error) else "a BrainLDMError without a word"
    except BaseException as error:
        found = traceback.extract_tb(error.__traceback__)
        ours = [each for each in found if "/brainldm/" in each.filename]
        where = (ours or list(found))[-1]
        return (
            f"{traceback.format_exc()[-3000:]}\n{type(error).__name__} at "
            f"{Path(where.filename).name}:{where.name}"
        )
    return READ


def report(
    number: int, reader: Reader, said: str, place: Path, keep: Path, only: str | None
) -> None:
    """Print how to see a failure again, and keep its files."""
    shutil.copytree(place, keep / str(number), dirs_exist_ok=True)
    again = f"python benchmarks/fuzz.py --case {number}" + (f" --only {only}" if only else "")
    print(f"\n{reader.name} failed: {again}\nfiles: {keep / str(number)}\n{said}\n", flush=True)


if __name__ == "__main__":
    main()
