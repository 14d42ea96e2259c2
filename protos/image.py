"""Writes the contracts of a folder as one file descriptor set, which is what `buf` lints and compares.

Run as `python protos/image.py FOLDER OUTPUT`. The third-party contracts that ours import come out of the
installed wheels, so no copy of them is kept and nothing is downloaded.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import google
from google.protobuf import descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2
from grpc_tools import protoc
from protovalidate._gen.buf.validate import validate_pb


def compiler_arguments(protos: Path, folder: Path) -> list[str]:
    """Return how protoc finds ours, Google's and protovalidate's contracts; `folder` is for its files.

    The protovalidate wheel ships no .proto file, but its generated module holds the file descriptor, which
    protoc takes as a descriptor set.
    """
    described = folder / "validate.binpb"
    described.write_bytes(_validate_descriptor_set())
    googleapis = [Path(root).parent for root in google.__path__ if (Path(root) / "api").is_dir()]
    well_known = Path(protoc.__file__).parent / "_proto"
    return [
        "protoc",
        f"--descriptor_set_in={described}",
        *(f"--proto_path={path}" for path in (protos, *googleapis, well_known)),
    ]


def contracts(protos: Path) -> list[str]:
    """Return the paths of our contracts below `protos`, in order."""
    return sorted(str(path.relative_to(protos)) for path in protos.glob("flux/**/*.proto"))


def _validate_descriptor_set() -> bytes:
    """Return validate.proto and the well-known types that it imports as a FileDescriptorSet."""
    files = descriptor_pb2.FileDescriptorSet()
    for module in (descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2):
        files.file.add().MergeFromString(module.DESCRIPTOR.serialized_pb)
    files.file.add().MergeFromString(validate_pb._DESC.proto.to_binary())
    return files.SerializeToString()


def main() -> int:
    """Write the descriptor set and return protoc's exit code."""
    protos, output = Path(sys.argv[1]), Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        return int(
            protoc.main(
                [
                    *compiler_arguments(protos, Path(folder)),
                    "--include_imports",
                    "--include_source_info",
                    f"--descriptor_set_out={output}",
                    *contracts(protos),
                ]
            )
        )


if __name__ == "__main__":
    sys.exit(main())
