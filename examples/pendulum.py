"""The constants of a damped pendulum, found by descending through the solver of its differential equation.

A pendulum obeys theta'' = -a sin(theta) - b theta'. Its angle is seen every 0.1 s with noise; a, b and the angle from which
it was let go are to be found. The solver takes classical Runge-Kutta steps in a `scan`, which the compiler makes a loop of
native code, and the gradient goes back through all of them. How far the answer may be off is known too: the Jacobian of
the path gives the standard error of each constant.
"""

from __future__ import annotations

import numpy as np
from common import Options, Result, command

import backlit as bl
from backlit import optim

TRUE = {"a": 9.81, "b": 0.25, "start": 1.2}
SECONDS, DT, EVERY, NOISE = 10.0, 0.01, 10, 0.05  # one in ten steps of the solver is observed


def motion(state, a, b):
    theta, omega = state
    return omega, -a * bl.sin(theta) - b * omega


def runge_kutta(f, state, dt):
    shifted = lambda slope, h: tuple(s + h * k for s, k in zip(state, slope, strict=True))
    k1 = f(state)
    k2 = f(shifted(k1, 0.5 * dt))
    k3 = f(shifted(k2, 0.5 * dt))
    k4 = f(shifted(k3, dt))
    mean = tuple((a + 2.0 * b + 2.0 * c + d) / 6.0 for a, b, c, d in zip(k1, k2, k3, k4, strict=True))
    return shifted(mean, dt)


def path(constants):
    """The angle at each observation: [SECONDS / (DT * EVERY)]."""
    a, b, start = constants["a"], constants["b"], constants["start"]

    def step(state, _):
        state = runge_kutta(lambda s: motion(s, a, b), state, DT)
        return state, state[0]

    _, angles = bl.scan(step, (start, 0.0 * start), None, length=round(SECONDS / DT))
    return angles[EVERY - 1 :: EVERY]


@command(epochs=300)
def main(options: Options) -> Result:
    truth = {name: bl.tensor(np.float64(value)) for name, value in TRUE.items()}
    clean = bl.compile(path)(truth)
    seen = clean + NOISE * bl.random.normal(clean.shape, dtype=np.float64)
    start = {"a": 6.0, "b": 0.0, "start": 0.8}
    guess = {name: bl.tensor(np.float64(value), requires_grad=True) for name, value in start.items()}
    optimizer = optim.Adam(guess.values(), lr=0.1)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=options.epochs)

    @bl.compile
    def step():
        optimizer.zero_grad()
        loss = bl.mean((path(guess) - seen) ** 2)
        loss.backward()
        optimizer.step()
        return loss

    for epoch in range(options.epochs):
        loss = step()
        schedule.step()
        if epoch % 50 == 0:
            now = ", ".join(f"{name} {cell.item():.3f}" for name, cell in guess.items())
            options.say(f"epoch {epoch}: loss {loss.item():.5f}, {now}")
    found = {name: cell.detach() for name, cell in guess.items()}
    columns = bl.compile(bl.jacfwd(path))(found)
    jacobian = np.stack([np.asarray(columns[name]) for name in TRUE], axis=1)
    errors = NOISE * np.sqrt(np.diag(np.linalg.inv(jacobian.T @ jacobian)))
    numbers = {name: found[name].item() for name in TRUE}
    off = [abs(numbers[name] - TRUE[name]) / error for name, error in zip(TRUE, errors, strict=True)]
    return Result({**numbers, "off at most, in standard errors": max(off)}, [step])


if __name__ == "__main__":
    raise SystemExit(main())
