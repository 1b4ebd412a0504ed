"""Training two networks beside each other: the time of a step, and the loss at equal time and at equal steps."""

from __future__ import annotations

import time

import torch


class Trained:
    """A network that is trained, with the processor time of its steps.

    Parameters
    ----------
    name : str
        In the table.
    model : torch.nn.Module
        Called with a batch, it returns the loss.
    optimizers : list
        Its optimizers.
    """

    def __init__(self, name, model, optimizers):
        self.name, self.model, self.optimizers = name, model, optimizers
        self.seconds, self.steps = 0.0, 0

    def step(self, batch):
        begin = time.process_time()
        self.model.train()
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        self.model(*batch).backward()
        for optimizer in self.optimizers:
            optimizer.step()
        self.seconds += time.process_time() - begin
        self.steps += 1

    @torch.no_grad()
    def loss(self, batches):
        """The mean loss over held-out batches, in evaluation mode."""
        self.model.eval()
        return float(torch.stack([self.model(*batch) for batch in batches]).mean())


def compare(dense, sampled, batch_of, held_out, steps):
    """Train both for some steps in turns, then the faster one on until their times are equal; prints the table.

    Parameters
    ----------
    dense, sampled : Trained
        The twins.
    batch_of : callable
        The batch of a step, from its number.
    held_out : list
        Batches for the loss.
    steps : int
        Steps of both.
    """
    for step in range(steps):
        for one in (dense, sampled):
            one.step(batch_of(step))
    equal = {one.name: one.loss(held_out) for one in (dense, sampled)}
    milliseconds = {one.name: 1e3 * one.seconds / one.steps for one in (dense, sampled)}
    slow, fast = sorted((dense, sampled), key=lambda one: -one.seconds)
    while fast.seconds < slow.seconds:
        fast.step(batch_of(fast.steps))
    print("| network | ms a step | loss after equal steps | steps in equal time | loss after equal time |")
    print("|---|---|---|---|---|")
    for one in (dense, sampled):
        row = milliseconds[one.name], equal[one.name], one.steps, one.loss(held_out)
        print(f"| {one.name} | {row[0]:.1f} | {row[1]:.3f} | {row[2]:,} | {row[3]:.3f} |", flush=True)
