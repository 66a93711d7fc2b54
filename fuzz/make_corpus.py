"""Writes the seeds in corpus/.

    venv/bin/python fuzz/make_corpus.py        (needs the `gguf` package)

gguf_header: the tiny models' headers, whole and cut, without most of their tokens. A seed begins with the byte that
the target reads as its mode: mostly "all of the file, its length unknown", so that the tensors' data need not be there.
tokenizer_metadata: the tiny models' vocabularies without some of their bytes.
"""

from pathlib import Path

from gguf import GGUFReader, GGUFValueType, GGUFWriter

HERE = Path(__file__).parent
TINY = HERE.parent / "tests/fixtures/tiny"
SEEDS = HERE / "corpus/gguf_header"
VOCABULARIES = HERE / "corpus/tokenizer_metadata"
TEXT = "the hello world <|im_start|>ing 12'll  \u00e9\u65e5\U0001f41f\n\n"


def shorten(source, target):
    """The same file with lists of four elements at most and no tensor data."""
    reader = GGUFReader(source)
    writer = GGUFWriter(target, reader.fields["general.architecture"].contents())
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        value, kind = field.contents(), field.types[0]
        if kind == GGUFValueType.ARRAY:
            writer.add_key_value(key, value[:4], kind, sub_type=field.types[-1])
        else:
            writer.add_key_value(key, value[:40] if kind == GGUFValueType.STRING else value, kind)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()


def vocabularies():
    """A byte-level and an SPM vocabulary, with every kind of switch."""
    VOCABULARIES.mkdir(parents=True, exist_ok=True)
    for name, model in [("llama-q4_0", 0), ("gemma3-q5_0", 1)]:
        fields = GGUFReader(TINY / f"tiny-{name}.gguf").fields
        tokens = fields["tokenizer.ggml.tokens"].contents()
        kinds = fields["tokenizer.ggml.token_type"].contents()
        kept = [at for at, token in enumerate(tokens) if not token.startswith(("<0x8", "<0x9", "<0xA", "<0xB"))]
        merges = fields["tokenizer.ggml.merges"].contents() if model == 0 else []
        for pre in (0, 3):
            switches = model | 2 | 4 | (8 | 16) * (pre > 0) | pre << 5
            # A score is made of the upper bits of the byte that holds the kind in its lower ones.
            numbers = bytes(kinds[at] | (at * 8 & 0x78) | 0x80 for at in kept)
            parts = ["\n".join(tokens[at] for at in kept).encode(), "\n".join(merges).encode(), numbers, TEXT.encode()]
            assert not any(0xFF in part for part in parts)
            (VOCABULARIES / f"{name}-{pre}").write_bytes(bytes([switches]) + b"\xff".join(parts))


def main():
    vocabularies()
    SEEDS.mkdir(parents=True, exist_ok=True)
    for name in ["llama-f32", "llama-q4_0", "llama-q4_1", "qwen2-q5_1", "qwen3-q6_k", "gemma3-q5_0"]:
        seed = SEEDS / name
        shorten(TINY / f"tiny-{name}.gguf", seed)
        seed.write_bytes(b"\xff" + seed.read_bytes())
    whole = (SEEDS / "llama-f32").read_bytes()
    (SEEDS / "no-data").write_bytes(b"\xfe" + whole[1:])
    (SEEDS / "cut").write_bytes(whole[: len(whole) // 3])
    (SEEDS / "empty").write_bytes(b"\xfeGGUF\x03\0\0\0" + bytes(16))
    print(sum(seed.stat().st_size for folder in (SEEDS, VOCABULARIES) for seed in folder.iterdir()))


main()
