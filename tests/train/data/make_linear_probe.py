#!/usr/bin/env python3
"""Writes linear_probe.json: logistic regressions of scikit-learn, for tests/train.

Needs scikit-learn. Run it in this folder; commit the result.
"""
import json
import warnings

import numpy as np
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

warnings.filterwarnings("ignore")


def case(rng, rows, width, classes, c, balanced=False):
    labels = np.minimum(rng.integers(0, classes + (1 if balanced else 0), rows), classes - 1)
    labels[:classes] = np.arange(classes)
    centres = rng.normal(size=(classes, width))
    x = (rng.normal(size=(rows, width)) + 0.7 * centres[labels]) * rng.uniform(0.1, 10, width) + rng.normal(size=width)
    x = np.round(x, 4)
    scaler = StandardScaler().fit(x)
    fit = LogisticRegression(C=c, tol=1e-10, max_iter=10000, class_weight="balanced" if balanced else None)
    p = fit.fit(scaler.transform(x), labels).predict_proba(scaler.transform(x))
    return {"c": c, "classes": classes, "balanced": balanced, "x": x.tolist(), "labels": labels.tolist(),
            "probabilities": np.round(p, 7).tolist()}


def main():
    rng = np.random.default_rng(3)
    cases = [case(rng, 40, 5, 2, 0.01), case(rng, 40, 5, 2, 1.0), case(rng, 30, 50, 2, 0.1), case(rng, 45, 6, 3, 0.1),
             case(rng, 40, 60, 4, 0.003), case(rng, 50, 6, 3, 0.3, True), case(rng, 50, 6, 2, 0.3, True)]
    with open("linear_probe.json", "w") as out:
        json.dump({"scikit-learn": sklearn.__version__, "cases": cases}, out, separators=(",", ":"))
        out.write("\n")


main()
