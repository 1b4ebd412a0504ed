"""Tables in PyTorch on this machine's GPU, or CPU: their tests, then times beside other ways to the same ids.

``python benchmarks/torch_device.py`` runs the tests of :mod:`lshsample.torch` on the device, then times, in
turns: the build; a query by sorted tables; by a scan of all codes, which counts equal ones; and exact inner
products with the 100 best of each query; and a training step of an output layer over as many classes, sampled
on the device (``backend="torch"``, about ``--active`` classes) with ``RowAdam``, and of all classes with
``cross_entropy`` and Adam. ``--json FILE`` also writes the times. On the CPU the C tables and the step of the
C core are timed too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from lshsample.registry import make_family
from lshsample.tables import HashTables
from lshsample.torch import RowAdam, SampledLinearCrossEntropy, SamplingOptions, TorchTables

TESTS = Path(__file__).resolve().parents[1] / "tests" / "torch"


def seconds(call, device):
    """The time of a call, until the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    begin = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begin


def in_turns(calls, device, rounds):
    """(median, lowest, highest) seconds of each call, called one after the other in each round."""
    times = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            times[name].append(seconds(call, device))
    return {name: (statistics.median(t[1:]), min(t[1:]), max(t[1:])) for name, t in times.items()}


def scanned(codes, wanted, n_best=100):
    """The ids whose codes agree most often with each query's, by a comparison with all codes."""
    counts = torch.zeros((len(wanted), len(codes)), dtype=torch.int16, device=codes.device)
    for table in range(codes.shape[1]):
        counts += wanted[:, table, None] == codes[:, table]
    return counts.topk(min(n_best, len(codes)), dim=1)


def steps(args, device, rows):
    """Training steps of output layers, by name."""
    hidden = rows[: args.batch].clone()
    target = torch.arange(len(hidden), device=device)

    def step_of(loss, optimizer):
        def step():
            optimizer.zero_grad()
            loss(hidden, target).backward()
            optimizer.step()

        return step

    made = {}
    for backend in ("torch", "core") if device.type == "cpu" else ("torch",):
        options = SamplingOptions(n_active=args.active, rehash=0, sparse=True, backend=backend)
        layer = SampledLinearCrossEntropy(args.dim, args.items, options=options).to(device)
        made[f"step, sampled, backend {backend}"] = step_of(layer, RowAdam(layer.parameters()))
    linear = torch.nn.Linear(args.dim, args.items, device=device)
    optimizer = torch.optim.Adam(linear.parameters(), fused=True)
    made["step, all classes"] = step_of(
        lambda x, y: torch.nn.functional.cross_entropy(linear(x), y), optimizer
    )
    return made


def measure(args, device):
    """Times by name."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(args.items, args.dim, generator=generator).to(device)
    queries = rows[: args.batch] + 0.3 * torch.randn(args.batch, args.dim, generator=generator).to(device)
    family = make_family("simhash", dim=args.dim, n_hashes=args.hashes, n_tables=args.tables)
    tables = TorchTables.build(family, rows, hashing="matmul")
    codes = tables.hash(rows)
    calls = {
        "build, hashing by a product": lambda: TorchTables.build(family, rows, hashing="matmul"),
        "build from codes": lambda: TorchTables.from_codes(family, codes),
        "query of sorted tables": lambda: tables.find(queries),
        "query by a scan of codes": lambda: scanned(codes, tables.hash(queries)),
        "query by exact products": lambda: (queries @ rows.T).topk(min(100, args.items), dim=1),
    }
    if device.type == "cpu":
        calls["build, hashing by the core"] = lambda: TorchTables.build(
            family, rows, threads=torch.get_num_threads()
        )
        array, c_tables = rows.numpy(), HashTables(family, threads=torch.get_num_threads())
        calls["build of the C tables"] = lambda: c_tables.build(array)
        calls["query of the C tables"] = lambda: c_tables.query(queries.numpy())
    return in_turns(calls | steps(args, device, rows), device, args.rounds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--items", type=int, default=670_091)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--hashes", type=int, default=15)
    parser.add_argument("--tables", type=int, default=50)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--active", type=int, default=5000, help="classes of a sampled step, about")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="threads of torch and of the core on the CPU")
    parser.add_argument("--no-tests", action="store_true", help="only the times")
    parser.add_argument("--json", type=Path, help="write the times to a file")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    if not args.no_tests:
        tests = subprocess.run([sys.executable, "-m", "pytest", "-q", str(TESTS)], check=False)
        if tests.returncode:
            sys.exit(tests.returncode)
    device = torch.device(args.device)
    name = (
        torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    )
    print(f"{device} ({name}), torch {torch.__version__}: {args.items:,} rows of {args.dim}, ", end="")
    print(f"{args.tables} tables of {args.hashes} bits, {args.batch} queries")
    found = measure(args, device)
    for what, (median, low, high) in found.items():
        print(f"{what:32} {1e3 * median:10.1f} ms  ({1e3 * low:.1f} to {1e3 * high:.1f})")
    if args.json:
        args.json.write_text(json.dumps({"device": name, "seconds": found}, indent=1))


if __name__ == "__main__":
    main()
