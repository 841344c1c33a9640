"""The peer: MTOReclib's models and training step, written anew in plain PyTorch for the side-by-side benchmark.

Same architecture, sizes, data and arithmetic as `mtorec`: one embedding table, a numeric token, Linear + BatchNorm + ReLU +
Dropout blocks, Adam with coupled weight decay. Prints one JSON object.
"""

import argparse
import json
import resource
import time

import numpy as np
import torch
from torch import nn

EMBED, BOTTOM, TOWER, EXPERTS, DROPOUT = 128, [512, 256], [128, 64], 8, 0.2


def mlp(inputs, widths, output):
    layers = []
    for width in widths:
        layers += [nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(DROPOUT)]
        inputs = width
    if output:
        layers.append(nn.Linear(inputs, 1))
    return nn.Sequential(*layers)


class Base(nn.Module):
    def __init__(self, sizes, numerical, tasks):
        super().__init__()
        self.tasks = tasks
        self.embedding = nn.Embedding(sum(sizes), EMBED)
        nn.init.xavier_uniform_(self.embedding.weight, gain=0.1)
        self.register_buffer("offsets", torch.tensor([0] + list(np.cumsum(sizes)[:-1])))
        self.numerical = nn.Linear(numerical, EMBED)
        self.inputs = (len(sizes) + 1) * EMBED
        self.towers = nn.ModuleList(mlp(BOTTOM[-1], TOWER, True) for _ in range(tasks))

    def fields(self, categorical, numerical):
        embedded = self.embedding(categorical + self.offsets)
        token = self.numerical(numerical).unsqueeze(1)
        return torch.cat([embedded, token], 1).view(categorical.size(0), -1)

    def own(self):
        """Parameters that one task's loss alone reaches, task by task."""
        return [list(tower.parameters()) for tower in self.towers]


class SharedBottom(Base):
    def __init__(self, *args):
        super().__init__(*args)
        self.bottom = mlp(self.inputs, BOTTOM, False)

    def forward(self, categorical, numerical):
        h = self.bottom(self.fields(categorical, numerical))
        return [torch.sigmoid(tower(h).squeeze(1)) for tower in self.towers]


class Mmoe(Base):
    def __init__(self, *args):
        super().__init__(*args)
        self.experts = nn.ModuleList(mlp(self.inputs, BOTTOM, False) for _ in range(EXPERTS))
        self.gates = nn.ModuleList(
            nn.Sequential(nn.Linear(self.inputs, EXPERTS), nn.Softmax(dim=1)) for _ in range(self.tasks)
        )

    def forward(self, categorical, numerical):
        e = self.fields(categorical, numerical)
        experts = torch.stack([expert(e) for expert in self.experts], 1)
        mixed = [torch.bmm(gate(e).unsqueeze(1), experts).squeeze(1) for gate in self.gates]
        return [torch.sigmoid(tower(h).squeeze(1)) for tower, h in zip(self.towers, mixed)]

    def own(self):
        return [list(tower.parameters()) + list(gate.parameters()) for tower, gate in zip(self.towers, self.gates)]


class Ple(Base):
    def __init__(self, *args):
        super().__init__(*args)
        half = EXPERTS // 2
        widths = [self.inputs] + BOTTOM
        expert = lambda level: mlp(widths[level], BOTTOM[level:level + 1], False)
        gate = lambda level, n: nn.Sequential(nn.Linear(widths[level], n), nn.Softmax(dim=1))
        levels = range(len(BOTTOM))
        self.shared = nn.ModuleList(nn.ModuleList(expert(l) for _ in range(half)) for l in levels)
        self.tasked = nn.ModuleList(
            nn.ModuleList(nn.ModuleList(expert(l) for _ in range(half)) for _ in range(self.tasks)) for l in levels
        )
        self.gates = nn.ModuleList(nn.ModuleList(gate(l, 2 * half) for _ in range(self.tasks)) for l in levels)
        self.shared_gates = nn.ModuleList(gate(l, half * (1 + self.tasks)) for l in levels)

    def forward(self, categorical, numerical):
        e = self.fields(categorical, numerical)
        streams, shared = [e] * self.tasks, e
        mix = lambda gate, x, candidates: torch.bmm(gate(x).unsqueeze(1), torch.stack(candidates, 1)).squeeze(1)
        for level in range(len(BOTTOM)):
            common = [expert(shared) for expert in self.shared[level]]
            own = [[expert(x) for expert in experts] for experts, x in zip(self.tasked[level], streams)]
            mixed = [mix(gate, x, mine + common) for gate, x, mine in zip(self.gates[level], streams, own)]
            if level + 1 < len(BOTTOM):
                shared = mix(self.shared_gates[level], shared, [q for mine in own for q in mine] + common)
            streams = mixed
        return [torch.sigmoid(tower(h).squeeze(1)) for tower, h in zip(self.towers, streams)]

    def own(self):
        last = len(BOTTOM) - 1
        return [
            [p for m in [self.towers[k], self.tasked[last][k], *(g[k] for g in self.gates)] for p in m.parameters()]
            for k in range(self.tasks)
        ]


class Aitm(Base):
    def __init__(self, *args):
        super().__init__(*args)
        h = BOTTOM[-1]
        self.bottoms = nn.ModuleList(mlp(self.inputs, BOTTOM, False) for _ in range(self.tasks))
        self.transfers = nn.ModuleList(nn.Linear(h, h) for _ in range(self.tasks - 1))
        self.value, self.key, self.query = nn.Linear(h, h), nn.Linear(h, h), nn.Linear(h, h)

    def forward(self, categorical, numerical):
        e = self.fields(categorical, numerical)
        features = [bottom(e) for bottom in self.bottoms]
        for k in range(1, self.tasks):
            slots = torch.stack([self.transfers[k - 1](features[k - 1]), features[k]], 1)
            value, key, query = self.value(slots), self.key(slots), self.query(slots)
            weights = torch.softmax((key * query).sum(2, keepdim=True) / BOTTOM[-1] ** 0.5, 1)
            features[k] = (weights * value).sum(1)
        return [torch.sigmoid(tower(z).squeeze(1)) for tower, z in zip(self.towers, features)]

    def own(self):
        last = [*self.transfers, self.value, self.key, self.query, self.bottoms[-1]]
        return [
            [p for m in [tower] + (last if k + 1 == self.tasks else []) for p in m.parameters()]
            for k, tower in enumerate(self.towers)
        ]


def plain(inputs, widths, output):
    layers = []
    for width in widths:
        layers += [nn.Linear(inputs, width), nn.ReLU(), nn.Dropout(DROPOUT)]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, output)) if output else nn.Sequential(*layers)


class Stem(nn.Module):
    def __init__(self, sizes, numerical, tasks):
        super().__init__()
        self.tasks, self.slices, half = tasks, tasks + 1, EXPERTS // 2
        self.embedding = nn.Embedding(sum(sizes), self.slices * EMBED)
        self.register_buffer("offsets", torch.tensor([0] + list(np.cumsum(sizes)[:-1])))
        self.numerical = nn.Linear(numerical, self.slices * EMBED)
        inputs, widths = (len(sizes) + 1) * EMBED, [*BOTTOM, TOWER[0]]
        self.banks = nn.ModuleList(
            nn.ModuleList(plain(inputs, widths, 0) for _ in range(half)) for _ in range(self.slices)
        )
        self.gates = nn.ModuleList(plain(inputs, TOWER, half * self.slices) for _ in range(self.slices))
        self.towers = nn.ModuleList(plain(TOWER[0], TOWER, 1) for _ in range(tasks))

    def forward(self, categorical, numerical):
        tokens = torch.cat([self.embedding(categorical + self.offsets), self.numerical(numerical).unsqueeze(1)], 1)
        x = [part.reshape(categorical.size(0), -1) for part in tokens.split(EMBED, 2)]
        banks = [[expert(part) for expert in bank] for bank, part in zip(self.banks, x)]
        outputs = []
        for k in range(self.tasks):
            stopped = lambda j, q: q if j in (k, self.tasks) else q.detach()
            candidates = torch.stack([stopped(j, q) for j, bank in enumerate(banks) for q in bank], 1)
            gate = torch.softmax(self.gates[k](x[k] + x[self.tasks]), 1)
            h = torch.bmm(gate.unsqueeze(1), candidates).squeeze(1)
            outputs.append(torch.sigmoid(self.towers[k](h).squeeze(1)))
        return outputs

    def own(self):
        return [
            [p for m in [self.banks[k], self.gates[k], self.towers[k]] for p in m.parameters()]
            + (list(self.gates[-1].parameters()) if k == 0 else [])
            for k in range(self.tasks)
        ]


MODELS = {"SharedBottom": SharedBottom, "Mmoe": Mmoe, "Ple": Ple, "Aitm": Aitm, "Stem": Stem}


def nash(gram):
    """The Nash point of two tasks in closed form (the reference calls a cone solver, which takes longer)."""
    norms = gram.diagonal().sqrt()
    cosine = gram[0, 1] / (norms[0] * norms[1])
    return 1.0 / (norms * (1.0 + cosine).sqrt())


def shared_of(model):
    own = {id(p) for group in model.own() for p in group}
    return [p for p in model.parameters() if id(p) not in own and p.requires_grad]


def task_gradients(losses, shared):
    """One list of gradients of the shared parameters for each task."""
    every = [torch.autograd.grad(loss, shared, retain_graph=True, allow_unused=True) for loss in losses]
    return [[torch.zeros_like(p) if g is None else g for p, g in zip(shared, gradients)] for gradients in every]


class Pub:
    """MTOReclib's PUB step: Adam updates of each task from common moments; weights by the Nash point of the updates every
    tenth step, for which it runs the task backward passes once more; a backward pass of the sum for the rest."""

    BETAS, EPS, EVERY = (0.9, 0.999), 1e-8, 10

    def __init__(self, model, lr, weight_decay):
        self.shared = shared_of(model)
        shared = {id(p) for p in self.shared}
        rest = [p for p in model.parameters() if id(p) not in shared]
        self.rest = torch.optim.AdamW(rest, lr=lr, weight_decay=weight_decay)
        self.lr, self.weight_decay, self.steps = lr, weight_decay, 0
        self.m = [torch.zeros_like(p) for p in self.shared]
        self.v = [torch.zeros_like(p) for p in self.shared]
        self.weights = None

    def zero_grad(self):
        self.rest.zero_grad()
        for p in self.shared:
            p.grad = None

    def update(self, m, v, gradient):
        beta1, beta2 = self.BETAS
        t = self.steps + 1
        m, v = beta1 * m + (1 - beta1) * gradient, beta2 * v + (1 - beta2) * gradient * gradient
        return (m / (1 - beta1**t)) / ((v / (1 - beta2**t)).sqrt() + self.EPS)

    @torch.no_grad()
    def apply(self, gradients):
        beta1, beta2 = self.BETAS
        weights = self.weights if self.weights is not None else torch.ones(len(gradients))
        for p, m, v, *of_tasks in zip(self.shared, self.m, self.v, *gradients):
            p.mul_(1 - self.lr * self.weight_decay)
            p.sub_(self.lr * sum(w * self.update(m, v, g) for w, g in zip(weights, of_tasks)))
            mean = sum(w * g for w, g in zip(weights, of_tasks))
            m.mul_(beta1).add_(mean, alpha=1 - beta1)
            v.mul_(beta2).addcmul_(mean, mean, value=1 - beta2)

    def step(self, losses):
        if self.steps % self.EVERY == 1:
            gradients = task_gradients(losses, self.shared)
            with torch.no_grad():
                rows = [
                    torch.cat([self.update(m, v, g).reshape(-1) for m, v, g in zip(self.m, self.v, of_task)])
                    for of_task in gradients
                ]
                gram = torch.stack(rows)
                gram = gram @ gram.T
                self.weights = nash(gram) * gram.norm().sqrt()
        gradients = task_gradients(losses, self.shared)
        sum(losses).backward()
        self.apply(gradients)
        self.rest.step()
        self.steps += 1


def optimizer_of(args, model):
    if args.method == "Pub":
        return Pub(model, 1e-3, args.weight_decay)
    return torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=args.weight_decay)


def train_step(model, optimizer, loss_of, method, batch):
    categorical, numerical, labels = batch
    outputs = model(categorical, numerical)
    losses = [loss_of(output, labels[:, k]) for k, output in enumerate(outputs)]
    optimizer.zero_grad()
    if method == "Pub":
        optimizer.step(losses)
        return losses
    if method == "Ls":
        sum(losses).backward()
    else:
        shared = shared_of(model)
        rows = [torch.cat([g.reshape(-1) for g in gradients]) for gradients in task_gradients(losses, shared)]
        gram = torch.stack(rows)
        weights = nash(gram @ gram.T)
        sum(w * loss for w, loss in zip(weights, losses)).backward()
        torch.nn.utils.clip_grad_norm_(shared, 1.0)
    optimizer.step()
    return losses


def random_batch(args, rows):
    rng = np.random.default_rng(7)
    sizes = [args.ids] * args.fields + ([args.wide] if args.wide else [])
    categorical = np.stack([rng.integers(0, size, rows) for size in sizes], 1)
    numerical = rng.random((rows, args.numerical), dtype=np.float32)
    labels = (rng.random((rows, 2)) < 0.05).astype(np.float32)
    return sizes, (torch.tensor(categorical), torch.tensor(numerical), torch.tensor(labels))


def step(args):
    sizes, batch = random_batch(args, args.batch)
    model = MODELS[args.model](sizes, args.numerical, 2).to(args.device)
    optimizer = optimizer_of(args, model)
    loss_of = nn.BCELoss()
    run = torch.compile(model) if args.compile else model
    if args.compile:
        run.own = model.own
    if args.device == "cuda":
        return on_gpu(args, lambda: train_step(run, optimizer, loss_of, args.method, [part.cuda() for part in batch]))
    times = []
    for _ in range(args.warmup + args.steps):
        start = time.perf_counter()
        train_step(run, optimizer, loss_of, args.method, batch)
        times.append(time.perf_counter() - start)
    return {"seconds": float(np.median(times[args.warmup:]))}


def on_gpu(args, run):
    """The mean of all steps: a GPU works behind the program, so single steps have no end of their own."""
    for _ in range(args.warmup):
        run()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(args.steps):
        run()
    torch.cuda.synchronize()
    return {"seconds": (time.perf_counter() - start) / args.steps}


def epoch(args):
    """One epoch as MTOReclib runs it: a `Dataset` that indexes numpy rows, behind a shuffling `DataLoader`."""
    sizes, (categorical, numerical, labels) = random_batch(args, args.rows)
    model = MODELS[args.model](sizes, args.numerical, 2)
    optimizer = optimizer_of(args, model)
    loss_of = nn.BCELoss()
    categorical, numerical, labels = categorical.numpy(), numerical.numpy(), labels.numpy()

    class Log(torch.utils.data.Dataset):
        def __len__(self):
            return len(labels)

        def __getitem__(self, index):
            return categorical[index], numerical[index], labels[index]

    loader = torch.utils.data.DataLoader(Log(), batch_size=args.batch, shuffle=True)
    start = time.perf_counter()
    for batch in loader:
        train_step(model, optimizer, loss_of, args.method, batch)
    return {"seconds": time.perf_counter() - start}


def evaluate(args):
    sizes, (categorical, numerical, _) = random_batch(args, args.rows)
    model = MODELS[args.model](sizes, args.numerical, 2).eval()
    times = []
    for _ in range(3):
        start = time.perf_counter()
        with torch.no_grad():
            for first in range(0, args.rows, args.batch):
                model(categorical[first:first + args.batch], numerical[first:first + args.batch])
        times.append(time.perf_counter() - start)
    return {"seconds": float(np.median(times))}


def preprocess(args):
    """What the preprocessing stage does, in pandas: read, check, code the ids of the training rows, split, write."""
    import pandas as pd

    start = time.perf_counter()
    train, test = pd.read_csv(args.train), pd.read_csv(args.test)
    fields = [c for c in train.columns if c.startswith("categorical_")]
    numbers = [c for c in train.columns if c.startswith("numerical_")]
    assert not train.isna().any().any() and not test.isna().any().any()
    for column in fields:
        seen = np.unique(train[column].to_numpy())
        unknown = int(seen.max()) + 1
        test[column] = np.where(np.isin(test[column].to_numpy(), seen), test[column].to_numpy(), unknown)
    order = np.random.default_rng(0).permutation(len(test))
    half = len(test) // 2
    for name, rows in [("train", train), ("valid", test.iloc[np.sort(order[:half])]), ("test", test.iloc[np.sort(order[half:])])]:
        np.savez(
            f"{args.out}/{name}.npz",
            categorical=rows[fields].to_numpy(np.uint32),
            numerical=rows[numbers].to_numpy(np.float32),
            labels=rows[["click", "conversion"]].to_numpy(np.uint8),
            group=rows["search_id"].to_numpy(np.int64),
        )
    return {"seconds": time.perf_counter() - start}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("work", choices=["step", "epoch", "evaluate", "preprocess"])
    parser.add_argument("--model", choices=MODELS, default="Mmoe")
    parser.add_argument("--method", choices=["Ls", "NashMtl", "Pub"], default="Ls")
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--fields", type=int, default=16)
    parser.add_argument("--ids", type=int, default=31)
    parser.add_argument("--wide", type=int, default=0, help="adds one field of this many ids")
    parser.add_argument("--weight-decay", type=float, default=1e-6)
    parser.add_argument("--numerical", type=int, default=63)
    parser.add_argument("--rows", type=int, default=40960)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--tf32", action="store_true", help="lets products round to TF32")
    parser.add_argument("--train")
    parser.add_argument("--test")
    parser.add_argument("--out")
    args = parser.parse_args()
    torch.manual_seed(1)
    torch.set_num_threads(args.threads)
    torch.backends.cuda.matmul.allow_tf32 = args.tf32
    result = {"step": step, "epoch": epoch, "evaluate": evaluate, "preprocess": preprocess}[args.work](args)
    result["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    result["version"] = torch.__version__
    if args.device == "cuda":
        result["gpu"] = torch.cuda.get_device_name()
        result["peak_mib"] = torch.cuda.max_memory_allocated() / 2**20
    print(json.dumps(result))


if __name__ == "__main__":
    main()
