"""Where a check turns amber or red, and why there. Shares are of images: 0.002 is 0.2 points.

A single image never makes a check red by its share: with few images it would exceed any.
"""

ALLOWED = 0.002
"""Random starts and rounding decide the odd image; beyond 0.2 points it is a pattern. The checklist
of Carlini et al. (2019, arXiv 1902.06705) allows none: attacks of gradients must win throughout."""

ONLY_FGSM = 0.005
"""Images that one long step breaks and many short ones do not: a few are chance."""

PASSES_UNUSUAL, PASSES_APART = 1e-3, 1e-2
"""Share of the largest output. Float32 in another order differs by about 1e-6, TF32 by 1e-3;
dropout, noise and batch norm in train mode by far more (Athalye et al., ICML 2018)."""

ZERO_GRADIENTS = 0.01
"""A trained network has no gradient that is exactly zero at a natural image; softmax in float32
underflows beyond a margin of about 100 (Athalye et al., ICML 2018; Pintor et al., NeurIPS 2022)."""

DOUBLING, DOUBLING_LARGE = 0.005, 0.05
"""Twice the steps must not help (Carlini et al., 2019). Half a point is little beside what defences
differ by, five points as much as AutoAttack commonly gains."""

GAP, GAP_LARGE = 0.05, 0.10
"""PGD and AutoAttack differ by a few points on adversarially trained models. Gaps of more than 10
gave broken defences away (Croce and Hein, ICML 2020, arXiv 2003.01690)."""

ADAPTIVE_LARGE = 0.02
"""Beyond AutoAttack. Attacks made for a defence that was fairly measured add a point at most; where
they add more, more is to be expected (Tramèr et al., NeurIPS 2020, arXiv 2002.08347). Without
AutoAttack they take its place, and `GAP_LARGE` holds."""

UNDEFENDED = 0.01
"""At 8/255 every attack that works leaves a clean model near zero (Madry et al., ICLR 2018)."""

ROUNDING, ROUNDING_LARGE = 0.05, 0.5
"""Share of the broken images that rounding to 8 bits heals. Half a grey level is a sixteenth of
8/255, so that an attack loses few (Carlini and Wagner, S&P 2017, on discretisation)."""
ROUNDING_MATTERS = 2 / 255
"""Below two grey levels, rounding takes away much of any attack, and says little."""

HALF_WIDTH = 0.05
"""Half of the 95 % interval. Differences between defences are a few points."""
