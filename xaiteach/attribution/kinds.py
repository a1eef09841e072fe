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
    # 0 for what is negative, the input otherwise (up to a ceiling, for a ReLU6)
    "relu": "relu relu6 clamp_min",
    # one value from one value, and not a line through the origin
    "activation": (
        "leaky_relu rrelu prelu elu selu celu gelu silu mish sigmoid logsigmoid log_sigmoid tanh softplus softsign "
        "hardtanh hardswish hardsigmoid hardshrink softshrink tanhshrink threshold _threshold clamp clamp_max clip "
        "abs absolute square sqrt rsqrt exp exp2 expm1 log log1p log2 log10 pow __rpow__ float_power "
        "reciprocal erf erfc sin cos tan asin acos atan sinh cosh asinh"
    ),
    "max_pool": (
        "max_pool1d max_pool2d max_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d amax max "
        "max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices adaptive_max_pool1d_with_indices "
        "adaptive_max_pool2d_with_indices adaptive_max_pool3d_with_indices"
    ),
    # sums with weights that are fixed, without a bias; not negative but for bicubic interpolation
    "average": (
        "avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d mean sum "
        "interpolate upsample"
    ),
    "add": "add sub subtract rsub __rsub__",
    "scale": "mul multiply div divide true_divide neg negative",
    # values are moved, repeated or dropped, never changed
    "structure": (
        "flatten reshape reshape_as view view_as ravel unflatten permute transpose swapaxes swapdims movedim moveaxis "
        "t squeeze unsqueeze contiguous clone alias detach expand expand_as repeat tile cat concat concatenate stack "
        "hstack vstack chunk split tensor_split unbind narrow select index_select __getitem__ __setitem__ "
        "repeat_interleave diagonal roll flip fliplr flipud rot90 copy positive pixel_shuffle pixel_unshuffle "
        "channel_shuffle native_channel_shuffle unfold to float double half bfloat16 cpu cuda type type_as "
        "requires_grad as_tensor"
    ),
    "pad": "pad",
    "dropout": "dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout feature_dropout",
    "softmax": "softmax log_softmax softmin gumbel_softmax",
    "normalisation": "layer_norm group_norm instance_norm local_response_norm normalize rms_norm",
    "attention": "scaled_dot_product_attention multi_head_attention_forward",
    "recurrent": "lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell",
    # several values mixed by a nonlinearity
    "gate": "glu logaddexp logsumexp",
    "product": "matmul __rmatmul__ mm bmm addmm baddbmm einsum bilinear tensordot outer dot mv",
    "comparison": (
        "gt ge lt le eq ne greater greater_equal less less_equal not_equal where maximum minimum fmax fmin sign sgn "
        "signbit heaviside"
    ),
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
    "softmax": ("which is no logit", "leaving it out where the model ends, or 'integrated_gradients'"),
    "normalisation": ("whose scale depends on the input", "batch norm, or 'integrated_gradients'"),
    "attention": ("whose weights depend on the input", "'integrated_gradients'"),
    "recurrent": ("with gates or nonlinearities inside", "'integrated_gradients'"),
    "gate": ("which mixes its inputs by a nonlinearity", "'integrated_gradients'"),
    "product": ("a matrix product that is no layer", "nn.Linear, or 'integrated_gradients'"),
    "comparison": (_BY_HAND, "a module for it: self.relu = nn.ReLU() in __init__, self.relu(...) in forward"),
    "dropout": ("which is active in evaluation mode", "nn.Dropout, or dropout(x, training=self.training)"),
    "batch_norm": ("which takes its statistics from the batch", "track_running_stats=True"),
    "scale": ("a product of two activations", "'integrated_gradients', which needs only gradients"),
    "linear": ("whose weights depend on the input", "'integrated_gradients', which needs only gradients"),
    "max_pool": ("a maximum that also returns its places", "return_indices=False, or x.amax(dim)"),
    "unknown": ("which it does not know", "nn.Linear, nn.Conv2d and other layers, or 'integrated_gradients'"),
}
"""For each kind: what is in the way, and what to try."""


def kind_of(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """Kind of a call, "unknown" for a function that is not listed.

    An operation whose switch makes it another is told apart here: dropout that drops nothing is "structure", a clamp at
    0 is a ReLU, an extremum of two tensors is a comparison, a power with a tensor for exponent is unknown.
    """
    plain = name if name.startswith("__") else name.rstrip("_")
    kind = KINDS.get(plain, "unknown")

    def given(place: int, option: str, default: Any = None) -> Any:
        return args[place] if len(args) > place else kwargs.get(option, default)

    if kind == "dropout":
        return kind if given(2, "training", True) else "structure"
    if plain == "clamp_min":
        return "relu" if _zero(given(1, "min")) else "activation"
    if plain in ("clamp", "clip"):
        return "relu" if _zero(given(1, "min")) and given(2, "max") is None else "activation"
    if plain == "hardtanh":  # which is what nn.ReLU6 calls
        return "relu" if _zero(given(1, "min_val")) else "activation"
    if plain in ("max", "min") and isinstance(given(1, "other"), Tensor):
        return "comparison"
    if plain == "pow" and isinstance(given(1, "exponent"), Tensor):
        return "unknown"
    if plain == "batch_norm" and (len(args) > 8 or "cudnn_enabled" in kwargs):
        return "unknown"  # torch.batch_norm, whose arguments stand in another order than functional.batch_norm's
    if plain == "pad":
        return "structure" if given(2, "mode", "constant") != "constant" or not given(3, "value") else "unknown"
    return kind


def _zero(value: object) -> bool:
    return isinstance(value, int | float) and value == 0
