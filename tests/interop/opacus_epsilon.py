#!/usr/bin/env python3
"""Prints what Opacus' RDPAccountant says of the settings in tests/train/accountant_test.cc.

    python3 tests/interop/opacus_epsilon.py            # makes a virtual environment with Opacus (and PyTorch) from PyPI
    python3 tests/interop/opacus_epsilon.py --here     # in this Python, where Opacus is installed already
"""
import os
import subprocess
import sys
import tempfile
import venv

SETTINGS = [  # sampling rate, noise multiplier, steps, delta
    (256 / 60000, 1.1, 14040, 1e-5),
    (0.01, 1.0, 1000, 1e-5),
    (600 / 60000, 4.0, 10000, 1e-5),
    (0.1, 0.7, 100, 1e-4),
    (1.0, 8.0, 50, 1e-6),
    (0.004, 0.6, 2000, 1e-5),
]


def report():
    import opacus
    from opacus.accountants import RDPAccountant

    print(f"Opacus {opacus.__version__}")
    for rate, noise, steps, delta in SETTINGS:
        accountant = RDPAccountant()
        accountant.history = [(noise, rate, steps)]
        epsilon, order = accountant.get_privacy_spent(delta=delta)
        print(f"rate {rate:.6g} noise {noise} steps {steps} delta {delta}: epsilon {float(epsilon)!r} at order {order}")


if __name__ == "__main__":
    if "--here" in sys.argv:
        report()
    else:
        with tempfile.TemporaryDirectory() as folder:
            venv.create(folder, with_pip=True)
            python = os.path.join(folder, "bin", "python")
            subprocess.run([python, "-m", "pip", "install", "-q", "opacus==1.6.0"], check=True)
            subprocess.run([python, os.path.abspath(__file__), "--here"], check=True)
