"""Networks of torchvision, timm and transformers with random weights against `fovea run` on their files.

    python tests/interop/zoo_torch.py build/release/bin/fovea [PART OF A CASE'S NAME ...]

Each case is built there, its batch norms take the statistics of random pictures (so that signals keep their size in
deep networks), its state dict is written as .pth or .safetensors and read here with --layout and --model auto unless
the case says otherwise. Runs what is installed of the three.
"""

import sys

import numpy as np
import torch
from fovea_interop import Fovea, Report, write_safetensors


def torchvision_cases():
    import torchvision.models as tv

    def case(name, size, options=(), classes=1000, **kwargs):
        return f"torchvision {name} {size} {kwargs or ''}", lambda: getattr(tv, name)(num_classes=classes, **kwargs), size, options

    yield case("mobilenet_v3_small", 224)
    yield case("mobilenet_v3_large", 129, classes=7)
    yield case("mobilenet_v3_large", 160, classes=7, width_mult=0.75)
    yield case("mobilenet_v3_small", 97, classes=5, width_mult=0.35)
    for n, size in enumerate([224, 111, 160, 131, 96, 75, 64, 65]):
        yield case(f"efficientnet_b{n}", size, ["--model", f"efficientnet_b{n}"] if n % 2 else [], classes=10 + n)


def timm_cases():
    import timm

    def case(name, size, options=(), **kwargs):
        kwargs.setdefault("num_classes", 11)
        return f"timm {name} {size} {kwargs}", lambda: timm.create_model(name, **kwargs), size, options

    yield case("mobilenetv1_100", 224)
    yield case("mobilenetv1_125", 99)
    yield case("mobilenetv3_small_050", 65)
    yield case("mobilenetv3_small_075", 101)
    yield case("mobilenetv3_small_100", 96, num_classes=0)
    yield case("mobilenetv3_large_075", 224)
    yield case("mobilenetv3_large_100", 93)
    for name in ("tf_mobilenetv3_large_075", "tf_mobilenetv3_large_100", "tf_mobilenetv3_small_075", "tf_mobilenetv3_small_100"):
        yield case(name, 107, ["--model", name])
    for n, size in enumerate([97, 240, 65, 128, 99, 64, 65, 64]):
        yield case(f"efficientnet_b{n}", size)
        yield case(f"tf_efficientnet_b{n}", size, ["--model", f"tf_efficientnet_b{n}"])
    for n, size in enumerate([225, 99, 128, 65, 100]):
        yield case(f"efficientnet_lite{n}", size)
        yield case(f"tf_efficientnet_lite{n}", size, ["--variant", "tf"])
    yield case("efficientnet_b0", 64, num_classes=0)


def transformers_cases():
    import transformers as hf

    def case(name, config, size, options=()):
        kind = getattr(hf, name.replace("Config", "ForImageClassification"))
        return f"transformers {name} {size}", lambda: kind(getattr(hf, name)(**config)), size, options

    yield case("MobileNetV1Config", {"num_labels": 1001}, 224)
    yield case("MobileNetV1Config", {"num_labels": 9, "depth_multiplier": 0.75}, 129)
    sizes = [(1.0, 1.0, 224, 1280, []), (1.0, 1.1, 240, 1280, [16]), (1.1, 1.2, 260, 1408, [5, 8, 16]), (1.2, 1.4, 300, 1536, [5, 18])]
    for n, (width, depth, size, hidden, odd) in enumerate(sizes):
        config = {"width_coefficient": width, "depth_coefficient": depth, "hidden_dim": hidden, "depthwise_padding": odd, "num_labels": 6}
        yield case("EfficientNetConfig", config, size)


def settle(network, x):
    """Batch norms take the statistics of x, parameters of norms and biases become distinct, logits get a size of 2."""
    generator = torch.Generator().manual_seed(1)
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for m in norms:
            m.weight.uniform_(0.8, 1.2, generator=generator)
            m.bias.uniform_(-0.1, 0.1, generator=generator)
            m.momentum = 1.0
        for name, p in network.named_parameters():
            if name.endswith("bias") and p.dim() == 1 and not any(p is m.bias for m in norms):
                p.uniform_(-0.1, 0.1, generator=generator)
        network.train()
        logits_of(network, x)
        network.eval()
        deviation = logits_of(network, x).std()
        last = [m for m in network.modules() if isinstance(m, torch.nn.Linear)]
        if last:
            last[-1].weight.mul_(2 / deviation)


def logits_of(network, x):
    y = network(x)
    return y.logits if hasattr(y, "logits") else y


def main():
    fovea, report = Fovea(sys.argv[1]), Report()
    wanted = sys.argv[2:]
    for source in (torchvision_cases, timm_cases, transformers_cases):
        try:
            cases = list(source())
        except ImportError as error:
            print(f"skip  {source.__name__}: {error}")
            continue
        for number, (name, make, size, options) in enumerate(cases):
            if wanted and not any(w in name for w in wanted):
                continue
            torch.manual_seed(0)
            network = make()
            generator = torch.Generator().manual_seed(2)
            # Large enough that the smallest map has some 30 pixels: deviations of fewer blow up rounding.
            settle(network, torch.rand(2, 3, 128, 128, generator=generator) * 2 - 1)
            x = torch.rand(2, 3, size, size, generator=generator) * 2 - 1
            with torch.no_grad():
                theirs = logits_of(network, x).numpy()
            if number % 2:
                path = fovea.folder / "weights.pth"
                torch.save(network.state_dict(), path)
            else:
                path = fovea.folder / "weights.safetensors"
                write_safetensors(path, {k: v.numpy() for k, v in network.state_dict().items()})
            try:
                ours, said = fovea.logits(path, x.permute(0, 2, 3, 1).numpy(), *options)
                report.compare(name, ours, theirs, note=said)
            except RuntimeError as error:
                report.fail(name, error)
    return report.status()


if __name__ == "__main__":
    sys.exit(main())
