#!/usr/bin/env python3
"""Writes decisions.json: ROC curves, areas with errors, thresholds and coverage for tests/train/decisions_test.cc.

ROC points are scikit-learn's, Wilson's intervals scipy's; DeLong's variance, thresholds and coverage are written out by
their definitions (every pair of items compared). Needs numpy, scipy and scikit-learn. Run it in this folder.
"""
import json

import numpy as np
import scipy
import sklearn
from scipy.stats import binomtest, norm
from sklearn import metrics as skm


def delong(scores, positive):
    x, y = scores[positive], scores[~positive]
    wins = (x[:, None] > y[None, :]) + 0.5 * (x[:, None] == y[None, :])
    auc = wins.mean()
    variance = np.var(wins.mean(1), ddof=1) / len(x) + np.var(wins.mean(0), ddof=1) / len(y)
    return auc, np.sqrt(variance)


def interval(auc, error):
    logit, half = np.log(auc / (1 - auc)), norm.ppf(0.975) * error / (auc * (1 - auc))
    return [1 / (1 + np.exp(-(logit - half))), 1 / (1 + np.exp(-(logit + half)))]


def roc_case(seed, n, share, shift, digits):
    rng = np.random.default_rng(seed)
    positive = rng.random(n) < share
    # Rounded scores make ties, which is what rank formulas get wrong.
    scores = np.round(rng.normal(size=n) + shift * positive, digits).astype(np.float32).astype(np.float64)
    fpr, tpr, thresholds = skm.roc_curve(positive, scores, drop_intermediate=False)
    auc, error = delong(scores, positive)
    assert abs(auc - skm.roc_auc_score(positive, scores)) < 1e-12
    missed, alarm = 7.0, 1.5
    cost = [missed * (positive & (scores < t)).sum() + alarm * (~positive & (scores >= t)).sum() for t in thresholds]
    points = range(len(tpr))
    sensitivity_90 = max((i for i in points if tpr[i] >= 0.9), key=lambda i: (-fpr[i], tpr[i]))
    specificity_90 = max((i for i in points if 1 - fpr[i] >= 0.9), key=lambda i: (tpr[i], -fpr[i]))
    at = float(np.median(scores))
    tp, fn = int((positive & (scores >= at)).sum()), int((positive & (scores < at)).sum())
    wilson = binomtest(tp, tp + fn).proportion_ci(method="wilson")
    return {
        "scores": scores.tolist(), "positive": positive.tolist(), "fpr": fpr.tolist(), "tpr": tpr.tolist(),
        "thresholds": thresholds[1:].tolist(), "auc": auc, "error": error, "interval": interval(auc, error),
        "sensitivity_90": sensitivity_90, "specificity_90": specificity_90, "youden": float((tpr - fpr).max()),
        "missed": missed, "alarm": alarm, "lowest_cost": float(min(cost)),
        "at": at, "tp": tp, "fn": fn, "precision": skm.precision_score(positive, scores >= at),
        "wilson": [wilson.low, wilson.high],
    }


def coverage_case(seed, n, c, digits):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, c, n)
    logits = rng.normal(size=(n, c)) + 1.2 * np.eye(c)[y]
    p = np.exp(logits)
    # Multiples of 2^-digits: exact in every precision, and often equal.
    p = np.round(p / p.sum(1, keepdims=True) * 2**digits) / 2**digits
    confidence, right = p.max(1), p.argmax(1) == y
    kept, correct = [], []
    for t in np.unique(confidence)[::-1]:
        kept.append(int((confidence >= t).sum()))
        correct.append(int((right & (confidence >= t)).sum()))
    accuracy = np.array(correct) / np.array(kept)
    low = np.array([binomtest(k, m).proportion_ci(method="wilson").low for k, m in zip(correct, kept)])
    best = max((m for m, a in zip(kept, accuracy) if a >= 0.85), default=0)
    cautious = max((m for m, a in zip(kept, low) if a >= 0.7), default=0)
    return {"classes": c, "labels": y.tolist(), "probabilities": p.ravel().tolist(), "kept": kept, "correct": correct,
            "accuracy_85": best, "cautious_70": cautious}


def main():
    with open("decisions.json", "w") as f:
        json.dump({
            "versions": f"numpy {np.__version__}, scipy {scipy.__version__}, scikit-learn {sklearn.__version__}",
            "roc": [roc_case(1, 90, 0.4, 1.2, 1), roc_case(2, 150, 0.15, 0.6, 3), roc_case(3, 40, 0.5, -0.5, 0)],
            "coverage": [coverage_case(4, 120, 4, 6), coverage_case(5, 80, 2, 10)],
        }, f)
        f.write("\n")


if __name__ == "__main__":
    main()
