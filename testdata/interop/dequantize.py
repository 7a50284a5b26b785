"""Values of every tensor of GGUF files as the gguf package reads them: dequantize.py FILE ... prints a line {name: {type, weighted sum, sum of magnitudes}} each."""
import json, sys
import numpy as np
from gguf import GGUFReader, quants

for file in sys.argv[1:]:
    out = {}
    for t in GGUFReader(file).tensors:
        x = quants.dequantize(t.data, t.tensor_type).astype(np.float64).flatten()
        out[t.name] = {"type": t.tensor_type.name, "sum": float((x * (np.arange(len(x)) % 97 + 1)).sum()), "size": float(np.abs(x).sum())}
    print(json.dumps(out))
