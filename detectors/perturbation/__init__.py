"""Protective perturbations: found in image sets at a stated false positive rate, simulated, and followed through edits.

    victims.py     encoders that a perturbation is made against, and that probe for one, as differentiable functions
    simulate.py    adversarial perturbations after Glaze, Nightshade and PhotoGuard
    benign.py      what happens to images without anyone meaning harm: the null
    signals.py     what tells the two apart: residuals, embeddings that are brittle, latents that are off
    evidence.py    p-values: conformal for an image, exact for a set
    detector.py    the trained head, its calibration, and the finding
    training.py    how the bundled head was made
    survival.py    what share of a perturbation's effect is left after an edit

Importing this package imports no torch. Real Glaze and Nightshade images were not available: all that is known here is
known of simulations.
"""
