"""Small models as transformers saves them, with their logits: save.py DIR writes DIR/NAME and DIR/NAME.json for each name."""
import json, sys
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

SHAPE = dict(vocab_size=61, hidden_size=24, intermediate_size=36, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
             max_position_embeddings=64, initializer_range=0.2)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)
KINDS = {
    "tied": (LlamaForCausalLM, LlamaConfig(**SHAPE, tie_word_embeddings=True), {}),
    "untied_sharded": (LlamaForCausalLM, LlamaConfig(**SHAPE, rope_theta=500.0, rms_norm_eps=1e-5), dict(max_shard_size="6KB")),
    "llama3": (LlamaForCausalLM, LlamaConfig(**SHAPE, rope_scaling=LLAMA3), {}),
    "linear": (LlamaForCausalLM, LlamaConfig(**SHAPE, rope_scaling=dict(rope_type="linear", factor=2.5)), {}),
    "bfloat16": (LlamaForCausalLM, LlamaConfig(**SHAPE), {}),
    "float16": (LlamaForCausalLM, LlamaConfig(**SHAPE), {}),
    "mixtral": (MixtralForCausalLM, MixtralConfig(**SHAPE, num_local_experts=4, num_experts_per_tok=2, sliding_window=None), {}),
}
torch.manual_seed(3)
tokens = [int(t) for t in torch.randint(0, 61, (40,))]
for name, (make, config, options) in KINDS.items():
    model = make(config).eval()
    if name in ("bfloat16", "float16"):
        model = model.to(getattr(torch, name))
    model.save_pretrained(f"{sys.argv[1]}/{name}", **options)
    model = make.from_pretrained(f"{sys.argv[1]}/{name}", torch_dtype=torch.float32)
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0]
    json.dump({"tokens": tokens, "logits": logits.flatten().tolist()}, open(f"{sys.argv[1]}/{name}.json", "w"))
