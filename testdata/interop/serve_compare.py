"""Clients that OpenAI and EleutherAI wrote, against `mor serve`: OpenAI's Python SDK, and lm-evaluation-harness's local-completions, whose scores are compared with
those of `mor eval`.

    serve_compare.py --mor BINARY [--data-dir FOLDER --tasks hellaswag,piqa --limit 50] MODEL

Prints a line of JSON for the SDK and one a task, and exits with 1 where an answer of the SDK's is not what it should be or a score differs.
"""
import argparse, contextlib, json, os, signal, subprocess, sys, tempfile

import openai


@contextlib.contextmanager
def server(mor, model):
    """The address of a server of the model in float32, as `mor eval` runs it."""
    command = [mor, "serve", model, "--listen", "127.0.0.1:0", "--weights", "f32", "--log-level", "warn", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.send_signal(signal.SIGTERM)
        if process.wait(60) != 0:
            raise RuntimeError(f"the server ended with status {process.returncode}")


def sdk(url):
    """What the SDK reads, as a whole and as a stream."""
    client = openai.OpenAI(base_url=url + "/v1", api_key="none", max_retries=0)
    model = client.models.list().data[0].id
    asked = dict(model=model, prompt="The sea is", max_tokens=20, temperature=0.8, seed=3, logprobs=2, extra_body={"return_depth": True})
    whole = client.completions.create(**asked)
    events = list(client.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    text = "".join(e.choices[0].text for e in events if e.choices)
    depth = [d for e in events if e.choices for d in getattr(e.choices[0], "depth", None) or []]
    assert text == whole.choices[0].text, (text, whole.choices[0].text)
    assert depth == whole.choices[0].depth and len(depth) == whole.usage.completion_tokens, (depth, whole)
    assert events[-1].usage == whole.usage, (events[-1].usage, whole.usage)
    result = {"client": "openai", "version": openai.__version__, "tokens": whole.usage.completion_tokens, "chat": False}
    try:
        client.completions.create(model=model, prompt="a", suffix="b")
        raise AssertionError("suffix was taken")
    except openai.BadRequestError as e:
        assert e.param == "suffix", e
    asked = dict(model=model, messages=[{"role": "user", "content": "Hello"}], max_completion_tokens=20, temperature=0.8, seed=3, logprobs=True, top_logprobs=2)
    try:
        whole = client.chat.completions.create(**asked)
    except openai.BadRequestError as e:
        assert "chat template" in str(e), e
        return result
    events = list(client.chat.completions.create(**asked, stream=True))
    text = "".join(e.choices[0].delta.content or "" for e in events if e.choices)
    assert text == whole.choices[0].message.content, (text, whole.choices[0].message.content)
    assert len(whole.choices[0].logprobs.content) == sum(len(e.choices[0].logprobs.content) for e in events if e.choices and e.choices[0].logprobs)
    return result | {"chat": True}


def scores(url, args):
    """Compares the harness over HTTP with `mor eval`, item by item."""
    import lm_eval_compare
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    args.num_fewshot = 0
    lm = LocalCompletionsAPI(base_url=url + "/v1/completions", model="default", tokenizer_backend="remote", tokenized_requests=True, batch_size=8, num_concurrent=4)
    for name in args.tasks.split(","):
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
            theirs = lm_eval_compare.harness(lm, name, args, folder)
            ours = lm_eval_compare.mor_items(name, args, os.path.join(folder, "mor"))
        yield lm_eval_compare.compare(name, ours, theirs)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--mor", required=True)
    p.add_argument("--data-dir", default="")
    p.add_argument("--tasks", default="hellaswag,piqa")
    p.add_argument("--limit", type=int, default=50)
    args = p.parse_args()
    agree = True
    with server(args.mor, args.model) as url:
        print(json.dumps(sdk(url)), flush=True)
        for line in scores(url, args) if args.data_dir else ():
            print(json.dumps(line), flush=True)
            agree = agree and all(line.get(metric, 1) == 1 for metric in ("acc_agree", "acc_norm_agree", "greedy_agree"))
    sys.exit(not agree)


main()
