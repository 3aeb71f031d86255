#!/usr/bin/env python3
"""The cases of the property test, computed by PyTorch: what it accepts, Evenkeel's reference accepts, with its values.

    python3 tests/interop/property_interop.py --test-property build/release/tests/property/test_property

test_property writes its cases, each with its arrays in f64, whether the call must be refused, and the values and
gradients that its reference expects; test_property itself holds the library to those. Here PyTorch gets the same
arrays. Exits with 1 on a disagreement and with 77 (skipped) without torch. docs/differences.md lists what is meant to
differ; the cases leave that out.
"""
import argparse
import collections
import json
import math
import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import torch
    import torch.nn.functional as F
except ImportError as missing:
    print(f"skipped: {missing}; install torch for this Python ({sys.executable})")
    sys.exit(77)

TOLERANCE = 1e-10  # of f64, relative to what the case says
REDUCTIONS = ("none", "mean", "sum")


def load_arrays(file):
    """A safetensors file of f64 arrays."""
    raw = file.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header, data = json.loads(raw[8:8 + size]), raw[8 + size:]
    header.pop("__metadata__", None)
    return {name: np.frombuffer(data[slice(*entry["data_offsets"])], np.float64).reshape(entry["shape"]).copy()
            for name, entry in header.items()}


def strided_slice(x, a):
    index = [slice(None)] * x.dim()
    index[a["axis"]] = slice(a["start"], a["end"], a["step"])
    return x[tuple(index)]


def reduce(f, x, a):
    return f(x, dim=a["axes"] or tuple(range(x.dim())), keepdim=a["keepdim"]) if x.dim() else f(x)


def batch_norm(x, gamma, beta, mean=None, var=None, *, a):
    return F.batch_norm(x, mean, var, gamma, beta, a["training"], a["momentum"], a["eps"])


def pool_options(a):
    return {"kernel_size": a["kernel"], "stride": a["stride"] if a["stride"] != [0, 0] else None, "padding": a["padding"]}


OPS = {
    "add": lambda a, x, y: x + y,
    "sub": lambda a, x, y: x - y,
    "mul": lambda a, x, y: x * y,
    "div": lambda a, x, y: x / y,
    "equal": lambda a, x, y: (x == y).to(x.dtype),
    "exp": lambda a, x: torch.exp(x),
    "log": lambda a, x: torch.log(x),
    "sqrt": lambda a, x: torch.sqrt(x),
    "abs": lambda a, x: torch.abs(x),
    "sign": lambda a, x: torch.sign(x),
    "relu": lambda a, x: F.relu(x),
    "sum": lambda a, x: reduce(torch.sum, x, a),
    "mean": lambda a, x: reduce(torch.mean, x, a),
    "max": lambda a, x: reduce(torch.amax, x, a),
    "argmax": lambda a, x: torch.argmax(x, a["axis"]),
    "matmul": lambda a, x, y: torch.matmul(x, y),
    "linear": lambda a, x, w, b: F.linear(x, w, b),
    "reshape": lambda a, x: x.reshape(a["shape"]),
    "permute": lambda a, x: x.permute(a["axes"]),
    "transpose": lambda a, x: x.transpose(*a["axes"]),
    "slice": lambda a, x: strided_slice(x, a),
    "broadcast_to": lambda a, x: x.broadcast_to(a["shape"]),
    "conv2d": lambda a, x, w, b: F.conv2d(x, w, b, a["stride"], a["padding"], a["dilation"], a["groups"]),
    "max_pool2d": lambda a, x: F.max_pool2d(x, **pool_options(a)),
    "avg_pool2d": lambda a, x: F.avg_pool2d(x, **pool_options(a)),
    "batch_norm": lambda a, *inputs: batch_norm(*inputs, a=a),
    "group_norm": lambda a, x, gamma, beta: torch.group_norm(x, a["groups"], gamma, beta, a["eps"]),
    "layer_norm": lambda a, x, gamma, beta: F.layer_norm(x, a["shape"], gamma, beta, a["eps"]),
    "log_softmax": lambda a, x: F.log_softmax(x, a["axis"]),
    "nll_loss": lambda a, x, t: F.nll_loss(x, t, reduction=REDUCTIONS[a["reduction"]]),
    "cross_entropy": lambda a, x, t: F.cross_entropy(x, t, reduction=REDUCTIONS[a["reduction"]]),
}


def largest_difference(theirs, ours):
    """Infinite where one is not finite and the other is not the same."""
    if tuple(theirs.shape) != ours.shape:
        return math.inf
    theirs = theirs.detach().double().numpy()
    both = np.isfinite(theirs) & np.isfinite(ours)
    same = (theirs == ours) | (np.isnan(theirs) & np.isnan(ours))
    if not (both | same).all():
        return math.inf
    return float(np.abs(np.where(both, theirs - np.where(both, ours, 0), 0)).max(initial=0)) if theirs.size else 0.0


def compare(case, arrays):
    """A line that says what differs, or None."""
    n, inputs = case["number"], []
    for i, o in enumerate(case["inputs"]):
        x = torch.from_numpy(arrays[f"{n}.input{i}"]) if o["defined"] else None
        if o["i64"]:
            x = x.long()
        inputs.append(x.requires_grad_() if o["gradient"] and o["defined"] else x)
    try:
        y = OPS[case["op"]](case["args"], *inputs)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        if case["invalid"] or case["may_refuse"]:
            return None
        return f"PyTorch refuses it: {str(error).splitlines()[0]}"
    if case["invalid"]:
        return f"PyTorch accepts it, though: {case['invalid']}"
    scale = case["scale"]
    if not (difference := largest_difference(y, arrays[f"{n}.y"])) <= TOLERANCE * max(scale[0], 1e-300):
        return f"y differs by {difference:.3g}"
    if not case["backward"] or not y.requires_grad:
        return None
    try:
        y.backward(torch.from_numpy(arrays[f"{n}.dy"]))
    except RuntimeError as error:
        # Some of its ops have no backward of nothing, or (group_norm of 1.13) where x alone requires no gradient.
        if any(x is not None and x.numel() == 0 for x in inputs) or "does not have a device" in str(error):
            return None
        return f"PyTorch's backward fails: {error}"
    for i, o in enumerate(case["inputs"]):
        name = f"{n}.gradient{i}"
        if not o["gradient"] or not o["defined"] or name not in arrays:
            continue
        grad = inputs[i].grad if inputs[i].grad is not None else torch.zeros_like(inputs[i])
        if not (difference := largest_difference(grad, arrays[name])) <= TOLERANCE * max(scale[i + 1], 1e-300):
            return f"the gradient of input {i} differs by {difference:.3g}"
    return None


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--test-property", required=True, type=pathlib.Path, help="the program")
    p.add_argument("--cases", type=int, default=20, help="of each op")
    p.add_argument("--seed", type=int, default=0)
    args = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([args.test_property.resolve(), "--write", folder, "--cases", str(args.cases), "--seed", str(args.seed)],
                       check=True)
        cases = [json.loads(line) for line in pathlib.Path(folder, "cases.jsonl").read_text().splitlines()]
        arrays = load_arrays(pathlib.Path(folder, "arrays.safetensors"))
    failures, done = 0, collections.Counter()
    for case in cases:
        if case["op"] not in OPS:
            continue
        done[case["op"]] += 1
        if found := compare(case, arrays):
            failures += 1
            print(f"{case['op']} seed {case['seed']} {json.dumps(case['args'])}: {found}")
    print(f"{sum(done.values())} cases of {len(done)} ops, {failures} differ")
    return 1 if failures or not done else 0


if __name__ == "__main__":
    sys.exit(main())
