"""Previews: what is shown of values, whatever they are, and what is not."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import pytest

from functionfuse.previews import MOST_BYTES, Preview, as_data, from_data, preview_of


@dataclass
class Settings:
    rate: float
    api_token: str


class Box:
    def __init__(self):
        self.size = 3
        self.password = "plover"


class Ends:
    def __repr__(self):
        raise SystemExit(1)


class Reads:
    """Says what a library's lazy array says of itself, and fails if it is looked into."""

    shape = (3, 4)
    dtype = "float32"

    def __array__(self, *_):
        raise AssertionError

    def __repr__(self):
        raise AssertionError

    def _repr_html_(self):
        raise AssertionError


@pytest.mark.parametrize(
    ("value", "preview"),
    [
        (1, Preview("int", (), "1")),
        (None, Preview("NoneType", (), "None")),
        (1 << 100_000, Preview("int", (), "an int of 100001 bits")),
        ("two\nlines", Preview("str", (9,), "two\nlines")),
        (b"abc", Preview("bytes", (), "b'abc'")),
        ([1, "b"], Preview("list", (2,), "1\n'b'")),
        ({"a": 1, "password": "plover"}, Preview("dict", (2,), "a: 1\npassword: (left out: its name looks secret)")),
        ([{"a": list(range(30))}], Preview("list", (1,), None)),
        (Settings(0.5, "plover"), Preview("test_previews.Settings", (), None)),
        (Box(), Preview("test_previews.Box", (), "size: 3\npassword: (left out: its name looks secret)")),
        (Ends(), Preview("test_previews.Ends", (), "(no preview: SystemExit)")),
        (Reads(), Preview("test_previews.Reads", (3, 4), "dtype float32")),
        (np.float32(0.5), Preview("numpy.float32", (), "0.5")),
        (np.array(["a", "b"]), Preview("numpy.ndarray", (2,), "dtype <U1\na, b")),
        (np.zeros((0, 3)), Preview("numpy.ndarray", (0, 3), "dtype float64")),
        (
            np.array([1.0, np.nan, 3.0]),
            Preview("numpy.ndarray", (3,), "dtype float64\nmin 1, mean 2, max 3, 1 missing\n1, nan, 3"),
        ),
        (
            np.ma.masked_array([1, 2, 3], [False, True, False]),
            Preview("numpy.ma.MaskedArray", (3,), "dtype int64\nmin 1, mean 2, max 3, 1 missing\n1, missing, 3"),
        ),
        (
            np.array(["2020-01-01", "NaT"], dtype="M8[D]"),
            Preview("numpy.ndarray", (2,), None),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values(value, preview):
    made = preview_of(value)
    assert (made.type, made.shape, made.image) == (preview.type, preview.shape, None)
    assert preview.text in (None, made.text)
    assert "plover" not in made.text


def test_an_iterator_is_not_consumed():
    numbers = iter([1, 2])
    assert preview_of(numbers).type == "list_iterator"
    assert list(numbers) == [1, 2]


def test_nested_containers_have_lines_of_their_own():
    text = preview_of({"rows": [{"x": 1}] * 30}).text
    assert text.splitlines()[:3] == ["rows: list of length 30", "  {'x': 1}", "  {'x': 1}"]
    assert text.splitlines()[-1] == "  ... and 10 more"


@pytest.mark.parametrize("value", ["word " * 10_000, "x" * 30_000, "\u20ac\U0001f600" * 9_000, [Settings(1, "x")] * 99])
def test_a_preview_is_bounded(value):
    made = preview_of(value)
    assert len(made.text.encode()) + len(made.image or b"") <= MOST_BYTES
    assert made.text.endswith(("...", "more"))


def test_a_text_is_cut_between_words():
    assert set(preview_of("secret-word " * 5_000).text.split()) == {"secret-word", "..."}


@pytest.mark.parametrize("value", ["plover", ["plover"], {"a": "plover"}, 17])
def test_what_a_secret_name_made_is_not_shown(value):
    assert preview_of(value, "node", "read_token").text == "(left out: its name looks secret)"


def test_an_array_of_a_secret_name_is_shown():
    assert preview_of(np.arange(3), "tokens").text.startswith("dtype int64")


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float16, np.float64])
def test_an_image_of_a_matrix(dtype):
    values = np.random.default_rng(0).integers(0, 2, (500, 300)).astype(dtype)
    image = preview_of(values).image
    assert image[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", image[16:24]) == (75, 84)
    assert len(image) < MOST_BYTES


def test_an_image_of_extreme_and_missing_values():
    values = np.array([[1e308, -1e308, np.nan, np.inf, 0, 1]] * 6)
    made = preview_of(values)
    assert made.image is not None
    assert made.text.splitlines()[1] == "min -1e+308, max 1e+308, 6 missing"


def test_an_image_can_be_read_by_another_program():
    images = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    import io

    values = np.full((8, 10), 5.0)
    values[0, 0], values[7, 9] = np.nan, 6.0
    image = images.open(io.BytesIO(preview_of(values).image)).convert("RGBA")
    assert image.size == (10, 8)
    assert image.getpixel((0, 0))[3] == 0
    assert image.getpixel((1, 0)) == (68, 1, 84, 255)
    assert image.getpixel((9, 7)) == (253, 231, 37, 255)


def test_an_array_in_a_file_is_not_read(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(10))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert preview_of(mapped) == Preview("numpy.memmap", (10,), "dtype int64, in a file")
    assert preview_of(np.asarray(mapped)[2:]).text == "dtype int64, in a file"


def test_a_lazy_array_is_not_computed():
    array = pytest.importorskip("dask.array", reason="dask is not installed")

    def refuse(block):
        raise AssertionError(block)

    lazy = array.ones((4, 4)).map_blocks(refuse, dtype=float, meta=np.ones((0, 0)))
    assert preview_of(lazy) == Preview("dask.array.core.Array", (), "(not computed)")


def test_a_table_of_pandas():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame({"a": range(30), "b": "text", "token": "plover"})
    made = preview_of(frame)
    lines = [line.split() for line in made.text.splitlines()]
    assert (made.shape, lines[0], lines[2][:2]) == ((30, 3), ["a", "b", "token"], ["0", "text"])
    assert made.text.endswith("... and 20 more rows")
    assert "plover" not in made.text
    series = preview_of(pandas.Series([1.5, None], index=["x", "y"], name="s"))
    assert (series.shape, series.text.splitlines()[2:]) == ((2,), ["x      1.5", "y      nan"])


def test_a_table_of_polars():
    polars = pytest.importorskip("polars", reason="polars is not installed")
    made = preview_of(polars.DataFrame({"a": [1, None], "b": ["x", "y"]}))
    assert (made.shape, made.text.split()) == ((2, 2), ["a", "b", "Int64", "String", "1", "x", "None", "y"])
    assert preview_of(polars.Series("s", [1, 2])).shape == (2,)


def test_a_table_of_arrow():
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    made = preview_of(arrow.table({"a": [1, None], "b": ["x", "y"]}))
    assert (made.shape, made.text.split()) == ((2, 2), ["a", "b", "int64", "string", "1", "x", "None", "y"])


def test_a_figure_of_matplotlib():
    figures = pytest.importorskip("matplotlib.figure", reason="matplotlib is not installed")
    figure = figures.Figure(figsize=(6, 4))
    axes = figure.subplots()
    axes.plot([1, 2, 3])
    for value in (figure, axes):
        made = preview_of(value)
        assert made.image[:8] == b"\x89PNG\r\n\x1a\n"
        assert made.text == "6 x 4 inches"
        assert len(made.image) <= MOST_BYTES


def test_a_preview_as_data():
    preview = Preview("numpy.ndarray", (2, 3), "dtype", b"\x89PNG")
    assert from_data(as_data(preview)) == preview
    assert as_data(preview)["image"] == "iVBORw=="
    assert from_data(as_data(Preview("int", (), "1"))) == Preview("int", (), "1")
