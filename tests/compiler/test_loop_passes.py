"""Passes on loops and branches: text in, text out, and the same values."""

from __future__ import annotations

import numpy as np
import pytest

from backlit.compiler import evaluate, parse, simplify, verify
from backlit.compiler.passes import behind, dce, fission, fold, hoist, reuse, sink
from backlit.compiler.passes.rewrite import within

RNG = np.random.default_rng(0)


def assert_changes(change, before, after, consts=None, rtol=0.0):
    """`change` makes `after` of `before`, both text, with the same values."""
    graph = verify(parse(before, consts))
    made = verify(change(graph))
    assert str(made) == after.strip()
    given = [np.asarray(RNG.standard_normal(v.aval.shape), v.aval.dtype) for v in graph.inputs]
    for a, b in zip(evaluate(graph, *given), evaluate(made, *given), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


def test_carries_and_results_that_nobody_reads_go():
    assert_changes(
        dce,
        """
graph(a: float64[], b: float64[4], c: float64[4], d: float64[]) {
  e: float64[], f: float64[], g: float64[], h: float64[4], i: float64[4] = scan(d, a, a, a, b, c, n_consts=1, n_carry=3, length=4, reverse=False) {
    graph(j: float64[], k: float64[], l: float64[], m: float64[], n: float64[], o: float64[]) {
      p: float64[] = mul(k, l)
      q: float64[] = add(l, n)
      r: float64[] = mul(m, o)
      s: float64[] = add(r, j)
      t: float64[] = cos(p)
      return p, q, s, t, r
    }
  }
  u: float64[] = sin(g)
  return e
}""",
        """
graph(a: float64[], b: float64[4], c: float64[4], d: float64[]) {
  e: float64[], f: float64[] = scan(a, a, b, n_consts=0, n_carry=2, length=4, reverse=False) {
    graph(g: float64[], h: float64[], i: float64[]) {
      j: float64[] = mul(g, h)
      k: float64[] = add(h, i)
      return j, k
    }
  }
  return e
}""",
    )


def test_dead_code_in_branches_and_loops_until():
    assert_changes(
        dce,
        """
graph(a: float64[], b: float64[], c: int32[]) {
  d: float64[], e: float64[] = switch(c, a, b) {
    graph(f: float64[], g: float64[]) {
      h: float64[] = sin(g)
      return f, h
    }
    graph(i: float64[], j: float64[]) {
      k: float64[] = cos(i)
      return k, j
    }
  }
  l: float64[], m: float64[], n: int32[] = while_loop(b, a, a, c, n_consts=1) {
    graph(o: float64[], p: float64[], q: float64[], r: int32[]) {
      s: bool[] = less(r, 3)
      return s
    }
    graph(t: float64[], u: float64[], v: float64[], w: int32[]) {
      x: int32[] = add(w, 1)
      y: float64[] = mul(u, t)
      z: float64[] = mul(v, 0.5)
      return y, z, x
    }
  }
  return d, m
}""",
        """
graph(a: float64[], b: float64[], c: int32[]) {
  d: float64[] = switch(c, a) {
    graph(e: float64[]) {
      return e
    }
    graph(f: float64[]) {
      g: float64[] = cos(f)
      return g
    }
  }
  h: float64[], i: int32[] = while_loop(a, c, n_consts=0) {
    graph(j: float64[], k: int32[]) {
      l: bool[] = less(k, 3)
      return l
    }
    graph(m: float64[], n: int32[]) {
      o: int32[] = add(n, 1)
      p: float64[] = mul(m, 0.5)
      return p, o
    }
  }
  return d, h
}""",
    )


def test_what_is_the_same_at_every_step_moves_out():
    assert_changes(
        lambda graph: dce(hoist(graph)),
        """
graph(a: float64[], b: float64[4], c: float64[]) {
  d: float64[], e: float64[], f: float64[4], g: float64[4], h: float64[4] = scan(a, a, c, a, b, b, n_consts=2, n_carry=2, length=4, reverse=False) {
    graph(i: float64[], j: float64[], k: float64[], l: float64[], m: float64[], n: float64[]) {
      o: float64[] = exp(i)
      p: float64[] = mul(o, l)
      q: float64[] = add(p, k)
      r: float64[] = mul(n, j)
      s: float64[] = add(q, r)
      return s, l, m, s, s
    }
  }
  return d, e, f, g, h
}""",
        """
graph(a: float64[], b: float64[4], c: float64[]) {
  d: float64[] = exp(a)
  e: float64[] = mul(d, a)
  f: float64[], g: float64[4] = scan(e, a, c, b, n_consts=2, n_carry=1, length=4, reverse=False) {
    graph(h: float64[], i: float64[], j: float64[], k: float64[]) {
      l: float64[] = add(h, j)
      m: float64[] = mul(k, i)
      n: float64[] = add(l, m)
      return n, n
    }
  }
  return f, a, b, g, g
}""",
    )


def test_all_passes_work_inside():
    assert_changes(
        simplify,
        """
graph(a: float64[], b: float64[4]) {
  c: float64[] = scan(a, b, n_consts=0, n_carry=1, length=4, reverse=False) {
    graph(d: float64[], e: float64[]) {
      f: float64[] = mul(d, 1.0)
      g: float64[] = sin(f)
      h: float64[] = sin(d)
      i: float64[] = detach(h)
      j: float64[] = add(g, i)
      k: float64[] = cos(e)
      return j
    }
  }
  return c
}""",
        """
graph(a: float64[], b: float64[4]) {
  c: float64[] = scan(a, n_consts=0, n_carry=1, length=4, reverse=False) {
    graph(d: float64[]) {
      e: float64[] = sin(d)
      f: float64[] = add(e, e)
      return f
    }
  }
  return c
}""",
    )


def test_a_condition_that_always_holds_is_known_inside():
    assert_changes(
        lambda graph: dce(fold(graph)),
        """
graph(a: float64[2], b: float64[4,2]) consts(c: bool[2], d: bool[2]) {
  e: bool[2] = logical_or(c, d)
  f: float64[2] = scan(e, c, a, b, n_consts=2, n_carry=1, length=4, reverse=False) {
    graph(g: bool[2], h: bool[2], i: float64[2], j: float64[2]) {
      k: float64[2] = where(g, i, 0.0)
      l: float64[2] = where(h, j, k)
      return l
    }
  }
  return f
}""",
        """
graph(a: float64[2], b: float64[4,2]) consts(c: bool[2]) {
  d: float64[2] = scan(c, a, b, n_consts=1, n_carry=1, length=4, reverse=False) {
    graph(e: bool[2], f: float64[2], g: float64[2]) {
      h: float64[2] = where(e, g, f)
      return h
    }
  }
  return d
}""",
        {"c": [True, False], "d": [False, True]},
    )


def test_what_does_not_wait_is_computed_before():
    assert_changes(
        fission,
        """
graph(a: float64[], b: float64[4], c: float64[]) {
  d: float64[], e: float64[4] = scan(c, a, b, n_consts=1, n_carry=1, length=4, reverse=True) {
    graph(f: float64[], g: float64[], h: float64[]) {
      i: float64[] = mul(h, f)
      j: float64[] = sin(i)
      k: float64[] = mul(h, 2.0)
      l: float64[] = mul(g, j)
      m: float64[] = add(l, k)
      n: float64[] = mul(j, 3.0)
      return m, n
    }
  }
  return d, e
}""",
        """
graph(a: float64[], b: float64[4], c: float64[]) {
  d: float64[4] = broadcast_to(c, shape=(4,))
  e: float64[4] = mul(b, d)
  f: float64[4] = sin(e)
  g: float64[4] = mul(f, 3.0)
  h: float64[] = scan(c, a, b, f, n_consts=1, n_carry=1, length=4, reverse=True) {
    graph(i: float64[], j: float64[], k: float64[], l: float64[]) {
      m: float64[] = mul(k, 2.0)
      n: float64[] = mul(j, l)
      o: float64[] = add(n, m)
      return o
    }
  }
  return h, g
}""",
        rtol=1e-15,
    )


def test_a_later_loop_gets_what_an_earlier_one_has_computed():
    assert_changes(
        reuse,
        """
graph(a: float64[], b: float64[4], c: float64[]) {
  d: float64[], e: float64[4] = scan(c, a, b, n_consts=1, n_carry=1, length=4, reverse=False) {
    graph(f: float64[], g: float64[], h: float64[]) {
      i: float64[] = mul(g, f)
      j: float64[] = sin(i)
      k: float64[] = add(j, h)
      return k, g
    }
  }
  l: float64[] = scan(c, a, e, b, n_consts=1, n_carry=1, length=4, reverse=True) {
    graph(m: float64[], n: float64[], o: float64[], p: float64[]) {
      q: float64[] = mul(o, m)
      r: float64[] = sin(q)
      s: float64[] = cos(q)
      t: float64[] = mul(r, n)
      u: float64[] = add(t, s)
      return u
    }
  }
  return d, l
}""",
        """
graph(a: float64[], b: float64[4], c: float64[]) {
  d: float64[], e: float64[4], f: float64[4] = scan(c, a, b, n_consts=1, n_carry=1, length=4, reverse=False) {
    graph(g: float64[], h: float64[], i: float64[]) {
      j: float64[] = mul(h, g)
      k: float64[] = sin(j)
      l: float64[] = add(k, i)
      return l, h, k
    }
  }
  m: float64[] = scan(c, a, e, b, f, n_consts=1, n_carry=1, length=4, reverse=True) {
    graph(n: float64[], o: float64[], p: float64[], q: float64[], r: float64[]) {
      s: float64[] = mul(p, n)
      t: float64[] = cos(s)
      u: float64[] = mul(r, o)
      v: float64[] = add(u, t)
      return v
    }
  }
  return d, m
}""",
    )


@pytest.mark.parametrize("length", [4, 3])
def test_loops_of_other_operands_share_nothing(length):
    text = f"""
graph(a: float64[], b: float64[4], c: float64[{length}]) {{
  d: float64[], e: float64[4] = scan(a, b, n_consts=0, n_carry=1, length=4, reverse=False) {{
    graph(f: float64[], g: float64[]) {{
      h: float64[] = sin(g)
      i: float64[] = mul(h, f)
      return i, f
    }}
  }}
  j: float64[] = scan(a, c, {"e, " * (length == 4)}n_consts=0, n_carry=1, length={length}, reverse=True) {{
    graph(k: float64[], l: float64[]{", m: float64[]" * (length == 4)}) {{
      n: float64[] = sin(l)
      o: float64[] = mul(n, k)
      return o
    }}
  }}
  return d, j
}}"""
    graph = parse(text)
    assert str(verify(reuse(verify(graph)))) == str(graph)


def test_products_that_are_only_added_up_are_one_product():
    assert_changes(
        lambda graph: dce(behind(graph)),
        """
graph(a: float64[4,5,2], b: float64[4,5,3], c: float64[2,3], d: float64[5,3]) {
  e: float64[2,3], f: float64[5,3] = scan(c, d, a, b, n_consts=0, n_carry=2, length=4, reverse=True) {
    graph(g: float64[2,3], h: float64[5,3], i: float64[5,2], j: float64[5,3]) {
      k: float64[5,3] = mul(h, j)
      l: float64[2,5] = permute_dims(i, axes=(1, 0))
      m: float64[2,3] = matmul(l, k)
      n: float64[2,3] = add(g, m)
      return n, k
    }
  }
  return e, f
}""",
        """
graph(a: float64[4,5,2], b: float64[4,5,3], c: float64[2,3], d: float64[5,3]) {
  e: float64[5,3], f: float64[4,5,3] = scan(d, b, n_consts=0, n_carry=1, length=4, reverse=True) {
    graph(g: float64[5,3], h: float64[5,3]) {
      i: float64[5,3] = mul(g, h)
      return i, i
    }
  }
  j: float64[20,2] = reshape(a, shape=(20, 2))
  k: float64[2,20] = permute_dims(j, axes=(1, 0))
  l: float64[20,3] = reshape(f, shape=(20, 3))
  m: float64[2,3] = matmul(k, l)
  n: float64[2,3] = add(c, m)
  return n, e
}""",
        rtol=1e-13,
    )


def test_columns_of_products_and_sums_that_are_read():
    text = """
graph(a: float64[4,3,1], b: float64[4,1,2], c: float64[3,2]) {
  d: float64[3,2], e: float64[4,3,2] = scan(c, a, b, n_consts=0, n_carry=1, length=4, reverse=False) {
    graph(f: float64[3,2], g: float64[3,1], h: float64[1,2]) {
      i: float64[3,2] = matmul(g, h)
      j: float64[3,2] = add(i, f)
      return j, READ
    }
  }
  return d, e
}"""
    for read, moves in (("f", False), ("j", False), ("i", False)):
        graph = verify(parse(text.replace("READ", read)))
        assert (str(verify(behind(graph))) != str(graph)) is moves
    alone = text.replace(", e: float64[4,3,2]", "").replace(", READ", "").replace("return d, e", "return d")
    graph = verify(parse(alone))
    made = verify(dce(behind(graph)))
    assert not any(e.regions and e.outs for e in made.eqns)
    given = [RNG.standard_normal(v.aval.shape) for v in graph.inputs]
    np.testing.assert_allclose(evaluate(made, *given)[0], evaluate(graph, *given)[0], rtol=1e-13)


def test_constants_of_a_region_become_operands():
    graph = verify(
        parse(
            """
graph(a: float64[], b: float64[4]) {
  c: float64[] = scan(a, b, n_consts=0, n_carry=1, length=4, reverse=False) {
    graph(d: float64[], e: float64[]) {
      f: float64[] = mul(d, e)
      return f
    }
  }
  return c
}"""
        )
    )

    def with_constant(region):
        (e,) = region.eqns
        known = type(e.out)(e.out.aval)
        region.consts[known] = np.array(3.0)
        return type(region)(region.inputs, region.consts, [e.on((e.inputs[0], known))], region.outputs)

    made = verify(within(graph, with_constant))
    assert [e.params["n_consts"] for e in made.eqns] == [1] and len(made.consts) == 1
    assert evaluate(made, np.float64(2.0), np.ones(4))[0] == 2.0 * 3.0**4


def test_what_one_branch_alone_reads_is_computed_there():
    assert_changes(
        sink,
        """
graph(a: int64[], b: float64[4], c: float64[4]) {
  d: float64[4] = exp(b)
  e: float64[4] = mul(d, c)
  f: float64[4] = sin(c)
  g: float64[4] = cos(c)
  h: float64[4] = tanh(c)
  i: float64[4] = sqrt(c)
  j: float64[4], k: float64[4] = switch(a, e, f, g, h, i) {
    graph(l: float64[4], m: float64[4], n: float64[4], o: float64[4], p: float64[4]) {
      q: float64[4] = add(l, n)
      return q, p
    }
    graph(r: float64[4], s: float64[4], t: float64[4], u: float64[4], v: float64[4]) {
      w: float64[4] = add(s, t)
      x: float64[4] = add(w, u)
      return x, v
    }
  }
  return j, k, h
}""",
        """
graph(a: int64[], b: float64[4], c: float64[4]) {
  d: float64[4] = cos(c)
  e: float64[4] = tanh(c)
  f: float64[4] = sqrt(c)
  g: float64[4], h: float64[4] = switch(a, d, e, f, c, c, b) {
    graph(i: float64[4], j: float64[4], k: float64[4], l: float64[4], m: float64[4], n: float64[4]) {
      o: float64[4] = exp(n)
      p: float64[4] = mul(o, m)
      q: float64[4] = add(p, i)
      return q, k
    }
    graph(r: float64[4], s: float64[4], t: float64[4], u: float64[4], v: float64[4], w: float64[4]) {
      x: float64[4] = sin(u)
      y: float64[4] = add(x, r)
      z: float64[4] = add(y, s)
      return z, t
    }
  }
  return g, h, e
}""",
    )
