"""Faults planted in layers, losses, optimizers and schedules, one at a time, and which recorded comparison notices each.

    python tests/faults/reference_faults.py                all of them; some minutes
    python tests/faults/reference_faults.py gates          those whose names contain a word

As for the compiler (`compiler_faults.py`); only the tests of the part in which the fault is are run.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from compiler_faults import ROOT, Fault, noticed_by

PART = Path("src", "backlit")
TESTS = {"optim": ["optimizers"], "nn": ["layers"], "functional": ["functions"]}

FAULTS = [
    # layers
    Fault("gates of an LSTM in another order", "nn/recurrent.py", "    i, f, g, o = _parts(gates, 4)", "    i, f, o, g = _parts(gates, 4)"),
    Fault("gates of a GRU in another order", "nn/recurrent.py", "    (r, z, n), (hr, hz, hn) = ", "    (z, r, n), (hz, hr, hn) = "),
    Fault("reset of a GRU before the product", "nn/recurrent.py", "F.tanh(n + F.sigmoid(r + hr) * hn)", "F.tanh(n * F.sigmoid(r + hr) + hn)"),
    Fault("update of a GRU the other way", "nn/recurrent.py", "    return candidate + update * (hidden - candidate)", "    return hidden + update * (candidate - hidden)"),
    Fault("no second bias of recurrent layers", "nn/recurrent.py", "both = self.bias and self.n_gates != 3", "both = False"),
    Fault("the way back begins at the end of the padding", "nn/recurrent.py", "inside = expand_dims(ew.less(xs[0], lengths), axis=1)", "inside = expand_dims(ew.less(xs[0], lengths + 1), axis=1)"),
    Fault("directions concatenated the other way round", "nn/recurrent.py", "concat(outs, axis=-1)", "concat(outs[::-1], axis=-1)"),
    Fault("projection left out of the state", "nn/recurrent.py", "if self.proj_size else hidden), cell", "if False else hidden), cell"),
    Fault("scores of attention by the whole width", "nn/attention.py", "(1.0 / math.sqrt(q.shape[-1]))", "(1.0 / math.sqrt(self.embed_dim))"),
    Fault("keys and values swapped in the packed projection", "nn/attention.py", "slice(which * self.embed_dim, (which + 1) * self.embed_dim)", "slice((-which % 3) * self.embed_dim, (-which % 3 + 1) * self.embed_dim)"),
    Fault("weights of heads not averaged", "nn/attention.py", "mean(weights, axis=1) if average_attn_weights else weights", "weights"),
    Fault("norms after the layers where they belong before", "nn/transformer.py", "        if self.norm_first:\n", "        if not self.norm_first:\n"),
    Fault("batches not counted", "nn/normalization.py", "            self.num_batches_tracked[...] = self.num_batches_tracked + 1", "            pass"),
    Fault("mean over batches that forgets this one", "nn/normalization.py", "return 1.0 / (self.num_batches_tracked + 1)", "return 1.0 / (self.num_batches_tracked + 2)"),
    Fault("running moments while evaluating of the batch", "nn/normalization.py", "own = self.training or self.running_mean is None", "own = True"),
    Fault("bias of GroupNorm without affine", "nn/normalization.py", "self.scales((num_channels,), affine, affine and bias, dtype)", "self.scales((num_channels,), affine, bias, dtype)"),
    Fault("channels of transposed convolutions swapped", "nn/convolution.py", "(in_channels, out_channels) if self.transposed else", "(out_channels, in_channels) if self.transposed else"),
    Fault("weight of Linear the other way round", "nn/linear.py", "draws.uniform((out_features, in_features)", "draws.uniform((in_features, out_features)"),
    # functions
    Fault("running variance with n for n - 1", "functional/normalization.py", "unbiased = n / (n - 1.0) if n else 1.0", "unbiased = 1.0"),
    Fault("running moments moved the other way", "functional/normalization.py", "cell * (1.0 - momentum) + new * momentum", "cell * momentum + new * (1.0 - momentum)"),
    Fault("eps of an RMSNorm that none is given for", "functional/normalization.py", "least = float(np.finfo(wide.dtype).eps) if eps is None else eps", "least = 1e-5 if eps is None else eps"),
    Fault("eps added to the deviation", "functional/normalization.py", "out = (wide - average) * exponential.rsqrt(spread + eps)", "out = (wide - average) / (spread**0.5 + eps)"),
    Fault("weights of the mean counted as ones", "functional/reduction.py", "        return sum(products) / sum(broadcast_to(", "        return mean(products) + 0.0 * sum(broadcast_to("),
    Fault("smoothing over all classes but one", "functional/classification.py", "spread = label_smoothing / n * ", "spread = label_smoothing / (n - 1) * "),
    Fault("ignored examples counted", "functional/classification.py", "    counts = labels != ignore_index\n", "    counts = labels != -99999\n"),
    Fault("margins not squared", "functional/margin.py", "    over = over * over if p == 2 else over", "    pass"),
    # optimizers
    Fault("eps under the root", "optim/moments.py", "sqrt(second) * scale + like(group.value(\"eps\"), second)", "sqrt(second * scale * scale + like(group.value(\"eps\"), second))"),
    Fault("eps before the correction of the bias", "optim/moments.py", "sqrt(second) * scale + like(group.value(\"eps\"), second)", "(sqrt(second) + like(group.value(\"eps\"), second)) * scale"),
    Fault("no correction of the second moment", "optim/moments.py", "scale = (1.0 / sqrt(1.0 - beta**step)).astype(second.dtype)", "scale = 1.0"),
    Fault("no correction of the first moment", "optim/adam.py", "rate = (group.cell(\"lr\") / (1.0 - beta1**step)).astype(value.dtype)", "rate = group.cell(\"lr\").astype(value.dtype)"),
    Fault("steps counted from 0", "optim/adam.py", "state[\"step\"] + 1.0)", "state[\"step\"] + 1.0) + 1e-6"),
    Fault("decay of AdamW in the gradient", "optim/adam.py", "\"decoupled_weight_decay\": True", "\"decoupled_weight_decay\": False"),
    Fault("AMSGrad that keeps the last", "optim/adam.py", "maximum(state[\"max_exp_avg_sq\"], second)", "second"),
    Fault("Nesterov's momentum left out", "optim/sgd.py", "grad = grad + momentum * buf if group[\"nesterov\"] else buf", "grad = buf"),
    Fault("dampening of the first step too", "optim/sgd.py", "fresh = state[\"step\"] == 0", "fresh = state[\"step\"] < 0"),
    Fault("eps of Adamax after the maximum", "optim/moments.py", "maximum(like(beta2, value) * state[\"exp_inf\"], abs(grad) + like(group.value(\"eps\"), value)),", "maximum(like(beta2, value) * state[\"exp_inf\"], abs(grad)),"),
    Fault("momentum of NAdam of this step twice", "optim/moments.py", "0.96 ** ((step + 1.0) * fade)", "0.96 ** (step * fade)"),
    Fault("RMSprop that is never centred", "optim/adaptive.py", "            square = square - mean * mean", "            pass"),
    Fault("decay of rates of Adagrad one step early", "optim/adaptive.py", "(1.0 + state[\"step\"] * group.value(\"lr_decay\"))", "(1.0 + (state[\"step\"] + 1.0) * group.value(\"lr_decay\"))"),
    Fault("order of the averages of Adadelta", "optim/adaptive.py", "delta = sqrt(known + eps) / sqrt(square + eps) * grad", "delta = sqrt(known) / sqrt(square) * grad + eps"),
    Fault("Lion's second beta for its first", "optim/large.py", "like(beta1, value) * first + like(1 - beta1, value) * grad\n        )", "like(beta2, value) * first + like(1 - beta2, value) * grad\n        )"),
    Fault("LAMB's trust of the decayed alone", "optim/large.py", "own, other = _norm(value), _norm(update)", "own, other = _norm(value), _norm(first)"),
    Fault("rate of Muon for wide matrices", "optim/large.py", "factor = max(1.0, rows / max(columns, 1)) ** 0.5", "factor = max(1.0, columns / max(rows, 1)) ** 0.5"),
    Fault("decay of an ascent the wrong way", "optim/base.py", "self._update(value, -grad if group.get(\"maximize\") else grad, state, group)", "self._update(value, grad, state, group)"),
    Fault("clipping without its 1e-6", "nn/utils/clip.py", "factor = minimum(max_norm / (norm + 1e-6), 1.0)", "factor = minimum(max_norm / norm, 1.0)"),
    Fault("averages of the new with the decay", "optim/swa_utils.py", "count: decay * average + (1 - decay) * parameter", "count: decay * parameter + (1 - decay) * average"),
    # schedules
    Fault("milestones once each", "optim/lr_scheduler/decay.py", "times = self.milestones.count(self.last_epoch)", "times = int(self.last_epoch in self.milestones)"),
    Fault("cosine that ends above eta_min", "optim/lr_scheduler/decay.py", "return [now / before * (rate - low) + low for rate in rates]", "return [now / before * rate for rate in rates]"),
    Fault("one patience less", "optim/lr_scheduler/plateau.py", "if self.num_bad_epochs > self.patience:", "if self.num_bad_epochs >= self.patience:"),
    Fault("cycles that turn one step late", "optim/lr_scheduler/cycles.py", "turn = float(pct_start * total_steps) - 1", "turn = float(pct_start * total_steps)"),
]  # fmt: skip


def main() -> None:
    """Plants the faults named on the command line, or all."""
    words = sys.argv[1:]
    chosen = [f for f in FAULTS if not words or any(w == f.name or w in f.name.split() for w in words)]
    unnoticed = 0
    with tempfile.TemporaryDirectory() as folder:
        for fault in chosen:
            part = "optim" if fault.file.startswith("nn/utils") else fault.file.split("/")[0]
            tests = [ROOT / "tests" / "references" / f"test_recorded_{name}.py" for name in TESTS[part]]
            found = noticed_by(fault, Path(folder), PART, tests)
            unnoticed += not found
            print(f"{fault.name}: {found or 'NOBODY'}", flush=True)
    print(f"{len(chosen)} faults, {unnoticed} that nobody noticed")
    sys.exit(unnoticed > 0)


if __name__ == "__main__":
    main()
