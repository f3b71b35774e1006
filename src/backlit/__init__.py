"""backlit: backpropagation you can see through."""

from backlit import nn, optim, random
from backlit.arrays.creation import (
    arange,
    asarray,
    empty,
    eye,
    full,
    full_like,
    linspace,
    ones,
    ones_like,
    zeros,
    zeros_like,
)
from backlit.autodiff.batch import vmap
from backlit.autodiff.check import gradcheck
from backlit.autodiff.custom import custom_jvp, custom_vjp
from backlit.autodiff.forward import jvp
from backlit.autodiff.reverse import grad, stop_gradient, value_and_grad, vjp
from backlit.autodiff.walk import debug
from backlit.core import tree
from backlit.core.dtypes import bfloat16, set_default_dtype
from backlit.core.errors import (
    BacklitError,
    DTypeError,
    FileFormatError,
    GradientError,
    GraphError,
    RuleError,
    ShapeError,
)
from backlit.core.rng import Generator
from backlit.core.tensor import Tensor, enable_grad, is_grad_enabled, no_grad, tensor
from backlit.ops.array import (
    argmax,
    argmin,
    astype,
    broadcast_to,
    clip,
    concat,
    expand_dims,
    flatten,
    gather,
    logsumexp,
    matmul,
    matrix_transpose,
    max,
    mean,
    min,
    one_hot,
    pad,
    permute_dims,
    reshape,
    squeeze,
    stack,
    std,
    sum,
    take,
    take_along_axis,
    var,
)
from backlit.ops.elementwise import (
    abs,
    add,
    cos,
    equal,
    exp,
    expm1,
    floor,
    floor_divide,
    greater,
    greater_equal,
    less,
    less_equal,
    log,
    log1p,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    maximum,
    minimum,
    pow,
    remainder,
    sign,
    sin,
    sqrt,
    tanh,
    where,
)
from backlit.ops.elementwise import div as divide
from backlit.ops.elementwise import mul as multiply
from backlit.ops.elementwise import neg as negative
from backlit.ops.elementwise import not_equal as not_equal
from backlit.ops.elementwise import sub as subtract
from backlit.ops.special import erf

__version__ = "0.1.0"
