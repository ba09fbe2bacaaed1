"""The demonstration model: a small Llama in PyTorch.

RoPE turns the pairs (2i, 2i+1), which is what GGUF's `llama` architecture expects, so no rows are permuted
when the weights are exported.
"""

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class Config:
    """Shapes; every width is a multiple of 32, the block length of Q8_0."""

    vocab_size: int = 2048
    hidden_size: int = 256
    intermediate_size: int = 768
    num_layers: int = 6
    num_heads: int = 4
    num_kv_heads: int = 2
    head_dim: int = 64
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-5
    max_model_len: int = 1024

    as_dict = asdict


def rope_tables(config):
    """Cosines and sines, [max_model_len, head_dim / 2] each."""
    frequencies = config.rope_theta ** (-torch.arange(0, config.head_dim, 2).float() / config.head_dim)
    angles = torch.outer(torch.arange(config.max_model_len).float(), frequencies)
    return angles.cos(), angles.sin()


def rotate(x, cos, sin):
    """Turns the pairs (2i, 2i+1) of x [batch, heads, length, head_dim] by their angles."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)


class Layer(nn.Module):
    """Attention and SwiGLU, each behind an RMSNorm and a residual."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        hidden, kv_width = config.hidden_size, config.num_kv_heads * config.head_dim
        self.attn_norm = nn.Parameter(torch.ones(hidden))
        self.attn_qkv = nn.Linear(hidden, config.num_heads * config.head_dim + 2 * kv_width, bias=False)
        self.attn_output = nn.Linear(config.num_heads * config.head_dim, hidden, bias=False)
        self.ffn_norm = nn.Parameter(torch.ones(hidden))
        self.ffn_gate_up = nn.Linear(hidden, 2 * config.intermediate_size, bias=False)
        self.ffn_down = nn.Linear(config.intermediate_size, hidden, bias=False)

    def forward(self, x, cos, sin, past=None):
        """x [batch, length, hidden] to the same; `past` is a list that holds keys and values while decoding."""
        c = self.config
        batch, length, hidden = x.shape
        normed = F.rms_norm(x, (hidden,), self.attn_norm, c.rms_norm_eps)
        qkv = self.attn_qkv(normed).view(batch, length, -1, c.head_dim).transpose(1, 2)
        q, k, v = qkv.split((c.num_heads, c.num_kv_heads, c.num_kv_heads), dim=1)
        q, k = rotate(q, cos, sin).to(v.dtype), rotate(k, cos, sin).to(v.dtype)
        causal = True
        if past is not None:
            if past:
                k, v, causal = torch.cat((past[0], k), 2), torch.cat((past[1], v), 2), False
            past[:] = [k, v]
        k = k.repeat_interleave(c.num_heads // c.num_kv_heads, 1)
        v = v.repeat_interleave(c.num_heads // c.num_kv_heads, 1)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        x = x + self.attn_output(attended.transpose(1, 2).reshape(batch, length, -1))
        normed = F.rms_norm(x, (hidden,), self.ffn_norm, c.rms_norm_eps)
        gate, up = self.ffn_gate_up(normed).chunk(2, -1)
        return x + self.ffn_down(F.silu(gate) * up)


class Model(nn.Module):
    """Token ids to hidden states; the output matrix is the embedding."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_layers))
        self.output_norm = nn.Parameter(torch.ones(config.hidden_size))
        cos, sin = rope_tables(config)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                small = name.endswith(("attn_output.weight", "ffn_down.weight"))
                nn.init.normal_(weight, std=0.02 / (2 * config.num_layers) ** 0.5 if small else 0.02)

    def forward(self, ids, position=0, pasts=None, tap=None):
        """ids [batch, length] to final hidden states [batch, length, hidden].

        `tap` is a list that gets the normalized states after two thirds of the layers, for the topic loss of training.
        """
        x = self.embedding(ids)
        cos, sin = (table[position : position + ids.shape[1]] for table in (self.cos, self.sin))
        for number, layer in enumerate(self.layers):
            x = layer(x, cos, sin, None if pasts is None else pasts[number])
            if tap is not None and 3 * (number + 1) == 2 * len(self.layers):
                tap.append(F.rms_norm(x, (self.config.hidden_size,), eps=self.config.rms_norm_eps))
        return F.rms_norm(x, (self.config.hidden_size,), self.output_norm, self.config.rms_norm_eps)

    def logits(self, hidden):
        """Scores of every token for hidden states."""
        return F.linear(hidden, self.embedding.weight)

    @torch.no_grad()
    def generate(self, prompt, eos_id, max_tokens=120):
        """The greedy continuation of a list of ids, without the end token."""
        pasts = [[] for _ in self.layers]
        ids, position, out = torch.tensor([prompt]), 0, []
        while len(out) < max_tokens:
            hidden = self(ids, position, pasts)
            position += ids.shape[1]
            token = int(self.logits(hidden[0, -1]).argmax())
            if token == eos_id:
                break
            out.append(token)
            ids = torch.tensor([[token]])
        return out
