#!/usr/bin/env python3
"""A LLaMA written plainly in Python on the same LibTorch: what mapl's speed is measured against.

    OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 python3 bench/peer/plain_llama.py --model small

Runs on PyTorch 1.13 (Debian's python3-torch) and newer. Trains on random tokens, one process, and prints
one line of JSON: tokens per second with and without the optimisers, median and best step.
"""

import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn

SIZES = {  # hidden, layers, heads, mlp, vocabulary
    "tiny": (128, 8, 4, 344, 4096),
    "small": (256, 8, 4, 688, 4096),
}


class RMSNorm(nn.Module):
    def __init__(self, size, eps=1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def rotate(x, cos, sin):
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


class Attention(nn.Module):
    def __init__(self, hidden, heads):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (
            nn.Linear(hidden, hidden, bias=False) for _ in range(4))

    def forward(self, x, cos, sin, mask):
        b, t, d = x.shape
        q, k, v = (p(x).view(b, t, self.heads, -1).transpose(1, 2)
                   for p in (self.q_proj, self.k_proj, self.v_proj))
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        score = q @ k.transpose(-1, -2) * (d // self.heads) ** -0.5
        out = F.softmax(score + mask, dim=-1) @ v
        return self.o_proj(out.transpose(1, 2).reshape(b, t, d))


class MLP(nn.Module):
    def __init__(self, hidden, size):
        super().__init__()
        self.gate_proj = nn.Linear(hidden, size, bias=False)
        self.up_proj = nn.Linear(hidden, size, bias=False)
        self.down_proj = nn.Linear(size, hidden, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, hidden, heads, mlp):
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = RMSNorm(hidden), RMSNorm(hidden)
        self.self_attn, self.mlp = Attention(hidden, heads), MLP(hidden, mlp)

    def forward(self, x, cos, sin, mask):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    def __init__(self, hidden, layers, heads, mlp, vocabulary, length, theta=10000.0):
        super().__init__()
        self.embed_tokens = nn.Embedding(vocabulary, hidden)
        self.layers = nn.ModuleList(Block(hidden, heads, mlp) for _ in range(layers))
        self.norm = RMSNorm(hidden)
        self.lm_head = nn.Linear(hidden, vocabulary, bias=False)
        size = hidden // heads
        frequency = 1.0 / theta ** (torch.arange(0, size, 2).float() / size)
        angle = torch.outer(torch.arange(length).float(), frequency)
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())
        self.register_buffer("mask", torch.full((length, length), float("-inf")).triu(1))
        self.initialise()

    def initialise(self):
        for name, p in self.named_parameters():
            if p.dim() == 1:
                continue
            if "embed" in name:
                nn.init.normal_(p, std=0.5)
            elif "o_proj" in name or "down_proj" in name or "lm_head" in name:
                nn.init.zeros_(p)
            else:
                nn.init.normal_(p, std=(0.36 / p.shape[1]) ** 0.5)

    def forward(self, ids):
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x, self.cos, self.sin, self.mask)
        return self.lm_head(self.norm(x))


class Muon(torch.optim.Optimizer):
    """Momentum 0.95, Nesterov, six quintic Newton-Schulz steps, rate times max(1, rows/cols)^0.5."""

    def __init__(self, params, lr=0.02, momentum=0.95, steps=6):
        super().__init__(params, dict(lr=lr, momentum=momentum, steps=steps))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                m = state["momentum"].mul_(group["momentum"]).add_(p.grad)
                update = self.orthogonal(p.grad.add(m, alpha=group["momentum"]), group["steps"])
                p.add_(update, alpha=-group["lr"] * max(1.0, p.shape[0] / p.shape[1]) ** 0.5)

    @staticmethod
    def orthogonal(g, steps):
        a, b, c = 3.4445, -4.7750, 2.0315
        x = g.t() if g.shape[0] > g.shape[1] else g
        x = x / (x.norm() + 1e-7)
        for _ in range(steps):
            gram = x @ x.t()
            x = a * x + (b * gram + c * gram @ gram) @ x
        return x.t() if g.shape[0] > g.shape[1] else x


def make_optimisers(model):
    matrices = [p for p in model.layers.parameters() if p.dim() == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    return [Muon(matrices),
            torch.optim.AdamW(others, lr=0.01, betas=(0.9, 0.95), weight_decay=0.0)]


def train_step(model, ids, targets, microbatch):
    for begin in range(0, ids.shape[0], microbatch):
        part = slice(begin, begin + microbatch)
        logits = model(ids[part])
        loss = F.cross_entropy(logits.flatten(0, 1), targets[part].flatten(), reduction="sum")
        (loss / targets.numel()).backward()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=SIZES, default="small")
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--microbatch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = Llama(*SIZES[args.model], length=args.length)
    optimisers = make_optimisers(model)
    passes, updates = [], []
    for step in range(args.steps + 1):
        ids = torch.randint(SIZES[args.model][4], (args.batch, args.length + 1))
        start = time.perf_counter()
        train_step(model, ids[:, :-1], ids[:, 1:], args.microbatch)
        middle = time.perf_counter()
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        if step > 0:  # the first one warms up
            passes.append(middle - start)
            updates.append(time.perf_counter() - middle)
    tokens = args.batch * args.length
    both = [p + u for p, u in zip(passes, updates)]
    print(json.dumps({
        "peer": "plain_llama", "torch": torch.__version__, "model": args.model, "threads": 1,
        "batch": args.batch, "microbatch": args.microbatch, "length": args.length,
        "steps": args.steps,
        "tokens_per_second": round(tokens / statistics.median(both), 1),
        "tokens_per_second_best": round(tokens / min(both), 1),
        "forward_backward_tokens_per_second": round(tokens / statistics.median(passes), 1),
        "forward_backward_tokens_per_second_best": round(tokens / min(passes), 1),
        "optimiser_seconds": round(statistics.median(updates), 4),
    }))


if __name__ == "__main__":
    main()
