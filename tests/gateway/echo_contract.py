"""A contract made for these tests: every call shape and every access option, in no package of ours."""

from __future__ import annotations

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

from flux.access.v1 import access_pb2

SERVICE = "flux.table.echo.v1.Echo"

_METHODS = {
    # name: (client streams, server streams, who may call)
    "Say": (False, False, access_pb2.ACCESS_VIEWER),
    "Open": (False, False, access_pb2.ACCESS_PUBLIC),
    "Known": (False, False, access_pb2.ACCESS_AUTHENTICATED),
    "Edit": (False, False, access_pb2.ACCESS_EDITOR),
    "Rule": (False, False, access_pb2.ACCESS_ADMIN),
    "Inside": (False, False, access_pb2.ACCESS_SERVICE),
    "Unmarked": (False, False, access_pb2.ACCESS_UNSPECIFIED),
    "Tell": (False, True, access_pb2.ACCESS_VIEWER),
    "Collect": (True, False, access_pb2.ACCESS_VIEWER),
    "Chat": (True, True, access_pb2.ACCESS_VIEWER),
}


def path(method: str) -> str:
    """Return the path of a method of the echo service."""
    return f"/{SERVICE}/{method}"


def echo_file(methods: tuple[str, ...] = tuple(_METHODS)) -> FileDescriptorProto:
    """Return the file that defines the echo service with `methods`."""
    file = FileDescriptorProto(
        name="flux/table/echo/v1/echo.proto",
        package="flux.table.echo.v1",
        syntax="proto3",
        dependency=["flux/access/v1/access.proto"],
    )
    message = file.message_type.add(name="Word")
    message.field.add(
        name="text",
        number=1,
        type=FieldDescriptorProto.TYPE_STRING,
        label=FieldDescriptorProto.LABEL_OPTIONAL,
    )
    service = file.service.add(name="Echo")
    for name in methods:
        client_streams, server_streams, access = _METHODS[name]
        method = service.method.add(
            name=name,
            input_type=".flux.table.echo.v1.Word",
            output_type=".flux.table.echo.v1.Word",
            client_streaming=client_streams,
            server_streaming=server_streams,
        )
        if access != access_pb2.ACCESS_UNSPECIFIED:
            method.options.Extensions[access_pb2.allow] = access
    return file


def pool_of(file: FileDescriptorProto) -> descriptor_pool.DescriptorPool:
    """Return a pool with `file` and all it imports."""
    pool = descriptor_pool.DescriptorPool()
    for known in (descriptor_pb2.DESCRIPTOR, access_pb2.DESCRIPTOR, file):
        pool.Add(_proto(known) if isinstance(known, FileDescriptor) else known)
    return pool


def closure_of(file: FileDescriptorProto) -> list[FileDescriptorProto]:
    """Return `file` and all it imports."""
    return [file, _proto(access_pb2.DESCRIPTOR), _proto(descriptor_pb2.DESCRIPTOR)]


def word(text: str) -> bytes:
    """Return a serialized Word."""
    raw = text.encode()
    assert len(raw) < 128
    return bytes((0x0A, len(raw))) + raw


def _proto(file: FileDescriptor) -> FileDescriptorProto:
    proto = FileDescriptorProto()
    file.CopyToProto(proto)
    return proto
