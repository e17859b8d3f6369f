"""Dynamic convolution: each image is convolved with its own mix of kernels."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.utils import _pair

from ..registry import MODELS
from ..utils.checks import check_bool, check_int, check_number
from .saturation import saturate

# What pays on a CPU, measured with kernels of 3×3.
MAX_VALUES_OF_ALL_KERNELS = 256  # kernels × pixels
MIN_PIXELS_OF_LOOP = 400


class KernelAttention(nn.Module):
    """The weights that mix the kernels, softmax(fc2(ReLU(fc1(GAP(x)))) / T).

    Args:
        in_channels (int): Channels C of the input; fc1 has C // 4 + 1 outputs, or as
            many as there are kernels for an image's 3 channels.
        num_kernels (int): Number K of kernels.
    """

    def __init__(self, in_channels: int, num_kernels: int):
        super().__init__()
        width = num_kernels if in_channels == 3 else in_channels // 4 + 1
        self.fc1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.fc2 = nn.Conv2d(width, num_kernels, 1)

    def forward(self, x: Tensor, temperature: Tensor) -> Tensor:
        """Weights (B, K), in float32 at least, for the images (B, C, H, W)."""
        hidden = saturate(self.fc1(x.mean((2, 3), keepdim=True))).relu()
        logit = saturate(self.fc2(hidden)).flatten(1)
        dtype = torch.promote_types(logit.dtype, torch.float32)
        return (logit.to(dtype) / temperature).softmax(1)


@MODELS.register_module()
class DynamicConv2d(_ConvNd):
    r"""Convolution with K kernels (and biases), mixed anew for each image.

    .. math::
        \pi &= softmax(fc_2(ReLU(fc_1(GAP(x)))) / T) \\
        y &= x * \sum_k \pi_k W_k + \sum_k \pi_k b_k

    It has the arguments of `nn.Conv2d` and is a convolution type for MMCV:
    `conv_cfg=dict(type='attnpool_mm.DynamicConv2d')`. The mixed kernels of a batch
    run as one grouped convolution; on a CPU as whatever is fastest for their size.

    The temperature T is the buffer `temperature`, so that a checkpoint carries it
    from training to testing; a state dict without it leaves it as it is. A high one
    makes every kernel learn, a low one lets the kernels differ:
    `DynamicConvTemperatureHook` lowers it in training.

    The state dict of an `nn.Conv2d` loads into each of the K kernels, which then
    compute what the plain convolution does; the keys of the attention are missing.

    Args:
        in_channels (int): Channels C of the input.
        out_channels (int): Channels of the output.
        kernel_size (int | tuple[int, int]): As in `nn.Conv2d`.
        stride (int | tuple[int, int]): As in `nn.Conv2d`. Default: 1.
        padding (int | tuple[int, int] | str): As in `nn.Conv2d`. Default: 0.
        dilation (int | tuple[int, int]): As in `nn.Conv2d`. Default: 1.
        groups (int): As in `nn.Conv2d`. Default: 1.
        bias (bool): As in `nn.Conv2d`; each kernel has its own. Default: True.
        padding_mode (str): As in `nn.Conv2d`. Default: 'zeros'.
        num_kernels (int): Number K of kernels. Default: 4.
        temperature (float): T until a hook or a state dict changes it. Default: 34.0.

    Raises:
        ConfigError: `num_kernels` is not a positive integer, or `temperature` no
            finite positive number.
        ValueError: `nn.Conv2d` would raise it too, e.g. for `groups` that do not
            divide the channels.

    Source:
        "Dynamic Convolution: Attention over Convolution Kernels", CVPR 2020, arXiv
        1912.03458.

    Example:
        >>> conv = DynamicConv2d(16, 32, 3, stride=2, padding=1)
        >>> conv(torch.rand(8, 16, 15, 15)).shape
        torch.Size([8, 32, 8, 8])
        >>> conv.weight.shape
        torch.Size([4, 32, 16, 3, 3])
    """

    # Not a subclass of nn.Conv2d: what looks for one (MMEngine's initialisers, the
    # fusion with a norm) expects a single kernel.

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | str = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        num_kernels: int = 4,
        temperature: float = 34.0,
    ):
        check_int("num_kernels", num_kernels)
        check_bool("bias", bias)
        check_number("temperature", temperature, above=0)
        super().__init__(
            in_channels,
            out_channels,
            _pair(kernel_size),
            _pair(stride),
            padding if isinstance(padding, str) else _pair(padding),
            _pair(dilation),
            False,  # transposed
            _pair(0),  # output_padding
            groups,
            bias,
            padding_mode,
        )
        self.num_kernels = num_kernels
        self.weight = nn.Parameter(torch.empty(num_kernels, *self.weight.shape))
        if bias:
            self.bias = nn.Parameter(torch.empty(num_kernels, out_channels))
        self.attention = KernelAttention(in_channels, num_kernels)
        self.register_buffer(
            "temperature", torch.tensor(float(temperature), dtype=torch.float32)
        )
        self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        """Kaiming fan-out weights for each kernel and the attention, zero biases."""
        fc1, fc2 = self.attention.fc1, self.attention.fc2
        for weight in (*self.weight, fc1.weight, fc2.weight):
            nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu")
        for bias in (self.bias, fc2.bias):
            if bias is not None:
                nn.init.zeros_(bias)

    def reset_parameters(self) -> None:
        """PyTorch's name for `init_weights`."""
        if hasattr(self, "attention"):  # the base's constructor is too early
            self.init_weights()

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, C, H, W); the output has the memory format of the input."""
        if x.dim() == 3:
            return self(x[None])[0]
        mix = self.attention(x, self.temperature).to(self.weight.dtype)
        y = self._fastest(x)(x, mix)
        return y.contiguous(memory_format=_memory_format(x))

    def _fastest(self, x: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """The way for `x`; all give the same. docs/speed.md has the measurements."""
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return self._grouped  # whatever the batch
        if not x.is_cpu or len(x) < 2:
            return self._grouped
        last = _memory_format(x) == torch.channels_last
        pixels = x.shape[2] * x.shape[3] // (self.stride[0] * self.stride[1])
        if self.groups == 1:
            if self.kernel_size == (1, 1):
                padded = any(self._reversed_padding_repeated_twice)
                return self._grouped if padded else self._matrix_product
            if self.num_kernels * pixels <= MAX_VALUES_OF_ALL_KERNELS:
                return self._all_kernels
        if last and pixels >= MIN_PIXELS_OF_LOOP:
            return self._image_by_image
        return self._grouped

    def _grouped(self, x: Tensor, mix: Tensor) -> Tensor:
        """The images beside one another as the channels of one."""
        batch, channels = x.shape[:2]
        if batch == 0:  # no image: one kernel, of zeros, that every gradient reaches
            mix = mix.sum(0, keepdim=True)
        kernels = len(mix)
        weight, bias = self._mixed(mix)
        bias = None if bias is None else bias.flatten()
        x = x.reshape(batch // kernels, kernels * channels, *x.shape[2:])
        y = self._convolve(x, weight.flatten(0, 1), bias, kernels * self.groups)
        return y.reshape(batch, self.out_channels, *y.shape[2:])

    def _image_by_image(self, x: Tensor, mix: Tensor) -> Tensor:
        """Without copies of `x` from one memory format into the other."""
        weight, bias = self._mixed(mix)
        biases = [None] * len(x) if bias is None else bias.unbind()
        images = zip(x.split(1), weight.unbind(), biases, strict=True)
        return torch.cat([self._convolve(*image, self.groups) for image in images])

    def _matrix_product(self, x: Tensor, mix: Tensor) -> Tensor:
        """For kernels of one pixel, which are matrices."""
        weight, bias = self._mixed(mix)
        strided = x[:, :, :: self.stride[0], :: self.stride[1]]
        weight, columns = weight.flatten(2), strided.flatten(2)
        if _memory_format(x) == torch.channels_last:
            y = (columns.mT @ weight.mT).mT
        else:
            y = weight @ columns
        y = y if bias is None else y + bias[:, :, None]
        return y.unflatten(2, strided.shape[2:])

    def _all_kernels(self, x: Tensor, mix: Tensor) -> Tensor:
        """Convolve with each of the K kernels, then mix what they give.

        K times the products, but no kernel for each image: where there are few
        pixels, these take longer to write and to read than the products take. In rows,
        which is faster than channels last here.
        """
        bias = None if self.bias is None else self.bias.flatten()
        y = self._convolve(x.contiguous(), self.weight.flatten(0, 1), bias, 1)
        y = y.unflatten(1, (self.num_kernels, self.out_channels))
        return (mix[:, None] @ y.flatten(2)).view(len(x), *y.shape[2:])

    def _mixed(self, mix: Tensor) -> tuple[Tensor, Tensor | None]:
        """The kernel and the bias of each image."""
        weight = (mix @ self.weight.flatten(1)).view(len(mix), *self.weight.shape[1:])
        return weight, None if self.bias is None else mix @ self.bias

    def _convolve(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, groups: int
    ) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            sides = self._reversed_padding_repeated_twice
            x, padding = F.pad(x, sides, mode=self.padding_mode), 0
        return F.conv2d(x, weight, bias, self.stride, padding, self.dilation, groups)

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        state_dict.setdefault(f"{prefix}temperature", self.temperature)
        for name, parameter in self.named_parameters(recurse=False):
            plain = state_dict.get(f"{prefix}{name}")
            if isinstance(plain, Tensor) and plain.shape == parameter.shape[1:]:
                state_dict[f"{prefix}{name}"] = plain.expand(parameter.shape).clone()
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _apply(
        self, fn: Callable[[Tensor], Tensor], recurse: bool = True
    ) -> "DynamicConv2d":
        # `to(memory_format=torch.channels_last)` converts every 4-D and 5-D tensor
        # and fails on the latter.
        def apply(t: Tensor) -> Tensor:
            if t.dim() != 5:
                return fn(t)
            return fn(t.flatten(0, 1)).unflatten(0, t.shape[:2])

        return super()._apply(apply, recurse)

    def extra_repr(self) -> str:
        """The arguments that no submodule shows."""
        return (
            f"{super().extra_repr()}, num_kernels={self.num_kernels}, "
            f"temperature={self.temperature}"
        )


def _memory_format(x: Tensor) -> torch.memory_format:
    last = torch.channels_last
    if x.is_contiguous(memory_format=last) and not x.is_contiguous():
        return last
    return torch.contiguous_format
