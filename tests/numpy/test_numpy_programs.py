"""Small NumPy programs, run as they are under NumPy and under backlit.numpy: equal values, and gradients."""

from __future__ import annotations

import numpy
import pytest

import backlit as bl
import backlit.numpy as bnp
from backlit import grad, jvp
from backlit.autodiff.check import directional


def heat(np, u):
    """The heat equation, in place, with reflecting ends."""
    u = np.array(u)
    for _ in range(20):
        u[1:-1] += 0.2 * (u[2:] - 2 * u[1:-1] + u[:-2])
        u[0], u[-1] = u[1], u[-2]
    return np.sum(u**2 * np.linspace(0, 1, u.shape[0]))


def network(np, weights):
    """A classifier with one hidden layer; its mean loss."""
    x = np.sin(np.arange(24.0)).reshape(8, 3)
    labels = np.array([0, 1, 1, 0, 1, 0, 0, 1])
    w, v = weights[:12].reshape(3, 4), weights[12:20].reshape(4, 2)
    logits = np.tanh(x @ w) @ v
    logits = logits - logits.max(axis=1, keepdims=True)
    logs = logits - np.log(np.sum(np.exp(logits), axis=1, keepdims=True))
    return -np.mean(logs[np.arange(8), labels])


def orbit(np, start):
    """Three bodies by the leapfrog method; the energy of their positions at the end."""
    place, speed = start[:9].reshape(3, 3), start[9:].reshape(3, 3)
    mass = np.array([3.0, 2.0, 1.0])

    def pull(place):
        gap = place[None, :, :] - place[:, None, :]
        far = np.sqrt(np.sum(gap**2, axis=-1) + 0.1)
        return np.einsum("ijk,ij->ik", gap, mass[None, :] / far**3)

    for _ in range(10):
        speed = speed + 0.05 * pull(place)
        place = place + 0.1 * speed
        speed += 0.05 * pull(place)
    return np.linalg.norm(place - place.mean(0)) + np.std(speed)


def filtered(np, parameters):
    """The log likelihood of a scalar Kalman filter."""
    a, q, r = parameters[0], np.exp(parameters[1]), np.exp(parameters[2])
    data = np.cos(np.arange(12) * 0.7) + 0.1 * np.arange(12)
    mean, spread, total = np.zeros(()), np.ones(()), 0.0
    trail = np.empty(12)
    for k, y in enumerate(data):
        mean, spread = a * mean, a * a * spread + q
        size = spread + r
        total += -0.5 * (np.log(2 * np.pi * size) + (y - mean) ** 2 / size)
        gain = spread / size
        mean, spread = mean + gain * (y - mean), (1 - gain) * spread
        trail[k] = mean
    return total + np.dot(trail, trail)


def option(np, market):
    """An American put on a binomial tree."""
    price, volatility, rate = market
    steps, strike = 30, 1.1
    dt = 1.0 / steps
    up = np.exp(volatility * np.sqrt(dt))
    chance = (np.exp(rate * dt) - 1 / up) / (up - 1 / up)
    prices = price * up ** (2.0 * np.arange(steps + 1) - steps)
    value = np.maximum(strike - prices, 0)
    for _ in range(steps):
        value = np.exp(-rate * dt) * (chance * value[1:] + (1 - chance) * value[:-1])
        prices = prices[1:] / up
        value = np.where(strike - prices > value, strike - prices, value)
    return value[0]


def mixture(np, parameters):
    """The log likelihood of two normal distributions, by a shifted sum of exponentials."""
    means, scales, weights = parameters[:2], np.abs(parameters[2:4]) + 0.1, parameters[4:6]
    x = np.concatenate([np.linspace(-2, -1, 5), np.linspace(1, 3, 6)])[:, np.newaxis]
    logs = weights - np.log(np.exp(weights).sum()) - 0.5 * ((x - means) / scales) ** 2 - np.log(scales)
    most = np.amax(logs, axis=1, keepdims=True)
    return (most[:, 0] + np.log(np.exp(logs - most).sum(1))).sum()


def regression(np, x):
    """Ridge regression on powers of x by normal equations; the error on other points."""
    basis = np.vander(x, 4)
    target = np.sin(np.linspace(0, 3, x.size))
    weights = np.linalg.solve(basis.T @ basis + 0.1 * np.eye(4), basis.T @ target)
    test = np.linspace(-1.0, 1.0, 7)
    return np.mean((np.polyval(weights, test) - np.sin(2 * test)) ** 2)


def transport(np, cost):
    """Sinkhorn's iteration; the cost of moving one distribution to another."""
    cost = cost.reshape(4, 4) ** 2
    kernel = np.exp(-cost / 0.5)
    a, b = np.full(4, 0.25), np.array([0.1, 0.2, 0.3, 0.4])
    u = np.ones_like(a)
    for _ in range(15):
        v = b / (kernel.T @ u)
        u = a / (kernel @ v)
    return np.sum(np.outer(u, v) * kernel * cost)


def spectrum(np, signal):
    """A smoothed spectrum, its centre and spread, with odds and ends of NumPy."""
    window = np.hanning(signal.size)
    smooth = np.convolve(signal * window, np.ones(3) / 3, mode="same")
    power = np.abs(np.fft.rfft(smooth)) ** 2
    power = power / np.trapezoid(power)
    bins = np.arange(power.size)
    centre = np.average(bins, weights=power)
    order = np.argsort(-power)
    return centre + np.sqrt(np.average((bins - centre) ** 2, weights=power)) + np.cumsum(power[order])[2]


def picture(np, pixels):
    """Edges of an image by rolling and masks, written into a copy."""
    image = pixels.reshape(5, 6).copy()
    gx, gy = np.roll(image, -1, axis=1) - image, np.gradient(image, axis=0)
    size = np.hypot(gx, gy)
    image[size > np.median(size)] *= 2.0
    image[::2, [0, -1]] = size[::2, [1, 2]]
    blocks = image[:4].reshape(2, 2, 3, 2).mean(axis=(1, 3))
    return np.percentile(blocks, 60) + np.var(np.pad(image, 1, mode="edge")) + np.clip(image, 0, 1).sum()


PROGRAMS = [(heat, 9), (network, 20), (orbit, 18), (filtered, 3), (option, 3), (mixture, 6), (regression, 10), (transport, 16), (spectrum, 16), (picture, 30)]  # fmt: skip


@pytest.mark.parametrize(("program", "size"), PROGRAMS, ids=[p.__name__ for p, _ in PROGRAMS])
def test_a_program_gives_numpys_value_and_is_differentiable(program, size):
    rng = numpy.random.default_rng(size)
    x, way = rng.uniform(0.1, 1.0, size), rng.standard_normal(size)
    wanted = program(numpy, x)
    assert float(program(bnp, bnp.array(x))) == pytest.approx(float(wanted), rel=1e-12)
    expected, _ = directional(lambda t: numpy.asarray(program(numpy, x + t * way)), 1e-5)
    slope = grad(lambda x: program(bnp, x))(x)
    assert float(slope.numpy() @ way) == pytest.approx(float(expected), rel=1e-6)
    _, pushed = jvp(lambda x: program(bnp, x), (x,), (way,))
    assert pushed.item() == pytest.approx(float(slope.numpy() @ way), rel=1e-10)


def test_programs_of_others_that_import_numpy(tmp_path):
    source = "import numpy as np\n\ndef f(x):\n    y = np.zeros_like(x)\n    y[::2] = np.exp(x[::2])\n    return np.sum(y) + np.sum(x[1::2])\n"
    path = tmp_path / "program.py"
    path.write_text(source.replace("import numpy as np", "import backlit.numpy as np"))
    names: dict[str, object] = {}
    exec(compile(path.read_text(), str(path), "exec"), names)  # noqa: S102 - the program above
    assert grad(names["f"])(numpy.zeros(3)).tolist() == [1, 1, 1]
    compiled = bl.compile(lambda x: grad(names["f"])(x))
    assert compiled(bl.tensor(numpy.zeros(3))).tolist() == [1, 1, 1]
