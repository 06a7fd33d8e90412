"""ONNX's operators, as torch computes them: one function each, by the name in `OPERATORS`.

Each takes its node, for the attributes, and tensors, None where an optional one is left out. The
meaning of every operator is that of ONNX's own specification (onnx.ai/onnx/operators), in float32,
for a network that is used and not trained. Raises ValueError for what is not computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from worker.onnx_graph import Node

Given = Tensor | None
Function = Callable[..., Tensor | tuple[Tensor, ...]]
MOST = 2**26
"""Numbers of one value, at most."""
_FLOAT, _INT32, _INT64, _BOOL = 1, 6, 7, 9
_SAME_UPPER, _SAME_LOWER = "SAME_UPPER", "SAME_LOWER"


def _whole(values: Tensor) -> list[int]:
    """Sizes or axes; of what depends on an image there are none on the device `meta`."""
    if values.is_floating_point() or values.is_meta:
        raise ValueError("a shape depends on the image")
    found: list[int] = values.reshape(-1).tolist()
    return found


def _axes(node: Node, given: Given) -> list[int]:
    return list(node.get("axes")) if given is None else _whole(given)


def _fits(*sizes: int) -> None:
    """Raises ValueError where a value of these sizes would be too large, image by image."""
    if math.prod(sizes) > MOST:
        raise ValueError(f"a value of {math.prod(sizes):,} numbers")


# Layers with windows


def _window(
    node: Node, x: Tensor, kernel: Sequence[int]
) -> tuple[list[int], list[int], list[tuple[int, int]]]:
    """Strides, dilations and what is put before and behind each axis of (N, C, ...)."""
    axes = x.dim() - 2
    strides, dilations = (list(node.get(name)) or [1] * axes for name in ("strides", "dilations"))
    pads = list(node.get("pads")) or [0] * 2 * axes
    if not axes or {len(strides), len(dilations), len(kernel), len(pads) // 2} != {axes}:
        raise ValueError(f"the window of {node.op} has other axes than its values")
    if min(*strides, *dilations, *kernel, 1) < 1 or min(pads) < 0 or len(pads) % 2:
        raise ValueError(f"a size of the window of {node.op} is not positive")
    around, how = list(zip(pads[:axes], pads[axes:], strict=True)), node.get("auto_pad")
    if how in (_SAME_UPPER, _SAME_LOWER):
        around = []
        for size, side, stride, dilation in zip(
            x.shape[2:], kernel, strides, dilations, strict=True
        ):
            reach = dilation * (side - 1) + 1
            total = max((-(-size // stride) - 1) * stride + reach - size, 0)
            less, more = total // 2, total - total // 2
            around.append((less, more) if how == _SAME_UPPER else (more, less))
    elif how == "VALID":
        around = [(0, 0)] * axes
    elif how != "NOTSET":
        raise ValueError(f"padding “{how}” is not known")
    _fits(
        x.shape[1],
        *(size + sum(two) for size, two in zip(x.shape[2:], around, strict=True)),
    )
    return strides, dilations, around


def _padded(x: Tensor, around: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    flat = [side for two in reversed(around) for side in two]
    return F.pad(x, flat, value=value) if any(flat) else x


def _conv(node: Node, x: Tensor, weight: Tensor, bias: Given = None) -> Tensor:
    shape = node.get("kernel_shape")
    if shape and tuple(shape) != tuple(weight.shape[2:]):
        raise ValueError("the kernel of Conv has another shape than it says")
    strides, dilations, around = _window(node, x, list(weight.shape[2:]))
    convolve = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}.get(x.dim() - 2)
    if convolve is None or node.get("group") < 1:
        raise ValueError("Conv of so many axes is not computed")
    even = all(before == behind for before, behind in around)
    return convolve(
        x if even else _padded(x, around),
        weight,
        bias,
        strides,
        [before for before, _ in around] if even else 0,
        dilations,
        node.get("group"),
    )


def _max_pool(node: Node, x: Tensor) -> Tensor:
    kernel = list(node.get("kernel_shape"))
    strides, dilations, around = _window(node, x, kernel)
    pool = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}.get(x.dim() - 2)
    if pool is None:
        raise ValueError("MaxPool of so many axes is not computed")
    if node.get("ceil_mode") and any(two != (0, 0) for two in around):
        raise ValueError("MaxPool that rounds up and pads is not computed")
    padded = _padded(x, around, -math.inf)
    return pool(padded, kernel, strides, 0, dilations, bool(node.get("ceil_mode")))


def _average_pool(node: Node, x: Tensor) -> Tensor:
    kernel = list(node.get("kernel_shape"))
    strides, dilations, around = _window(node, x, kernel)
    pool = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}.get(x.dim() - 2)
    if pool is None or node.get("ceil_mode") or {*dilations} != {1}:
        raise ValueError("AveragePool that rounds up, or dilates, is not computed")
    sums = pool(_padded(x, around), kernel, strides)
    if node.get("count_include_pad") or not any(map(any, around)):
        return sums
    # Of each window only what lies on the image is counted.
    return sums / pool(_padded(torch.ones_like(x[:1, :1]), around), kernel, strides)


def _over_places(x: Tensor) -> tuple[int, ...]:
    if x.dim() < 3:
        raise ValueError("a pooled value has no places")
    return tuple(range(2, x.dim()))


# Normalisations


def _batch_norm(
    node: Node, x: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor
) -> Tensor:
    if node.get("training_mode") or not node.get("spatial"):
        raise ValueError("BatchNormalization in training is not computed")
    return F.batch_norm(x, mean, variance, scale, shift, False, 0.0, node.get("epsilon"))


def _layer_norm(node: Node, x: Tensor, scale: Tensor, shift: Given = None) -> Tensor:
    shape = list(x.shape[node.get("axis") % x.dim() :])
    normal = F.layer_norm(x, shape, None, None, node.get("epsilon"))
    return normal * scale if shift is None else normal * scale + shift


def _group_norm(node: Node, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    if node.get("num_groups") < 1 or node.get("stash_type") != 1:
        raise ValueError("GroupNormalization of no groups, or in another precision")
    return F.group_norm(x, node.get("num_groups"), scale, shift, node.get("epsilon"))


def _instance_norm(node: Node, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return F.group_norm(x, x.shape[1], scale, shift, node.get("epsilon"))


# Arithmetic


def _div(_: Node, a: Tensor, b: Tensor) -> Tensor:
    whole = not a.is_floating_point() and not b.is_floating_point()
    return torch.div(a, b, rounding_mode="trunc" if whole else None)


def _mat_mul(_: Node, a: Tensor, b: Tensor) -> Tensor:
    return torch.matmul(a, b)


def _gemm(node: Node, a: Tensor, b: Tensor, c: Given = None) -> Tensor:
    a, b = (v.T if node.get(name) else v for v, name in ((a, "transA"), (b, "transB")))
    alpha, beta = node.get("alpha"), node.get("beta")
    if c is not None and (alpha, beta) == (1, 1) and c.dim() == 1:
        return torch.addmm(c, a, b)
    found = a @ b if alpha == 1 else alpha * (a @ b)
    return found if c is None else found + (c if beta == 1 else beta * c)


def _clip(node: Node, x: Tensor, low: Given = None, high: Given = None) -> Tensor:
    least = node.get("min") if low is None else low
    most = node.get("max") if high is None else high
    for bound in (low, high):
        if bound is not None and bound.numel() != 1:
            raise ValueError("Clip has bounds of many numbers")
    if least is not None:
        x = torch.clamp(x, min=least)
    return x if most is None else torch.clamp(x, max=most)


def _folded(function: Callable[[Tensor, Tensor], Tensor]) -> Function:
    def over(_: Node, *values: Tensor) -> Tensor:
        found = values[0]
        for value in values[1:]:
            found = function(found, value)
        return found

    return over


def _cast(node: Node, x: Tensor) -> Tensor:
    to = node.get("to")
    if to == _FLOAT:
        return x if x.is_floating_point() else x.float()
    if to == _BOOL and not x.is_floating_point():
        return x.bool()
    if to not in (_INT32, _INT64) or x.is_meta:
        raise ValueError("Cast to another type than float32 of what depends on the image")
    return x.long()


def _dropout(_: Node, x: Tensor, ratio: Given = None, training: Given = None) -> Tensor:
    if training is not None and (training.is_meta or bool(training.any())):
        raise ValueError("Dropout in training is not computed")
    return x


def _softmax(node: Node, x: Tensor) -> Tensor:
    return x.softmax(dim=node.get("axis"))


def _log_softmax(node: Node, x: Tensor) -> Tensor:
    return x.log_softmax(dim=node.get("axis"))


def _over_the_rest(function: Function) -> Function:
    """Over all axes from one on, as if they were one."""

    def over(node: Node, x: Tensor) -> Tensor:
        axis = node.get("axis") % x.dim()
        flat = x.reshape(*x.shape[:axis], -1)
        seen = function(Node("Softmax", ("x",), ("y",), {"axis": axis}), flat)
        assert isinstance(seen, Tensor)
        return seen.reshape(x.shape)

    return over


def _reduced(function: Callable[..., Tensor]) -> Function:
    def over(node: Node, x: Tensor, given: Given = None) -> Tensor:
        axes = _axes(node, given)
        if not axes and node.get("noop_with_empty_axes"):
            return x
        kept = bool(node.get("keepdims"))
        return function(x, tuple(axes) or tuple(range(x.dim())), kept)

    return over


# Shapes


def _reshape(node: Node, x: Tensor, shape: Tensor) -> Tensor:
    sizes = _whole(shape)
    if 0 in sizes and not node.get("allowzero"):
        if len(sizes) > x.dim() and 0 in sizes[x.dim() :]:
            raise ValueError("Reshape keeps an axis that there is not")
        sizes = [size or x.shape[axis] for axis, size in enumerate(sizes)]
    return x.reshape(sizes)


def _flatten(node: Node, x: Tensor) -> Tensor:
    axis = node.get("axis")
    axis = axis if axis >= 0 else axis + x.dim()
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def _transpose(node: Node, x: Tensor) -> Tensor:
    return x.permute(list(node.get("perm")) or list(reversed(range(x.dim()))))


def _squeeze(node: Node, x: Tensor, given: Given = None) -> Tensor:
    axes = _axes(node, given) or [axis for axis, size in enumerate(x.shape) if size == 1]
    if any(x.shape[axis] != 1 for axis in axes):
        raise ValueError("Squeeze of an axis that is not one")
    return x.squeeze(tuple(axes))


def _unsqueeze(node: Node, x: Tensor, given: Given = None) -> Tensor:
    axes = _axes(node, given)
    places = sorted(axis % (x.dim() + len(axes)) for axis in axes)
    for place in places:
        x = x.unsqueeze(place)
    return x


def _concat(node: Node, *values: Tensor) -> Tensor:
    return torch.cat(values, dim=node.get("axis"))


def _split(node: Node, x: Tensor, given: Given = None) -> tuple[Tensor, ...]:
    axis, count = node.get("axis"), len(node.gives)
    sizes = list(node.get("split")) if given is None else _whole(given)
    if not sizes:
        step = -(-x.shape[axis] // count)
        sizes = [step] * (count - 1) + [x.shape[axis] - step * (count - 1)]
    return torch.split(x, sizes, dim=axis)


def _slice(
    node: Node,
    x: Tensor,
    starts: Given = None,
    ends: Given = None,
    axes: Given = None,
    steps: Given = None,
) -> Tensor:
    begin = list(node.get("starts")) if starts is None else _whole(starts)
    end = list(node.get("ends")) if ends is None else _whole(ends)
    over = _axes(node, axes) or list(range(len(begin)))
    stride = [1] * len(begin) if steps is None else _whole(steps)
    for first, last, axis, step in zip(begin, end, over, stride, strict=True):
        taken = range(x.shape[axis])[slice(first, last, step)]
        if step > 0:
            x = (
                x.narrow(axis, taken.start, len(range(taken.start, taken.stop)))
                if (step == 1)
                else x.index_select(axis, torch.tensor(taken, device=x.device))
            )
        else:
            x = x.index_select(axis, torch.tensor(taken, dtype=torch.int64, device=x.device))
    return x


def _gather(node: Node, x: Tensor, places: Tensor) -> Tensor:
    if places.is_floating_point() or places.dtype == torch.bool:
        raise ValueError("Gather by what is no number of a place")
    axis = node.get("axis") % x.dim()
    places = places.to(x.device)
    places = torch.where(places < 0, places + x.shape[axis], places)
    found = x.index_select(axis, places.reshape(-1))
    return found.reshape([*x.shape[:axis], *places.shape, *x.shape[axis + 1 :]])


def _pad(
    node: Node, x: Tensor, pads: Given = None, value: Given = None, given: Given = None
) -> Tensor:
    sides = list(node.get("pads")) if pads is None else _whole(pads)
    axes = list(range(x.dim())) if given is None else _whole(given)
    if len(sides) != 2 * len(axes):
        raise ValueError("Pad has other sides than its values")
    around = [(0, 0)] * x.dim()
    for number, axis in enumerate(axes):
        around[axis % x.dim()] = (sides[number], sides[number + len(axes)])
    if around[0] != (0, 0):
        raise ValueError("Pad of the batch is not computed")
    _fits(*(size + sum(two) for size, two in zip(x.shape[1:], around[1:], strict=True)))
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}.get(node.get("mode"))
    if mode is None or min(map(min, around)) < 0:
        raise ValueError("Pad in this mode is not computed")
    if mode == "constant":
        return _padded(x, around, node.get("value") if value is None else float(value))
    while around and around[0] == (0, 0) and len(around) > x.dim() - 2:
        around = around[1:]
    if len(around) > max(x.dim() - 2, 1):
        raise ValueError("Pad of the batch or of channels in this mode is not computed")
    return F.pad(x, [side for two in reversed(around) for side in two], mode=mode)


def _expand(_: Node, x: Tensor, shape: Tensor) -> Tensor:
    sizes = _whole(shape)
    _fits(*sizes, *x.shape[: max(x.dim() - len(sizes), 0)])
    return x.expand(torch.broadcast_shapes(x.shape, sizes))  # type: ignore[no-untyped-call]


def _constant_of_shape(_: Node, shape: Tensor, value: Tensor) -> Tensor:
    sizes = _whole(shape)
    _fits(*sizes)
    return value.reshape([1] * len(sizes)).expand(sizes)


def _shape(node: Node, x: Tensor) -> Tensor:
    return torch.tensor(list(x.shape)[node.get("start") : node.get("end")], dtype=torch.int64)


def _simple(function: Callable[..., Tensor]) -> Function:
    """An operator without attributes."""
    return lambda _, *values: function(*values)


def _with(function: Callable[..., Tensor], *names: str) -> Function:
    """An operator whose attributes torch takes under other names, in this order."""
    return lambda node, *values: function(*values, *(node.get(name) for name in names))


FUNCTIONS: dict[str, Function] = {
    "Abs": _simple(torch.abs),
    "Add": _simple(torch.add),
    "And": _simple(torch.logical_and),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Ceil": _simple(torch.ceil),
    "Clip": _clip,
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Conv": _conv,
    "Div": _div,
    "Dropout": _dropout,
    "Elu": _with(F.elu, "alpha"),
    "Equal": _simple(torch.eq),
    "Erf": _simple(torch.erf),
    "Exp": _simple(torch.exp),
    "Expand": _expand,
    "Flatten": _flatten,
    "Floor": _simple(torch.floor),
    "Gather": _gather,
    "Gelu": lambda node, x: F.gelu(x, approximate=node.get("approximate")),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda _, x: x.mean(_over_places(x), keepdim=True),
    "GlobalMaxPool": lambda _, x: x.amax(_over_places(x), keepdim=True),
    "Greater": _simple(torch.gt),
    "GreaterOrEqual": _simple(torch.ge),
    "GroupNormalization": _group_norm,
    "HardSigmoid": lambda n, x: (n.get("alpha") * x + n.get("beta")).clamp(0, 1),
    "HardSwish": _simple(F.hardswish),
    "Identity": lambda _, x: x,
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "LeakyRelu": _with(F.leaky_relu, "alpha"),
    "Less": _simple(torch.lt),
    "LessOrEqual": _simple(torch.le),
    "Log": _simple(torch.log),
    "LogSoftmax": _log_softmax,
    "LogSoftmax-1": _over_the_rest(_log_softmax),
    "MatMul": _mat_mul,
    "Max": _folded(torch.maximum),
    "MaxPool": _max_pool,
    "Min": _folded(torch.minimum),
    "Mish": _simple(F.mish),
    "Mul": _simple(torch.mul),
    "Neg": _simple(torch.neg),
    "Not": _simple(torch.logical_not),
    "Or": _simple(torch.logical_or),
    "PRelu": lambda _, x, slope: torch.where(x < 0, slope * x, x),
    "Pad": _pad,
    "Pow": _simple(torch.pow),
    "Reciprocal": _simple(torch.reciprocal),
    "ReduceL2": _reduced(lambda x, axes, kept: torch.linalg.vector_norm(x, 2, axes, kept)),
    "ReduceMax": _reduced(torch.amax),
    "ReduceMean": _reduced(torch.mean),
    "ReduceSum": _reduced(torch.sum),
    "Relu": _simple(torch.relu),
    "Reshape": _reshape,
    "Selu": lambda n, x: n.get("gamma") * F.elu(x, n.get("alpha")),
    "Shape": _shape,
    "Sigmoid": _simple(torch.sigmoid),
    "Slice": _slice,
    "Softmax": _softmax,
    "Softmax-1": _over_the_rest(_softmax),
    "Softplus": _simple(F.softplus),
    "Softsign": _simple(F.softsign),
    "Split": _split,
    "Sqrt": _simple(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _simple(torch.sub),
    "Sum": _folded(torch.add),
    "Swish": lambda n, x: x * torch.sigmoid(n.get("alpha") * x),
    "Tanh": _simple(torch.tanh),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _simple(torch.where),
}
