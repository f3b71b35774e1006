"""Calls of NumPy's functions that run under NumPy and under backlit.numpy: what is compared, and the table of what is there."""

from __future__ import annotations

import numpy as np

RNG = np.random.default_rng(7)
VALUES = {
    "x": RNG.uniform(0.3, 2.0, (3, 4)),
    "y": RNG.uniform(0.3, 2.0, (3, 4)),
    "v": np.array([0.4, 1.7, 0.9, 1.2]),
    "w": np.array([1.1, 0.6, 0.3]),
    "s": np.array(1.3),
    "z": RNG.uniform(-2.0, 2.0, (2, 3, 2)),
    "up": np.array([0.1, 0.5, 1.4, 2.5]),
    "sq": RNG.uniform(-1, 1, (3, 3)) + 3 * np.eye(3),
    "n": np.array([[3, -1, 2], [0, 5, 1]]),
    "i": np.array([2, 0, 1]),
    "m": np.array([True, False, True, True]),
    "gap": np.array([[1.0, np.nan, 3.0], [np.nan, 0.5, -1.0]]),
    "c": np.array([1.0 + 2.0j, -0.5j, 2.0]),
}

# by family: each a call, evaluated with these values
CALLS = """
np.sum(x); np.sum(x, axis=0); np.sum(x, 1, keepdims=True); np.sum(n, dtype=float); np.sum([1, 2]); np.prod(x, axis=-1); np.prod(n)
np.mean(x, axis=(0, 1)); np.mean(n); np.max(x, axis=1); np.min(z); np.amax(x); np.amin(x, 0); np.any(m); np.all(n, axis=1)
np.var(x, ddof=1); np.var(x, axis=0); np.std(x, axis=1, ddof=1, keepdims=True); np.argmax(x, axis=1); np.argmin(n)
np.count_nonzero(n, axis=0); np.median(x, axis=0); np.nanmedian(gap); np.quantile(x, 0.3); np.quantile(x, [0.2, 0.7], axis=1)
np.nanquantile(gap, 0.4, axis=1); np.percentile(x, 35); np.nanpercentile(gap, 35); np.ptp(x, axis=0); np.average(x, axis=0)
np.average(x, axis=1, weights=v); np.average(x, weights=y); np.nansum(gap, axis=0); np.nanprod(gap); np.nanmean(gap, axis=1)
np.nanmax(gap, axis=0); np.nanmin(gap); np.nanvar(gap, axis=1); np.nanstd(gap, ddof=1); np.trace(sq); np.trace(x, 1); np.nanargmax(gap, 1)
np.nanargmin(gap)
np.cumsum(x); np.cumsum(x, axis=1); np.cumprod(v); np.cumulative_sum(v); np.cumulative_prod(x, axis=1, include_initial=True)
np.nancumsum(gap, axis=1); np.nancumprod(gap); np.diff(x); np.diff(x, 2, axis=0); np.diff(v, prepend=0.0); np.ediff1d(v); np.ediff1d(v, 9.0, [1.0, 2.0])
np.gradient(v); np.gradient(v, 0.1); np.gradient(v, up); np.gradient(x, axis=1, edge_order=2); np.gradient(x, 2.0, up)[1]
np.gradient(v, up, edge_order=2); np.trapezoid(v); np.trapezoid(x, v, axis=1); np.trapezoid(x, dx=0.5, axis=0); np.sort(x); np.sort(x, axis=None)
np.argsort(x, axis=0); np.searchsorted(up, x); np.searchsorted(up, 0.7, "right"); np.nonzero(n); np.flatnonzero(n); np.argwhere(n)
np.isin(n, [1, 2]); np.sort(np.unique_values(n)); np.unique_counts(n); np.unique_inverse(n); np.unique_all(n); np.unique(n); np.unique(v, return_index=True, return_counts=True)
np.bincount(i, weights=w); np.bincount(i, minlength=5); np.interp(x, up, v); np.interp(0.2, up, v); np.interp([0.0, 9.0], up, v, left=-1.0, right=2.0)
np.histogram(n, 3); np.histogram(x, [0.0, 1.0, 3.0], weights=y)[0]; np.histogram(x, 2, (0.0, 3.0), density=True); np.histogram_bin_edges(v, 3); np.digitize(x, up); np.lexsort((w, i)); np.argpartition(v, 2)
np.reshape(x, (4, 3)); np.reshape(x, -1); np.ravel(x); np.transpose(z); np.transpose(z, (1, 0, 2)); np.permute_dims(z, (2, 0, 1)); np.matrix_transpose(z)
np.moveaxis(z, 0, -1); np.rollaxis(z, 2); np.rollaxis(z, 0, 3); np.swapaxes(z, 0, 2); np.expand_dims(x, (0, 2)); np.squeeze(x[:1]); np.squeeze(x[:, :1], axis=1)
np.broadcast_to(v, (3, 4)); np.broadcast_arrays(v, w[:, None]); np.broadcast_shapes((3, 1), (4,)); np.concatenate([x, y]); np.concatenate((x, y), axis=None)
np.concat([x, n[:, :1] * [[1, 1, 1, 1]]]); np.stack([x, y], axis=1); np.vstack([x, v]); np.hstack([v, w]); np.hstack([x, y]); np.dstack([x, y]); np.column_stack([v, x.T])
np.block([[x, y], [y, x]]); np.block([v, 1.0]); np.append(v, [1, 2]); np.append(x, y, axis=1); np.insert(v, 1, 9.0); np.insert(x, [0, 2], w[:, None], axis=1)
np.insert(x, 1, v, axis=0); np.delete(v, [0, -1]); np.delete(x, 1, axis=1); np.delete(x, slice(1, 3), 1); np.split(x, 2, 1); np.array_split(v, 3); np.hsplit(x, 2); np.vsplit(x, [1])
np.dsplit(z, 2); np.unstack(x, axis=1); np.flip(x); np.flip(x, 1); np.fliplr(x); np.flipud(x); np.roll(x, 1); np.roll(x, (1, 2), axis=(0, 1)); np.rot90(x); np.rot90(z, 2, (1, 2))
np.tile(v, (2, 2)); np.repeat(x, 2); np.repeat(x, [1, 0, 2], axis=0); np.pad(x, 1); np.pad(v, (1, 2), "edge"); np.pad(x, 1, "reflect"); np.pad(v, 3, constant_values=(1, 2))
np.atleast_1d(s); np.atleast_2d(v, s); np.atleast_3d(x); np.resize(v, (2, 3)); np.copy(x); np.astype(x, np.float32)
np.take(x, [0, 5]); np.take(x, i, axis=0); np.take_along_axis(x, np.argsort(x, 1), 1); np.compress(m, x, axis=1); np.extract(x > 1, x); np.choose(i, [w, w * 2, w * 3])
np.select([x < 0.8, x > 1.5], [x, x * y], default=-1.0); np.where(x > 1, x, 0.0); np.where(x > 1, x, y); np.where(n > 0); np.tril(sq); np.triu(x, 1); np.diag(v); np.diag(sq, 1)
np.diagflat(x); np.diagonal(z, 0, 1, 2); np.meshgrid(v, w); np.meshgrid(v, w, indexing="ij", sparse=True); np.vander(v, 3); np.vander(v, increasing=True)
np.piecewise(x, [x < 0.8, x > 1.5], [lambda t: t * t, 3.0, lambda t: -t]); np.apply_along_axis(lambda t: t * t.sum(), 1, x); np.apply_along_axis(np.sum, 0, x)
np.dot(x, v); np.dot(x, y.T); np.dot(v, v); np.dot(s, x); np.vdot(c, c * 2); np.vdot(v, v); np.inner(x, y); np.outer(v, w); np.kron(sq, x); np.cross(sq, w); np.tensordot(x, y, axes=([0, 1], [0, 1])); np.tensordot(sq, x, 1)
np.einsum("ij,ij->i", x, y); np.einsum("ij->ji", x); np.convolve(v, w); np.convolve(w, v, "same"); np.convolve(v, w, mode="valid"); np.correlate(v, w); np.correlate(v, w, "full"); np.correlate(v[:2], w, "same"); np.correlate(w[:2], v, "same")
np.cov(x); np.cov(v, v * x[0]); np.cov(x, rowvar=False, ddof=0); np.cov(v); np.corrcoef(x)
np.clip(x, 0.6, 1.5); np.clip(x, None, y); np.clip(x, min=0.7); np.round(x, 1); np.around(x); np.round(n, -1); np.fix(z); np.sinc(x); np.real(c); np.imag(c); np.angle(c); np.angle(c, deg=True); np.nan_to_num(gap)
np.nan_to_num(gap, nan=5.0); np.isposinf(v / 0.0); np.isneginf(-v / 0.0); np.iscomplex(c); np.isreal(c); np.unwrap(np.cumsum(x * 3.0)); np.unwrap(x * 4); np.polyval(w, x); np.polyder(v); np.polyder(v, 2)
np.polyadd(v, w); np.polymul(v, w); np.polysub(w, v); np.polydiv(v, w); np.polyint(v); np.gcd(n, 2); np.lcm(i, 3); np.bitwise_count(n); np.frexp(v); np.asanyarray(v); np.ascontiguousarray(x.T); np.asfortranarray(x)
np.arange(5); np.arange(1, 3.0, 0.5); np.array([[1, 2], [3, 4.5]]); np.array(x, ndmin=3); np.array([s, s * s, 1.0]); np.array([[v[0], 2], [v[1], v[2]]]); np.asarray(x); np.asarray_chkfinite(x); np.empty((2, 0)); np.empty_like(x[:0]); np.eye(3, 4, 1)
np.fromfunction(lambda i, j: i + 10 * j, (2, 3)); np.fromiter((k * k for k in range(4)), float); np.fromiter([1.0, 2.0, 3.0], float, 2); np.full((2, 2), 0.1); np.full(3, s); np.full_like(x, 7); np.geomspace(1.0, 8.0, 4); np.geomspace(s, 8.0, 4); np.identity(3)
np.linspace(0, 1, 5); np.linspace(0.0, s, 4, endpoint=False); np.linspace(v, v * 2, 3, axis=1); np.logspace(0, 2, 3); np.logspace(0.0, s, 3, base=2.0); np.ones((2, 3)); np.ones_like(n); np.tri(3, 4, -1); np.zeros(3); np.zeros((2, 2), int); np.zeros_like(x)
np.from_dlpack(n)
np.allclose(x, y); np.isclose(x, x + 1e-12); np.array_equal(x, y); np.array_equiv(v, np.stack([v, v])); np.unravel_index(5, (3, 4)); np.ravel_multi_index((1, 2), (3, 4)); np.tril_indices(3); np.triu_indices(3, 1); np.tril_indices_from(sq)
np.triu_indices_from(sq); np.diag_indices(3); np.diag_indices_from(sq); np.mask_indices(3, np.triu); np.indices((2, 3)); np.ix_(i, [0, 1]); np.packbits(m); np.unpackbits(np.packbits(m)); np.bartlett(4); np.blackman(4); np.hamming(4); np.hanning(4)
np.kaiser(4, 2.0); np.can_cast(int, float); np.result_type(x, np.float32); np.common_type(x); np.min_scalar_type(7); np.promote_types("f4", "i8"); np.isdtype(x.dtype, "real floating"); np.issubdtype(x.dtype, np.floating); np.typename("f")
np.iscomplexobj(c); np.isrealobj(x); np.shape(x); np.ndim(x); np.size(x); np.size(x, 1); np.isscalar(3.0); np.iterable(x); np.array2string(n); np.array_str(n); np.base_repr(5); np.binary_repr(5); np.format_float_positional(0.5)
np.format_float_scientific(0.5); np.einsum_path("ij,jk", sq, sq)[1]; np.shares_memory(x, y); np.may_share_memory(x, y); np.setdiff1d(n, [1]); np.intersect1d(n, [1, 9]); np.union1d(n, [7]); np.setxor1d(n, [1, 9]); np.trim_zeros(n[1]); np.i0(v)
np.roots([1.0, -3.0, 2.0]); np.poly([1.0, 2.0]); np.polyfit([0.0, 1.0, 2.0], [1.0, 3.0, 5.0], 1); np.histogram2d(v, v, 2)[0]; np.histogramdd(x, 2)[0]; np.partition(v, 2); np.real_if_close(c); np.sort_complex(c)
"""
UFUNC_CALLS = """
np.add(x, y); np.add(x, 1); np.subtract(x, v); np.multiply(x, 2.5); np.divide(n, 2); np.true_divide(x, y); np.floor_divide(n, 2); np.remainder(n, 3); np.mod(x, 0.4); np.fmod(z, 0.7); np.fmod(n - 3, 2); np.fmod(2.5, x); np.divmod(n, 2); np.modf(z)
np.power(x, y); np.pow(x, 2); np.float_power(n, 2); np.negative(x); np.positive(x); np.absolute(z); np.abs(z); np.fabs(z); np.sign(z); np.heaviside(z, 0.5); np.exp(x); np.exp2(x); np.expm1(x); np.log(x); np.log2(x); np.log10(x); np.log1p(x)
np.sqrt(x); np.square(x); np.cbrt(x); np.reciprocal(x); np.sin(x); np.cos(x); np.tan(x); np.arcsin(x / 3); np.arccos(x / 3); np.arctan(x); np.arctan2(x, y); np.hypot(x, y); np.sinh(x); np.cosh(x); np.tanh(x); np.arcsinh(x)
np.arccosh(x + 1); np.arctanh(x / 3); np.asin(x / 3); np.acos(x / 3); np.atan(x); np.atan2(x, y); np.asinh(x); np.acosh(x + 1); np.atanh(x / 3); np.deg2rad(x); np.rad2deg(x); np.radians(x); np.degrees(x); np.floor(z); np.ceil(z); np.trunc(z)
np.rint(z); np.maximum(x, y); np.minimum(x, 1.0); np.fmax(gap, 0.0); np.fmin(gap, [2.0, 2.0, 2.0]); np.logaddexp(x, y); np.logaddexp2(x, y); np.copysign(x, z[0, 0, 0]); np.nextafter(x, y); np.ldexp(x, 3); np.signbit(z); np.isnan(gap); np.isinf(gap)
np.isfinite(gap); np.equal(n, 2); np.not_equal(n, 2); np.less(x, y); np.less_equal(x, y); np.greater(x, y); np.greater_equal(x, y); np.logical_and(m, True); np.logical_or(m, m); np.logical_xor(m, m); np.logical_not(m); np.bitwise_and(n, 3)
np.bitwise_or(n, 1); np.bitwise_xor(n, 1); np.bitwise_not(n); np.bitwise_invert(n); np.invert(n); np.left_shift(n, 1); np.right_shift(n, 1); np.bitwise_left_shift(n, 1); np.bitwise_right_shift(n, 1); np.matmul(x, v); np.matmul(sq, x)
np.vecdot(x, y); np.matvec(sq, w); np.vecmat(w, sq); np.conj(c); np.conjugate(x)
np.add.reduce(x); np.add.reduce(x, axis=1, keepdims=True); np.multiply.reduce(x, axis=1); np.maximum.reduce(x); np.minimum.reduce(x, axis=None); np.logical_and.reduce(n); np.logical_or.reduce(n, axis=1); np.logaddexp.reduce(x)
np.add.accumulate(x, axis=1); np.multiply.accumulate(v); np.maximum.accumulate(v); np.minimum.accumulate(x, axis=1); np.subtract.outer(v, w); np.add(x, y, dtype=np.float32)
"""
LINALG_CALLS = """
np.linalg.norm(x); np.linalg.norm(v, 1); np.linalg.norm(x, axis=1); np.linalg.norm(z, axis=(0, 2)); np.linalg.norm(x, "nuc"); np.linalg.norm(v, np.inf); np.linalg.norm(x, axis=0, keepdims=True); np.linalg.norm(sq, 2)
np.linalg.vector_norm(x, axis=1, ord=3); np.linalg.matrix_norm(z); np.linalg.cond(sq); np.linalg.matrix_rank(x); np.linalg.cholesky(sq @ sq.T); np.linalg.qr(sq); np.linalg.svd(x, full_matrices=False)[1]; np.linalg.svd(x, compute_uv=False)
np.linalg.svdvals(x); np.linalg.eigh(sq + sq.T)[0]; np.linalg.eigvalsh(sq + sq.T); np.linalg.inv(sq); np.linalg.pinv(x); np.linalg.solve(sq, w); np.linalg.solve(sq, x); np.linalg.det(sq); np.linalg.slogdet(sq); np.linalg.matrix_power(sq, 3)
np.linalg.matmul(sq, x); np.linalg.matrix_transpose(x); np.linalg.cross(sq, w); np.linalg.outer(v, w); np.linalg.tensordot(sq, x, axes=1); np.linalg.vecdot(x, y); np.linalg.diagonal(z); np.linalg.trace(z); np.linalg.multi_dot([x.T, sq, x])
np.linalg.lstsq(x.T, v); np.linalg.eigvals(sq); np.linalg.eig(np.diag(w)); np.linalg.tensorinv(sq, 1); np.linalg.tensorsolve(sq, w)
"""
FFT_CALLS = """
np.fft.fft(v); np.fft.ifft(v); np.fft.rfft(x, axis=0); np.fft.irfft(c); np.fft.hfft(c); np.fft.ihfft(v); np.fft.fftn(x); np.fft.ifftn(x); np.fft.rfftn(x); np.fft.irfftn(c[None]); np.fft.fft2(z); np.fft.ifft2(z); np.fft.rfft2(z); np.fft.irfft2(c[None])
np.fft.fftshift(v); np.fft.ifftshift(x, axes=1); np.fft.fftfreq(4, 0.5); np.fft.rfftfreq(5); np.fft.fft(v, n=6, norm="ortho")
"""
CONSTANT = {"floor_divide", "digitize"}  # of floats, with steps


def calls(text: str) -> list[str]:
    return [c.strip() for line in text.strip().splitlines() for c in line.split(";") if c.strip()]
