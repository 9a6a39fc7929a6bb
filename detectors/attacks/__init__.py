"""Attacks on detectors, and what they cost. All take a score and a threshold; none knows a family.

problem, Problem            base: whom to fool, budget, direction
pgd, apgd, autoattack       white box
square                      black box
launder, regenerated        laundering, regeneration: everyday changes and images made again
Adversary                   hardening: adversarial training
cost_of_evasion             evasion: the distortion at which half of the images evade
attack                      suite: images of any size; a row for each attack and direction
"""
