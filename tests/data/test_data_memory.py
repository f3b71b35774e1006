"""Steps leave nothing behind: what `benchmarks/memory.py` measures over 10,000 of them, over fewer."""

import gc
import sys

import numpy as np
import pytest

import backlit as bl
from backlit import data, nn, optim
from backlit.data import transforms

WARM_UP, STEPS = 400, 800


@pytest.mark.slow
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("threads", [0, 1])
def test_steps_keep_no_objects(compiled, threads):
    net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 10))
    optimizer = optim.Adam(net.parameters())
    images, labels = data.load_digits()
    dataset = data.TensorDataset(images.reshape(-1, 1, 8, 8), labels)
    augment = transforms.Compose([transforms.RandomCrop(8, padding=1), lambda x: x.reshape(len(x), -1)])
    loader = data.DataLoader(dataset, 32, shuffle=True, num_workers=threads, transform=augment)

    def step(x, y):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    run = bl.compile(step) if compiled else step
    kept, done = np.zeros((2, 2), np.int64), 0
    while done < WARM_UP + STEPS:
        for x, y in loader:
            run(x, y).item()
            done += 1
            if done in (WARM_UP, WARM_UP + STEPS):
                gc.collect()
                kept[int(done > WARM_UP)] = len(gc.get_objects()), sys.getallocatedblocks()
    objects, blocks = (kept[1] - kept[0]).tolist()
    assert objects < 0.05 * STEPS  # one object kept by each step would be 800
    assert blocks < 0.5 * STEPS
