"""Recordings in files: what comes back, what is refused, what never becomes markup."""

from __future__ import annotations

import base64
import gzip
import html.parser
import json
import re

import numpy as np
import pytest

import backlit
from backlit import nn, optim
from backlit.core.errors import ArgumentError, FileFormatError
from backlit.functional import cross_entropy
from backlit.inspector.showing import notebook_page
from backlit.inspector.wire import pack, unpack


def trained(steps=2, net=None):
    backlit.random.seed(0)
    net = net or nn.Sequential(nn.Linear(6, 5), nn.GELU(), nn.Linear(5, 3))
    generator = np.random.default_rng(0)
    data, labels = backlit.tensor(generator.standard_normal((4, 6)).astype("f4")), backlit.tensor(np.arange(4) % 3)
    optimizer = optim.Adam(net.parameters(), lr=0.01)
    with backlit.record() as recording:
        for _ in range(steps):
            optimizer.zero_grad()
            loss = cross_entropy(net(data), labels)
            loss.backward()
            optimizer.step()
    return recording


def test_a_recording_comes_back(tmp_path):
    made = trained()
    made.save(tmp_path / "a.blt")
    read = backlit.load_recording(tmp_path / "a.blt")
    assert [n.name for n in read.nodes] == [n.name for n in made.nodes]
    assert [e.kind for e in read.events] == [e.kind for e in made.events]
    assert [(s.path, s.name, s.class_name, s.kind) for s in read.modules] == [
        (s.path, s.name, s.class_name, s.kind) for s in made.modules
    ]
    assert read.peak_bytes == made.peak_bytes and read.kept_bytes() == made.kept_bytes()
    assert [s.loss for s in read.steps] == [s.loss for s in made.steps]
    assert [(u.node.name, u.event, u.measured()) for u in read.updates] == [
        (u.node.name, u.event, u.measured()) for u in made.updates
    ]
    for ours, theirs in zip(read.nodes, made.nodes, strict=True):
        assert (ours.kind, ours.op, ours.shape, ours.dtype, ours.module, ours.scope) == (
            theirs.kind, theirs.op, theirs.shape, theirs.dtype, theirs.module, theirs.scope
        )  # fmt: skip
        assert [a.name if hasattr(a, "name") else a for a in ours.args] == [
            a.name if hasattr(a, "name") else a for a in theirs.args
        ]
        assert ours.wanted == theirs.wanted or theirs.op is None
        assert str(ours.source).endswith(f":{theirs.source.line}") if theirs.source else ours.source is None
        assert np.array_equal(ours.value, theirs.value)
        if theirs.cotangent is None:
            assert ours.cotangent is None
            continue
        assert ours.cotangent.dtype == theirs.cotangent.dtype
        assert ours.cotangent.tobytes() == theirs.cotangent.tobytes() == ours.resummed().tobytes()
        assert [(c.child.name, c.argnum, c.event) for c in ours.contributions] == [
            (c.child.name, c.argnum, c.event) for c in theirs.contributions
        ]


def test_saved_again_it_has_the_same_bytes(tmp_path):
    trained().save(tmp_path / "a.blt")
    backlit.load_recording(tmp_path / "a.blt").save(tmp_path / "b.blt")
    assert (tmp_path / "a.blt").read_bytes() == (tmp_path / "b.blt").read_bytes()


def test_numbers_in_the_tables_are_those_of_the_recording(tmp_path):
    made = trained(1)
    made.save(tmp_path / "a.blt")
    tables, info = unpack((tmp_path / "a.blt").read_bytes())
    stat, edge = tables["stat"], tables["edge"]
    assert info["peak_bytes"] == made.peak_bytes
    for k in range(len(stat["node"])):
        node = made.nodes[stat["node"][k]]
        array = node.value if stat["which"][k] == 0 else node.cotangent
        if stat["which"][k] == 2:
            child, argnum = edge["to"][stat["edge"][k]], edge["argnum"][stat["edge"][k]]
            (array,) = [c.value for c in node.contributions if (c.child.index, c.argnum) == (child, argnum)]
        exact = np.asarray(array, "f8")
        assert stat["n"][k] == exact.size and stat["max"][k] == exact.max() and stat["min"][k] == exact.min()
        assert stat["rms"][k] == pytest.approx(np.sqrt(np.mean(exact**2)), rel=1e-12)
        assert stat["zeros"][k] == np.sum(exact == 0)
        start = stat["hist_start"][k]
        counts = tables["hist"]["count"][start : start + 64]
        assert counts.sum() == np.sum(exact != 0)
        assert np.array_equal(counts[:32].sum(), np.sum(exact < 0))
    assert len(info["hist_edges"]) == 65


@pytest.mark.parametrize("name", ["a.txt", "a", "a.html.gz"])
def test_a_name_of_another_kind_is_refused(tmp_path, name):
    with pytest.raises(backlit.BacklitError, match=r"\.html .*\.blt"):
        trained(1).save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_an_error_leaves_the_old_file(tmp_path):
    (tmp_path / "a.html").write_text("old")
    with pytest.raises(backlit.BacklitError, match="max_mb"):
        trained(1).save(tmp_path / "a.html", max_mb=0.01)
    assert [p.name for p in tmp_path.iterdir()] == ["a.html"]
    assert (tmp_path / "a.html").read_text() == "old"


def test_only_what_has_a_gradient_is_followed(tmp_path):
    made = trained()
    for asked, why in [
        ("absent", "no node 'absent'"),
        (("0/weight", 99), "99 is no element of '0/weight'"),
        (("0/weight", np.ones(3)), "a direction is an array for each target, of its shape"),
        (3, "names of nodes or modules, or pairs .*, not 3"),
    ]:
        with pytest.raises(ArgumentError, match=why):
            made.save(tmp_path / "a.blt", follow=[asked])
    made.save(tmp_path / "a.blt", follow=["0"])
    with pytest.raises(ArgumentError, match="read from a file"):
        backlit.load_recording(tmp_path / "a.blt").save(tmp_path / "b.html", follow=["0"])


@pytest.mark.parametrize(
    "options, said",
    [
        ({"follow": "x"}, r"follow is a list, such as \['x'\]"),
        ({"checkpoints": "10"}, r"checkpoints is a list, such as \['10'\]"),
        ({"max_mb": "1"}, "max_mb must be a finite number above 0, got '1'"),
        ({"bands": {"amber": 2}}, r"such as Bands\(amber=2\)"),
    ],
)
def test_options_of_another_kind_are_refused(tmp_path, options, said):
    with backlit.record() as recording:
        backlit.tensor(np.ones(3), requires_grad=True).sum().backward()
    with pytest.raises(ArgumentError, match=said):
        recording.save(tmp_path / "x.html", **options)


@pytest.mark.parametrize("options", [{"follow": ["0"]}, {"checkpoints": ["0"]}, {"tree_depth": 2}])
def test_nothing_more_is_asked_of_statistics(tmp_path, options):
    net = nn.Sequential(nn.Linear(2, 2))
    with backlit.record(statistics=True) as recording:
        net(np.ones((1, 2), "f4")).sum().backward()
    with pytest.raises(ArgumentError, match="in a recording of statistics"):
        recording.save(tmp_path / "x.html", **options)


def test_contents_shrink_until_the_file_fits(tmp_path):
    net = nn.Sequential(nn.Linear(6, 500), nn.GELU(), nn.Linear(500, 3))
    made = trained(1, net)
    made.save(tmp_path / "a.blt")
    size = (tmp_path / "a.blt").stat().st_size
    made.save(tmp_path / "b.blt", max_mb=size / 2e6)
    assert (tmp_path / "b.blt").stat().st_size <= size / 2
    assert len(backlit.load_recording(tmp_path / "b.blt").nodes) == len(made.nodes)
    loaded = backlit.load_recording(tmp_path / "a.blt")
    loaded.save(tmp_path / "c.blt", max_mb=size / 2e6)
    assert (tmp_path / "c.blt").stat().st_size <= size / 2
    backlit.load_recording(tmp_path / "c.blt")


def test_lines_of_the_program_can_be_left_out(tmp_path):
    made = trained(1)
    made.save(tmp_path / "a.blt")
    with_lines = gzip.decompress((tmp_path / "a.blt").read_bytes())
    made.save(tmp_path / "b.blt", sources=False)
    without = gzip.decompress((tmp_path / "b.blt").read_bytes())
    backlit.load_recording(tmp_path / "a.blt").save(tmp_path / "c.blt", sources=False)
    again = gzip.decompress((tmp_path / "c.blt").read_bytes())
    line = b"loss = cross_entropy(net(data), labels)"
    assert line in with_lines and line not in without and line not in again
    assert str(tmp_path).encode() not in with_lines


INJECTION = "</script><script>alert(1)</script><img src=x onerror=alert(2)><!--"


class Elements(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def hostile():
    class Hostile(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_parameter(INJECTION, nn.Parameter(np.ones(3, "f4")))
            self.register_module('"><svg onload=alert(3)>', nn.Linear(3, 2))

        def forward(self, x):
            return self._modules['"><svg onload=alert(3)>'](x * self._parameters[INJECTION])

    net = Hostile()
    with backlit.record() as recording:
        backlit.sum(net(backlit.ones((2, 3)))).backward()
    assert any(INJECTION in n.name for n in recording.nodes)
    return recording


def test_names_never_become_markup(tmp_path):
    made = hostile()
    made.save(tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "alert(" not in text
    elements = Elements()
    elements.feed(text)
    tags = [tag for tag, _ in elements.tags]
    assert tags.count("script") == 2 and not {"img", "svg"} & set(tags)
    policy = next(a["content"] for t, a in elements.tags if t == "meta" and "http-equiv" in a)
    assert "default-src 'none'" in policy and "http" not in policy
    assert not re.search(r'\b(src|href)="?(https?:)?//', text)
    data = base64.b64decode(re.search(r'id="recording">([^<]*)<', text)[1])
    assert any(INJECTION in (n or "") for n in unpack(data)[0]["node"]["name"])


def test_in_a_notebook_it_is_a_sandboxed_frame():
    made = hostile()
    shown = made._repr_html_()
    elements = Elements()
    elements.feed(shown)
    ((tag, attributes),) = elements.tags
    assert tag == "iframe" and attributes["sandbox"] == "allow-scripts"
    inner = Elements()
    inner.feed(attributes["srcdoc"])
    assert [t for t, _ in inner.tags].count("script") == 2
    assert "height:300px" in notebook_page(made, height=300)


def test_the_frame_has_the_height_that_is_asked_for():
    made = trained(1)
    shown = made.frame(height=333)._repr_html_()
    assert "height:333px" in shown and shown.replace("333px", "640px") == made._repr_html_()
    for height in (0, -5, "9em", 2.5):
        with pytest.raises(ArgumentError, match="positive number of pixels"):
            made.frame(height=height)


def test_damaged_files_are_refused_in_one_sentence(tmp_path):
    path = tmp_path / "a.blt"
    trained(1).save(path)
    whole = bytearray(gzip.decompress(path.read_bytes()))
    length = int.from_bytes(whole[4:8], "little")
    generator = np.random.default_rng(0)
    refused = 0
    for trial in range(300):
        data = bytearray(whole)
        low, high = (0, 8 + length) if trial % 2 else (8 + length, len(data))
        for _ in range(int(generator.integers(1, 4))):
            data[int(generator.integers(low, high))] = int(generator.integers(0, 256))
        path.write_bytes(gzip.compress(bytes(data), 1))
        try:
            backlit.load_recording(path)
        except FileFormatError as error:
            refused += 1
            assert "\n" not in str(error) and "a.blt" in str(error)
    assert refused > 50
    for cut in range(0, len(path.read_bytes()), 997):
        other = tmp_path / "cut.blt"
        other.write_bytes(path.read_bytes()[:cut])
        with pytest.raises(FileFormatError):
            backlit.load_recording(other)


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h["tables"]["node"].update(rows=1 << 40),
        lambda h: h["tables"]["node"].update(rows=-1),
        lambda h: h["tables"]["node"]["columns"]["op"].update(dtype="O"),
        lambda h: h["tables"]["node"]["columns"]["op"].update(dtype="U9"),
        lambda h: h["tables"]["node"]["columns"]["op"].update(at=1 << 20),
        lambda h: h["tables"]["node"]["columns"]["op"].update(at=-8),
        lambda h: h["tables"]["node"]["columns"]["op"].update(at=4),
        lambda h: h["tables"]["node"]["columns"]["op"].update(shape=[1 << 30, 1 << 30]),
        lambda h: h["tables"]["node"]["columns"]["op"].update(shape=[True]),
        lambda h: h["tables"].pop("event"),
        lambda h: h["tables"]["node"]["columns"].pop("name"),
        lambda h: h.update(strings=[1]),
        lambda h: h.update(strings=["x"]),
        lambda h: h.update(tables=[]),
        lambda h: h.update(info=None),
        lambda h: h.update(version="1"),
        lambda h: h.update(version=10**30),
    ],
)
def test_hostile_headers_are_refused(tmp_path, change):
    path = tmp_path / "a.blt"
    trained(1).save(path)
    whole = gzip.decompress(path.read_bytes())
    length = int.from_bytes(whole[4:8], "little")
    header = json.loads(whole[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(gzip.compress(b"BLT1" + len(text).to_bytes(4, "little") + text + whole[8 + length :]))
    with pytest.raises(FileFormatError):
        backlit.load_recording(path)


def test_deep_and_huge_files_are_refused(tmp_path):
    path = tmp_path / "a.blt"
    text = b"[" * 100_000
    path.write_bytes(gzip.compress(b"BLT1" + len(text).to_bytes(4, "little") + text))
    with pytest.raises(FileFormatError):
        backlit.load_recording(path)
    path.write_bytes(pack({}, {}))
    with pytest.raises(FileFormatError):
        backlit.load_recording(path)
    with pytest.raises(backlit.BacklitError):
        backlit.load_recording(tmp_path / "absent.blt")
