"""The functions of `backlit.functional` under the name that PyTorch gives them."""

from backlit.functional import *
