"""Training two networks beside each other: the time of a step, and the loss at equal steps and at equal time.

The learning rate of each is chosen on its own, on held-out training rows, after half of the steps. Then both
are trained from the same parameters on the same batches, in turns, with several seeds.
"""

from __future__ import annotations

import math
import time

import torch

from lshsample.torch import RowAdam


def add_options(parser, steps, rates):
    """The options of a comparison, which :func:`compare` takes."""
    parser.add_argument("--steps", type=int, default=steps, help="of both networks")
    parser.add_argument("--rates", type=float, nargs="+", default=rates, help="learning rates to choose from")
    parser.add_argument(
        "--seeds", type=int, default=1, help="number of runs, of other parameters and batches"
    )


class Trained:
    """A network that is trained by ``RowAdam``, with the processor time of its steps."""

    def __init__(self, model, rate):
        self.model, self.optimizer = model, RowAdam(model.parameters(), lr=rate)
        self.seconds, self.steps = 0.0, 0

    def step(self, batch):
        begin = time.process_time()
        self.model.train()
        self.optimizer.zero_grad()
        self.model(*batch).backward()
        self.optimizer.step()
        self.seconds += time.process_time() - begin
        self.steps += 1

    @torch.no_grad()
    def loss(self, batches):
        """The mean loss over batches, in evaluation mode."""
        self.model.eval()
        return float(torch.stack([self.model(*batch) for batch in batches]).mean())


def chosen_rate(make, batch_of, held_out, args):
    """The learning rate of the smallest loss on held-out training rows, after half of the steps."""
    if len(args.rates) == 1:
        return args.rates[0]
    losses = {}
    for rate in args.rates:
        one = Trained(make(args.seeds), rate)  # a seed of no run
        for step in range(max(args.steps // 2, 1)):
            one.step(batch_of(args.seeds, step))
        losses[rate] = one.loss(held_out)
    return min(losses, key=losses.get)


def compare(makes, batch_of, held_out, test, args):
    """Train both for some steps in turns, then the faster one on until their times are equal; prints a table.

    Parameters
    ----------
    makes : dict
        Two functions by name, the dense network's first: each makes a network from a seed, which returns the
        loss of a batch; networks of one seed have the same parameters.
    batch_of : callable
        The batch of a seed and the number of a step.
    held_out, test : list
        Batches to choose learning rates with, and to report the loss of.
    args : argparse.Namespace
        With the options of :func:`add_options`.

    Returns
    -------
    list of Trained
        Both networks of the last seed.
    """
    rates = [chosen_rate(make, batch_of, held_out, args) for make in makes.values()]
    found = []
    for seed in range(args.seeds):
        twins = [Trained(make(seed), rate) for make, rate in zip(makes.values(), rates, strict=True)]
        for step in range(args.steps):
            for one in twins:
                one.step(batch_of(seed, step))
        equal_steps = [(1e3 * one.seconds / one.steps, one.loss(test)) for one in twins]
        slow, fast = sorted(twins, key=lambda one: -one.seconds)
        while fast.seconds < slow.seconds:
            fast.step(batch_of(seed, fast.steps))
        found.append([(*own, one.steps, one.loss(test)) for own, one in zip(equal_steps, twins, strict=True)])
    _print_table(makes, rates, found, args.steps)
    return twins


def _print_table(names, rates, found, steps):
    """A row of each network, the mean over seeds, and the difference of perplexities by seed."""
    print(
        f"| network | learning rate | ms a step | loss after {steps} steps | steps in equal time | loss then |"
    )
    print("|---|---|---|---|---|---|")
    for place, (name, rate) in enumerate(zip(names, rates, strict=True)):
        row = torch.tensor([both[place] for both in found], dtype=torch.float64).mean(0).tolist()
        print(f"| {name} | {rate:g} | {row[0]:.1f} | {row[1]:.3f} | {row[2]:,.0f} | {row[3]:.3f} |")
    for what, place in (("steps", 1), ("time", 3)):
        ratios = [math.exp(sampled[place] - dense[place]) for dense, sampled in found]
        shown = ", ".join(f"{100 * (ratio - 1):+.1f} %" for ratio in ratios)
        print(f"perplexity after equal {what}, sampled against dense, by seed: {shown}", flush=True)
