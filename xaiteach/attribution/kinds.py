"""Kinds of operations, by the name of the torch function: the one place that knows which function is what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

__all__ = ["ADVICE", "KINDS", "kind_of"]

_NAMES: dict[str, str] = {
    # one input, weights and perhaps a bias that do not depend on it
    "linear": "linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d",
    "batch_norm": "batch_norm",
    # at 0 for what is negative, the input otherwise
    "relu": "relu relu6 clamp_min",
    # one value from one value, and not a line through the origin
    "activation": (
        "leaky_relu rrelu prelu elu selu celu gelu silu mish sigmoid logsigmoid log_sigmoid tanh softplus softsign "
        "hardtanh hardswish hardsigmoid hardshrink softshrink tanhshrink threshold clamp clamp_max clip abs square "
        "sqrt exp expm1 log log1p log2 log10 pow reciprocal erf sin cos atan"
    ),
    "max_pool": (
        "max_pool1d max_pool2d max_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d amax max"
    ),
    # sums with weights that are fixed, not negative, and without a bias
    "average": (
        "avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d mean sum "
        "interpolate upsample"
    ),
    "add": "add radd __add__ __radd__ sub rsub __sub__ __rsub__ __isub__ __iadd__",
    "scale": "mul __mul__ __rmul__ div true_divide __truediv__ neg",
    # values are moved, repeated or dropped, never changed
    "structure": (
        "flatten reshape reshape_as view view_as ravel unflatten permute transpose swapaxes swapdims movedim moveaxis "
        "t squeeze unsqueeze contiguous clone alias detach expand expand_as repeat tile cat concat concatenate stack "
        "hstack vstack chunk split tensor_split unbind narrow select index_select getitem __getitem__ roll flip "
        "pixel_shuffle pixel_unshuffle channel_shuffle unfold to float double type type_as requires_grad_ as_tensor "
        "native_channel_shuffle"
    ),
    "pad": "pad",
    "dropout": "dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout feature_dropout",
    "softmax": "softmax log_softmax softmin gumbel_softmax",
    "normalisation": "layer_norm group_norm instance_norm local_response_norm normalize rms_norm",
    "attention": "scaled_dot_product_attention multi_head_attention_forward",
    "product": "matmul __matmul__ __rmatmul__ mm bmm addmm baddbmm einsum bilinear tensordot outer dot mv",
    "comparison": "gt ge lt le eq ne __gt__ __ge__ __lt__ __le__ greater less where maximum minimum sign heaviside",
    # no tensor with a gradient, or only a look
    "free": (
        "__get__ __set__ size dim ndimension numel nelement stride is_contiguous is_floating_point is_complex "
        "get_device element_size data_ptr __len__ __repr__ __format__ __hash__ __bool__ __contains__ "
        "has_torch_function_unary has_torch_function_variadic has_torch_function is_grad_enabled storage_offset "
        "untyped_storage _assert retain_grad register_hook backward argmax argmin argsort item tolist numpy"
    ),
}
KINDS: dict[str, str] = {name: kind for kind, names in _NAMES.items() for name in names.split()}

_BY_HAND = "a nonlinearity made by hand, whose parts have no rule"
ADVICE: dict[str, tuple[str, str]] = {
    "relu": ("a ReLU", "another method"),
    "activation": ("a nonlinearity that is no ReLU", "a method that needs only gradients, such as 'saliency'"),
    "softmax": ("which is no logit", "leaving the softmax out of the model, whose output must be logits"),
    "normalisation": ("whose scale depends on the input", "batch norm, or 'integrated_gradients'"),
    "attention": ("whose weights depend on the input", "'integrated_gradients'"),
    "product": (
        "a matrix product that is no layer",
        "nn.Linear, or 'integrated_gradients'",
    ),
    "comparison": (_BY_HAND, "a module for it: self.relu = nn.ReLU() in __init__, self.relu(...) in forward"),
    "dropout": ("which is active in evaluation mode", "nn.Dropout, or dropout(x, training=self.training)"),
    "batch_norm": ("which takes its statistics from the batch", "track_running_stats=True"),
    "scale": ("a product of two activations", "'integrated_gradients', which needs only gradients"),
    "linear": ("whose weights depend on the input", "'integrated_gradients', which needs only gradients"),
    "max_pool": ("a maximum that also returns its places", "return_indices=False"),
    "unknown": ("which it does not know", "nn.Linear, nn.Conv2d and other layers, or 'integrated_gradients'"),
}
"""For each kind: what is in the way, and what to try."""


def kind_of(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """Kind of a call, "unknown" for a function that is not listed.

    An operation whose switch makes it another is told apart here: dropout that drops nothing is "structure", a clamp at
    0 is a ReLU, a maximum of two tensors is a comparison, a power with a tensor for exponent is unknown.
    """
    plain = name if name.startswith("__") else name.rstrip("_")
    kind = KINDS.get(plain, "unknown")
    if kind == "dropout":
        training = kwargs.get("training", args[2] if len(args) > 2 else True)
        return kind if training else "structure"
    if plain == "clamp_min":
        return "relu" if _number(args, kwargs, "min") == 0 else "activation"
    if plain == "clamp":
        low, high = kwargs.get("min", args[1] if len(args) > 1 else None), kwargs.get("max", args[2:] or None)
        return "relu" if low is not None and high is None and _zero(low) else "activation"
    if plain == "hardtanh":  # which is what nn.ReLU6 calls
        return "relu" if _number(args, kwargs, "min_val") == 0 else "activation"
    if plain == "max" and any(isinstance(a, Tensor) for a in args[1:]):
        return "comparison"
    if plain == "pow" and isinstance(kwargs.get("exponent", args[1] if len(args) > 1 else None), Tensor):
        return "unknown"
    if plain == "pad":
        mode = kwargs.get("mode", args[2] if len(args) > 2 else "constant")
        value = kwargs.get("value", args[3] if len(args) > 3 else None)
        return "structure" if mode != "constant" or not value else "unknown"
    return kind


def _number(args: tuple[Any, ...], kwargs: Mapping[str, Any], name: str) -> Any:
    return kwargs.get(name, args[1] if len(args) > 1 else None)


def _zero(value: object) -> bool:
    return isinstance(value, int | float) and value == 0
