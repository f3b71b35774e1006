"""What a person is told who makes one of the common mistakes, and in which layer."""

from __future__ import annotations

import numpy as np
import pytest

import backlit as bl
from backlit import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten())
        self.head = nn.Sequential(nn.Linear(8 * 6 * 6, 10), nn.ReLU(), nn.Linear(11, 2))

    def forward(self, x):
        return self.head(self.features(x))


class Typo(nn.Module):
    def Forward(self, x):
        return x


CONV = "in features.0, Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1)), of Net"
HEAD = "in head.2, Linear(in_features=11, out_features=2, bias=True), of Net"
MISTAKES = [
    (lambda: Net()(np.ones((2, 3, 8, 8))), bl.DTypeError, "use .astype('float32') on the input", CONV),
    (lambda: Net()(bl.ones((2, 3, 8, 8))), bl.ShapeError, "linear: expected input [..., 11] for weight float32[2, 11]", HEAD),
    (lambda: bl.compile(lambda m, x: m(x))(Net(), bl.ones((2, 3, 8, 8))), bl.ShapeError, "[..., 11]", HEAD),
    (lambda: bl.grad(lambda m, x: m(x).sum())(Net(), bl.ones((2, 3, 8, 8))), bl.ShapeError, "[..., 11]", HEAD),
    (lambda: Net()(bl.ones((2, 8, 8, 3))), bl.ShapeError, "for 8 channels in 1 group", CONV),
    (lambda: Net()(bl.ones((8, 8))), bl.ShapeError, "[batch, channels, height, width]", CONV),
    (lambda: nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))(bl.ones((1, 2))), bl.ShapeError, "more than one value for each channel", "in 1, BatchNorm1d"),
    (lambda: nn.Sequential(nn.Linear(2, 3), nn.ReLU), TypeError, "Sequential: expected modules, got the class ReLU (write ReLU(...)) at '1'", None),
    (lambda: nn.ModuleList([nn.ReLU]), TypeError, "got the class ReLU (write ReLU(...))", None),
    (lambda: nn.Sequential(nn.LSTM(2, 3), nn.Linear(3, 1))(bl.ones((4, 2, 2))), TypeError, "LSTM gives a tuple of 2, and Linear takes one tensor", "in Sequential()"),
    (lambda: nn.Sequential(nn.GRU(2, 3), nn.Dropout())(bl.ones((1, 2, 2))), TypeError, "GRU gives a tuple of 2, and Dropout takes one", "in Sequential()"),
    (lambda: nn.Sequential(nn.Embedding(5, 3))(bl.ones((2, 2))), bl.DTypeError, "embedding: expected integers, got float32[2, 2]", "in 0, Embedding(5, 3)"),
    (lambda: nn.Sequential(nn.Embedding(5, 3))(np.array([[1, 5]])), bl.BacklitError, "5 is not in 0..4", "in 0, Embedding(5, 3)"),
    (lambda: nn.CrossEntropyLoss()(bl.ones((2, 3)), bl.ones(2)), bl.ShapeError, "class numbers [2] (integers) or probabilities [2, 3]", "in CrossEntropyLoss()"),
    (lambda: nn.MSELoss()(bl.ones((4, 1)), bl.ones(4)), bl.ShapeError, "float32[4, 1] and target float32[4] differ in shape", "in MSELoss()"),
    (lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2), 1)(bl.ones((2, 5, 6))), bl.ShapeError, "MultiheadAttention: expected query [..., 8]", "in layers.0.self_attn, MultiheadAttention(), of TransformerEncoder"),
    (lambda: Typo()(bl.ones(1)), NotImplementedError, "Typo has no forward: define forward(self, ...)", "in Typo()"),
    (lambda: nn.Linear(2, 3)(bl.ones((1, 2)), 3), TypeError, "takes 2 positional arguments but 3 were given", "in Linear("),
    (lambda: nn.ReLU(bl.ones(3)), TypeError, "ReLU: inplace cannot be a tensor; make the layer first and call it then, ReLU(...)(x)", None),
    (lambda: nn.Softmax(bl.ones(3)), TypeError, "Softmax: dim cannot be a tensor", None),
    (lambda: bl.ones(3) + nn.ReLU(), bl.DTypeError, "tensor: cannot hold a ReLU", None),
    (lambda: Net().load_state_dict("net.safetensors"), TypeError, "got str; use backlit.load(path)", None),
    (lambda: nn.Linear(2, 3)(bl.ones((1, 2))).numpy(), bl.GradientError, "use .detach().numpy()", None),
    (lambda: nn.Linear(2, 3)(bl.ones((1, 2))).sum().item().backward(), AttributeError, "backward", None),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "said", "where"), MISTAKES, ids=range(len(MISTAKES)))
def test_mistakes(call, error, said, where):
    with pytest.raises(error) as caught:
        call()
    assert said in str(caught.value)
    notes = getattr(caught.value, "__notes__", [])
    assert (not notes) if where is None else (len(notes) == 1 and where in notes[0]), notes


def test_a_note_keeps_what_others_noted_and_names_modules_that_are_not_registered():
    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = [nn.Linear(2, 2)]

        def forward(self, x):
            try:
                return self.hidden[0](x)
            except bl.ShapeError as error:
                error.add_note("mine")
                raise

    with pytest.raises(bl.ShapeError) as caught:
        nn.Sequential(nn.Identity(), Hidden())(bl.ones(3))
    assert caught.value.__notes__ == [
        "mine",
        "in 1.Linear, Linear(in_features=2, out_features=2, bias=True), of Sequential",
    ]


def test_a_tuple_goes_on_to_a_module_of_ones_own():
    class First(nn.Module):
        def forward(self, x):
            return x[0]

    model = nn.Sequential(nn.LSTM(2, 3), nn.Identity(), nn.Sequential(First(), nn.Linear(3, 1)))
    assert model(bl.ones((4, 2, 2))).shape == (4, 2, 1)
