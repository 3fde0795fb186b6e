"""DataFrames in a file store: exact, whatever they hold, and text faster than pickling."""

from __future__ import annotations

import datetime
import warnings

import numpy as np
import pytest

from functionfuse.errors import CorruptRecord
from functionfuse.serializers.dataframe import TextArraySerializer
from functionfuse.storage import FileStore

pd = pytest.importorskip("pandas", reason="pandas is not installed")
pytest.importorskip("pyarrow", reason="pyarrow is not installed")

ROWS = 2000
WORDS = [f"w\N{SNOWMAN}rd {number % 700}" for number in range(ROWS)]


def text(missing=None, every=7, dtype=object):
    return np.array([missing if number % every == 3 else word for number, word in enumerate(WORDS)], dtype=dtype)


class LabelledFrame(pd.DataFrame):
    _metadata = ["label"]  # noqa: RUF012

    @property
    def _constructor(self):
        return LabelledFrame


@pytest.fixture
def store(store):
    store.register_persistent_serializers(TextArraySerializer)
    return store


@pytest.fixture
def back(store):
    def through_store(obj):
        store.save("w", "a", obj)
        return store.read_task("w", "a")

    return through_store


def kinds(values):
    return [type(value) for value in values]


COLUMNS = {
    "object": lambda: pd.Series(WORDS, dtype=object),
    "object with None": lambda: pd.Series(text(None), dtype=object),
    "object with nan": lambda: pd.Series(text(np.nan), dtype=object),
    "object with NA": lambda: pd.Series(text(pd.NA), dtype=object),
    "only None": lambda: pd.Series([None] * ROWS, dtype=object),
    "mixed": lambda: pd.Series([1, "a", None, 2.5] * (ROWS // 4), dtype=object),
    "mixed missing": lambda: pd.Series(["a", np.nan, None, pd.NA] * (ROWS // 4), dtype=object),
    "text and numbers": lambda: pd.Series(["a", 1.5] * (ROWS // 2), dtype=object),
    "late number": lambda: pd.Series([*WORDS[:-1], 7], dtype=object),
    "text and bytes": lambda: pd.Series(["a", b"a"] * (ROWS // 2), dtype=object),
    "numpy text": lambda: pd.Series([np.str_("a"), "b"] * (ROWS // 2), dtype=object),
    "surrogates": lambda: pd.Series(["a\ud800", "b"] * (ROWS // 2), dtype=object),
    "lists": lambda: pd.Series([[1], [2, "x"]] * (ROWS // 2), dtype=object),
    "dates": lambda: pd.Series([datetime.date(2020, 1, 2)] * ROWS, dtype=object),
    "str": lambda: pd.Series(WORDS, dtype="str"),
    "string": lambda: pd.Series(text(None), dtype="string"),
    "string in python": lambda: pd.Series(text(None), dtype=pd.StringDtype("python")),
    "float": lambda: pd.Series(np.arange(ROWS, dtype="f4")),
    "Int64": lambda: pd.Series([1, None] * (ROWS // 2), dtype="Int64"),
    "boolean": lambda: pd.Series([True, None] * (ROWS // 2), dtype="boolean"),
    "category": lambda: pd.Series(pd.Categorical(WORDS, ordered=True)),
    "long category": lambda: pd.Series(pd.Categorical(pd.Index([f"{n}" for n in range(ROWS)], dtype=object))),
    "time zone": lambda: pd.Series(pd.date_range("2020", periods=ROWS, freq="h", tz="Europe/Berlin")),
    "timedelta": lambda: pd.Series(pd.to_timedelta(np.arange(ROWS), unit="s")),
    "period": lambda: pd.Series(pd.period_range("2020", periods=ROWS, freq="D")),
    "interval": lambda: pd.Series(pd.interval_range(0, ROWS)),
    "sparse": lambda: pd.Series(pd.arrays.SparseArray([0, 1] * (ROWS // 2))),
    "arrow list": lambda: pd.Series([["a"], ["b", "c"]] * (ROWS // 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", COLUMNS)
def test_every_column_comes_back(back, name):
    frame = pd.DataFrame({"x": COLUMNS[name](), "y": np.arange(ROWS)})
    loaded = back(frame)
    pd.testing.assert_frame_equal(loaded, frame, check_exact=True, check_freq=True, check_flags=True)
    assert kinds(loaded["x"]) == kinds(frame["x"])


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA], ids=repr)
def test_missing_values_stay_what_they_are(back, store, missing):
    loaded = back(text(missing))
    assert loaded[3] is missing
    assert loaded[4] == WORDS[4]
    assert store.info("w", "a")["serializers"] == {"arrow.text": 1}


@pytest.mark.parametrize("index", ["text", "multi", "range", "dates"])
def test_every_index_comes_back(back, index):
    made = {
        "text": pd.Index([f"{n}" for n in range(ROWS)], dtype=object, name="key"),
        "multi": pd.MultiIndex.from_arrays([pd.Index(WORDS, dtype=object), np.arange(ROWS)], names=["a", None]),
        "range": pd.RangeIndex(5, 5 + 3 * ROWS, 3),
        "dates": pd.date_range("2020", periods=ROWS, freq="h"),
    }[index]
    frame = pd.DataFrame({"x": pd.Series(WORDS, dtype=object).to_numpy()}, index=made)
    loaded = back(frame)
    pd.testing.assert_frame_equal(loaded, frame, check_freq=True)
    assert loaded.index.names == frame.index.names


def test_what_is_more_than_a_table_comes_back(back):
    frame = LabelledFrame(np.array([text(), text(None, 3)], dtype=object).T, columns=[1, 1])
    frame.attrs["source"], frame.label = {"from": "x"}, "a label"
    loaded = back(frame)
    assert type(loaded) is LabelledFrame
    assert (loaded.attrs, loaded.label) == ({"source": {"from": "x"}}, "a label")
    assert list(loaded.columns) == [1, 1]
    pd.testing.assert_frame_equal(loaded, frame)


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_more_axes(back, order):
    array = np.asarray(np.array(WORDS, dtype=object).reshape(20, 100), order=order)
    loaded = back({"all": array, "some": array[::2, 5:95], "turned": array.T})
    assert loaded["all"].flags.f_contiguous == array.flags.f_contiguous
    assert loaded["all"].tolist() == array.tolist()
    assert loaded["some"].shape == (10, 90)
    assert loaded["some"].tolist() == array[::2, 5:95].tolist()
    assert loaded["turned"].tolist() == array.T.tolist()


def test_other_kinds_of_text_arrays_stay_what_they_are(back, store):
    tagged = np.dtype("O", metadata={"vlen": str})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # numpy says that pickling drops metadata
        loaded = back([np.array(WORDS, "U9"), np.array(WORDS, tagged), np.array(WORDS, np.dtypes.StringDType())])
    assert [array.dtype.kind for array in loaded] == ["U", "O", "T"]
    assert [array.tolist() for array in loaded] == [WORDS] * 3
    assert store.info("w", "a")["serializers"] == {}


def test_what_is_loaded_may_be_changed(back, store):
    loaded = back(pd.DataFrame({"x": pd.Series(WORDS, dtype=object)}))
    loaded.loc[0, "x"] = 5
    assert store.read_task("w", "a").loc[0, "x"] == WORDS[0]


def test_a_shared_array_stays_shared(back):
    array = text()
    first, second = back([array, array])
    assert first is second


def test_small_arrays_need_no_arrow(back, store):
    assert back(np.array(["a", None], dtype=object)).tolist() == ["a", None]
    assert store.info("w", "a")["serializers"] == {}


def test_text_is_kept_in_segments(back, store):
    back(pd.DataFrame({"x": pd.Series(WORDS * 20, dtype=object)}))
    lengths = [length for _, length, _ in store.info("w", "a")["segs"]]
    assert lengths[1:] == [8 * (ROWS * 20 + 1), sum(len(word.encode()) for word in WORDS) * 20]


def test_damaged_text_is_found(back, store, files):
    back(pd.Series(WORDS * 20, dtype=object))
    start = store.info("w", "a")["segs"][-1][0]
    record = bytearray(files.record("w", "a").read_bytes())
    record[start + 1000] ^= 1
    files.record("w", "a").write_bytes(record)
    with pytest.raises(CorruptRecord, match="checksum"):
        store.read_task("w", "a")


def test_a_table_of_arrow_comes_back(back):
    import pyarrow as pa

    table = pa.table({"x": WORDS, "y": np.arange(ROWS)})
    assert back(table.slice(5, 100)).equals(table.slice(5, 100))


def test_a_store_that_maps_nothing(root, files):
    unmapped = FileStore(root, durable=False, mmap=False)
    unmapped.register_persistent_serializers(TextArraySerializer)
    unmapped.save("w", "a", text())
    assert unmapped.read_task("w", "a").tolist() == text().tolist()
