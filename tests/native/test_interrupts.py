"""Ctrl-C ends a long native call soon, and leaves everything usable."""

import json
import subprocess
import sys

SETUP = """
import json, os, signal, sys, threading, time
import numpy as np
import scipy.sparse as sp
from lshsample import ExactTop, Full, HashTables, Retrieve, hash_rows, make_family
from lshsample._native import core, layers, topk
from lshsample._native.byterows import ByteRows

signal.signal(signal.SIGINT, signal.default_int_handler)
rng = np.random.default_rng(0)
rows = (rng.random((40_000, 32)) + 4).astype(np.float32)  # a common mean: few large buckets
tables = HashTables(make_family("simhash", dim=32, n_hashes=4, n_tables=20)).build(rows)
sampler = Retrieve().bind(tables=tables)
queries = np.tile(rows, (5, 1))
expected = tables.query(rows[:3]).ids.tolist()

def latency(call, delay=0.15):
    "Seconds from the signal to KeyboardInterrupt; None if the call ended before."
    sent = []
    def send():
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)
    timer = threading.Timer(delay, send)
    timer.start()
    try:
        call()
    except KeyboardInterrupt:
        return time.monotonic() - sent[0]
    finally:
        timer.cancel()
        timer.join()
    return None

def settled():
    return tables.query(rows[:3]).ids.tolist() == expected
"""

CALLS = """
wide = rng.standard_normal((3000, 2048), dtype=np.float32)
many = rng.standard_normal((30_000, 2048), dtype=np.float32)
copy = ByteRows(many, None)
csr = sp.random_array((20_000, 3000), density=0.05, format="csr", dtype=np.float32, rng=rng)
csr = core.csr_rows(csr, "x")
dense = rng.standard_normal((3000, 512), dtype=np.float32)
pattern = np.arange(501) * 20_000, np.tile(np.arange(20_000, dtype=np.int32), 500)
some = core.rows_between(csr, 0, 500)
more = make_family("simhash", dim=32, n_hashes=16, n_tables=400)
calls = {
    "query": lambda n: tables.query(queries[:4000], threads=n),
    "search": lambda n: sampler.search(queries, threads=n),
    "range_search": lambda n: tables.range_search(queries, 0.9, threads=n),
    "similar_pairs": lambda n: tables.similar_pairs(0.99, threads=n),
    "pooled": lambda n: sampler.sample(queries[:20_000], pool=True, threads=n),
    "full": lambda n: Full().bind(n_items=400_000).sample(n_queries=10_000, threads=n),
    "exact": lambda n: ExactTop(5).bind(tables=tables).sample(queries, threads=n),
    "hash": lambda n: hash_rows(more, queries, threads=n),
    "build": lambda n: HashTables(more, threads=n).build(queries),
    "top_k": lambda n: topk.top_k(wide, many, None, 10, threads=n),
    "byte_top_k": lambda n: [copy.top_k(wide, 10, threads=n) for _ in range(2)],
    "nt": lambda n: [layers.matmul_nt(wide, many, threads=n) for _ in range(9)],
    "nn": lambda n: [layers.matmul_nn(wide, many[:2048], threads=n) for _ in range(99)],
    "tn": lambda n: [layers.matmul_tn(wide, wide, threads=n) for _ in range(99)],
    "csr": lambda n: [layers.csr_matmul(csr, dense, threads=n) for _ in range(99)],
    "pairs": lambda n: [layers.csr_pair_products(some, csr, *pattern, threads=n) for _ in range(9)],
}
"""


def run(script):
    done = subprocess.run([sys.executable, "-c", SETUP + script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


CHECK = """
out = {}
for name, call in calls.items():
    for threads in (1, 2):
        out[f"{name}, {threads} threads"] = latency(lambda: call(threads))
out["settled"] = settled()
print(json.dumps(out))
"""


def test_every_long_call_ends_soon_after_the_signal():
    """Each takes seconds otherwise. The bound leaves room for a busy machine: it is 0.05 s on an idle one."""
    out = run(CALLS + CHECK)
    assert out.pop("settled")
    late = {name: seconds for name, seconds in out.items() if seconds is None or seconds > 2}
    assert not late


CHANGES = """
more = make_family("simhash", dim=32, n_hashes=14, n_tables=300)
small = HashTables(more, threads=2).build(rows[:50])
found, n_ids = small.query(rows[:5]).ids.tolist(), small.n_ids
seconds = {}
seconds["build"] = latency(lambda: small.build(queries))
seconds["rebuild"] = latency(lambda: small.rebuild(queries))
seconds["insert"] = latency(lambda: small.insert(np.arange(50, 150_050), queries[:150_000]))
same = small.n_ids == n_ids and small.query(rows[:5]).ids.tolist() == found
small.insert([50], rows[50:51])
print(json.dumps([seconds, same, small.n_ids]))
"""


def test_interrupted_changes_are_not_made():
    seconds, same, n_ids = run(CHANGES)
    assert all(value is not None and value < 2 for value in seconds.values()), seconds
    assert same
    assert n_ids == 51


HANDLERS = """
seen = []
signal.signal(signal.SIGINT, lambda *_: seen.append(time.monotonic()))
first = tables.query(queries[:100]).ids
timer = threading.Timer(0.03, lambda: os.kill(os.getpid(), signal.SIGINT))
timer.start()
same = True
while not seen and same:
    same = bool((tables.query(queries[:100], threads=2).ids == first).all())
timer.join()

class Stop(Exception):
    pass

def stop(*_):
    raise Stop("by the handler")

signal.signal(signal.SIGINT, stop)
timer = threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGINT))
timer.start()
try:
    sampler.search(queries, threads=2)
    caught = None
except Stop as error:
    caught = str(error)
timer.join()

# A call in another thread goes on; the main thread gets the exception where it waits.
signal.signal(signal.SIGINT, signal.default_int_handler)
result = []
thread = threading.Thread(target=lambda: result.append(len(sampler.search(queries[:100], threads=2)[0])))
thread.start()
waited = latency(lambda: [time.sleep(0.01) for _ in range(1000)])
thread.join()
print(json.dumps([len(seen), same, caught, result, waited]))
"""


def test_the_handler_of_the_signal_decides():
    """The call goes on after a handler that raises nothing; what another one raises, is raised."""
    n_seen, same, caught, result, waited = run(HANDLERS)
    assert n_seen == 1
    assert same
    assert caught == "by the handler"
    assert result == [100]
    assert waited is not None


def test_a_handler_may_use_the_library_itself():
    """The call inside of the handler has its own job and workspace."""
    script = """
found = []
def look(*_):
    found.append(tables.query(rows[:3], threads=2).ids.tolist() == expected)
    signal.setitimer(signal.ITIMER_REAL, 0.1)  # not before its end: on a slow machine they would nest
signal.signal(signal.SIGALRM, look)
first = tables.query(queries[:100]).ids
signal.setitimer(signal.ITIMER_REAL, 0.05)
same = all(bool((tables.query(queries[:100], threads=n).ids == first).all()) for n in (1, 2, 3))
while not found:
    tables.query(queries[:100], threads=2)
signal.setitimer(signal.ITIMER_REAL, 0)
print(json.dumps([all(found), len(found) > 0, same]))
"""
    assert run(script) == [True, True, True]
