"""Classification of the adversarial example: smoothed cross-entropy, and the terms of MART."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from worker.agkd_bml.examples import most_confusing_class


def smoothed_cross_entropy(logits: Tensor, y: Tensor, *, smoothing: float) -> Tensor:
    """-(1 - s) log p_y - s / (K - 1) * sum over k != y of log p_k, mean over images, a scalar.

    The true class keeps 1 - s and each of the other K - 1 classes gets s / (K - 1). (torch's
    `label_smoothing` spreads s over all K classes instead: s here is s * K / (K - 1) there.)

    Args:
        logits: (N, K).
        y: true classes, (N,).
        smoothing: s, in [0, 1).
    """
    log_p = F.log_softmax(logits, dim=1)
    log_p_y = log_p.gather(1, y[:, None]).squeeze(1)  # (N, K) -> (N,)
    log_p_others = (log_p.sum(dim=1) - log_p_y) / (logits.shape[1] - 1)
    return -((1 - smoothing) * log_p_y + smoothing * log_p_others).mean()


def mart_term(logits_adv: Tensor, logits_clean: Tensor, y: Tensor, *, beta: float) -> Tensor:
    """What MART (Wang et al., ICLR 2020) adds to a cross-entropy on the adversarial example.

    With p the probabilities of the clean and p' those of the adversarial image, mean over images of

        -log(1.0001 - max over k != y of p'_k + 1e-12)  +  beta * KL(p || p') * (1.0000001 - p_y)

    The first part is the margin half of the paper's boosted cross-entropy,
    BCE = -log p'_y - log(1 - max over k != y of p'_k); its other half is the classification term
    of the total loss. The small constants are those of the authors' code. Gradients flow to both
    logits, as they do there.

    Args:
        logits_adv, logits_clean: (N, K) each.
        y: true classes, (N,).
        beta: weight of the second part; 6 in the paper.

    Returns:
        A scalar.
    """
    log_p_adv, log_p = F.log_softmax(logits_adv, dim=1), F.log_softmax(logits_clean, dim=1)
    p_adv, p = log_p_adv.exp(), log_p.exp()
    rival = most_confusing_class(logits_adv, y)
    margin = -(1.0001 - p_adv.gather(1, rival[:, None]).squeeze(1) + 1e-12).log()
    divergence = (p * (log_p - log_p_adv)).sum(dim=1)  # KL(p || p'), (N,)
    doubt = 1.0000001 - p.gather(1, y[:, None]).squeeze(1)
    return (margin + beta * divergence * doubt).mean()
