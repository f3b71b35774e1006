"""NumPy's functions as views of backlit's: one line each, which says how the parameters correspond."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from backlit.numpy import calculus, composed, creation, joined, reduced
from backlit.numpy.views import discrete, plain, view
from backlit.ops import (
    complex,
    cumulative,
    estimates,
    missing,
    picking,
    products,
    quantiles,
    rounding,
    shape,
    sorting,
    statistics,
    trigonometry,
)
from backlit.ops.aliases import alias

_OVER = "*a | axis keepdims"
_TABLE: dict[str, tuple[Callable[..., Any], str]] = {
    # reductions
    "sum": (statistics.sum, "*a | axis dtype keepdims"), "prod": (statistics.prod, "*a | axis dtype keepdims"),
    "mean": (statistics.mean, "*a | axis dtype keepdims"), "max": (statistics.max, _OVER), "min": (statistics.min, _OVER),
    "amax": (statistics.max, _OVER), "amin": (statistics.min, _OVER), "any": (statistics.any, _OVER), "all": (statistics.all, _OVER),
    "var": (statistics.var, "*a | axis ddof=correction correction keepdims"),
    "std": (statistics.std, "*a | axis ddof=correction correction keepdims"),
    "argmax": (statistics.argmax, _OVER), "argmin": (statistics.argmin, _OVER), "count_nonzero": (statistics.count_nonzero, _OVER),
    "median": (quantiles.median, _OVER), "nanmedian": (quantiles.nanmedian, _OVER),
    "quantile": (quantiles.quantile, "*a *q | axis method keepdims"), "nanquantile": (quantiles.nanquantile, "*a *q | axis method keepdims"),
    "percentile": (estimates.percentile, "*a *q | axis method keepdims"),
    "nanpercentile": (estimates.nanpercentile, "*a *q | axis method keepdims"),
    "ptp": (estimates.ptp, _OVER), "average": (reduced.average, "*a | axis weights returned keepdims"),
    "nansum": (missing.nansum, "*a | axis dtype keepdims"), "nanprod": (missing.nanprod, "*a | axis dtype keepdims"), "nanmean": (missing.nanmean, _OVER),
    "nanmax": (missing.nanmax, _OVER), "nanmin": (missing.nanmin, _OVER),
    "nanvar": (missing.nanvar, "*a | axis ddof=correction keepdims"), "nanstd": (missing.nanstd, "*a | axis ddof=correction keepdims"),
    "nanargmax": (missing.nanargmax, _OVER), "nanargmin": (missing.nanargmin, _OVER), "digitize": (estimates.digitize, "*x *bins | right"),
    "union1d": (estimates.union1d, "*ar1 *ar2 |"), "intersect1d": (estimates.intersect1d, "*ar1 *ar2 |"),
    "setdiff1d": (estimates.setdiff1d, "*ar1 *ar2 |"), "setxor1d": (estimates.setxor1d, "*ar1 *ar2 |"),
    "unique": (estimates.unique, "*ar | return_index return_inverse return_counts"), "trace": (picking.trace, "*a | offset axis1 axis2 dtype"),
    # along an axis
    "cumsum": (cumulative.cumsum, "*a | axis dtype"), "cumprod": (cumulative.cumprod, "*a | axis dtype"),
    "cumulative_sum": (cumulative.cumulative_sum, "*x | axis dtype include_initial"),
    "cumulative_prod": (cumulative.cumulative_prod, "*x | axis dtype include_initial"),
    "nancumsum": (missing.nancumsum, "*a | axis dtype"), "nancumprod": (missing.nancumprod, "*a | axis dtype"),
    "diff": (cumulative.diff, "*a | n axis prepend append"), "ediff1d": (calculus.ediff1d, "*ary | to_end to_begin"),
    "gradient": (calculus.gradient, ""), "trapezoid": (reduced.trapezoid, "*y | x dx axis"),
    "sort": (composed.sort, "*a | axis kind stable"), "argsort": (composed.argsort, "*a | axis kind stable"),
    "searchsorted": (sorting.searchsorted, "*a *v | side sorter"), "nonzero": (sorting.nonzero, "*a |"),
    "flatnonzero": (estimates.flatnonzero, "*a |"), "argwhere": (estimates.argwhere, "*a |"),
    "isin": (sorting.isin, "*element *test_elements | assume_unique invert"),
    "unique_values": (sorting.unique_values, "*x |"), "unique_counts": (sorting.unique_counts, "*x |"),
    "unique_inverse": (sorting.unique_inverse, "*x |"), "unique_all": (sorting.unique_all, "*x |"),
    "bincount": (sorting.bincount, "*x | weights minlength"), "interp": (calculus.interp, "*x *xp *fp | left right"),
    "histogram": (reduced.histogram, ""),
    # shapes
    "reshape": (shape.reshape, "*a shape | copy"), "ravel": (shape.ravel, "*a |"), "transpose": (composed.transpose, "*a | axes"),
    "permute_dims": (composed.transpose, "*a | axes"), "matrix_transpose": (shape.matrix_transpose, "*x |"),
    "moveaxis": (shape.moveaxis, "*a source destination |"), "rollaxis": (composed.rollaxis, "*a axis | start"),
    "swapaxes": (shape.swapaxes, "*a axis1 axis2 |"), "expand_dims": (shape.expand_dims, "*a | axis"),
    "squeeze": (shape.squeeze, "*a | axis"), "broadcast_to": (shape.broadcast_to, "*array shape |"),
    "broadcast_arrays": (composed.broadcast_arrays, ""), "broadcast_shapes": (shape.broadcast_shapes, ""),
    "concatenate": (joined.concatenate, "**arrays | axis dtype"), "concat": (joined.concatenate, "**arrays | axis dtype"),
    "stack": (joined.stack, "**arrays | axis dtype"), "vstack": (joined.vstack, "**tup | dtype"), "hstack": (joined.hstack, "**tup | dtype"),
    "dstack": (joined.dstack, "**tup |"), "column_stack": (joined.column_stack, "**tup |"), "block": (joined.block, "arrays |"),
    "append": (joined.append, "*arr *values | axis"), "insert": (joined.insert, "*arr obj *values | axis"),
    "delete": (joined.delete, "*arr obj | axis"), "split": (joined.split, "*ary indices_or_sections | axis"),
    "array_split": (joined.array_split, "*ary indices_or_sections | axis"), "hsplit": (joined.hsplit, "*ary indices_or_sections |"),
    "vsplit": (joined.vsplit, "*ary indices_or_sections |"), "dsplit": (joined.dsplit, "*ary indices_or_sections |"),
    "unstack": (shape.unstack, "*x | axis"), "flip": (shape.flip, "*m | axis"), "fliplr": (composed.fliplr, "*m |"),
    "flipud": (composed.flipud, "*m |"), "roll": (shape.roll, "*a shift | axis"), "rot90": (shape.rot90, "*m | k axes"),
    "tile": (shape.tile, "*A reps |"), "repeat": (shape.repeat, "*a repeats | axis"), "pad": (composed.pad, ""),
    "atleast_1d": (composed.atleast_1d, ""), "atleast_2d": (composed.atleast_2d, ""), "atleast_3d": (composed.atleast_3d, ""),
    "resize": (composed.resize, "*a new_shape |"), "copy": (composed.copy, "*a |"), "astype": (composed.astype, "*x dtype |"),
    # picking
    "take": (picking.take, "*a *indices | axis"), "take_along_axis": (picking.take_along_axis, "*arr *indices | axis"),
    "put_along_axis": (composed.put_along_axis, "arr *indices values | axis"), "compress": (composed.compress, "*condition *a | axis"),
    "extract": (composed.extract, "*condition *arr |"), "choose": (composed.choose, "*a choices |"),
    "select": (composed.select, "condlist choicelist | default"), "where": (composed.where, ""),
    "put": (composed.put, "a *ind v |"), "place": (composed.place, "arr *mask *vals |"), "putmask": (composed.putmask, "a *mask values |"),
    "copyto": (composed.copyto, "dst *src |"), "fill_diagonal": (composed.fill_diagonal, "a val |"),
    "tril": (picking.tril, "*m | k"), "triu": (picking.triu, "*m | k"), "diag": (picking.diag, "*v | k"),
    "diagflat": (composed.diagflat, "*v | k"), "diagonal": (picking.diagonal, "*a | offset axis1 axis2"), "meshgrid": (composed.meshgrid, ""),
    "vander": (calculus.vander, "*x | N increasing"),
    # products
    "dot": (products.dot, "*a *b |"), "vdot": (products.vdot, "*a *b |"), "inner": (products.inner, "*a *b |"),
    "outer": (products.outer, "*a *b |"), "kron": (products.kron, "*a *b |"), "cross": (products.cross, "*a *b | axis"),
    "tensordot": (products.tensordot, "*a *b | axes"), "einsum": (composed.lifted_einsum, ""),
    "convolve": (calculus.convolve, "*a *v | mode"), "correlate": (calculus.correlate, "*a *v | mode"),
    "cov": (reduced.cov, "*m | y rowvar bias ddof fweights aweights"), "corrcoef": (reduced.corrcoef, "*x | y rowvar"),
    # elements
    "clip": (composed.clip, "*a | a_min a_max min max"), "round": (composed.around, "*a | decimals"),
    "around": (composed.around, "*a | decimals"), "fix": (rounding.trunc, "*x |"), "sinc": (trigonometry.sinc, "*x |"),
    "real": (complex.real, "*val |"), "imag": (complex.imag, "*val |"), "angle": (composed.angle, "*z | deg"),
    "nan_to_num": (rounding.nan_to_num, "*x | nan posinf neginf"), "isposinf": (composed.isposinf, "*x |"),
    "isneginf": (composed.isneginf, "*x |"), "iscomplex": (composed.iscomplex, "*x |"), "isreal": (composed.isreal, "*x |"),
    "unwrap": (calculus.unwrap, "*p | axis"), "polyval": (calculus.polyval, "*p *x |"), "polyder": (calculus.polyder, "*p | m"),
    "polyadd": (calculus.polyadd, "*a1 *a2 |"), "polymul": (calculus.polymul, "*a1 *a2 |"), "polysub": (calculus.polysub, "*a1 *a2 |"),
    "piecewise": (composed.piecewise, "*x condlist funclist |"), "apply_along_axis": (composed.apply_along_axis, "func1d axis *arr |"),
}  # fmt: skip
DISCRETE = (
    "allclose", "isclose", "array_equal", "array_equiv", "argpartition", "lexsort", "unravel_index", "ravel_multi_index",
    "tril_indices", "triu_indices", "tril_indices_from", "triu_indices_from", "diag_indices", "diag_indices_from", "mask_indices",
    "indices", "ix_", "packbits", "unpackbits", "bartlett", "blackman", "hamming", "hanning", "kaiser",
    "can_cast", "result_type", "common_type", "min_scalar_type", "promote_types", "isdtype",
    "issubdtype", "typename", "iscomplexobj", "isrealobj", "shape", "ndim", "size", "isscalar", "iterable", "shares_memory",
    "may_share_memory", "array2string", "array_repr", "array_str", "base_repr", "binary_repr", "format_float_positional",
    "format_float_scientific", "set_printoptions", "get_printoptions", "printoptions", "einsum_path", "save", "savez",
    "savez_compressed", "savetxt", "loadtxt", "genfromtxt", "seterr", "geterr", "load", "gcd", "lcm", "bitwise_count",
)  # fmt: skip
PLAIN = (
    "histogram_bin_edges", "trim_zeros", "i0", "roots", "poly", "polyfit",
    "spacing", "histogram2d", "histogramdd", "partition", "real_if_close", "sort_complex", "frexp", "polydiv", "polyint",
)  # fmt: skip
# NumPy's results share memory with the first argument
ALIASES = (
    "ravel", "reshape", "transpose", "matrix_transpose", "permute_dims", "swapaxes", "moveaxis", "rollaxis", "squeeze", "expand_dims",
    "flip", "fliplr", "flipud", "rot90", "split", "array_split", "hsplit", "vsplit", "dsplit", "unstack", "real", "imag", "diagonal",
    "atleast_1d", "atleast_2d", "atleast_3d",
)  # fmt: skip
CREATION = (
    "arange", "array", "asanyarray", "asarray", "ascontiguousarray", "asfortranarray", "asarray_chkfinite", "empty", "empty_like", "eye", "from_dlpack", "fromfunction", "fromiter",
    "full", "full_like", "geomspace", "identity", "linspace", "logspace", "ones", "ones_like", "tri", "zeros", "zeros_like",
)  # fmt: skip


def made() -> dict[str, Callable[..., Any]]:
    """All functions, by name; a function that this NumPy does not have is left out."""
    found: dict[str, Callable[..., Any]] = {}
    for name, (ours, text) in _TABLE.items():
        if hasattr(np, name):
            found[name] = view(name, ours, text) if text else ours
    found |= {name: _aliasing(found[name]) for name in ALIASES if name in found}
    found |= {name: getattr(creation, name) for name in CREATION}
    found |= {name: discrete(name) for name in DISCRETE if hasattr(np, name)}
    return found | {name: plain(name) for name in PLAIN if hasattr(np, name)}


def _aliasing(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def noting(*args: Any, **kwargs: Any) -> Any:
        out = function(*args, **kwargs)
        return alias(out, next(iter((*args, *kwargs.values())), None))

    return noting
