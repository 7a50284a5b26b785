"""Logits of transformers for folders that mor wrote: logits.py FOLDER TOKENS FOLDER TOKENS ..., with tokens as 1,2,3; a line of JSON each, float32 arithmetic."""
import json, sys
import torch
from transformers import AutoModelForCausalLM

for folder, tokens in zip(sys.argv[1::2], sys.argv[2::2]):
    model = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32)
    with torch.no_grad():
        out = model(torch.tensor([[int(t) for t in tokens.split(",")]])).logits[0]
    print(json.dumps({"kind": type(model).__name__, "logits": out.flatten().tolist()}))
