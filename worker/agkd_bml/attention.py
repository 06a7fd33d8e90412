"""Where a network looks: attention maps, and how far two of them are apart."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from worker.models.base import Classifier, Outputs


def attention_map(features: Tensor) -> Tensor:
    """Class-irrelevant attention: A(F) = minmax(sum over c of F_c), per image.

    Args:
        features: F, (N, C, H, W).

    Returns:
        (N, H, W) in [0, 1]; zeros where the channel sum is constant.
    """
    return _min_max(features.sum(dim=1))  # (N, C, H, W) -> (N, H, W)


def grad_cam(model: Classifier, x: Tensor, y: Tensor) -> Tensor:
    """Class-specific attention, Grad-CAM (Selvaraju et al., ICCV 2017, arXiv 1610.02391).

    minmax(relu(sum over c of a_c F_c)), where a_c is the mean over the positions of
    d logit_y / d F_c and F the last stage's features. The model is used in the mode it is in.

    Args:
        x: images (N, 3, H, W) in [0, 1].
        y: the class to explain for each image, (N,), int64.

    Returns:
        (N, h, w) in [0, 1], at the features' resolution; zeros where nothing speaks for y.
    """
    with torch.no_grad():
        outputs = model.outputs(x)
    return grad_cam_of(model, outputs, y)


def grad_cam_of(model: Classifier, outputs: Outputs, y: Tensor) -> Tensor:
    """`grad_cam` of images whose forward pass is known already."""
    features = outputs.features.detach().requires_grad_()
    with torch.enable_grad():
        score = model.read_again(features, outputs.beside).logits.gather(1, y[:, None]).sum()
    (gradient,) = torch.autograd.grad(score, features)
    weights = gradient.mean(dim=(2, 3), keepdim=True)  # (N, C, 1, 1)
    return _min_max((weights * features.detach()).sum(dim=1).relu())


def l1_distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of two maps, per image: (N, H, W) twice -> (N,)."""
    return (a - b).abs().mean(dim=(1, 2))


def cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    """1 - cos of the angle between two maps, per image: (N, H, W) twice -> (N,).

    In [0, 1] for maps in [0, 1]. A zero map has no direction: it is at distance 1 from any other
    map and at distance 0 from another zero map.
    """
    a, b = a.flatten(1), b.flatten(1)  # (N, H, W) -> (N, H * W)
    both_zero = (a == 0).all(dim=1) & (b == 0).all(dim=1)
    return torch.where(both_zero, 0.0, 1 - F.cosine_similarity(a, b).clamp(max=1))


def _min_max(maps: Tensor) -> Tensor:
    """Each map (H, W) scaled to [0, 1]; a map constant up to rounding becomes zeros."""
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    span = high - low
    # Sums of equal numbers in another order differ by a few ulps: that is noise, not attention.
    rounding = torch.finfo(maps.dtype)
    varies = span > 16 * rounding.eps * torch.maximum(high.abs(), low.abs()) + rounding.tiny
    return torch.where(varies, (maps - low) / torch.where(varies, span, 1.0), 0.0)
