"""Every schedule of the table, saved in the middle and continued."""

from __future__ import annotations

import numpy as np
import pytest
from reference_optim import METRICS, SCHEDULES

import backlit as bl
from backlit import optim
from backlit.core.errors import DataError

TABLE = {**SCHEDULES, "SWALR at once": lambda s, o: s.SWALR(o, 0.02, anneal_epochs=0)}


def made(name):
    a, b = (bl.tensor(np.ones(2), requires_grad=True) for _ in range(2))
    optimizer = optim.SGD([{"params": [a]}, {"params": [b], "lr": 0.04}], lr=0.1, momentum=0.9)
    place = optim.swa_utils if name.startswith("SWALR") else optim.lr_scheduler
    return optimizer, TABLE[name](place, optimizer)


def advance(name, scheduler, k):
    scheduler.step(METRICS[k]) if "Plateau" in name else scheduler.step()


@pytest.mark.parametrize("name", TABLE)
def test_a_saved_schedule_continues_bit_for_bit(name, tmp_path):
    optimizer, scheduler = made(name)
    for k in range(17):
        advance(name, scheduler, k)
    bl.save({"s": scheduler.state_dict(), "o": optimizer.state_dict()}, tmp_path / "state")
    other, second = made(name)
    saved = bl.load(tmp_path / "state")
    other.load_state_dict(saved["o"])
    second.load_state_dict(saved["s"])
    for k in range(17, 50):
        advance(name, scheduler, k)
        advance(name, second, k)
        assert second.get_last_lr() == scheduler.get_last_lr()
        assert [g["momentum"] for g in other.param_groups] == [g["momentum"] for g in optimizer.param_groups]
    with pytest.raises(DataError, match="load_state_dict"):
        second.load_state_dict({})
