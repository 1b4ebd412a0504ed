"""Measure a server on this machine: rows a second in batches, latency of single rows, reloads under load.

``python tools/measure_serving.py MODEL DATA`` starts ``lshsample serve`` on a copy of the model, with one
worker, and asks it over the loopback. Processor time is that of the server alone, so that it also tells
something on a machine that is busy.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from lshsample import data
from lshsample.xc import Classifier


class Load:
    """Connections that send bodies in turn until they are told to stop."""

    def __init__(self, port: int, bodies: list[bytes], connections: int) -> None:
        self.port, self.bodies = port, bodies
        self.seconds: list[float] = []
        self.errors = 0
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.ask, args=(i,)) for i in range(connections)]

    def ask(self, number: int) -> None:
        """Send requests over one connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        while not self.stop.is_set():
            body, began = self.bodies[number % len(self.bodies)], time.perf_counter()
            connection.request("POST", "/predict", body)
            answer = connection.getresponse()
            answer.read()
            self.errors += answer.status != 200
            self.seconds.append(time.perf_counter() - began)
            number += len(self.threads)

    def run(self, seconds: float, meanwhile: Any = None) -> float:
        """Send requests for a time, or until something else is done; returns how long it took."""
        began = time.perf_counter()
        for thread in self.threads:
            thread.start()
        time.sleep(seconds) if meanwhile is None else meanwhile()
        self.stop.set()
        for thread in self.threads:
            thread.join()
        return time.perf_counter() - began


def processor_seconds(pid: int) -> float:
    """Processor time of a process and its threads, from /proc."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", help="rows to ask for")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--batch", type=int, default=32, help="rows of a request")
    parser.add_argument("--reloads", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1, help="of a prediction")
    given = parser.parse_args()
    x: Any = data.load(given.data).x.tocsr()[:3200]
    rows = []
    for i in range(x.shape[0]):
        own = slice(x.indptr[i], x.indptr[i + 1])
        rows.append({"ids": x.indices[own].tolist(), "values": x.data[own].tolist()})
    starts = range(0, len(rows) - given.batch + 1, given.batch)
    batches = [json.dumps({"rows": rows[i : i + given.batch]}).encode() for i in starts]
    singles = [json.dumps({"rows": [row]}).encode() for row in rows[:1000]]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "model"
        classifier = Classifier.load(given.model)
        classifier.save(place)
        command = [sys.executable, "-m", "lshsample", "serve", str(place), "--port", "0"]
        command += ["--threads", str(given.threads)]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            assert server.stdout is not None
            line = next(line for line in server.stdout if "http://" in line)
            port = int(line.split("http://", 1)[1].split()[0].rsplit(":", 1)[1])
            measure(server.pid, port, batches, singles, given, lambda: classifier.save(place))
        finally:
            server.terminate()
            server.wait()


def measure(
    pid: int, port: int, batches: list[bytes], singles: list[bytes], given: argparse.Namespace, save: Any
) -> None:
    """Measure a server that listens."""
    Load(port, batches, 1).run(1.0)
    before, load = processor_seconds(pid), Load(port, batches, 2)
    took = load.run(given.seconds)
    n_rows = given.batch * len(load.seconds)
    used = 1000 * (processor_seconds(pid) - before) / n_rows
    print(f"batches of {given.batch}: {n_rows / took:,.0f} rows a second, {load.errors} errors")
    print(f"  processor seconds of the server for 1,000 rows: {used:.3f}")
    before, load = processor_seconds(pid), Load(port, singles, 1)
    load.run(given.seconds)
    used = 1000 * (processor_seconds(pid) - before) / len(load.seconds)
    median, late = 1000 * np.percentile(load.seconds, [50, 99])
    print(f"single rows: {median:.2f} ms in the median, {late:.2f} ms at p99, {load.errors} errors")
    print(f"  processor seconds of the server for 1,000 requests: {used:.3f}")

    def reload() -> None:
        for _ in range(given.reloads):
            save()
            time.sleep(1.1)  # the server looks for a new version each second

    load = Load(port, batches, 2)
    load.run(0.0, reload)
    print(f"{given.reloads} reloads: {len(load.seconds):,} requests, {load.errors} errors")


if __name__ == "__main__":
    main()
