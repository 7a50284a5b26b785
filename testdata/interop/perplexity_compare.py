"""Perplexity of a text by mor and by PyTorch, float32, with the same sliding window.

    perplexity_compare.py --mor BINARY --text FILE [--context 2048] [--stride 512] MODEL

MODEL is whatever mor opens; what is no Hugging Face folder is written out with `mor convert --to hf`. Prints a line of JSON, and exits with 1 where they differ by more than 1e-3.
"""
import argparse, json, math, os, subprocess, sys, tempfile

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def perplexity(folder, text, context, stride):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32)
    ids = torch.tensor([tokenizer(text, split_special_tokens=True)["input_ids"]])
    total, count, end = 0.0, 0, 0
    for begin in range(0, ids.shape[1], stride):
        stop = min(begin + context, ids.shape[1])
        window = ids[:, begin:stop]
        target = window.clone()
        target[:, : end - begin if begin else 0] = -100
        valid = int((target[:, 1:] != -100).sum())
        if valid:
            with torch.no_grad():
                total += model(window, labels=target).loss.item() * valid
            count += valid
        end = stop
        if end == ids.shape[1]:
            break
    return math.exp(total / count), count


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--mor", required=True)
    p.add_argument("--text", required=True)
    p.add_argument("--context", type=int, default=2048)
    p.add_argument("--stride", type=int, default=512)
    args = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        weights = args.model
        if not os.path.exists(os.path.join(weights, "config.json")) or json.load(open(os.path.join(weights, "config.json")))["model_type"] != "llama":
            weights = os.path.join(folder, "hf")
            subprocess.run([args.mor, "convert", "--to", "hf", args.model, weights], check=True, stdout=sys.stderr)
        command = [args.mor, "eval", args.model, "--text", args.text, "--context", str(args.context), "--stride", str(args.stride), "--json"]
        ours = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["results"][0]
        with open(args.text, encoding="utf8", newline="") as f:
            theirs, tokens = perplexity(weights, f.read(), args.context, args.stride)
    difference = abs(ours["perplexity"] / theirs - 1)
    print(json.dumps({"perplexity": ours["perplexity"], "pytorch": theirs, "difference": difference, "tokens": ours["tokens"], "pytorch_tokens": tokens}))
    sys.exit(difference > 1e-3 or tokens != ours["tokens"])


main()
