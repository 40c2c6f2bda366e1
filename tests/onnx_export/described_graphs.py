"""The description of exported graphs against the graphs themselves."""

from pathlib import Path


def check_description(folder: Path, graphs: dict) -> None:
    """Asserts that names, types and fixed sizes of inputs and outputs are those of the files."""
    import onnxruntime  # of an extra, without which the tests that call this are skipped

    kinds = {"tensor(int64)": "int64", "tensor(float)": "float32"}
    assert sorted(graphs) == sorted(path.name for path in folder.glob("*.onnx"))
    for name, graph in graphs.items():
        session = onnxruntime.InferenceSession(folder / name)
        for said, real in ((graph["inputs"], session.get_inputs()), (graph["outputs"], session.get_outputs())):
            assert list(said) == [one.name for one in real]
            assert [one["dtype"] for one in said.values()] == [kinds[one.type] for one in real]
            for one, other in zip(said.values(), real, strict=True):
                fixed = [size if isinstance(size, int) else None for size in one["shape"]]
                assert fixed == [size if isinstance(size, int) else None for size in other.shape]
