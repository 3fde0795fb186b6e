"""What notebooks show of a store: tables of results and workflows, from the footers alone."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest

from functionfuse._tables import Table
from functionfuse.storage import FileStore, RayStore
from functionfuse.storage._file.transport import FileTransport
from functionfuse.storage._record import reading
from functionfuse.storage._record.shapes import shape_of
from functionfuse.storage._store.lookup import Records
from functionfuse.storage._store.results import Result

ANYWAY = {"may_replace": lambda: True, "create": False}
HOSTILE = "<script>alert('x')</script>\"&\n\u202eb"


class Cells(HTMLParser):
    """Reads a table as browsers do: tags, and the text of its cells, row by row."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.rows, self.scopes = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag in ("caption", "tr"):
            self.rows.append([])
        if tag in ("caption", "th", "td"):
            self.rows[-1].append("")
            self.scopes.append(dict(attributes).get("scope"))

    def handle_data(self, data):
        if data.strip():
            self.rows[-1][-1] += data


def shown(table):
    return Cells(table._repr_html_()).rows


@pytest.fixture(params=["file", "S3", "ray"])
def any_store(request, tmp_path):
    if request.param == "ray":
        request.getfixturevalue("ray_cluster")
        return RayStore(str(tmp_path / "store"), {"resources": {"_disk": 0.001}})
    return request.getfixturevalue("store" if request.param == "file" else "s3_store")


@pytest.fixture
def damage(any_store):
    """Cuts the last byte of a record."""
    store = FileStore(any_store.path) if isinstance(any_store, RayStore) else any_store

    def cut(name):
        transport, encode = store._transport, store._records.encode
        data = bytes(transport.whole(encode("w"), encode(name)))[:-1]
        transport.publish(encode("w"), encode(name), lambda sink, blobs: sink.write(data), **ANYWAY)

    return cut


def test_a_row_says_what_a_result_is(any_store):
    before = datetime.now(UTC)
    any_store.save("w", "a", [1, 2, 3], meta={"seconds": 0.25})
    (row,) = any_store.results("w")
    assert (row.name, row.type, row.shape, row.duration, row.problem) == ("a", "builtins.list", None, 0.25, "")
    assert row.size == any_store.info("w", "a")["segs"][0][1]
    assert before <= row.created <= datetime.now(UTC)
    assert row.created.utcoffset().total_seconds() == 0


def test_results_are_a_sequence_by_name(any_store):
    for name in ("b", "a", "c", HOSTILE, "x" * 300):
        any_store.save("w", name, name)
    results = any_store.results("w")
    assert [row.name for row in results] == sorted([*"abc", HOSTILE, "x" * 300])
    assert (len(results), results[-1].name) == (5, "x" * 300)
    assert [row.name for row in results[1:3]] == ["a", "b"]
    assert [row.name for row in any_store.results("w", "[ab]")] == ["a", "b"]
    assert list(any_store.results("nothing here")) == []
    with pytest.raises(IndexError):
        results[5]


def test_damage_is_shown_and_hides_nothing(any_store, damage):
    for name in ("a", "b", "x" * 300):
        any_store.save("w", name, 1)
    for name in ("b", "x" * 300):
        damage(name)
    sound, damaged, nameless = any_store.results("w")
    assert (sound.name, sound.problem) == ("a", "")
    assert (damaged.name, damaged.type, damaged.created) == ("b", "", None)
    assert nameless.name.startswith("xxx")
    for row in (damaged, nameless):
        assert "no end mark: truncated" in row.problem
        assert f"damaged: {row.problem}" in repr(any_store.results("w"))
    assert [row[1].partition(":")[0] for row in shown(any_store.results("w"))[2:]] == [
        "builtins.int", "damaged", "damaged",
    ]  # fmt: skip


def test_a_result_that_goes_while_it_is_looked_at(any_store):
    any_store.save("w", "a", 1)
    results = any_store.results("w")
    any_store.remove_task("w", "a")
    assert [row.problem for row in results] == ["removed since it was listed"]


def test_a_table_has_a_heading_for_each_row_and_column(any_store):
    any_store.save("w", "a", 1, meta={"seconds": 125.0})
    any_store.save("w", "b", "text")
    table = Cells(any_store.results("w")._repr_html_())
    assert table.rows[:2] == [["2 results of workflow 'w'"], ["name", "type", "shape", "size", "created", "took"]]
    assert [(row[0], row[1], row[-1]) for row in table.rows[2:]] == [
        ("a", "builtins.int", "2 min 05 s"),
        ("b", "builtins.str", ""),
    ]
    assert table.scopes == [None, *["col"] * 6, *["row", *[None] * 5] * 2]


def test_hostile_names_are_text(any_store):
    any_store.save(HOSTILE, HOSTILE, 1)
    for text in (any_store.results(HOSTILE)._repr_html_(), any_store._repr_html_()):
        table = Cells(text)
        assert set(table.tags) <= {"table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td"}
        assert table.rows[2][0] == "<script>alert('x')</script>\"&\\n\\u202eb"
        assert "\u202e" not in text
    assert len(repr(any_store.results(HOSTILE)).splitlines()) == 3


def test_a_store_lists_its_workflows(any_store):
    assert len(shown(any_store)) == 2
    any_store.save("b", "a", 1)
    any_store.save("a", "x", 1)
    any_store.save("a", "y", 1)
    assert shown(any_store) == [[repr(any_store)], ["workflow", "results"], ["a", "2"], ["b", "1"]]


def test_columns_are_aligned(store, monkeypatch):
    monkeypatch.setattr("functionfuse.storage._record.writing.time.time", lambda: 1.7e9)
    store.save("w", "linear model", [0.5], meta={"seconds": 0.0123})
    store.save("w", "日本", bytes(3_000_000), meta={"seconds": 7322.0})
    when = datetime.fromtimestamp(1.7e9).strftime("%Y-%m-%d %H:%M:%S")
    size = store.info("w", "linear model")["segs"][0][1]
    assert repr(store.results("w")).splitlines() == [
        "2 results of workflow 'w'",
        "name          type            shape     size  created                    took",
        f"linear model  builtins.list             {size} B  {when}     12.3 ms",
        f"日本          builtins.bytes         2.9 MiB  {when}  2 h 02 min",
    ]


def test_of_many_results_only_those_shown_are_read(store, files, monkeypatch):
    store.new_workflow("w")
    for number in range(5000):
        files.record("w", f"{number:04}").touch()
    read = []
    real = FileTransport.tail
    monkeypatch.setattr(FileTransport, "tail", lambda *asked: read.append(asked) or real(*asked))
    results = store.results("w")
    assert (len(results), read) == (5000, [])
    lines = repr(results).splitlines()
    assert (len(lines), len(read), lines[-1]) == (103, 100, "… and 4,900 more")
    assert shown(results)[-1] == ["… and 4,900 more"]


def test_nothing_is_unpickled(store):
    class Explosive:
        def __reduce__(self):
            return os._exit, (1,)

    store.save("w", "a", Explosive())
    assert store.results("w")[0].type.endswith("Explosive")


def test_a_record_that_was_copied_is_not_its_namesake(store, files):
    store.save("w", "a", 1)
    files.record("w", "b").write_bytes(files.record("w", "a").read_bytes())
    assert [row.problem for row in store.results("w")] == ["", "its record is of 'a' of workflow 'w'"]


def test_an_unsigned_result_is_a_problem(store, root, monkeypatch):
    store.save("w", "a", 1)
    monkeypatch.setenv("FF_TEST_KEY", "k" * 32)
    (row,) = FileStore(root, sign_key="env:FF_TEST_KEY").results("w")
    assert "not signed with this store's key" in row.problem


@pytest.mark.parametrize("seconds", ["long", None, True, -1.0, float("nan"), 10**400, [1.0]])
def test_what_is_no_duration_is_not_shown_as_one(store, seconds):
    store.save("w", "a", 1, meta={"seconds": seconds})
    (row,) = store.results("w")
    assert (row.duration, row.problem) == (None, "")


@pytest.mark.parametrize(
    "strange",
    [
        {"created": "now"},
        {"created": 1e300},
        {"shape": 3},
        {"shape": ["x"]},
        {"segs": [[]]},
        {"meta": []},
        {"blobs": 5},
    ],
)
def test_a_sound_footer_that_no_store_wrote(store, monkeypatch, strange):
    store.save("w", "a", 1)
    store.save("w", "b", 2)
    footer = {**store.info("w", "a"), **strange}
    real = Records.footer_at
    monkeypatch.setattr(Records, "footer_at", lambda self, *asked: footer if asked[1] == "a" else real(self, *asked))
    damaged, sound = store.results("w")
    assert "its footer is not one of a store" in damaged.problem
    assert sound.problem == ""
    assert len(repr(store.results("w")).splitlines()) == 4


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 ms"),
        (0.0004, "0.4 ms"),
        (0.9999, "1 s"),
        (59.99, "1 min 00 s"),
        (3599.9, "1 h 00 min"),
        (4e7, "11,111 h 06 min"),
    ],
)
def test_durations_are_readable(seconds, text):
    assert Result("a", created=datetime.now(UTC), duration=seconds).cells()[-1] == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536 << 20, "1.5 GiB"), (5 << 50, "5,120.0 TiB")],
)
def test_sizes_are_readable(size, text):
    assert Result("a", size=size, created=datetime.now(UTC)).cells()[3] == text


def test_long_cells_are_cut_in_the_middle():
    (_, _, row) = Table("title", ("name", "n"), [("a" * 100 + "z", "1")], frozenset({"n"})).text().splitlines()
    assert row == f"{'a' * 40}…{'a' * 18}z  1"


class TestShapes:
    @pytest.mark.parametrize("make", ["np.zeros((2, 3))", "np.float64(1)", "np.ma.zeros((4, 0))"])
    def test_of_numpy(self, store, make):
        np = pytest.importorskip("numpy", reason="numpy is not installed")
        value = eval(make, {"np": np})
        store.save("w", "a", value)
        assert store.info("w", "a")["shape"] == list(value.shape)
        assert store.results("w")[0].shape == value.shape

    def test_of_pandas(self):
        pd = pytest.importorskip("pandas", reason="pandas is not installed")
        frame = pd.DataFrame({"x": [1, 2, 3], "y": [4, 5, 6]})
        assert [shape_of(one) for one in (frame, frame["x"], frame.index)] == [[3, 2], [3], [3]]

    def test_of_dask_with_sizes_that_are_not_known(self, any_store):
        da = pytest.importorskip("dask.array", reason="dask is not installed")
        lazy = da.arange(20, chunks=5)
        any_store.save("w", "known", lazy)
        assert any_store.results("w")[0].shape == (20,)
        assert shape_of(lazy[lazy > 3]) == [None]

    def test_of_torch(self):
        torch = pytest.importorskip("torch", reason="torch is not installed")
        assert shape_of(torch.zeros(2, 3)) == [2, 3]

    def test_a_subclass_of_an_array_has_the_shape_of_the_array(self):
        np = pytest.importorskip("numpy", reason="numpy is not installed")

        class Image(np.ndarray):
            pass

        assert shape_of(np.zeros((2, 2)).view(Image)) == [2, 2]

    def test_a_plain_attribute(self):
        class Grid:
            def __init__(self, shape):
                self.shape = shape

        assert shape_of(Grid((3, 4))) == [3, 4]
        for shape in (
            [3, 4],
            "ab",
            ("a",),
            (1.5,),
            (-1,),
            (1 << 70,),
            (1,) * 65,
            (1,) * 10**6,
            None,
            object(),
            (10**5000,),
        ):
            assert shape_of(Grid(shape)) is None

    def test_code_of_others_is_not_run(self, store):
        class Lazy:
            @property
            def shape(self):
                os._exit(1)

            def __getattr__(self, name):
                os._exit(1)

            def __reduce__(self):
                return str, ("lazy",)

        store.save("w", "a", Lazy())
        assert "shape" not in store.info("w", "a")

    def test_a_shape_that_is_not_known(self):
        np = pytest.importorskip("numpy", reason="numpy is not installed")

        class Raising(np.ndarray):
            __module__ = "numpy.raising"

            @property
            def shape(self):
                raise RuntimeError("not now")

        class Hidden:
            __mro__ = __dict__ = property(lambda self: 1 / 0)

        assert shape_of(np.zeros(3).view(Raising)) is None
        assert shape_of(Hidden()) is None

    def test_records_without_a_shape_are_read(self, store, monkeypatch):
        monkeypatch.setattr("functionfuse.storage._record.writing.shape_of", lambda obj: None)
        np = pytest.importorskip("numpy", reason="numpy is not installed")
        store.save("w", "a", np.zeros(3))
        monkeypatch.undo()
        assert store.results("w")[0].shape is None
        assert reading.footer_of(store._transport.whole("w", "a"), None)["name"] == "a"
