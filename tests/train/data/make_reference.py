#!/usr/bin/env python3
"""Writes reference.json: learning rates from PyTorch's schedulers and metrics from scikit-learn, for tests/train.

Needs torch and scikit-learn. Run it in this folder; commit the result.
"""
import json

import numpy as np
import sklearn
import torch
from sklearn import metrics as skm
from torch.optim import lr_scheduler as sched

LR = 0.4


def schedule(make, steps, momentum=False, feed=None):
    parameter = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.SGD([parameter], lr=LR, momentum=0.9)
    s = make(optimizer)
    lrs, momenta = [], []
    for i in range(steps):
        lrs.append(optimizer.param_groups[0]["lr"])
        momenta.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        s.step(feed[i]) if feed is not None else s.step()
    return {"lr": lrs, **({"momentum": momenta} if momentum else {})}


def schedules():
    out = {}
    # Epoch-based ones are stepped once an epoch; the test has 3 steps an epoch.
    out["step"] = schedule(lambda o: sched.StepLR(o, 3, 0.2), 12)
    out["multistep"] = schedule(lambda o: sched.MultiStepLR(o, [2, 5, 6], 0.3), 12)
    out["exponential"] = schedule(lambda o: sched.ExponentialLR(o, 0.9), 12)
    out["cosine"] = schedule(lambda o: sched.CosineAnnealingLR(o, 37, eta_min=0.1 * LR), 37)
    out["polynomial"] = schedule(lambda o: sched.PolynomialLR(o, 37, 2.0), 37)
    out["onecycle"] = schedule(lambda o: sched.OneCycleLR(o, LR, total_steps=50), 50, True)
    out["onecycle_linear"] = schedule(
        lambda o: sched.OneCycleLR(o, LR, total_steps=37, pct_start=0.4, div_factor=10, final_div_factor=100,
                                   anneal_strategy="linear", base_momentum=0.8, max_momentum=0.9), 37, True)
    out["warmup_cosine"] = schedule(
        lambda o: sched.SequentialLR(o, [sched.LinearLR(o, 0.05, 1.0, 8), sched.CosineAnnealingLR(o, 32)], [8]), 40)
    rng = np.random.default_rng(3)
    feed = list(np.round(2 * np.exp(-np.arange(40) / 6) + 0.4 + 0.1 * rng.standard_normal(40), 4))
    out["plateau"] = schedule(
        lambda o: sched.ReduceLROnPlateau(o, factor=0.5, patience=2, threshold=1e-2, cooldown=1, min_lr=0.01), 40, feed=feed)
    out["plateau"]["feed"] = feed
    up = list(np.round(1 - np.array(feed) / 4, 4))
    out["plateau_max"] = schedule(lambda o: sched.ReduceLROnPlateau(o, mode="max", factor=0.5, patience=1), 40, feed=up)
    out["plateau_max"]["feed"] = up
    return out


def ece(p, y, bins):
    confidence, right = p.max(1), p.argmax(1) == y
    total = 0.0
    for b in range(bins):
        inside = (confidence > b / bins) & (confidence <= (b + 1) / bins)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


def metric_case(seed, n, c, absent=None):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, c, n)
    if absent is not None:
        y[y == absent] = 0
    # Half-integer logits make many ties, which is what rank formulas get wrong.
    logits = np.round(2 * (rng.standard_normal((n, c)) + 0.9 * np.eye(c)[y])) / 2
    p = np.exp(logits - logits.max(1, keepdims=True))
    p = p / p.sum(1, keepdims=True)
    guess = p.argmax(1)
    precision, recall, f1, support = skm.precision_recall_fscore_support(y, guess, labels=range(c), zero_division=0)
    out = {
        "classes": c, "labels": y.tolist(), "logits": logits.ravel().tolist(),
        "accuracy": skm.accuracy_score(y, guess), "balanced": skm.balanced_accuracy_score(y, guess),
        "log_loss": skm.log_loss(y, p, labels=range(c)), "ece": ece(p, y, 15),
        "precision": precision.tolist(), "recall": recall.tolist(), "f1": f1.tolist(), "support": support.tolist(),
        "confusion": skm.confusion_matrix(y, guess, labels=range(c)).tolist(),
    }
    for average in ("macro", "weighted"):
        out[average] = list(skm.precision_recall_fscore_support(y, guess, average=average, zero_division=0)[:3])
    p32 = p.astype(np.float32)
    if c == 2:
        out["auc"] = skm.roc_auc_score(y, p32[:, 1])
    else:
        out["auc"] = float(np.mean([skm.roc_auc_score(y == k, p32[:, k]) for k in range(c) if (y == k).any()]))
    return out


def main():
    reference = {
        "versions": f"torch {torch.__version__}, scikit-learn {sklearn.__version__}", "lr": LR, "schedules": schedules(),
        "metrics": [metric_case(1, 180, 4), metric_case(2, 150, 2), metric_case(3, 120, 6, absent=4)],
    }
    rng = np.random.default_rng(0)
    scores, positive = np.round(rng.random(60), 1), rng.random(60) < 0.4
    reference["roc"] = {"scores": scores.tolist(), "positive": positive.tolist(), "auc": skm.roc_auc_score(positive, scores)}
    with open("reference.json", "w") as f:
        json.dump(reference, f)
        f.write("\n")


if __name__ == "__main__":
    main()
