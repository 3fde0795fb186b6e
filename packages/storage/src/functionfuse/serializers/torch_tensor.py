"""Torch tensors: their elements without a copy, as arrays of NumPy are kept.

A tensor on a device is kept as one in main memory, and comes back there.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

from functionfuse.storage._serialize.serializers import Serializer

if TYPE_CHECKING:
    from functionfuse.storage._store.transport import BlobReader, BlobWriter


class TensorSerializer(Serializer):
    """Keeps dense tensors and parameters: dtype, shape, order of axes in memory, `requires_grad`.

    Every tensor is kept by itself, only the elements that it shows: views of one storage come back
    separate, like views of a NumPy array, while a tensor that is used twice is one tensor afterwards. Its
    gradient is not kept, as torch does not either. What is more than elements (sparse, quantized or nested
    tensors, those with hooks or attributes, and expanded ones) is left to torch's own pickling.
    """

    name = "torch.tensor"
    version = 1
    types = ("torch.Tensor", "torch.nn.parameter.Parameter")
    requires = ("torch", "numpy")

    def save(self, obj: Any, out: BlobWriter) -> Any:  # noqa: ARG002
        """Return the elements in the order of memory, and how to look at them.

        Args:
            obj: the tensor.
            out: makes files beside the record.
        """
        import torch

        if not _is_plain(obj):
            return NotImplemented
        dense = obj.detach().cpu().resolve_conj().resolve_neg()
        # Transposed and channels-last tensors are stored as they lie, not turned.
        axes = sorted(range(dense.dim()), key=lambda axis: (-dense.stride(axis), axis))
        in_memory = dense.permute(axes).contiguous()
        elements = in_memory.reshape(-1).view(torch.uint8).numpy() if obj.numel() else b""
        return {
            "dtype": str(obj.dtype).removeprefix("torch."),
            "shape": tuple(in_memory.shape),
            "axes": axes,
            "requires_grad": obj.requires_grad,
            "parameter": type(obj) is not torch.Tensor,
            "elements": pickle.PickleBuffer(elements),
        }

    def load(self, state: Any, inp: BlobReader, version: int) -> Any:  # noqa: ARG002
        """Return the tensor, in main memory.

        Args:
            state: what `save` returned.
            inp: finds the files of the record.
            version: of the serializer that saved the object.
        """
        import torch

        dtype, shape, axes = getattr(torch, state["dtype"]), state["shape"], state["axes"]
        view = memoryview(state["elements"])
        if view.nbytes == 0:
            in_memory = torch.empty(shape, dtype=dtype)
        else:
            if view.readonly:  # a small one, that was kept inside the pickle
                view = memoryview(bytearray(view))
            in_memory = torch.frombuffer(view, dtype=dtype).reshape(shape)
        tensor = in_memory.permute([axes.index(axis) for axis in range(len(axes))])
        if state["parameter"]:
            return torch.nn.Parameter(tensor, requires_grad=state["requires_grad"])
        return tensor.requires_grad_(state["requires_grad"])


def _is_plain(tensor: Any) -> bool:
    """Return True if a tensor is nothing but its elements, and not many more than it has memory for."""
    import torch

    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_nested or tensor.is_meta:
        return False
    if tensor.__dict__ or tensor._backward_hooks:
        return False
    return bool(tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes())
