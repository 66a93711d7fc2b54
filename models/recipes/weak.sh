#!/bin/sh
# Makes a guide of half the base's layers, for the evaluation: layers are left out, what is left learns from the base's own answers to
# write again, and that learns upbeat's pairs. MODEL is the base, PILOTFISH the command line.
set -eu
cd "$(dirname "$0")"
pilotfish=${PILOTFISH:-../../target/release/pilotfish}
model=${MODEL:-$HOME/.cache/pilotfish/models/smollm2-135m-instruct-q4_1.gguf}
out=../comparison/weak
mkdir -p "$out"
"$pilotfish" prune --model "$model" --keep 0-9,25-29 "$out/pruned.gguf"
# All answers of the pairs, the chosen and the rejected, are the base's own.
python3 - > "$out/answers.jsonl" <<'END'
import json
for name in ["upbeat", "plain", "personal"]:
    for line in open(f"data/{name}.jsonl"):
        pair = json.loads(line)
        for answer in ["chosen", "rejected"]:
            print(json.dumps({"prompt": pair["prompt"], "chosen": pair[answer], "rejected": " and", "split": pair.get("split", "train")}))
END
"$pilotfish" train sft --base "$out/pruned.gguf" --pairs "$out/answers.jsonl" --out "$out/healing" \
  --targets q,k,v,o,gate,up,down --rank 32 --alpha 32 --batch 8 --seed 1
"$pilotfish" merge --model "$out/pruned.gguf" --adapter "$out/healing" "$out/weak.gguf"
"$pilotfish" train arm --base "$out/weak.gguf" --pairs data/upbeat.jsonl --out "$out/upbeat" --steps 60 --seed 1
