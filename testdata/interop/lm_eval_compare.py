"""Share of items on which mor and lm-evaluation-harness agree, the harness running the same weights in PyTorch, float32, on the same local items.

    lm_eval_compare.py --mor BINARY --data-dir FOLDER [--tasks hellaswag,piqa] [--limit 200] [--num-fewshot 0] MODEL

MODEL is whatever mor opens; what is no Hugging Face folder is written out with `mor convert --to hf`. The harness's own task classes and scoring run on its own task
definitions, whose data is replaced by the local JSONL files. Prints a line of JSON a task, and exits with 1 where an item differs that is no near tie.
"""
import argparse, collections, contextlib, json, os, pathlib, subprocess, sys, tempfile

import lm_eval
import torch
from lm_eval import evaluator
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks._yaml_loader import load_yaml

DEFINITIONS = pathlib.Path(lm_eval.__file__).parent / "tasks"
LABELS = "ABCDEFGHIJ"


def rows(path):
    with open(path, encoding="utf8") as f:
        return [json.loads(line) for line in f if line.strip()]


def labelled(d, question):
    """A line of ARC or OpenBookQA with the fields of the dataset."""
    return {question: d["question"], "choices": {"text": d["choices"], "label": list(LABELS[: len(d["choices"])])}, "answerKey": LABELS[d["gold"]]}


# name: definition, file, file of the examples, line with the fields of the dataset
TASKS = {
    "lambada_openai": ("lambada/lambada_openai", "lambada_openai", None, lambda d: {"text": d["context"] + " " + d["continuation"]}),
    "hellaswag": ("hellaswag/hellaswag", "hellaswag_validation", "hellaswag_train", lambda d: {"query": d["query"], "choices": d["choices"], "label": str(d["gold"])}),
    "piqa": ("piqa/piqa", "piqa_validation", "piqa_train", lambda d: d),
    "winogrande": ("winogrande/default", "winogrande_xl_validation", "winogrande_xl_train", lambda d: d),
    "arc_easy": ("arc/arc_easy", "arc_easy_test", "arc_easy_train", lambda d: labelled(d, "question")),
    "arc_challenge": ("arc/arc_challenge", "arc_challenge_test", "arc_challenge_train", lambda d: labelled(d, "question")),
    "openbookqa": ("openbookqa/openbookqa", "openbookqa_test", "openbookqa_train", lambda d: labelled(d, "question_stem")),
    "mmlu": ("mmlu/default/mmlu_%s", "mmlu_test", "mmlu_dev", lambda d: d),
    "mmlu_continuation": ("mmlu/continuation/mmlu_%s", "mmlu_test", "mmlu_dev", lambda d: d),
}


def make(definition, splits, name, folder):
    """The harness's task with the documents of splits."""
    config = load_yaml(DEFINITIONS / (definition + ".yaml"), resolve_func=True)
    files = {}
    for split, docs in splits.items():
        files[split] = os.path.join(folder, name + "." + split + ".jsonl")
        with open(files[split], "w") as f:
            f.writelines(json.dumps(d) + "\n" for d in docs)
    for split in ("training_split", "validation_split", "test_split"):
        if config.get(split) and config[split] not in splits:
            # The harness tells by the names of splits whether an item may stand among its own examples, so those of splits in use stay.
            config[split] = None
    for key in ("dataset_name", "process_docs", "tag", "group", "task_alias"):
        config.pop(key, None)
    return ConfigurableTask(config={**config, "task": name, "dataset_path": "json", "dataset_kwargs": {"data_files": files}})


def tasks_of(name, data, folder, shots):
    """Tasks of the harness, one a subject, with the numbers of their items in the file."""
    definition, file, examples, convert = TASKS[name]
    lines = rows(os.path.join(data, file + ".jsonl"))
    pool = rows(os.path.join(data, examples + ".jsonl")) if shots and examples else []
    groups = collections.defaultdict(list)
    for i, d in enumerate(lines):
        groups[d.get("subject", "")].append(i)
    for subject, index in groups.items():
        split = "validation" if "validation" in file else "test"
        splits = {split: [convert(lines[i]) for i in index]}
        shown = [convert(d) for d in pool if d.get("subject", "") == subject]
        if subject:
            splits["dev"] = shown or splits[split][:1]
        elif shown:
            splits["train"] = shown
        yield make(definition % subject if subject else definition, splits, name + subject, folder), index


def harness(lm, name, args, folder):
    """Items of the harness by their number in the file."""
    out = {}
    for task, index in tasks_of(name, args.data_dir, folder, args.num_fewshot):
        results = evaluator.simple_evaluate(model=lm, tasks=[task], num_fewshot=args.num_fewshot, limit=args.limit or None, log_samples=True, bootstrap_iters=0)
        for sample in next(iter(results["samples"].values())):
            out[index[sample["doc_id"]]] = sample
    return out


def mor_items(name, args, folder):
    command = [args.mor, "eval", args.model, "--tasks", name, "--data-dir", args.data_dir, "--limit", str(args.limit), "--num-fewshot", str(args.num_fewshot), "--out", folder]
    subprocess.run(command, check=True, stdout=sys.stderr)
    return {r["item"]: r for r in rows(os.path.join(folder, name + ".causal.jsonl"))}


def compare(name, ours, theirs):
    """A line of the report."""
    assert ours.keys() == theirs.keys(), f"{name}: {len(ours)} and {len(theirs)} items"
    out = {"task": name, "items": len(ours)}
    worst = 0.0
    for metric in ("acc", "acc_norm"):
        if not all(metric in r for r in ours.values()) or not all(metric in s for s in theirs.values()):
            continue
        out[metric] = sum(r[metric] for r in ours.values()) / len(ours)
        out[metric + "_lm_eval"] = sum(s[metric] for s in theirs.values()) / len(theirs)
        out[metric + "_agree"] = sum(ours[i][metric] == theirs[i][metric] for i in ours) / len(ours)
    for i, r in ours.items():
        for p, q in zip(r["logprobs"], theirs[i]["filtered_resps"], strict=True):
            worst = max(worst, abs(p - float(q[0])))
    out["greedy_agree"] = sum(r["greedy"] == [str(q[1]) == "True" for q in theirs[i]["filtered_resps"]] for i, r in ours.items()) / len(ours)
    out["logprob_difference"] = worst
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--mor", required=True)
    p.add_argument("--data-dir", required=True)
    p.add_argument("--tasks", default=",".join(t for t in TASKS if not t.startswith("mmlu")))
    p.add_argument("--limit", type=int, default=200)
    p.add_argument("--num-fewshot", type=int, default=0)
    p.add_argument("--batch-size", type=int, default=8)
    args = p.parse_args()
    agree = True
    with tempfile.TemporaryDirectory() as folder:
        weights = args.model
        if not os.path.exists(os.path.join(weights, "config.json")) or json.load(open(os.path.join(weights, "config.json")))["model_type"] != "llama":
            weights = os.path.join(folder, "hf")
            subprocess.run([args.mor, "convert", "--to", "hf", args.model, weights], check=True, stdout=sys.stderr)
        with contextlib.redirect_stdout(sys.stderr):
            lm = HFLM(pretrained=weights, dtype="float32", device="cpu", batch_size=args.batch_size)
        for name in args.tasks.split(","):
            with contextlib.redirect_stdout(sys.stderr), torch.no_grad():
                theirs = harness(lm, name, args, folder)
            line = compare(name, mor_items(name, args, os.path.join(folder, "mor")), theirs)
            print(json.dumps(line), flush=True)
            agree = agree and line["acc_agree"] == 1 and line.get("acc_norm_agree", 1) == 1
    sys.exit(not agree)


if __name__ == "__main__":
    main()
