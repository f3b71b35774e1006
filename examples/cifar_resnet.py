"""Small photographs by ResNet-20 (He et al., 2016, section 4.2), on a subset of CIFAR-10.

Three stages of three residual blocks, of 16, 32 and 64 channels; each block adds to what it is given. With 4,000 images to
learn from, moved and mirrored at random, much less is reached than with all 50,000.
"""

from __future__ import annotations

from common import Options, Result, command

import backlit as bl
from backlit import data, nn, optim, train
from backlit.data import transforms
from backlit.nn import functional as F

FILE, BATCH, RATE, BLOCKS = "cifar10/cifar10_subset.npz", 64, 0.1, 3
MEAN, STD = (0.491, 0.482, 0.447), (0.247, 0.243, 0.262)


class Block(nn.Module):
    """Two convolutions and what goes past them; with `stride` 2 the images become half as large."""

    def __init__(self, n_in: int, n_out: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.stride, self.new = stride, n_out - n_in

    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        past = x[:, :, :: self.stride, :: self.stride]  # no parameters: option A of the paper
        if self.new:
            past = F.pad(past, (0, 0, 0, 0, self.new // 2, self.new // 2))
        return F.relu(out + past)


def resnet20():
    blocks = []
    for n_in, n_out, stride in ((16, 16, 1), (16, 32, 2), (32, 64, 2)):
        blocks += [Block(n_in, n_out, stride), *(Block(n_out, n_out, 1) for _ in range(BLOCKS - 1))]
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), *blocks,
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip
    for p in model.parameters():
        if p.ndim == 4:
            nn.init.kaiming_normal_(p, mode="fan_out", nonlinearity="relu")
    return model


def load(options: Options, part: str) -> data.TensorDataset:
    """Images `[n, 3, 32, 32]` and labels."""
    arrays = data.read_npz(options.file(FILE))
    prepare = transforms.Compose([transforms.ChannelsFirst(), transforms.ToFloat(), transforms.Normalize(MEAN, STD)])
    return data.TensorDataset(prepare(arrays[f"x_{part}"]), arrays[f"y_{part}"].astype("int64"))


@command(epochs=8)
def main(options: Options) -> Result:
    moved = transforms.Compose([transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()])
    loader = data.DataLoader(
        load(options, "train"), BATCH, shuffle=True, drop_last=True, transform=moved, prefetch_factor=2
    )
    model = resnet20()
    optimizer = optim.SGD(model.parameters(), lr=RATE, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, epochs=options.epochs, steps_per_epoch=len(loader), cycle_momentum=False
    )
    trainer = bl.Trainer(model, optimizer, F.cross_entropy, {"accuracy": train.Accuracy()}, scheduler=schedule)
    trainer.fit(loader, options.epochs, verbose=True)
    found = trainer.evaluate(data.DataLoader(load(options, "test"), 100))
    return Result({"test accuracy": found["accuracy"]}, [trainer])


if __name__ == "__main__":
    raise SystemExit(main())
