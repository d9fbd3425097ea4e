"""Writes goldens.json: PyTorch's cross-entropy, distillation, SGD, Adam, AdamW, clip_grad_norm_ and schedules.

    python testdata/training/generate.py        # any PyTorch 2.15 with CPU support
"""

import json
import warnings
from pathlib import Path

import torch

warnings.filterwarnings("ignore")
torch.set_num_threads(1)
torch.manual_seed(20261123)


def floats(tensor):
    """The shortest decimals that are these f32."""
    return [float(f"{x:.9g}") for x in tensor.flatten().tolist()]


def cross_entropy():
    cases = []
    for shape, scale, smoothing in [
        ((1, 2), 1, 0.0),
        ((4, 10), 3, 0.0),
        ((4, 10), 3, 0.1),
        ((3, 7), 40, 0.25),
        ((2, 5), 1e4, 0.1),
        ((2, 3), 1, 1.0),
        ((2, 1), 1, 0.5),
    ]:
        logits = (torch.randn(shape) * scale).requires_grad_(True)
        labels = torch.randint(shape[1], (shape[0],))
        # The gradient in f64 is the true one, to which ours is rounded.
        exact = logits.detach().double().requires_grad_(True)
        loss = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)(exact, labels)
        loss.backward()
        cases.append(dict(
            shape=shape, logits=floats(logits), labels=labels.tolist(), label_smoothing=smoothing,
            loss=loss.item(), gradient=floats(exact.grad),
            correct=int((logits.argmax(1) == labels).sum()),
        ))
    return cases


def sgd():
    """Five steps over a weight and a bias; the bias without weight decay where `decay_all` is off."""
    cases = []
    for momentum, weight_decay, nesterov, decay_all, clip in [
        (0.0, 0.0, False, True, None),
        (0.9, 0.0, False, True, None),
        (0.9, 1e-2, False, True, None),
        (0.9, 1e-2, True, True, None),
        (0.9, 0.1, True, False, None),
        (0.5, 1e-2, False, False, 1.5),
    ]:
        weight = torch.nn.Parameter(torch.randn(12))
        bias = torch.nn.Parameter(torch.randn(5))
        case = dict(
            momentum=momentum, weight_decay=weight_decay, nesterov=nesterov, decay_all=decay_all,
            clip=clip, weight=floats(weight), bias=floats(bias), steps=[],
        )
        optimizer = torch.optim.SGD(
            [dict(params=[weight]), dict(params=[bias], weight_decay=weight_decay if decay_all else 0.0)],
            lr=0.1, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov,
        )
        for step in range(5):
            lr = 0.1 * 0.7**step
            for group in optimizer.param_groups:
                group["lr"] = lr
            weight.grad = torch.randn(12)
            bias.grad = torch.randn(5)
            entry = dict(lr=lr, weight_grad=floats(weight.grad), bias_grad=floats(bias.grad))
            if clip is not None:
                entry["norm"] = torch.nn.utils.clip_grad_norm_([weight, bias], clip).item()
            optimizer.step()
            case["steps"].append(entry | dict(weight=floats(weight), bias=floats(bias)))
        cases.append(case)
    return cases


def schedules():
    """The learning rates that PyTorch's schedulers give, one for each step."""
    from torch.optim import lr_scheduler as s

    def rates(build, steps):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
        scheduler = build(optimizer)
        found = []
        for _ in range(steps):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return found

    def warm(optimizer, steps, then):
        ramp = s.LinearLR(optimizer, start_factor=1 / (steps + 1), total_iters=steps)
        return s.SequentialLR(optimizer, [ramp, then], milestones=[steps])

    cases = []

    def case(schedule, warmup, total, build):
        cases.append(dict(schedule=schedule, warmup=warmup, total=total, rates=rates(build, total)))

    case("constant", 0, 6, lambda o: s.ConstantLR(o, factor=1.0))
    case("constant", 4, 9, lambda o: warm(o, 4, s.ConstantLR(o, factor=1.0)))
    case(dict(step=dict(every=3, gamma=0.5)), 0, 10, lambda o: s.StepLR(o, 3, 0.5))
    case(dict(step=dict(every=4, gamma=0.1)), 2, 13, lambda o: warm(o, 2, s.StepLR(o, 4, 0.1)))
    case(dict(cosine=dict(least=0.0)), 0, 12, lambda o: s.CosineAnnealingLR(o, 12))
    case(dict(cosine=dict(least=0.01)), 5, 20, lambda o: warm(o, 5, s.CosineAnnealingLR(o, 15, 0.01)))
    return cases


def distillation():
    """Cross-entropy and the softened divergence from a teacher, as Hinton et al. (2015) add them."""
    cases = []
    for shape, scale, alpha, temperature, smoothing in [
        ((1, 2), 1, 1.0, 1.0, 0.0),
        ((4, 10), 3, 1.0, 1.0, 0.0),
        ((4, 10), 3, 0.7, 4.0, 0.0),
        ((3, 7), 40, 0.5, 0.5, 0.1),
        ((5, 6), 5, 0.0, 2.0, 0.1),
        ((2, 5), 300, 0.9, 20.0, 0.0),
        ((2, 1), 1, 0.5, 2.0, 0.0),
    ]:
        logits, teacher = torch.randn(shape) * scale, torch.randn(shape) * scale
        labels = torch.randint(shape[1], (shape[0],))
        exact = logits.double().requires_grad_(True)
        of_labels = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)(exact, labels)
        of_teacher = torch.nn.KLDivLoss(reduction="batchmean")(
            (exact / temperature).log_softmax(1), (teacher.double() / temperature).softmax(1)
        )
        loss = (1 - alpha) * of_labels + alpha * temperature**2 * of_teacher
        loss.backward()
        cases.append(dict(
            shape=shape, logits=floats(logits), teacher=floats(teacher), labels=labels.tolist(),
            label_smoothing=smoothing, alpha=alpha, temperature=temperature, loss=loss.item(),
            gradient=floats(exact.grad),
        ))
    return cases


def adam():
    """Six steps over a weight and a bias; the bias without weight decay where `decay_all` is off."""
    cases = []
    for name, betas, eps, weight_decay, decay_all in [
        ("Adam", (0.9, 0.999), 1e-8, 0.0, True),
        ("Adam", (0.9, 0.999), 1e-8, 0.1, True),
        ("Adam", (0.5, 0.9), 1e-3, 1e-2, False),
        ("AdamW", (0.9, 0.999), 1e-8, 1e-2, True),
        ("AdamW", (0.8, 0.99), 1e-6, 0.3, False),
        ("AdamW", (0.0, 0.0), 0.1, 0.0, True),
    ]:
        weight = torch.nn.Parameter(torch.randn(12))
        bias = torch.nn.Parameter(torch.randn(5))
        case = dict(
            optimizer=name, betas=betas, eps=eps, weight_decay=weight_decay, decay_all=decay_all,
            weight=floats(weight), bias=floats(bias), steps=[],
        )
        optimizer = getattr(torch.optim, name)(
            [dict(params=[weight]), dict(params=[bias], weight_decay=weight_decay if decay_all else 0.0)],
            lr=0.1, betas=betas, eps=eps, weight_decay=weight_decay,
        )
        for step in range(6):
            lr = 0.1 * 0.7**step
            for group in optimizer.param_groups:
                group["lr"] = lr
            # Gradients of different sizes, one of them zero.
            weight.grad = torch.randn(12) * 10.0 ** torch.arange(-6, 6)
            bias.grad = torch.randn(5) * torch.tensor([1, 1, 1, 1, 0])
            entry = dict(lr=lr, weight_grad=floats(weight.grad), bias_grad=floats(bias.grad))
            optimizer.step()
            entry |= dict(weight=floats(weight), bias=floats(bias))
            for kind in ["exp_avg", "exp_avg_sq"]:
                entry[kind] = floats(optimizer.state[weight][kind])
            case["steps"].append(entry)
        cases.append(case)
    return cases


goldens = dict(
    cross_entropy=cross_entropy(), sgd=sgd(), schedules=schedules(), distillation=distillation(),
    adam=adam(),
)
path = Path(__file__).parent / "goldens.json"
path.write_text(json.dumps(goldens, separators=(",", ":")) + "\n")
print(path, path.stat().st_size, "bytes")
