"""What one backend serves, read from its file descriptors: methods to route, symbols to describe.

Works on FileDescriptorProto messages and needs no descriptor pool: a pool cannot forget, and a backend
that comes back with another contract must be able to replace what was known of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto

from flux.access.v1 import access_pb2

# What is never served through the gateway, and so never shown either.
NOT_SERVED = frozenset({access_pb2.ACCESS_UNSPECIFIED, access_pb2.ACCESS_SERVICE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A method that callers may reach through the gateway; `path` is "/package.Service/Method"."""

    path: str
    backend: str
    request_streaming: bool
    response_streaming: bool
    access: access_pb2.Access.ValueType


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """The contract of one backend, closed under imports.

    `files` maps file names to serialized descriptors in which only what the gateway serves is left;
    `symbols` maps full names (services, methods, messages, enums, fields, extensions) to file names;
    `extensions` maps (extended message, number) to file names.
    """

    services: tuple[str, ...]
    methods: Mapping[str, Method]
    files: Mapping[str, bytes]
    imports: Mapping[str, tuple[str, ...]]
    symbols: Mapping[str, str]
    extensions: Mapping[tuple[str, int], str]

    def with_imports(self, file: str) -> list[bytes]:
        """Return the file and all that it imports, directly or not, the file first.

        Raises:
            KeyError: If there is no such file here.
        """
        found = {file: self.files[file]}
        waiting = [file]
        while waiting:
            for name in self.imports[waiting.pop()]:
                if name not in found:
                    found[name] = self.files[name]
                    waiting.append(name)
        return list(found.values())


def read_contract(
    backend: str,
    services: Iterable[str],
    files: Iterable[FileDescriptorProto],
    *,
    hidden: frozenset[access_pb2.Access.ValueType] = NOT_SERVED,
) -> Contract:
    """Return the contract of `backend`, which serves `services`, from its files and all their imports.

    Methods with a `hidden` access option are left out: those for services alone, and those that say
    nothing about who may call them. So is a service of which nothing is left.

    Raises:
        ValueError: If a file is missing, or a service is defined in none of the files.
    """
    wanted = set(services)
    visible = [_visible(file, hidden) for file in files]
    known = {file.name for file in visible}
    defined: dict[str, FileDescriptorProto] = {
        _join(file.package, service.name): file for file in visible for service in file.service
    }
    for file in visible:
        for name in file.dependency:
            if name not in known:
                raise ValueError(f"{file.name} imports {name}, which did not come with it")
    absent = sorted(name for name in wanted if name not in defined)
    if absent:
        raise ValueError(f"no file defines {', '.join(absent)}")
    methods = {
        method.path: method
        for file in visible
        for method in _methods(backend, file)
        if method.path[1:].rpartition("/")[0] in wanted
    }
    return Contract(
        services=tuple(sorted({path[1:].rpartition("/")[0] for path in methods})),
        methods=methods,
        files={file.name: file.SerializeToString() for file in visible},
        imports={file.name: tuple(file.dependency) for file in visible},
        symbols={symbol: file.name for file in visible for symbol in _symbols(file)},
        extensions={key: file.name for file in visible for key in _extensions(file)},
    )


def _join(scope: str, name: str) -> str:
    return f"{scope}.{name}" if scope else name


def _visible(
    file: FileDescriptorProto, hidden: frozenset[access_pb2.Access.ValueType]
) -> FileDescriptorProto:
    """Return a copy of the file without the methods that the gateway does not serve.

    Its fields get back their JSON names, which Python's descriptors lack: without them grpcurl prints
    "access_token" where every other tool prints "accessToken".
    """
    copy = FileDescriptorProto()
    copy.CopyFrom(file)
    for message in copy.message_type:
        _name_in_json(message)
    for service in copy.service:
        kept = [method for method in service.method if _access(method) not in hidden]
        del service.method[:]
        service.method.extend(kept)
    return copy


def _name_in_json(message: DescriptorProto) -> None:
    """Give each field that has none its default JSON name: lowerCamelCase."""
    for field in message.field:
        if not field.json_name:
            first, *others = field.name.split("_")
            field.json_name = first + "".join(word[:1].upper() + word[1:] for word in others)
    for nested in message.nested_type:
        _name_in_json(nested)


def _access(method: descriptor_pb2.MethodDescriptorProto) -> access_pb2.Access.ValueType:
    return method.options.Extensions[access_pb2.allow]


def _methods(backend: str, file: FileDescriptorProto) -> Iterator[Method]:
    for service in file.service:
        for method in service.method:
            yield Method(
                path=f"/{_join(file.package, service.name)}/{method.name}",
                backend=backend,
                request_streaming=method.client_streaming,
                response_streaming=method.server_streaming,
                access=_access(method),
            )


def _symbols(file: FileDescriptorProto) -> Iterator[str]:
    for service in file.service:
        name = _join(file.package, service.name)
        yield name
        yield from (f"{name}.{method.name}" for method in service.method)
    for message in file.message_type:
        yield from _message_symbols(file.package, message)
    for enum in file.enum_type:
        yield from _enum_symbols(file.package, enum)
    yield from (_join(file.package, extension.name) for extension in file.extension)


def _message_symbols(scope: str, message: DescriptorProto) -> Iterator[str]:
    name = _join(scope, message.name)
    yield name
    yield from (f"{name}.{field.name}" for field in (*message.field, *message.extension))
    yield from (f"{name}.{oneof.name}" for oneof in message.oneof_decl)
    for enum in message.enum_type:
        yield from _enum_symbols(name, enum)
    for nested in message.nested_type:
        yield from _message_symbols(name, nested)


def _enum_symbols(scope: str, enum: descriptor_pb2.EnumDescriptorProto) -> Iterator[str]:
    yield _join(scope, enum.name)
    # The values of an enum are siblings of the enum, as in C++.
    yield from (_join(scope, value.name) for value in enum.value)


def _extensions(file: FileDescriptorProto) -> Iterator[tuple[str, int]]:
    waiting: list[FileDescriptorProto | DescriptorProto] = [file]
    while waiting:
        scope = waiting.pop()
        yield from ((field.extendee.lstrip("."), field.number) for field in scope.extension)
        nested = scope.message_type if isinstance(scope, FileDescriptorProto) else scope.nested_type
        waiting.extend(nested)
