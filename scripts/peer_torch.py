#!/usr/bin/env python3
"""Times the rows of bench_norms in PyTorch (1.13 or newer), for its --peer-json:

    bench_norms --list --json rows.json
    scripts/peer_torch.py rows.json --out torch.json
    bench_norms --peer-json torch.json

--compile MODE runs all through torch.compile, for a second file; on a GPU reduce-overhead uses CUDA graphs.
Rows that PyTorch cannot do as such are left out. Kernels are called as directly as PyTorch allows: backward
passes are those that autograd would call. Exit codes: 0 done, 1 failure, 2 usage, 4 no such device.
"""
import argparse
import datetime
import json
import math
import os
import re
import sys
import time

import files

MOST_SECONDS, MOST_THREADS, MOST_SAMPLES = 60, 1024, 100_000  # as bench_norms has them


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", help="file of bench_norms --list --json")
    parser.add_argument("--out", required=True, help="file to write")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="default: cpu")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; default: OMP_NUM_THREADS or all cores")
    parser.add_argument("--repeat", type=int, default=11, help="samples of each median; default: 11")
    parser.add_argument("--min-time", type=float, default=0.002, help="seconds a warm sample; default: 0.002")
    parser.add_argument("--compile", default="", metavar="MODE", help="a mode of torch.compile; default: eager")
    args = parser.parse_args()
    for name, value, least, most in [("--threads", args.threads, 0, MOST_THREADS), ("--repeat", args.repeat, 1, MOST_SAMPLES),
                                     ("--min-time", args.min_time, 0, MOST_SECONDS)]:
        if not least <= value <= most:
            parser.error(f"{name} {value}: must be from {least} to {most}")
    return args


def give_up(problem, code=2):
    print("peer_torch.py: " + " ".join(problem.split()), file=sys.stderr)
    sys.exit(code)


def threads_of_environment():
    """Of a list in OMP_NUM_THREADS the first one counts, as in bench_norms."""
    text = os.environ.get("OMP_NUM_THREADS") or str(os.cpu_count())
    first = text.split(",")[0]
    if not re.fullmatch("[0-9]{1,9}", first) or not 1 <= int(first) <= MOST_THREADS:
        give_up(f"OMP_NUM_THREADS {text}: must be an integer from 1 to {MOST_THREADS}; set it to one or unset it")
    return int(first)


args = options()
args.threads = args.threads or threads_of_environment()
try:  # after --help, which must not need it
    import torch
    import torch.nn.functional as F
except ImportError as missing:
    sys.exit(f"peer_torch.py: {missing}: use a Python that has PyTorch, for example scripts/setup.sh --peers")

aten = torch.ops.aten
EPS, MOMENTUM = 1e-5, 0.1


class Row:
    """A row and how to make its inputs."""

    def __init__(self, description, device):
        self.op, self.variant, self.dtype, self.layout = (description[key] for key in ("op", "variant", "dtype", "layout"))
        self.shape, self.parameters = description["shape"], description["parameters"]
        self.which = description["pass"]
        self.device = device
        self.type = {"f32": torch.float32, "f64": torch.float64, "bf16": torch.bfloat16, "f16": torch.float16}[self.dtype]
        self.mean = 100 if "mean 100" in self.variant else 0

    def normal(self, *shape, mean=0.0):
        return torch.randn(shape, dtype=self.type, device=self.device) + mean

    def x(self):
        return self.normal(*self.shape, mean=self.mean)


# --- one function an op: from a Row to a function that computes it once, or None --------------------------------------


def conv2d(row):
    n, c, h, w = row.shape
    k, r, pad = (row.parameters[name] for name in ("filters", "kernel", "padding"))
    x, weight = row.x(), row.normal(k, c, r, r)
    if row.which == "forward":
        return lambda: F.conv2d(x, weight, padding=pad)
    dy = row.normal(n, k, h + 2 * pad - r + 1, w + 2 * pad - r + 1)
    wanted = [row.which == "backward_input", row.which == "backward_weight", False]
    return lambda: aten.convolution_backward(
        dy, x, weight, None, [1, 1], [pad, pad], [1, 1], False, [0, 0], 1, wanted)


def batch_norm(row):
    c = row.shape[1]
    x, dy, gamma, beta = row.x(), row.normal(*row.shape), row.normal(c), row.normal(c)
    running_mean, running_var = torch.zeros_like(gamma), torch.ones_like(gamma)

    def forward():
        return torch.native_batch_norm(x, gamma, beta, running_mean, running_var, True, MOMENTUM, EPS)

    if row.which == "forward":
        return forward
    _, mean, rstd = forward()
    return lambda: aten.native_batch_norm_backward(
        dy, x, gamma, running_mean, running_var, mean, rstd, True, EPS, [True, True, True])


def group_norm(row):
    n, c, h, w = row.shape
    groups = row.parameters["groups"]
    x, dy, gamma, beta = row.x(), row.normal(*row.shape), row.normal(c), row.normal(c)

    def forward():
        return aten.native_group_norm(x, gamma, beta, n, c, h * w, groups, EPS)

    if row.which == "forward":
        return forward
    _, mean, rstd = forward()
    return lambda: aten.native_group_norm_backward(
        dy, x, mean, rstd, gamma, n, c, h * w, groups, [True, True, True])


def layer_norm(row):
    shape, affine = row.parameters["normalized_shape"], row.parameters["affine"]
    gamma, beta = (row.normal(*shape), row.normal(*shape)) if affine else (None, None)
    x, dy = row.x(), row.normal(*row.shape)

    def forward():
        return torch.native_layer_norm(x, shape, gamma, beta, EPS)

    if row.which == "forward":
        return forward
    _, mean, rstd = forward()
    return lambda: aten.native_layer_norm_backward(
        dy, x, shape, mean, rstd, gamma, beta, [True, affine, affine])


def rms_norm(row):
    """F.rms_norm where PyTorch has it, from 2.4 on, else its formula."""
    shape, eps = row.parameters["normalized_shape"], row.parameters["eps"]
    x, dy, gamma = row.x(), row.normal(*row.shape), row.normal(*shape)

    def forward():
        if hasattr(F, "rms_norm"):
            return F.rms_norm(x, shape, gamma, eps)
        dims = list(range(-len(shape), 0))
        return x * torch.rsqrt(x.square().mean(dims, keepdim=True) + eps) * gamma

    if row.which == "forward":
        return forward
    inputs = [t.requires_grad_() for t in (x, gamma)]
    y = forward()
    return lambda: torch.autograd.grad(y, inputs, dy, retain_graph=True)


def layer_norm2d(row):
    """As torchvision's LayerNorm2d: the channels moved last, and back."""
    c = row.shape[1]
    x, dy, gamma, beta = row.x(), row.normal(*row.shape), row.normal(c), row.normal(c)

    def forward():
        return F.layer_norm(x.permute(0, 2, 3, 1), [c], gamma, beta, EPS).permute(0, 3, 1, 2)

    if row.which == "forward":
        return lambda: forward().contiguous()
    inputs = [t.requires_grad_() for t in (x, gamma, beta)]
    y = forward()
    return lambda: torch.autograd.grad(y, inputs, dy, retain_graph=True)


def relu(row):
    x = row.x()
    if row.which == "forward":
        return lambda: torch.relu(x)
    y, dy = torch.relu(x), row.normal(*row.shape)
    return lambda: aten.threshold_backward(dy, y, 0)


def max_pool2d(row):
    window = [row.parameters["window"]] * 2
    x = row.x()
    y, index = aten.max_pool2d_with_indices(x, window, window)
    if row.which == "forward":
        return lambda: aten.max_pool2d_with_indices(x, window, window)
    dy = row.normal(*y.shape)
    return lambda: aten.max_pool2d_with_indices_backward(dy, x, window, window, [0, 0], [1, 1], False, index)


def avg_pool2d(row):
    window = [row.parameters["window"]] * 2
    x = row.x()
    if row.which == "forward":
        return lambda: F.avg_pool2d(x, window)
    dy = row.normal(*F.avg_pool2d(x, window).shape)
    return lambda: aten.avg_pool2d_backward(dy, x, window, window, [0, 0], False, True, None)


def dropout(row):
    x, p = row.x(), row.parameters["p"]
    return lambda: F.dropout(x, p, training=True)


def log_softmax_nll(row):
    m, d = row.shape
    x, target = row.x(), torch.randint(d, (m,), device=row.device)
    if row.which == "forward":
        return lambda: F.cross_entropy(x, target)
    x.requires_grad_()
    loss = F.cross_entropy(x, target)
    return lambda: torch.autograd.grad(loss, x, retain_graph=True)


def sgd(row):
    parameters = [row.normal(n).requires_grad_() for n in row.parameters["sizes"]]
    for p in parameters:
        p.grad = row.normal(p.numel())
    step = torch.optim.SGD(parameters, lr=row.parameters["lr"], momentum=row.parameters["momentum"]).step
    step()
    return step


def rotate_normalize(row):
    n, _, h, w = row.shape
    images = torch.randint(256, (n, 1, h, w), dtype=torch.uint8, device=row.device)
    index = torch.randint(n, (n,), device=row.device)
    angle = (torch.rand(n, dtype=row.type, device=row.device) * 2 - 1) * math.radians(row.parameters["degrees"])
    mean, std = row.parameters["mean"], row.parameters["std"]
    zero = torch.zeros_like(angle)

    def forward():
        cos, sin = angle.cos(), angle.sin()
        theta = torch.stack([torch.stack([cos, -sin, zero], 1), torch.stack([sin, cos, zero], 1)], 1)
        grid = F.affine_grid(theta, [n, 1, h, w], align_corners=False)
        turned = F.grid_sample(images[index].to(row.type), grid, mode="nearest", align_corners=False)
        return (turned / 255 - mean) / std

    return forward


def train_step(row):
    """The network of apps/mnist/network.cpp, a step as apps/bench/train_rows.cpp makes it."""
    nn, norm, n = torch.nn, row.variant, row.shape[0]

    def block(channels_in, channels, size, norm_first=False):
        norms = {"bn": lambda: nn.BatchNorm2d(channels), "gn": lambda: nn.GroupNorm(2, channels),
                 "ln": lambda: nn.LayerNorm([channels, size, size])}
        conv, after = nn.Conv2d(channels_in, channels, 3, bias=False), norms[norm]()
        return [conv, after, nn.ReLU()] if norm == "bn" or norm_first else [conv, nn.ReLU(), after]

    net = nn.Sequential(
        *block(1, 4, 26), *block(4, 8, 24), nn.Conv2d(8, 16, 1, bias=False), nn.MaxPool2d(2), *block(16, 16, 10),
        nn.Dropout(0.1), nn.Conv2d(16, 16, 1, bias=False), *block(16, 16, 8, True), nn.Dropout(0.1),
        *block(16, 16, 6), *block(16, 10, 4), nn.AvgPool2d(4), nn.Conv2d(10, 10, 1, bias=False), nn.Flatten(),
        nn.LogSoftmax(1)).to(row.device)
    parameters = list(net.parameters())
    sgd = torch.optim.SGD(parameters, lr=0, momentum=0.9)
    images = torch.randint(256, (n, 1, 28, 28), device=row.device).float()
    labels = torch.randint(10, (n,), device=row.device)
    angle, total = torch.zeros(n, device=row.device), torch.zeros((), device=row.device)
    zero = torch.zeros_like(angle)

    def loss_of(x):
        loss = F.nll_loss(net(x), labels)
        return loss + 1e-5 * sum(p.abs().sum() for p in parameters) if norm == "bn" else loss

    compiled = torch.compile(loss_of, mode=args.compile) if args.compile else loss_of

    def step():
        cos, sin = angle.cos(), angle.sin()
        theta = torch.stack([torch.stack([cos, -sin, zero], 1), torch.stack([sin, cos, zero], 1)], 1)
        grid = F.affine_grid(theta, [n, 1, 28, 28], align_corners=False)
        x = (F.grid_sample(images, grid, mode="nearest", align_corners=False) / 255 - 0.1307) / 0.3081
        sgd.zero_grad(set_to_none=True)
        loss = compiled(x)
        loss.backward()
        sgd.step()
        total.add_(loss.detach())

    return step


OPS = {f.__name__: f for f in (conv2d, batch_norm, group_norm, layer_norm, layer_norm2d, rms_norm, relu, max_pool2d,
                               avg_pool2d, dropout, log_softmax_nll, sgd, rotate_normalize, train_step)}


COMPILED = ("batch_norm", "group_norm", "layer_norm", "layer_norm2d", "rms_norm", "conv2d")


# --- timing, as in apps/bench/timing.cpp ----------------------------------------------------------------------------------


def wait():
    if args.device == "cuda":
        torch.cuda.synchronize()


def seconds(call, calls=1):
    start = time.perf_counter()
    for _ in range(calls):
        call()
    wait()
    return (time.perf_counter() - start) / calls


def summary(samples):
    """Percentiles as those of apps/bench/timing.cpp."""
    samples = sorted(samples)

    def quantile(q):
        position = q * (len(samples) - 1)
        below = int(position)
        above = min(below + 1, len(samples) - 1)
        return samples[below] + (position - below) * (samples[above] - samples[below])

    return {"median": quantile(0.5), "p10": quantile(0.1), "p90": quantile(0.9)}


def measure(call, flush):
    """Of single calls after a flush, and of calls in a row that fill --min-time."""
    call()
    calls = 1
    while (total := seconds(call, calls) * calls) < args.min_time:
        calls = math.ceil(calls * min(100, max(2, 1.2 * args.min_time / max(total, 1e-9))))
    cold, warm = [], []
    for _ in range(args.repeat):
        flush()
        wait()
        time.sleep(0.002)
        cold.append(seconds(call))
        call()
        warm.append(seconds(call, calls))
    return summary(cold), summary(warm)


def read_rows():
    try:
        with open(args.rows, encoding="utf-8") as file:
            return [(row, Row(row, args.device)) for row in json.load(file)["rows"]]
    except (OSError, *files.NOT_OURS) as error:
        give_up(f"{args.rows} is no file of bench_norms --list --json: {error!r:.100}")


def cannot_write(error):
    give_up(f"cannot write --out {args.out} ({error.strerror}): choose another name, in a folder that exists and may be written")


def main():
    if args.device == "cuda" and not torch.cuda.is_available():
        give_up("no CUDA device; use --device cpu", 4)
    try:
        files.place(args.out)  # now, not after an hour
    except OSError as error:
        cannot_write(error)
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    big, other = (torch.ones(1 << 25, device=args.device) for _ in range(2))
    rows = []
    for description, row in read_rows():
        try:
            call = OPS[row.op](row) if row.op in OPS and row.layout == "nchw" else None
        except (RuntimeError, *files.NOT_OURS) as error:
            give_up(f"{args.rows}: cannot make the inputs of {row.op} {row.shape}: {error!r:.100}")
        if call is None:
            continue
        if args.compile and row.op in COMPILED:
            call = torch.compile(call, mode=args.compile)
        elif args.compile and row.op != "train_step":
            continue
        cold, warm = measure(call, lambda: big.add_(other, alpha=1e-3))
        name = {key: description[key] for key in ("op", "pass", "variant", "dtype", "layout", "shape")}
        rows.append({**name, "cold": cold, "warm": warm})
        print(f"{row.op} {description['pass']} {row.shape} {row.variant} {row.dtype}: cold {cold['median'] * 1e6:.1f} us, "
              f"warm {warm['median'] * 1e6:.1f} us", flush=True)
    mode = f" compiled ({args.compile})" if args.compile else ""
    content = {"peer": f"PyTorch {torch.__version__}{mode}", "device": args.device, "threads": args.threads,
               "date": datetime.date.today().isoformat(), "repeat": args.repeat, "rows": rows}
    if args.device == "cuda":
        content["name"] = torch.cuda.get_device_name()
    try:
        files.write(args.out, json.dumps(content, indent=1))
    except OSError as error:
        cannot_write(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
