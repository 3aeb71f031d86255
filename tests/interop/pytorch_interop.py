#!/usr/bin/env python3
"""Weights move between train_mnist and PyTorch, both ways, and give the same outputs on the MNIST test set.

    python3 tests/interop/pytorch_interop.py --train-mnist build/release/apps/train_mnist --data data/mnist

For each norm: (a) train_mnist trains for a few steps, PyTorch loads its model.safetensors; (b) PyTorch trains for a
few steps, train_mnist loads what safetensors.torch saved. Each time names, shapes and dtypes must be PyTorch's, and
both programs must agree on the log-probabilities of all 10,000 images, or of the first $EVENKEEL_TEST_IMAGES, on the
mean loss, and on the number of correct ones. Exits with 1 on a disagreement and with 77 (skipped) without torch, safetensors, or the data.
"""
import argparse
import gzip
import json
import os
import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import torch
    import torch.nn as nn
    import torch.nn.functional as F
    from safetensors.torch import load_file, save_file
except ImportError as missing:
    print(f"skipped: {missing}; install torch and safetensors for this Python ({sys.executable})")
    sys.exit(77)

# Both sides compute in f32 and add up in different orders: through nine convolutions, log-probabilities of size 10
# differ by up to 3e-6. An eps ten times too small already shows as 2.5e-5 or more.
TOLERANCE = 1e-5
TEST_IMAGES = int(os.environ.get("EVENKEEL_TEST_IMAGES") or 10000)


class Disagreement(Exception):
    """What differs, in one line."""


def check(good, message):
    if not good:
        raise Disagreement(message)


# --- the network and the data in PyTorch ---------------------------------------------------------------------------


class LayerNorm2d(nn.LayerNorm):
    """Over the channels at each pixel."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def norm_layer(norm, channels, size):
    return {"bn": lambda: nn.BatchNorm2d(channels),
            "gn": lambda: nn.GroupNorm(2, channels),
            "ln": lambda: nn.LayerNorm([channels, size, size]),
            "ln-row": lambda: nn.LayerNorm(size, elementwise_affine=False),
            "ln-c": lambda: LayerNorm2d(channels),
            "in": lambda: nn.GroupNorm(channels, channels),
            "none": nn.Identity}[norm]()


def make_net(norm):
    """1x28x28 -> 10 log-probabilities; its state_dict has the names that ek::mnist::network gives."""
    layers = []

    def block(cin, cout, size, norm_first=norm == "bn", dropout=False):
        normalize, relu = norm_layer(norm, cout, size), nn.ReLU()
        layers.append(nn.Conv2d(cin, cout, 3, bias=False))
        layers.extend([normalize, relu] if norm_first else [relu, normalize])
        if dropout:
            layers.append(nn.Dropout(0.1))

    block(1, 4, 26)
    block(4, 8, 24)
    layers += [nn.Conv2d(8, 16, 1, bias=False), nn.MaxPool2d(2)]
    block(16, 16, 10, dropout=True)
    layers += [nn.Conv2d(16, 16, 1, bias=False)]
    block(16, 16, 8, norm_first=True, dropout=True)
    block(16, 16, 6)
    block(16, 10, 4)
    layers += [nn.AvgPool2d(4), nn.Conv2d(10, 10, 1, bias=False), nn.Flatten(), nn.LogSoftmax(1)]
    return nn.Sequential(*layers)


def find_idx(data, name):
    for folder in (data, data / "MNIST" / "raw"):
        for path in (folder / name, folder / (name + ".gz")):
            if path.is_file():
                return path
    return None


def read_idx(data, name):
    path = find_idx(data, name)
    raw = (gzip.open if path.suffix == ".gz" else open)(path, "rb").read()
    shape = [int.from_bytes(raw[4 + 4 * i:8 + 4 * i], "big") for i in range(raw[3])]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * len(shape)).reshape(shape).copy()


def read_split(data, split):
    """Images f32 [n, 1, 28, 28], normalised, and labels i64 [n]."""
    images = torch.from_numpy(read_idx(data, split + "-images-idx3-ubyte")).float().unsqueeze(1)
    return (images / 255 - 0.1307) / 0.3081, torch.from_numpy(read_idx(data, split + "-labels-idx1-ubyte")).long()


def evaluate(net, images):
    net.eval()
    with torch.no_grad():
        return torch.cat([net(batch) for batch in images.split(500)])


def train_a_little(net, images, labels, steps=30):
    """Enough for running statistics and gamma, beta to leave their initial values."""
    net.train()
    sgd = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for step in range(steps):
        batch = slice(64 * step, 64 * (step + 1))
        sgd.zero_grad()
        F.nll_loss(net(images[batch]), labels[batch]).backward()
        sgd.step()


# --- train_mnist, and the comparison -------------------------------------------------------------------------------


class Run:
    """One run of train_mnist and what it left."""

    def __init__(self, args, norm, out, *options):
        command = [args.train_mnist, "--data", args.data, "--norm", norm, "--device", args.device, "--out", out,
                   "--save-logits", "--test-images", TEST_IMAGES, *options]
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
        check(done.returncode == 0,
              f"{' '.join(map(str, command))} exited with {done.returncode}: {done.stderr.strip()}")
        objects = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines() if line.strip()]
        self.metrics = [o for o in objects if o.get("split") == "test"][-1]
        self.log_probs = load_file(out / "logits.safetensors")["logits"]
        self.model = out / "model.safetensors"


def check_state(got, net):
    """Names, shapes and dtypes are those of PyTorch; load_state_dict itself lets some shapes and all dtypes pass."""
    want = net.state_dict()
    check(set(got) == set(want), f"names differ: {sorted(set(got) ^ set(want))}")
    for name, t in want.items():
        check(got[name].shape == t.shape and got[name].dtype == t.dtype,
              f"{name} is {got[name].dtype} {list(got[name].shape)}, PyTorch has {t.dtype} {list(t.shape)}")


def compare(run, net, images, labels):
    """Returns one line of figures, or raises Disagreement.

    The programs may predict differently only where the two likeliest classes are closer than they agree at all: in
    ln-row all ten are equal but for rounding, elsewhere there is hardly such an image."""
    theirs, ours = evaluate(net, images), run.log_probs
    check(ours.shape == theirs.shape and ours.dtype == theirs.dtype, f"logits are {ours.dtype} {list(ours.shape)}")
    check(bool(torch.isfinite(ours).all()), "logits are not finite")
    worst = (ours.double() - theirs.double()).abs().max().item()
    check(worst <= TOLERANCE, f"log-probabilities differ by {worst:.2e}, allowed {TOLERANCE:.0e}")

    top = theirs.double().topk(2, 1).values
    open_to_rounding = top[:, 0] - top[:, 1] <= 2 * worst
    differ = (ours.argmax(1) != theirs.argmax(1)) & ~open_to_rounding
    check(not differ.any(), f"predictions differ on images {differ.nonzero().flatten()[:10].tolist()}")

    reported, own = run.metrics["accuracy"] * len(labels), (ours.argmax(1) == labels).sum().item()
    check(abs(reported - own) < 1e-6, f"metrics.jsonl says {reported} correct, the logits {own}")
    correct, doubtful = (theirs.argmax(1) == labels).sum().item(), open_to_rounding.sum().item()
    check(abs(correct - own) <= doubtful, f"{own} correct, PyTorch {correct}, open to rounding {doubtful}")
    loss = F.nll_loss(theirs.double(), labels).item()
    check(abs(loss - run.metrics["loss"]) <= TOLERANCE, f"loss {run.metrics['loss']}, PyTorch {loss}")
    return (f"max difference {worst:.2e}, correct {own} and {correct} of {len(labels)}, loss {loss:.5f}"
            + (f", {doubtful} predictions open to rounding" if doubtful else ""))


def to_pytorch(args, norm, out, train, test):
    run = Run(args, norm, out, "--epochs", "1", "--max-steps", "50", "--seed", "1")
    net, state = make_net(norm), load_file(run.model)
    check_state(state, net)
    net.load_state_dict(state, strict=True)
    return compare(run, net, *test)


def from_pytorch(args, norm, out, train, test):
    torch.manual_seed(2)
    net = make_net(norm)
    train_a_little(net, *train)
    out.mkdir()
    file = out / "pytorch.safetensors"
    save_file(net.state_dict(), file)
    return compare(Run(args, norm, out / "run", "--epochs", "0", "--weights", file), net, *test)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--train-mnist", required=True, type=pathlib.Path, help="the program")
    p.add_argument("--data", default=os.environ.get("EVENKEEL_DATA") or "data/mnist", type=pathlib.Path)
    p.add_argument("--norms", default="bn,gn,ln,ln-row", help="some of bn,gn,ln,ln-row,ln-c,in,none")
    p.add_argument("--device", default="cpu", help="train_mnist's; PyTorch stays on the CPU")
    args = p.parse_args()
    if not find_idx(args.data, "train-images-idx3-ubyte"):
        print(f"skipped: no MNIST in {args.data}")
        return 77
    train, test = read_split(args.data, "train"), [part[:TEST_IMAGES] for part in read_split(args.data, "t10k")]
    failures = 0
    for norm in args.norms.split(","):
        for title, direction in (("to PyTorch", to_pytorch), ("from PyTorch", from_pytorch)):
            with tempfile.TemporaryDirectory() as folder:
                try:
                    line = direction(args, norm, pathlib.Path(folder) / "out", train, test)
                except Disagreement as e:
                    failures, line = failures + 1, f"FAILED: {e}"
            print(f"{norm:7} {title:13} {line}", flush=True)
    print(f"{failures} of {2 * len(args.norms.split(','))} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
