"""A convolutional network over numbers of some digits, whose last layer, of a class for each number, is sampled.

Images of scikit-learn's handwritten digits are put side by side: by default three, 8 x 24 pixels and 1,000
classes. With ``--convolution`` the last layer stays dense, and the second convolution computes an active set
of its output channels (``SampledConv2d``). Beside it, its dense twin.
"""

from __future__ import annotations

import argparse

import torch
from sklearn.datasets import load_digits
from twins import add_options, compare

from lshsample.torch import SampledConv2d, SampledLinearCrossEntropy, SamplingOptions


class Numbers:
    """Images (rows, 1, 8, 8 * digits), and the numbers on them."""

    def __init__(self, digits, share):
        images, labels = (torch.as_tensor(part) for part in load_digits(return_X_y=True))
        own = torch.isin(torch.arange(len(labels)) % 8, torch.tensor(share))
        self.images, self.labels = images[own].float().view(-1, 8, 8) / 8 - 1, labels[own].long()
        self.powers = 10 ** torch.arange(digits).flip(0)

    def batch(self, rows, seed):
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randint(len(self.labels), (rows, len(self.powers)), generator=generator)
        return torch.cat(self.images[chosen].unbind(1), 2)[:, None], self.labels[chosen] @ self.powers


class Model(torch.nn.Module):
    """Two convolutions, a hidden layer, and the output layer with its loss."""

    def __init__(self, digits, channels, width, head=None, convolution=None):
        super().__init__()
        if convolution is None:
            second = torch.nn.Conv2d(32, channels, 3, padding=1)
        else:
            second = SampledConv2d(32, channels, 3, padding=1, options=convolution)
        self.body = torch.nn.Sequential(
            torch.nn.Conv2d(1, 32, 3, padding=1),
            torch.nn.BatchNorm2d(32),
            torch.nn.ReLU(),
            torch.nn.MaxPool2d(2),
            second,
            torch.nn.ReLU(),
            torch.nn.MaxPool2d(2),
            torch.nn.Flatten(),
            torch.nn.Linear(channels * 4 * digits, width),
            torch.nn.BatchNorm1d(width),
            torch.nn.ReLU(),
        )
        if head is None:
            self.head = torch.nn.Linear(width, 10**digits)
        else:
            self.head = SampledLinearCrossEntropy(width, 10**digits, options=head)

    def forward(self, images, number):
        hidden = self.body(images)
        if isinstance(self.head, torch.nn.Linear):
            return torch.nn.functional.cross_entropy(self.head(hidden), number)
        return self.head(hidden, number)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--convolution", action="store_true", help="sample channels, not classes")
    parser.add_argument("--digits", type=int, default=3, help="of a number")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--channels", type=int, default=128, help="of the second convolution")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument(
        "--active", type=int, help="channels (by default a quarter) or classes (by default a fifth)"
    )
    add_options(parser, 300, [1e-3, 3e-3, 1e-2])
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.convolution:
        active = args.active or args.channels // 4
        name = f"about {active} of {args.channels} channels"
        layers = {"convolution": SamplingOptions(n_active=active, n_hashes=4)}
    else:
        active = args.active or 10**args.digits // 5
        name = f"about {active:,} of {10**args.digits:,} classes"
        layers = {"head": SamplingOptions(n_active=active, sparse=True)}

    def maker(**layers):
        def make(seed):
            torch.manual_seed(seed)
            return Model(args.digits, args.channels, args.width, **layers)

        return make

    training, held_out, test = (Numbers(args.digits, share) for share in ([1, 2, 3, 5, 6, 7], [4], [0]))
    twins = compare(
        {"dense": maker(), name: maker(**layers)},
        lambda seed, step: training.batch(args.batch, 10**5 * seed + step),
        [held_out.batch(500, seed) for seed in range(2)],
        [test.batch(500, seed) for seed in range(2)],
        args,
    )
    images, number = test.batch(1000, 9)
    for what, one in zip(("dense", "sampled"), twins, strict=True):
        with torch.no_grad():
            head, hidden = one.model.head, one.model.body(images)
            best = hidden @ head.weight.T + head.bias
        right = 100 * float((best.argmax(1) == number).float().mean())
        print(f"{what}, after equal time: {right:.1f} % of numbers right")


if __name__ == "__main__":
    main()
