"""The access option of a method, as its contract states it."""

from __future__ import annotations

from functools import cache

from google.protobuf import descriptor_pool

from flux.access.v1 import access_pb2

# Health and reflection are standard services: they carry no option of ours and are open.
STANDARD_PREFIXES = ("/grpc.health.v1.", "/grpc.reflection.v1")


@cache
def access_of(method: str) -> access_pb2.Access.ValueType:
    """Return the access option of "/package.Service/Method" from the contracts this process has imported.

    ACCESS_UNSPECIFIED, which admits nobody, if the method is unknown or has no option. Ask only about methods
    that are served: every answer is kept.
    """
    service_name, _, method_name = method.removeprefix("/").partition("/")
    try:
        service = descriptor_pool.Default().FindServiceByName(service_name)
        options = service.methods_by_name[method_name].GetOptions()
    except KeyError:
        return access_pb2.ACCESS_UNSPECIFIED
    return options.Extensions[access_pb2.allow]


def is_known(method: str) -> bool:
    """Return whether this process may serve the method: a contract of ours, health or reflection."""
    return method.startswith(STANDARD_PREFIXES) or (
        access_of(method) != access_pb2.ACCESS_UNSPECIFIED
    )
