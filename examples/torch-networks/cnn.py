"""A convolutional network over numbers of three digits, whose last layer of 1,000 classes is sampled.

Images of scikit-learn's handwritten digits are put side by side: 8 x 24 pixels, a class for each number. With
``--convolution`` the last layer stays dense, and the second convolution computes an active set of its output
channels (``SampledConv2d``). Beside it, its dense twin.
"""

from __future__ import annotations

import argparse

import torch
from sklearn.datasets import load_digits
from twins import Trained, compare

from lshsample.torch import RowAdam, SampledConv2d, SampledLinearCrossEntropy, SamplingOptions

CLASSES = 1000


class Numbers:
    """Images (rows, 1, 8, 24) of three digits, and their numbers; every fourth digit is held out."""

    def __init__(self, held_out):
        images, labels = (torch.as_tensor(part) for part in load_digits(return_X_y=True))
        own = (torch.arange(len(labels)) % 4 == 0) == held_out
        self.images, self.labels = images[own].float().view(-1, 8, 8) / 8 - 1, labels[own].long()

    def batch(self, rows, seed):
        chosen = torch.randint(len(self.labels), (rows, 3), generator=torch.Generator().manual_seed(seed))
        number = self.labels[chosen] @ torch.tensor([100, 10, 1])
        return torch.cat(self.images[chosen].unbind(1), 2)[:, None], number


class Model(torch.nn.Module):
    """Two convolutions, a hidden layer, and the output layer with its loss."""

    def __init__(self, channels, width, head=None, convolution=None):
        super().__init__()
        torch.manual_seed(0)
        if convolution is None:
            second = torch.nn.Conv2d(32, channels, 3, padding=1)
        else:
            second = SampledConv2d(32, channels, 3, padding=1, options=convolution)
        self.body = torch.nn.Sequential(
            torch.nn.Conv2d(1, 32, 3, padding=1),
            torch.nn.ReLU(),
            torch.nn.MaxPool2d(2),
            second,
            torch.nn.ReLU(),
            torch.nn.MaxPool2d(2),
            torch.nn.Flatten(),
            torch.nn.Linear(channels * 12, width),
            torch.nn.ReLU(),
        )
        if head is None:
            self.head = torch.nn.Linear(width, CLASSES)
        else:
            self.head = SampledLinearCrossEntropy(width, CLASSES, options=head)

    def forward(self, images, number):
        hidden = self.body(images)
        if isinstance(self.head, torch.nn.Linear):
            return torch.nn.functional.cross_entropy(self.head(hidden), number)
        return self.head(hidden, number)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--convolution", action="store_true", help="sample channels, not classes")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--channels", type=int, default=128, help="of the second convolution")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--active", type=int, help="channels (by default a quarter) or classes (200)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.convolution:
        active = args.active or args.channels // 4
        name = f"{active} of {args.channels} channels, about"
        layers = {"convolution": SamplingOptions(n_active=active, n_hashes=4, importance="off")}
    else:
        active = args.active or 200
        name = f"{active} of {CLASSES} classes, about"
        layers = {"head": SamplingOptions(n_active=active, sparse=True)}
    models = Model(args.channels, args.width), Model(args.channels, args.width, **layers)
    models[1].load_state_dict(models[0].state_dict())
    twins = [
        Trained(label, model, [RowAdam(model.parameters(), lr=2e-3)])
        for label, model in zip(("dense", name), models, strict=True)
    ]
    training, held_out = Numbers(held_out=False), Numbers(held_out=True)
    evaluated = [held_out.batch(500, seed) for seed in range(2)]
    compare(*twins, lambda step: training.batch(args.batch, step), evaluated, args.steps)
    images, number = held_out.batch(1000, 9)
    for one in twins:
        with torch.no_grad():
            head, hidden = one.model.head, one.model.body(images)
            best = hidden @ head.weight.T + head.bias
        print(f"{one.name}: {100 * float((best.argmax(1) == number).float().mean()):.1f} % of numbers right")


if __name__ == "__main__":
    main()
