"""Torch tensors in a file store."""

from __future__ import annotations

import pytest

from functionfuse.errors import CorruptRecord
from functionfuse.serializers.torch_tensor import TensorSerializer

torch = pytest.importorskip("torch", reason="torch is not installed")


@pytest.fixture
def store(store):
    store.register_persistent_serializers(TensorSerializer)
    return store


@pytest.fixture
def back(store):
    def through_store(obj):
        store.save("w", "a", obj)
        return store.read_task("w", "a")

    return through_store


def same(first, second):
    assert type(first) is type(second)
    assert (first.dtype, first.shape, first.stride()) == (second.dtype, second.shape, second.stride())
    assert first.requires_grad == second.requires_grad
    assert torch.equal(first, second)


DTYPES = ["float64", "float32", "float16", "bfloat16", "complex64", "int64", "int8", "uint8", "uint16", "bool"]


@pytest.mark.parametrize("dtype", [*DTYPES, "float8_e4m3fn"])
@pytest.mark.parametrize("size", [5, 100_000])
def test_every_dtype(back, store, dtype, size):
    values = (torch.arange(size) % 2).to(getattr(torch, dtype))
    loaded = back(values)
    assert loaded.dtype == values.dtype
    assert torch.equal(loaded.view(torch.uint8), values.view(torch.uint8))
    assert store.info("w", "a")["serializers"] == {"torch.tensor": 1}


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1,), (2, 3, 4)])
def test_every_shape(back, shape):
    same(back(torch.ones(shape)), torch.ones(shape))


def test_elements_are_a_segment(back, store):
    loaded = back(torch.ones(1000, 1000))
    assert [length for _, length, _ in store.info("w", "a")["segs"]][1:] == [4_000_000]
    loaded += 1  # what is loaded may be changed
    assert store.read_task("w", "a").sum() == 1_000_000


def test_the_order_in_memory_stays(back):
    tensor = torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
    same(back(tensor.to(memory_format=torch.channels_last)), tensor.to(memory_format=torch.channels_last))
    same(back(tensor.permute(3, 1, 0, 2)), tensor.permute(3, 1, 0, 2))


def test_a_view_takes_only_its_elements(back, store):
    batch = torch.arange(1_000_000.0).reshape(1000, 1000)
    same(back(batch[3]), batch[3])
    assert back(batch[:, 7]).tolist() == batch[:, 7].tolist()
    assert store.info("w", "a")["segs"][-1][1] < 100_000


def test_an_expanded_tensor_takes_no_more_than_its_storage(back, store, files):
    loaded = back(torch.ones(1).expand(1000, 1000))
    assert loaded.shape == (1000, 1000)
    assert files.record("w", "a").stat().st_size < 10_000


def test_a_conjugate_view(back):
    tensor = torch.tensor([1 + 2j, 3 - 1j]).conj()
    assert back(tensor).tolist() == tensor.tolist()


def test_gradients_and_parameters(back):
    same(back(torch.ones(3, requires_grad=True)), torch.ones(3, requires_grad=True))
    same(back(torch.nn.Parameter(torch.ones(3))), torch.nn.Parameter(torch.ones(3)))
    same(back(torch.nn.Parameter(torch.ones(3), requires_grad=False)), torch.nn.Parameter(torch.ones(3), False))
    computed = torch.ones(3, requires_grad=True) * 2
    assert back(computed).tolist() == [2, 2, 2]


def test_a_model_and_its_state(back):
    model = torch.nn.Sequential(torch.nn.Linear(100, 300), torch.nn.BatchNorm1d(300))
    model[0].tied = model[0].weight
    loaded = back({"model": model, "state": model.state_dict()})
    assert loaded["model"][0].tied is loaded["model"][0].weight
    for name, tensor in model.state_dict().items():
        same(loaded["state"][name], tensor)
        same(loaded["model"].state_dict()[name], tensor)


def test_sparse_tensors_and_attributes_are_left_to_torch(back, store):
    assert back(torch.eye(3).to_sparse()).to_dense().tolist() == torch.eye(3).tolist()
    named = torch.ones(3)
    named.label = "three"
    assert back(named).label == "three"
    assert store.info("w", "a")["serializers"] == {}


def test_a_flipped_byte_is_found(back, store, files):
    back(torch.ones(100_000))
    start = store.info("w", "a")["segs"][1][0]
    record = bytearray(files.record("w", "a").read_bytes())
    record[start + 100] ^= 1
    files.record("w", "a").write_bytes(record)
    with pytest.raises(CorruptRecord, match="checksum"):
        store.read_task("w", "a")
