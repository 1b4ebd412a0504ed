"""A language model with an LSTM over 50,000 words, whose output layer is sampled, beside one with a full softmax.

The text is made by a source of known entropy. Every word belongs to a topic; the next topic depends on the
topic of a word, and the next word on its topic alone, by Zipf's law. So no model has a lower perplexity than
that of the source, and learning means to find the topics of all words.
"""

from __future__ import annotations

import argparse
import time

import torch
from twins import Trained, compare

from lshsample.torch import RowAdam, SampledLinearCrossEntropy, SamplingOptions


class Source:
    """Words by topic: topic t is followed by one of four others."""

    def __init__(self, words, topics, exponent, seed=0):
        generator = torch.Generator().manual_seed(seed)
        self.topics, self.each = topics, words // topics
        self.words = torch.randperm(topics * self.each, generator=generator).view(topics, self.each)
        self.following = torch.stack([torch.randperm(topics, generator=generator)[:4] for _ in range(topics)])
        self.shares = torch.tensor([0.7, 0.15, 0.1, 0.05])
        self.zipf = torch.arange(1, self.each + 1, dtype=torch.float64) ** -exponent
        self.zipf /= self.zipf.sum()

    @property
    def perplexity(self):
        """The exponential of the entropy of a word given those before it."""
        return float(sum(-(p * p.log()).sum() for p in (self.shares.double(), self.zipf)).exp())

    def text(self, rows, length, seed):
        """Rows of word ids (rows, length)."""
        generator = torch.Generator().manual_seed(seed)
        topic = torch.randint(self.topics, (rows,), generator=generator)
        words = []
        for _ in range(length):
            place = torch.multinomial(self.zipf, rows, replacement=True, generator=generator)
            words.append(self.words[topic, place])
            turn = torch.multinomial(self.shares, rows, replacement=True, generator=generator)
            topic = self.following[topic, turn]
        return torch.stack(words, 1)


class Model(torch.nn.Module):
    """Embedding, LSTM, and the output layer with its loss."""

    def __init__(self, words, width, options=None):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = torch.nn.Embedding(words, width, sparse=True)
        self.lstm = torch.nn.LSTM(width, width, batch_first=True)
        if options is None:
            self.head = torch.nn.Linear(width, words)
        else:
            self.head = SampledLinearCrossEntropy(width, words, options=options)

    def forward(self, words):
        hidden = self.lstm(self.embedding(words[:, :-1]))[0].flatten(0, 1)
        target = words[:, 1:].flatten()
        if isinstance(self.head, torch.nn.Linear):
            return torch.nn.functional.cross_entropy(self.head(hidden), target)
        return self.head(hidden, target)


@torch.no_grad()
def begin_at_frequencies(models, text):
    """Set the biases of the output layers to the logarithms of the words' shares of a training text."""
    bias = models[0].head.bias
    counts = torch.bincount(text.flatten(), minlength=len(bias)) + 0.5
    for model in models:
        model.head.bias.copy_((counts / counts.sum()).log())


def head_time(head, width, batch, words, steps):
    """Processor time of forward, backward and update of an output layer alone, a step, in ms."""
    sampled = isinstance(head, SampledLinearCrossEntropy)
    optimizer = RowAdam(head.parameters()) if sampled else torch.optim.Adam(head.parameters(), fused=True)
    loss_of = head if sampled else lambda x, y: torch.nn.functional.cross_entropy(head(x), y)
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(batch, width, generator=generator).requires_grad_()
    target = torch.randint(words, (batch,), generator=generator)
    times = []
    for _ in range(steps + 1):
        begin = time.process_time()
        optimizer.zero_grad()
        loss_of(hidden, target).backward()
        optimizer.step()
        times.append(1e3 * (time.process_time() - begin))
    return sorted(times[1:])[steps // 2]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--words", type=int, default=50_000)
    parser.add_argument("--topics", type=int, default=20)
    parser.add_argument("--exponent", type=float, default=1.5, help="of Zipf's law: how rare rare words are")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=21)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--active", type=int, default=16384)
    parser.add_argument("--lr", type=float, default=1e-2)
    args = parser.parse_args()
    torch.set_num_threads(1)
    source = Source(args.words, args.topics, args.exponent)
    options = SamplingOptions(n_active=args.active, sparse=True)
    models = Model(args.words, args.width), Model(args.words, args.width, options)
    models[1].load_state_dict(models[0].state_dict())
    begin_at_frequencies(models, source.text(200 * args.batch, args.length, 10**7))
    twins = []
    for name, model in zip(("full softmax", "sampled"), models, strict=True):
        twins.append(Trained(name, model, [RowAdam(model.parameters(), lr=args.lr)]))
    held_out = [(source.text(64, args.length, 10**6 + i),) for i in range(4)]
    compare(*twins, lambda step: (source.text(args.batch, args.length, step),), held_out, args.steps)
    size = args.width, args.batch * (args.length - 1), args.words, 5
    heads = [head_time(model.head, *size) for model in models]
    print(f"perplexity of the source {source.perplexity:.1f}")
    print(
        f"output layer, ms a step: full {heads[0]:.1f}, sampled {heads[1]:.1f}: {heads[0] / heads[1]:.1f} times"
    )


if __name__ == "__main__":
    main()
