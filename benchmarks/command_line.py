"""How long the command line keeps people waiting.

    python benchmarks/command_line.py [--rounds 5]

Times whole processes, round by round, beside a bare interpreter and `import torch` in the same round: the first says
what Python itself costs here, the second what every command would cost if it loaded its framework.

Goals on 2 cores: `assay --help` under 0.5 s; a study whose runs are all stored at most 1.5 s; the first lab, from an
empty store, at most 45 s.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hardware import describe

LAB = Path(__file__).parents[1] / "labs" / "digits" / "dropout.yaml"


def seconds(*command: str) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    python = sys.executable
    with tempfile.TemporaryDirectory() as store:
        run = (python, "-m", "assay", "run", str(LAB), "--store", store)
        commands = {
            "python -c pass": (python, "-c", "pass"),
            "python -c 'import torch'": (python, "-c", "import torch"),
            "assay --help": (python, "-m", "assay", "--help"),
            "assay run, all runs stored": run,
            "assay run, empty store": run,
        }
        first = [seconds(*run)]
        times: dict[str, list[float]] = {name: [] for name in commands}
        times["assay run, empty store"] = first
        for _ in range(rounds):
            for name, command in list(commands.items())[:-1]:
                times[name].append(seconds(*command))
    print(describe())
    print(f"{'command':32s}{'median':>9s}{'min':>9s}{'max':>9s}{'n':>4s}{'× import torch':>16s}")
    torch_median = statistics.median(times["python -c 'import torch'"])
    for name, values in times.items():
        median = statistics.median(values)
        spread = f"{median:8.2f}s{min(values):8.2f}s{max(values):8.2f}s"
        print(f"{name:32s}{spread}{len(values):4d}{median / torch_median:16.2f}")


if __name__ == "__main__":
    main()
