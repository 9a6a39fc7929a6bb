"""Where an image came from: signing, trust, verdicts, recovery, hash banks, opt-out signals, a transparency log."""
