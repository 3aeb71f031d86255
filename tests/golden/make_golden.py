#!/usr/bin/env python3
"""Writes the golden files that tests/test_golden.cpp compares the library with: PyTorch's results, in f64.

    python3 tests/golden/make_golden.py            # needs torch and safetensors; writes beside this script

ops.safetensors            <op>/<case>/<tensor>: inputs, options, dy, y, and the gradient d<input> of each input
sgd.safetensors            <case>/<tensor>: five steps of a small classifier under each rule of the optimizer
net_common.safetensors     images, labels and the initial convolution weights that all networks share
net_<norm>.safetensors     outputs, gradients, and all weights after five steps of each network

Every input is exact in f32 and every result is computed in f64, so one file checks both dtypes of the library.
"""
import os
import platform

import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F

import networks

HERE = os.path.dirname(os.path.abspath(__file__))


def save(name, tensors):
    """Writes one file. The versions are one entry of metadata: several would come in a random order."""
    made_by = (f"tests/golden/make_golden.py, torch {torch.__version__}, safetensors {safetensors.__version__}, "
               f"Python {platform.python_version()}")
    path = os.path.join(HERE, name + ".safetensors")
    dense = {k: v.detach().contiguous().clone() for k, v in tensors.items()}
    safetensors.torch.save_file(dense, path, {"made_by": made_by})
    print(f"{name}: {len(tensors)} tensors, {os.path.getsize(path):,} bytes")


# --- ops -----------------------------------------------------------------------------------------------------------


def randn(*shape, mean=0.0, std=1.0):
    return torch.randn(*shape) * std + mean


class Ops:
    """Runs cases and collects their tensors."""

    def __init__(self):
        self.out = {}

    def add(self, name, fn, options=(), **inputs):
        """fn(**inputs) in f64. Floating-point inputs get gradients, running_* are compared after the call."""
        args = {k: v.double() if v.is_floating_point() else v for k, v in inputs.items()}
        leaves = {k: v.requires_grad_() for k, v in args.items()
                  if v.is_floating_point() and not k.startswith("running_")}
        state = {k: v.clone() for k, v in args.items() if k.startswith("running_")}
        y = fn(**{**args, **state})
        dy = torch.randn(y.shape)
        y.backward(dy.double())
        tensors = {**inputs, "dy": dy, "y": y}
        tensors.update({"d" + k: v.grad for k, v in leaves.items()})
        tensors.update({k + "_after": v for k, v in state.items()})
        if len(options):
            tensors["options"] = torch.tensor([float(o) for o in options], dtype=torch.float64)
        for k, v in tensors.items():
            self.out[f"{name}/{k}"] = v


def conv_and_linear(ops):
    def conv(name, x, weight, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
        inputs = dict(x=randn(*x), weight=randn(*weight), **({"bias": randn(bias)} if bias else {}))
        ops.add("conv2d/" + name, lambda **a: F.conv2d(stride=stride, padding=padding, dilation=dilation,
                                                       groups=groups, input=a.pop("x"), **a),
                [*stride, *padding, *dilation, groups], **inputs)

    conv("first_layer", (2, 1, 12, 12), (4, 1, 3, 3))
    conv("bias", (2, 3, 7, 6), (5, 3, 3, 3), bias=5)
    conv("pointwise", (2, 8, 5, 5), (6, 8, 1, 1))
    conv("stride_that_leaves_a_rest", (2, 2, 8, 9), (3, 2, 3, 3), bias=3, stride=(2, 3))
    conv("padding_differs_by_axis", (2, 2, 5, 6), (3, 2, 3, 4), padding=(2, 1))
    conv("dilation_differs_by_axis", (2, 2, 9, 8), (3, 2, 3, 3), dilation=(2, 3))
    conv("groups", (2, 6, 6, 6), (4, 3, 3, 3), bias=4, groups=2)
    conv("depthwise", (2, 5, 6, 6), (10, 1, 3, 3), padding=(1, 1), groups=5)
    conv("everything_at_once", (3, 4, 9, 11), (6, 2, 3, 2), bias=6, stride=(2, 1), padding=(1, 2), dilation=(2, 1),
         groups=2)
    conv("kernel_as_large_as_the_image", (2, 3, 5, 4), (4, 3, 5, 4))
    conv("padding_larger_than_the_kernel", (2, 2, 4, 3), (3, 2, 1, 2), bias=3, padding=(2, 3))
    conv("many_images", (37, 1, 4, 5), (2, 1, 3, 3), bias=2)
    linear = lambda x, weight, bias=None: F.linear(x, weight, bias)
    ops.add("linear/bias", linear, x=randn(4, 7), weight=randn(5, 7), bias=randn(5))
    ops.add("linear/no_bias_three_axes", linear, x=randn(2, 3, 7), weight=randn(5, 7))
    ops.add("matmul/plain", lambda a, b: a @ b, a=randn(5, 7), b=randn(7, 3))
    ops.add("matmul/batched", lambda a, b: a @ b, a=randn(3, 4, 6), b=randn(3, 6, 5))


def norms(ops):
    def batch(name, x, training, momentum=0.1, eps=1e-5, affine=True):
        c = x.shape[1]
        inputs = dict(x=x, running_mean=randn(c), running_var=torch.rand(c) + 0.5)
        if affine:
            inputs.update(gamma=randn(c, mean=1, std=0.5), beta=randn(c))
        ops.add("batch_norm/" + name, lambda x, running_mean, running_var, gamma=None, beta=None: F.batch_norm(
            x, running_mean, running_var, gamma, beta, training, momentum, eps), [training, momentum, eps], **inputs)

    batch("train", randn(4, 3, 5, 5, mean=0.5), True)
    batch("train_momentum_and_eps", randn(3, 4, 3, 4), True, momentum=0.3, eps=1e-2)
    batch("train_no_affine_rows", randn(6, 5), True, affine=False)
    batch("train_mean_far_above_std", randn(4, 2, 6, 6, mean=100), True)
    batch("eval", randn(4, 3, 5, 5), False)
    batch("eval_no_affine", randn(2, 3, 4), False, affine=False)

    group = lambda g, eps: lambda x, gamma=None, beta=None: F.group_norm(x, g, gamma, beta, eps)
    ops.add("group_norm/two_groups", group(2, 1e-5), [2, 1e-5], x=randn(3, 6, 4, 5), gamma=randn(6), beta=randn(6))
    ops.add("group_norm/one_group", group(1, 1e-2), [1, 1e-2], x=randn(3, 4, 3, 3), gamma=randn(4), beta=randn(4))
    ops.add("group_norm/instance", group(5, 1e-5), [5, 1e-5], x=randn(2, 5, 4, 4), gamma=randn(5), beta=randn(5))
    ops.add("group_norm/no_affine", group(3, 1e-5), [3, 1e-5], x=randn(2, 6, 7))

    def layer(name, x, axes, eps=1e-5, affine=True):
        shape = list(x.shape[-axes:])
        ops.add("layer_norm/" + name, lambda x, gamma=None, beta=None: F.layer_norm(x, shape, gamma, beta, eps),
                [axes, eps], x=x, **(dict(gamma=randn(*shape), beta=randn(*shape)) if affine else {}))

    layer("last_axis", randn(4, 3, 9), 1, eps=1e-2)
    layer("whole_image", randn(3, 4, 5, 6), 3)
    layer("rows_no_affine", randn(2, 3, 4, 6), 1, affine=False)
    layer("mean_far_above_std", randn(5, 33, mean=100), 1)

    def pixels(eps):
        return lambda x, gamma=None, beta=None: F.layer_norm(
            x.movedim(1, -1), [x.shape[1]], gamma, beta, eps).movedim(-1, 1)
    ops.add("layer_norm2d/affine", pixels(1e-5), [1e-5], x=randn(3, 5, 4, 3), gamma=randn(5), beta=randn(5))
    ops.add("layer_norm2d/no_affine", pixels(1e-2), [1e-2], x=randn(2, 4, 3, 5))


def rms_norms(ops):
    """Composed: F.rms_norm came with PyTorch 2.4."""
    def rms(name, x, axes, eps, affine=True):
        dims = list(range(-axes, 0))
        def norm(x, gamma=None):
            y = x * torch.rsqrt(x.square().mean(dims, keepdim=True) + eps)
            return y if gamma is None else y * gamma
        ops.add("rms_norm/" + name, norm, [axes, eps], x=x, **(dict(gamma=randn(*x.shape[-axes:])) if affine else {}))

    rms("last_axis", randn(4, 3, 9), 1, 1e-2)
    rms("whole_image", randn(3, 4, 5, 6), 3, 1e-6)
    rms("no_affine", randn(5, 64), 1, 1e-6, affine=False)
    rms("mean_far_above_std", randn(5, 33, mean=100), 1, 1e-6)


def pools_and_losses(ops):
    x = randn(3, 5, 7)
    x[0, 0, :3] = 0
    ops.add("relu/with_zeros", lambda x: F.relu(x), x=x)

    def pool(op, fn, name, x, kernel, stride, padding):
        ops.add(f"{op}/{name}", lambda x: fn(x, kernel, stride, padding), [*kernel, *stride, *padding], x=x)
    for op, fn in (("max_pool2d", F.max_pool2d), ("avg_pool2d", F.avg_pool2d)):
        pool(op, fn, "halves", randn(2, 3, 6, 8), (2, 2), (2, 2), (0, 0))
        pool(op, fn, "overlapping_padded", randn(2, 2, 7, 9), (3, 2), (2, 1), (1, 1))
        pool(op, fn, "three_axes", randn(3, 7, 5), (2, 3), (2, 2), (0, 1))
    ties = torch.randint(-1, 2, (2, 2, 6, 6)).float()
    pool("max_pool2d", F.max_pool2d, "ties_go_to_the_first", ties, (3, 3), (2, 2), (1, 1))
    ops.add("global_avg_pool2d/plain", lambda x: F.adaptive_avg_pool2d(x, 1), x=randn(3, 4, 5, 3))

    def softmax(name, x, axis):
        ops.add("log_softmax/" + name, lambda x: F.log_softmax(x, axis), [axis], x=x)
    softmax("last_axis", randn(6, 10), -1)
    softmax("channels", randn(2, 5, 3, 4), 1)
    softmax("large_logits", randn(4, 10, std=300), -1)
    for op, fn in (("nll_loss", F.nll_loss), ("cross_entropy", F.cross_entropy)):
        for i, how in enumerate(("none", "mean", "sum")):
            ops.add(f"{op}/{how}", lambda x, target: fn(x, target, reduction=how), [i], x=randn(7, 10),
                    target=torch.randint(0, 10, (7,)))
    for axes in ((), (1,), (0, 2)):
        name = "axes_" + "_".join(map(str, axes)) if axes else "all"
        dims = axes or (0, 1, 2)
        ops.add("sum/" + name, lambda x: x.sum(dims), axes, x=randn(3, 4, 5))
        ops.add("mean/" + name, lambda x: x.mean(dims), axes, x=randn(3, 4, 5))
        ops.add("max/" + name, lambda x: x.amax(dims), axes, x=torch.randint(-3, 3, (3, 4, 5)).float())


# --- optimizer -----------------------------------------------------------------------------------------------------


def optimizer(out, name, lr=0.1, momentum=0.0, weight_decay=0.0, nesterov=False, l1=0.0, proximal=False):
    """Steps of softmax regression. The subgradient l1 enters through the loss; the proximal step is written out."""
    x, target = randn(12, 6), torch.randint(0, 4, (12,))
    params = [randn(4, 6, std=0.3), randn(4, std=0.3)]
    weight, bias = (p.double().requires_grad_() for p in params)
    out.update({f"{name}/x": x, f"{name}/target": target, f"{name}/weight": params[0], f"{name}/bias": params[1]})
    sgd = torch.optim.SGD([weight, bias], lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov)
    losses = []
    for _ in range(networks.STEPS):
        sgd.zero_grad()
        loss = F.cross_entropy(F.linear(x.double(), weight, bias), target)
        losses.append(loss.item())
        if not proximal:
            loss = loss + l1 * (weight.abs().sum() + bias.abs().sum())
        loss.backward()
        sgd.step()
        if proximal:
            for p in (weight, bias):
                p.data = p.data.sign() * (p.data.abs() - lr * l1).clamp(min=0)
    if proximal:
        assert 0 < (weight == 0).sum() < weight.numel(), "the case must reach zeros, but not only zeros"
    options = [lr, momentum, weight_decay, nesterov, l1, proximal]
    out.update({f"{name}/loss": torch.tensor(losses, dtype=torch.float64), f"{name}/weight_after": weight,
                f"{name}/bias_after": bias, f"{name}/options": torch.tensor(options, dtype=torch.float64)})


def main():
    torch.set_num_threads(1)
    torch.manual_seed(1)
    ops = Ops()
    conv_and_linear(ops)
    norms(ops)
    pools_and_losses(ops)
    rms_norms(ops)
    save("ops", ops.out)

    torch.manual_seed(2)
    sgd = {}
    optimizer(sgd, "plain")
    optimizer(sgd, "momentum", momentum=0.9)
    optimizer(sgd, "weight_decay", momentum=0.9, weight_decay=0.05)
    optimizer(sgd, "nesterov_weight_decay", momentum=0.8, weight_decay=0.05, nesterov=True)
    optimizer(sgd, "l1", momentum=0.9, l1=0.05)
    optimizer(sgd, "l1_proximal", momentum=0.9, l1=0.3, proximal=True)
    optimizer(sgd, "l1_proximal_nesterov_weight_decay", momentum=0.5, weight_decay=0.05, nesterov=True, l1=0.2,
              proximal=True)
    save("sgd", sgd)

    shared = networks.common()
    save("net_common", shared)
    for norm, l1 in (("bn", 1e-5), ("gn", 0.0), ("ln", 0.0), ("ln-c", 0.0), ("ln-row", 0.0)):
        save("net_" + norm, networks.network(norm, shared, l1))


if __name__ == "__main__":
    main()
