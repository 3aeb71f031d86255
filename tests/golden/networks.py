"""The networks of make_golden.py, and what is stored of them."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

FULL = 128  # larger results are stored as digest() and shape, to keep the files small
STEPS = 5


def pattern(n, step):
    """Numbers in [-0.79, 0.79] that are exact in f32: ((step * i) mod 101 - 50) / 64."""
    return ((step * torch.arange(n)) % 101 - 50).double() / 64


def digest(t):
    """[4 + 64]: sum, weighted sum and l2 norm, each over sqrt(n), the largest |t|, 64 elements spread evenly.

    A wrong element changes the sums, a wrong order the weighted sum."""
    flat, n = t.detach().double().flatten(), t.numel()
    sums = torch.stack([flat.sum(), (flat * pattern(n, 37)).sum(), flat.norm()]) / math.sqrt(n)
    return torch.cat([sums, flat.abs().max()[None], flat[torch.arange(64) * n // 64]])


def put(out, name, t):
    """Stores a result, in full if it is small."""
    if t.numel() <= FULL:
        out[name] = t.detach().clone()
    else:
        out[name + ".digest"], out[name + ".shape"] = digest(t), torch.tensor(t.shape)


class LayerNorm2d(nn.LayerNorm):
    """Over the channels at each pixel."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def make_net(norm):
    """The network of the study; dropout is left in, for the names, but switched off by train_without_dropout()."""
    def block(cin, cout, size, dropout=False):
        layer = {"bn": lambda: nn.BatchNorm2d(cout), "gn": lambda: nn.GroupNorm(2, cout),
                 "ln": lambda: nn.LayerNorm([cout, size, size]),
                 "ln-c": lambda: LayerNorm2d(cout),
                 "ln-row": lambda: nn.LayerNorm(size, elementwise_affine=False)}[norm]()
        norm_first = norm == "bn" or size == 8
        mid = [layer, nn.ReLU()] if norm_first else [nn.ReLU(), layer]
        return [nn.Conv2d(cin, cout, 3, bias=False), *mid] + [nn.Dropout(0.1)] * dropout
    return nn.Sequential(*block(1, 4, 26), *block(4, 8, 24), nn.Conv2d(8, 16, 1, bias=False), nn.MaxPool2d(2),
                         *block(16, 16, 10, True), nn.Conv2d(16, 16, 1, bias=False), *block(16, 16, 8, True),
                         *block(16, 16, 6), *block(16, 10, 4), nn.AvgPool2d(4), nn.Conv2d(10, 10, 1, bias=False),
                         nn.Flatten(), nn.LogSoftmax(1)).double()


def train_without_dropout(net):
    net.train()
    for module in net:
        if isinstance(module, nn.Dropout):
            module.eval()


def strokes(count):
    """[count, 1, 28, 28]: smooth pen strokes (quadratic Bezier curves), normalised as MNIST."""
    ends, t = torch.rand(count, 3, 2, dtype=torch.float64) * 18 + 5, torch.linspace(0, 1, 40, dtype=torch.float64)
    weights = torch.stack([(1 - t) ** 2, 2 * t * (1 - t), t ** 2], 1)
    points = weights @ ends
    grid = torch.cartesian_prod(torch.arange(28.0), torch.arange(28.0)).double()
    nearest = torch.cdist(grid.expand(count, -1, -1), points).amin(2)
    pixels = (255 * torch.exp(-(nearest / 1.6) ** 2)).round()
    return ((pixels / 255 - 0.1307) / 0.3081).float().reshape(count, 1, 28, 28)


def common():
    torch.manual_seed(8)
    out = {"images": strokes(8), "labels": torch.randint(0, 10, (8,))}
    for name, p in make_net("ln-row").named_parameters():
        out[name] = p.float()
    return out


def initialise(net, shared):
    """Convolution weights from the common file; gamma and beta are patterns, exact in f32 and not stored."""
    state = net.state_dict()
    for name, t in state.items():
        if name in shared:
            t.copy_(shared[name])
        elif name.endswith(".weight"):
            t.copy_((1 + pattern(t.numel(), 37) / 4).reshape(t.shape))
        elif name.endswith(".bias"):
            t.copy_((pattern(t.numel(), 53) / 8).reshape(t.shape))


def network(norm, shared, l1):
    """One backward from the last block's output (in ln-row all gradients of the loss vanish), then five steps."""
    net, out = make_net(norm), {"options": torch.tensor([0.01, 0.9, l1], dtype=torch.float64)}
    images, labels = shared["images"].double(), shared["labels"]
    with torch.no_grad():
        initialise(net, shared)
    train_without_dropout(net)
    sgd = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)

    features = net[:-4](images)
    features.backward(pattern(features.numel(), 29).reshape(features.shape))
    put(out, "features", features)
    for name, p in net.named_parameters():
        if p.grad is not None:
            put(out, "features_grad/" + name, p.grad)
    losses = []
    for step in range(STEPS):
        sgd.zero_grad(set_to_none=True)
        log_probs = net(images)
        nll = F.nll_loss(log_probs, labels)
        losses.append(nll.item())
        if step == 0:
            put(out, "log_probs", log_probs)
            names, params = zip(*net.named_parameters())
            for name, grad in zip(names, torch.autograd.grad(nll, params, retain_graph=True)):
                put(out, "grad/" + name, grad)
        loss = nll + l1 * sum(p.abs().sum() for p in net.parameters())
        loss.backward()
        sgd.step()
    for name, t in net.state_dict().items():
        put(out, "after/" + name, t)
    out["loss"] = torch.tensor(losses, dtype=torch.float64)
    net.eval()
    put(out, "eval_log_probs", net(images))
    return out
