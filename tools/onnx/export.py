"""A GGUF file as what transformers.js loads: config.json and ONNX graphs with weights of 8 bits (q8) and of 4 (q4).

    python export.py MODEL.gguf FOLDER --golden tests/golden/NAME.json

`npm run bench -- --peers` runs this, since no package registry has such a file of the models that it compares. The graph is made of
the operators that onnxruntime fuses others into (GroupQueryAttention, SimplifiedLayerNormalization), which is the fastest it has, and
quantised by onnxruntime's own tools, as the files that transformers.js users load are. Before that, its f32 form must agree with the golden file.
"""

import argparse
import json
import logging
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from gguf import GGUFReader
from gguf.quants import dequantize
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, matmul_nbits_quantizer, quantize_dynamic

CONTRIB = "com.microsoft"


class Model:
    """What the file says, by the names this script uses."""

    def __init__(self, path):
        reader = GGUFReader(path)
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}
        architecture = reader.fields["general.architecture"].contents()
        if architecture not in ("llama", "gemma3"):
            raise SystemExit(f"{path} is of the family {architecture}; this script knows llama and gemma3")
        self.gemma = architecture == "gemma3"

        def field(name, otherwise=None):
            found = reader.fields.get(f"{architecture}.{name}")
            return otherwise if found is None else found.contents()

        self.layers = field("block_count")
        self.hidden = field("embedding_length")
        self.inner = field("feed_forward_length")
        self.heads = field("attention.head_count")
        self.kv_heads = field("attention.head_count_kv")
        self.head_dim = field("attention.key_length", self.hidden // self.heads)
        self.epsilon = field("attention.layer_norm_rms_epsilon")
        self.rope_base = field("rope.freq_base")
        self.window = field("attention.sliding_window", 0)
        self.vocab = int(self.tensors["token_embd.weight"].shape[1])
        self.eos = reader.fields["tokenizer.ggml.eos_token_id"].contents()

    def is_local(self, layer):
        """Five of Gemma's six layers look at a window only, and turn by another base."""
        return self.gemma and layer % 6 != 5

    def weight(self, name):
        tensor = self.tensors[name]
        return dequantize(tensor.data, tensor.tensor_type).astype(np.float32)


class Graph:
    def __init__(self):
        self.nodes, self.weights = [], []

    def constant(self, name, value):
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, kind, inputs, name, outputs=None, domain="", **attributes):
        outputs = outputs or [name]
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=name, domain=domain, **attributes))
        return outputs[0]


def rope_tables(base, head_dim, positions):
    angles = np.outer(np.arange(positions), base ** (-np.arange(0, head_dim, 2) / head_dim))
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def build(model, positions):
    """The whole pass, with its keys and values going in and out, as an f32 graph."""
    graph = Graph()
    int64 = lambda name, value: graph.constant(name, np.array(value, dtype=np.int64))

    def norm(x, weight, name):
        scale = graph.constant(f"{name}.scale", model.weight(weight))
        return graph.node("SimplifiedLayerNormalization", [x, scale], name, axis=-1, epsilon=model.epsilon)

    def matmul(x, weight, name):
        return graph.node("MatMul", [x, graph.constant(f"{name}.weight", model.weight(weight).T)], name)

    def head_norm(x, heads, weight, name):
        """Each head is normed by itself."""
        split = graph.node("Reshape", [x, int64(f"{name}.heads", [0, 0, heads, model.head_dim])], f"{name}.split")
        normed = norm(split, weight, name)
        return graph.node("Reshape", [normed, int64(f"{name}.flat", [0, 0, heads * model.head_dim])], f"{name}.join")

    tables = {}
    for local in {model.is_local(layer) for layer in range(model.layers)}:
        # The file does not name the base of the local layers; the family's is 10,000.
        cos, sin = rope_tables(10_000.0 if local else model.rope_base, model.head_dim, positions)
        name = "local" if local else "global"
        tables[local] = [graph.constant(f"rope.{name}.cos", cos), graph.constant(f"rope.{name}.sin", sin)]

    # What GroupQueryAttention wants to know of the lengths, from the mask that transformers.js gives.
    total = graph.node("ReduceSum", ["attention_mask", int64("axis1", [1])], "tokens", keepdims=0)
    last = graph.node("Cast", [graph.node("Sub", [total, int64("one", 1)], "last")], "seqlens", to=TensorProto.INT32)
    width = graph.node("Gather", [graph.node("Shape", ["attention_mask"], "mask.shape"), int64("at1", 1)], "mask.width")
    length = graph.node("Cast", [width], "length", to=TensorProto.INT32)

    x = graph.node("Gather", [graph.constant("embedding", model.weight("token_embd.weight")), "input_ids"], "embed")
    if model.gemma:
        x = graph.node("Mul", [x, graph.constant("embed.factor", np.float32(model.hidden**0.5))], "embed.scaled")

    for layer in range(model.layers):
        at = f"blk.{layer}."
        normed = norm(x, f"{at}attn_norm.weight", f"{at}norm")
        q, k, v = (matmul(normed, f"{at}attn_{which}.weight", f"{at}{which}") for which in "qkv")
        if model.gemma:
            q = head_norm(q, model.heads, f"{at}attn_q_norm.weight", f"{at}q_norm")
            k = head_norm(k, model.kv_heads, f"{at}attn_k_norm.weight", f"{at}k_norm")
        past = [f"past_key_values.{layer}.{which}" for which in ("key", "value")]
        attended = graph.node(
            "GroupQueryAttention",
            [q, k, v, *past, last, length, *tables[model.is_local(layer)]],
            f"{at}attention",
            [f"{at}attention", f"present.{layer}.key", f"present.{layer}.value"],
            domain=CONTRIB,
            num_heads=model.heads,
            kv_num_heads=model.kv_heads,
            scale=model.head_dim**-0.5,
            do_rotary=1,
            # Llama's files hold the rows of q and k so that neighbours turn together.
            rotary_interleaved=0 if model.gemma else 1,
            local_window_size=model.window if model.is_local(layer) else -1,
        )
        out = matmul(attended, f"{at}attn_output.weight", f"{at}out")
        if model.gemma:
            out = norm(out, f"{at}post_attention_norm.weight", f"{at}out_norm")
        x = graph.node("Add", [x, out], f"{at}attended")

        normed = norm(x, f"{at}ffn_norm.weight", f"{at}ffn_norm")
        gate = matmul(normed, f"{at}ffn_gate.weight", f"{at}gate")
        up = matmul(normed, f"{at}ffn_up.weight", f"{at}up")
        if model.gemma:
            active = graph.node("FastGelu", [gate], f"{at}active", domain=CONTRIB)
        else:
            active = graph.node("QuickGelu", [gate], f"{at}active", domain=CONTRIB, alpha=1.0)
        down = matmul(graph.node("Mul", [active, up], f"{at}inner"), f"{at}ffn_down.weight", f"{at}down")
        if model.gemma:
            down = norm(down, f"{at}post_ffw_norm.weight", f"{at}down_norm")
        x = graph.node("Add", [x, down], f"{at}output")

    # Of a prompt only the last position's logits are wanted.
    first = graph.node("Neg", ["num_logits_to_keep"], "kept.first")
    first = graph.node("Reshape", [first, int64("shape1", [1])], "kept.first1")
    ends, axes = int64("kept.end", [np.iinfo(np.int64).max]), int64("kept.axis", [1])
    x = graph.node("Slice", [x, first, ends, axes], "kept")
    x = norm(x, "output_norm.weight", "norm")
    output = "output.weight" if "output.weight" in model.tensors else "token_embd.weight"
    graph.nodes.append(helper.make_node("MatMul", [x, graph.constant("output.weight", model.weight(output).T)], ["logits"]))

    # transformers.js knows this dimension by its name.
    cache = ["batch_size", model.kv_heads, "past", model.head_dim]
    info = helper.make_tensor_value_info
    inputs = [
        info("input_ids", TensorProto.INT64, ["batch_size", "sequence"]),
        info("attention_mask", TensorProto.INT64, ["batch_size", "total"]),
        info("num_logits_to_keep", TensorProto.INT64, []),
    ]
    outputs = [info("logits", TensorProto.FLOAT, ["batch_size", "kept", model.vocab])]
    for layer in range(model.layers):
        for which in ("key", "value"):
            inputs.append(info(f"past_key_values.{layer}.{which}", TensorProto.FLOAT, cache))
            outputs.append(info(f"present.{layer}.{which}", TensorProto.FLOAT, [*cache[:2], "total", cache[3]]))
    proto = helper.make_graph(graph.nodes, "model", inputs, outputs, graph.weights)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(CONTRIB, 1)]
    return helper.make_model(proto, opset_imports=opsets, ir_version=10)


def logits(session, model, ids):
    """Of the last position."""
    empty = np.zeros((1, model.kv_heads, 0, model.head_dim), np.float32)
    feed = {entry.name: empty for entry in session.get_inputs() if entry.name.startswith("past")}
    feed["input_ids"] = np.array([ids], np.int64)
    feed["attention_mask"] = np.ones_like(feed["input_ids"])
    feed["num_logits_to_keep"] = np.array(1, np.int64)
    return session.run(["logits"], feed)[0][0, -1]


def distance(session, model, cases):
    """The largest difference from the golden log-probabilities of the likeliest tokens, over all cases."""
    largest = 0.0
    for case in cases:
        found = logits(session, model, case["ids"]).astype(np.float64)
        found -= found.max() + np.log(np.exp(found - found.max()).sum())
        for token, logit in case["top"]:
            largest = max(largest, abs(found[token] - (logit - case["logsumexp"])))
    return largest


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("gguf", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--golden", type=Path, required=True, help="what the f32 graph must agree with")
    parser.add_argument("--positions", type=int, default=4096, help="how long texts can get")
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # the quantisers name every operator

    model = Model(options.gguf)
    cases = [case for case in json.loads(options.golden.read_text())["cases"] if "guides" not in case]
    (options.folder / "onnx").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        exact = Path(scratch) / "model.onnx"
        onnx.save(build(model, options.positions), exact, save_as_external_data=True, location="model.bin")

        def report(name, path):
            found = distance(onnxruntime.InferenceSession(path), model, cases)
            print(f"{name}: log-probabilities of the likeliest tokens within {found:.2g} of the golden ones", flush=True)
            return found

        if report("f32", exact) > 0.01:
            raise SystemExit(f"the graph does not compute what {options.golden} says")

        q8 = options.folder / "onnx" / "model_quantized.onnx"
        # It cannot tell the types of what operators outside of ONNX's own give.
        quantize_dynamic(
            exact, q8, weight_type=QuantType.QInt8, extra_options={"DefaultTensorType": TensorProto.FLOAT}
        )
        report("q8", q8)

        q4 = options.folder / "onnx" / "model_q4.onnx"
        four = matmul_nbits_quantizer.MatMulNBitsQuantizer(
            onnx.load(exact),
            bits=4,
            block_size=32,
            is_symmetric=True,
            accuracy_level=4,
            op_types_to_quantize=("MatMul", "Gather"),
        )
        four.process()
        onnx.save(four.model.model, q4)
        report("q4", q4)

    config = {
        "model_type": "gemma3_text" if model.gemma else "llama",
        "architectures": ["Gemma3ForCausalLM" if model.gemma else "LlamaForCausalLM"],
        "hidden_size": model.hidden,
        "intermediate_size": model.inner,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.kv_heads,
        "head_dim": model.head_dim,
        "vocab_size": model.vocab,
        "eos_token_id": model.eos,
    }
    (options.folder / "config.json").write_text(json.dumps(config, indent=2))
    (options.folder / "generation_config.json").write_text("{}")


if __name__ == "__main__":
    main()
