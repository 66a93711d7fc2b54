"""Writes the seeds of corpus/gguf_header: the tiny models' headers, whole and cut, without most of their tokens.

    venv/bin/python fuzz/make_corpus.py        (needs the `gguf` package)

A seed begins with the byte that the target reads as its mode: here "all of the file, its length unknown", so that the
tensors' data need not be there, and for one "all of it, length known".
"""

from pathlib import Path

from gguf import GGUFReader, GGUFValueType, GGUFWriter

HERE = Path(__file__).parent
TINY = HERE.parent / "tests/fixtures/tiny"
SEEDS = HERE / "corpus/gguf_header"


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


def main():
    SEEDS.mkdir(parents=True, exist_ok=True)
    for name in ["llama-f32", "llama-q4_0", "llama-q4_1", "qwen2-q5_1", "qwen3-q6_k", "gemma3-q5_0"]:
        seed = SEEDS / name
        shorten(TINY / f"tiny-{name}.gguf", seed)
        seed.write_bytes(b"\xff" + seed.read_bytes())
    whole = (SEEDS / "llama-f32").read_bytes()
    (SEEDS / "no-data").write_bytes(b"\xfe" + whole[1:])
    (SEEDS / "cut").write_bytes(whole[: len(whole) // 3])
    (SEEDS / "empty").write_bytes(b"\xfeGGUF\x03\0\0\0" + bytes(16))
    print(sum(seed.stat().st_size for seed in SEEDS.iterdir()))


main()
