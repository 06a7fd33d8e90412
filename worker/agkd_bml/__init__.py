"""The method: Wang et al., "AGKD-BML: Defense Against Adversarial Attack by Attention Guided
Knowledge Distillation and Bi-directional Metric Learning", ICCV 2021, arXiv 2108.06017.

Every equation stands here once, as a pure function of tensors.
"""
