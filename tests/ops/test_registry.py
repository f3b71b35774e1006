"""The generated tests: every op of the registry, every sample."""

from __future__ import annotations

import checks
import pytest

from backlit.core.op import REGISTRY


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_op_has_samples_notation_and_a_docstring(name):
    op = REGISTRY[name]
    assert op.samples()
    assert type(op).__doc__
    names = op.inputs
    assert op.notation.format(**{n: n for n in names[:3]})


@pytest.mark.parametrize(("name", "k"), checks.differentiable_cases())
def test_reverse_and_forward_mode_agree_with_differences(name, k):
    checks.check_differences(name, k)


@pytest.mark.parametrize(("name", "k"), checks.differentiable_cases())
def test_jvp_and_vjp_are_transposes(name, k):
    checks.check_adjoint(name, k)


@pytest.mark.parametrize(("name", "k"), checks.differentiable_cases())
def test_the_vjp_is_differentiable(name, k):
    checks.check_second_order(name, k)


@pytest.mark.parametrize(("name", "k"), checks.cases())
def test_batching_equals_one_call_an_example(name, k):
    checks.check_batching(name, k)


@pytest.mark.parametrize(("name", "k"), checks.cases())
def test_shape_rules(name, k):
    checks.check_shape_rule(name, k)


@pytest.mark.parametrize(("name", "k"), checks.cases())
def test_dtypes(name, k):
    checks.check_dtypes(name, k)


@pytest.mark.parametrize(("name", "k"), checks.cases())
def test_inputs_are_taken_as_they_are(name, k):
    checks.check_inputs_untouched(name, k)


@pytest.mark.parametrize(("name", "k"), checks.differentiable_cases())
def test_every_declared_read_is_read(name, k):
    checks.check_reads(name, k)


@pytest.mark.parametrize(("name", "k"), [c for c in checks.cases() if c[0] in checks.SELECTING + checks.SPARSE])
def test_what_is_not_selected_stays_zero(name, k):
    checks.check_masks(name, k)


def test_every_op_that_selects_is_in_the_mask_test():
    flags = ("selects", "sparse", "sparse_transpose")
    found = {n for n, op in REGISTRY.items() if any(getattr(op, f, False) for f in flags)}
    assert found | {"max", "min", "put"} == {*checks.SELECTING, *checks.SPARSE}


def test_contributions_are_summed_at_merges():
    checks.check_merge()
