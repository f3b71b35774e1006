"""Optimizers and schedules."""

from backlit.optim import lr_scheduler, swa_utils
from backlit.optim.accumulate import accumulate
from backlit.optim.adam import Adam, AdamW
from backlit.optim.adaptive import Adadelta, Adagrad, RMSprop
from backlit.optim.base import Optimizer
from backlit.optim.findings import AuditWarning, Finding, audit
from backlit.optim.large import LAMB, Lion, Muon
from backlit.optim.lbfgs import LBFGS
from backlit.optim.moments import Adamax, NAdam, RAdam
from backlit.optim.sgd import SGD

__all__ = [
    "LAMB",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "AuditWarning",
    "Finding",
    "Lion",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "accumulate",
    "audit",
    "lr_scheduler",
    "swa_utils",
]
