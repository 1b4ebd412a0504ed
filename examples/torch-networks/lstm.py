"""A language model with an LSTM over 50,000 words, whose output layer is sampled, beside one with a full softmax.

The text is made by a source of known entropy. Every word belongs to a topic; the next topic depends on the
topic of a word, and the next word on its topic alone, by Zipf's law. So no model has a lower perplexity than
that of the source, and learning means to find the topics of all words.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from twins import add_options, compare

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
        self.embedding = torch.nn.Embedding(words, width, sparse=True)
        self.lstm = torch.nn.LSTM(width, width, batch_first=True)
        if options is None:
            self.head = torch.nn.Linear(width, words)
        else:
            self.head = SampledLinearCrossEntropy(width, words, options=options)

    def forward(self, words):
        return self.loss_of(self.hidden(words), words[:, 1:].flatten())

    def hidden(self, words):
        return self.lstm(self.embedding(words[:, :-1]))[0].flatten(0, 1)

    def loss_of(self, hidden, target):
        if isinstance(self.head, torch.nn.Linear):
            return torch.nn.functional.cross_entropy(self.head(hidden), target)
        return self.head(hidden, target)


def head_times(models, words, rounds=7):
    """Processor times of forward, backward and update of the output layers alone, in turns: medians, in ms.

    The states and targets are those of a batch of the trained networks.
    """
    calls = []
    for model in models:
        model.train()
        with torch.no_grad():
            hidden, target = model.hidden(words), words[:, 1:].flatten()
        sampled = isinstance(model.head, SampledLinearCrossEntropy)
        parameters = model.head.parameters()
        optimizer = RowAdam(parameters) if sampled else torch.optim.Adam(parameters, fused=True)
        calls.append((model.loss_of, hidden.requires_grad_(), target, optimizer))
    times = [[], []]
    for _ in range(rounds + 1):
        for own, (loss_of, hidden, target, optimizer) in zip(times, calls, strict=True):
            begin = time.process_time()
            optimizer.zero_grad()
            loss_of(hidden, target).backward()
            optimizer.step()
            own.append(1e3 * (time.process_time() - begin))
    return [statistics.median(own[1:]) for own in times]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--words", type=int, default=50_000)
    parser.add_argument("--topics", type=int, default=20)
    parser.add_argument("--exponent", type=float, default=1.5, help="of Zipf's law: how rare rare words are")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=21)
    parser.add_argument("--active", type=int, default=16384)
    add_options(parser, 200, [3e-3, 1e-2, 3e-2])
    args = parser.parse_args()
    torch.set_num_threads(1)
    source = Source(args.words, args.topics, args.exponent)
    frequent = source.text(200 * args.batch, args.length, 10**7)
    counts = torch.bincount(frequent.flatten(), minlength=args.words) + 0.5

    def maker(options):
        def make(seed):
            torch.manual_seed(seed)
            model = Model(args.words, args.width, options)
            with torch.no_grad():  # biases begin at the logarithms of the words' shares of a training text
                model.head.bias.copy_((counts / counts.sum()).log())
            return model

        return make

    def texts(first):
        return [(source.text(64, args.length, first + i),) for i in range(4)]

    twins = compare(
        {
            "full softmax": maker(None),
            f"sampled, about {args.active:,}": maker(SamplingOptions(n_active=args.active, sparse=True)),
        },
        lambda seed, step: (source.text(args.batch, args.length, 10**5 * seed + step),),
        texts(2 * 10**6),
        texts(10**6),
        args,
    )
    times = head_times([one.model for one in twins], source.text(args.batch, args.length, 0))
    print(f"perplexity of the source {source.perplexity:.1f}")
    print(
        f"output layer, ms a step: full {times[0]:.1f}, sampled {times[1]:.1f}: {times[0] / times[1]:.1f} times"
    )


if __name__ == "__main__":
    main()
