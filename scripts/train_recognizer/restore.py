"""A network to go on training, out of the `model.bin` of a model folder: 8-bit weights made floating again.

The format is that of CTranslate2's `ModelSpec` (ctranslate2/specs/model_spec.py): a version, the name and revision of
the specification, every variable with its shape, type and bytes, and names that stand for another variable's.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from edge_agent.errors import ModelError
from train_recognizer.features import MELS

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from train_recognizer.network import Network

    Variables = dict[str, NDArray[Any]]

VERSION = 6
TYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)
UNUSED = -9_999.0
"""A token whose bias is below this is never picked: `export` gives -10,000 to those that were not learned."""
MOST_TOKENS = 20_000
"""Stock Whisper uses all of its 51,865; the models that are trained here have some thousands."""
AGAIN = "copy the model's folder again, whole"


def read(file: Path) -> Variables:
    """Return the variables of a `model.bin` as they are stored, mapped, not loaded.

    Raises:
        ModelError: the file is missing, cut short, or in another version's form.
    """
    try:
        with file.open("rb") as stream:
            return _variables(file, stream)
    except OSError as error:
        raise ModelError(f"can't be read: {error.strerror}", where=str(file), remedy=AGAIN) from error
    except (struct.error, ValueError, IndexError, UnicodeDecodeError) as error:
        raise ModelError("the weights are damaged or cut short", where=str(file), remedy=AGAIN) from error


def usable(variables: Variables) -> list[int]:
    """Return the ids of the tokens that the model may write."""
    bias = variables.get("decoder/projection/bias")
    if bias is None:
        return list(range(len(variables.get("decoder/embeddings/weight", ()))))
    return [int(token) for token in np.flatnonzero(bias > UNUSED)]


def is_ours(variables: Variables) -> bool:
    """Say whether it is one of the small models that are trained here; stock Whisper weights are not."""
    first = variables.get("encoder/conv1/weight")
    return first is not None and first.shape[1] == MELS and 0 < len(usable(variables)) <= MOST_TOKENS


def restore(variables: Variables, dropout: float = 0.1) -> tuple[Network, list[int]]:
    """Return the network and the ids of its tokens. The CTC heads are not in a model folder: they start anew.

    Raises:
        ModelError: a part of the network is missing or of a wrong size.
    """
    import torch

    from train_recognizer import network
    from train_recognizer.units import UNITS

    ids = usable(variables)
    try:
        state = _state(variables, ids)
        positions, width = state["dpos"].shape
        shape = network.Shape(
            len(ids),
            len(UNITS),
            width=width,
            heads=int(variables["decoder/num_heads"]),
            encoder=_layers(variables, "encoder"),
            decoder=_layers(variables, "decoder"),
            positions=positions,
        )
        made = network.Network(shape, dropout)
        found = {name: torch.from_numpy(value.copy()) for name, value in state.items()}
        missing, unknown = made.load_state_dict(found, strict=False)
    except (KeyError, RuntimeError, ValueError) as error:
        raise ModelError(f"the weights are not of this network: {error}", where="model.bin", remedy=AGAIN) from error
    if unknown or any(not name.startswith("ctc") for name in missing):
        raise ModelError(f"the weights lack {missing}, or have {unknown}", where="model.bin", remedy=AGAIN)
    return made, ids


def _variables(file: Path, stream: BinaryIO) -> Variables:
    def numbers(code: str, count: int = 1) -> tuple[int, ...]:
        return struct.unpack(f"={count}{code}", stream.read(struct.calcsize(f"={count}{code}")))

    def text() -> str:
        return stream.read(numbers("H")[0])[:-1].decode()

    (version,) = numbers("I")
    name = text()
    if version != VERSION or name != "WhisperSpec":
        raise ModelError(
            f"weights of {name or 'no name'} in version {version}, not of Whisper in version {VERSION}",
            where=str(file),
            remedy="convert the model with the CTranslate2 that scripts/constraints.txt names",
        )
    numbers("I")  # the revision
    found: Variables = {}
    for _ in range(numbers("I")[0]):
        name = text()
        shape = numbers("I", numbers("B")[0])
        kind = TYPES[numbers("B")[0]]
        (size,) = numbers("I")
        at = stream.tell()
        found[name] = np.memmap(file, kind, "r", at, shape) if shape else np.frombuffer(stream.read(size), kind)[0]
        stream.seek(at + size)
    for _ in range(numbers("I")[0]):
        alias, name = text(), text()
        found[alias] = found[name]
        if f"{name}_scale" in found:
            found[f"{alias}_scale"] = found[f"{name}_scale"]
    return found


def _layers(variables: Variables, side: str) -> int:
    return len({match[1] for name in variables if (match := re.match(rf"{side}/layer_(\d+)/", name))})


def _state(variables: Variables, ids: list[int]) -> dict[str, NDArray[np.float32]]:
    """Return what `export` put where, under the network's own names."""
    state: dict[str, NDArray[np.float32]] = {}

    def floating(name: str) -> NDArray[np.float32]:
        value = np.asarray(variables[name])
        scale = variables.get(f"{name}_scale")
        if scale is None:
            return value.astype(np.float32)
        return (value / np.reshape(scale, (-1, *[1] * (value.ndim - 1)))).astype(np.float32)

    def linear(to: str, name: str) -> None:
        state[f"{to}.weight"], state[f"{to}.bias"] = floating(f"{name}/weight"), floating(f"{name}/bias")

    def norm(to: str, name: str) -> None:
        state[f"{to}.weight"], state[f"{to}.bias"] = floating(f"{name}/gamma"), floating(f"{name}/beta")

    def split(to: str, name: str, parts: str) -> None:
        """Part what was fused; `k` has no bias."""
        weights, biases = (np.split(floating(f"{name}/{kind}"), len(parts)) for kind in ("weight", "bias"))
        for part, weight, bias in zip(parts, weights, biases, strict=True):
            state[f"{to}.{part}_proj.weight"] = weight
            if part != "k":
                state[f"{to}.{part}_proj.bias"] = bias

    def attention(to: str, name: str, across: bool) -> None:
        if across:
            split(to, f"{name}/linear_0", "q")
            split(to, f"{name}/linear_1", "kv")
        else:
            split(to, f"{name}/linear_0", "qkv")
        linear(f"{to}.out_proj", f"{name}/linear_{2 if across else 1}")
        norm(f"{to}_layer_norm", f"{name}/layer_norm")

    for side, short in (("encoder", "enc"), ("decoder", "dec")):
        for index in range(_layers(variables, side)):
            to, name = f"{short}.{index}", f"{side}/layer_{index}"
            attention(f"{to}.self_attn", f"{name}/self_attention", False)
            if side == "decoder":
                attention(f"{to}.encoder_attn", f"{name}/attention", True)
            linear(f"{to}.fc1", f"{name}/ffn/linear_0")
            linear(f"{to}.fc2", f"{name}/ffn/linear_1")
            norm(f"{to}.final_layer_norm", f"{name}/ffn/layer_norm")
        norm(f"{short}_ln", f"{side}/layer_norm")
    linear("conv1", "encoder/conv1")
    linear("conv2", "encoder/conv2")
    state["epos"] = floating("encoder/position_encodings/encodings")
    state["dpos"] = floating("decoder/position_encodings/encodings")
    state["emb.weight"] = floating("decoder/embeddings/weight")[ids]
    state["obias"] = floating("decoder/projection/bias")[ids]
    return state
