"""Datasets: results that are kept for a while, each for its owner alone.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from chassis.faults import NotFound, ResourceExhausted
from chassis.identity import Principal

TTL_DEFAULT = timedelta(hours=1)
# Datasets that lived their time still count until they are dropped, which happens so often.
DROP_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How many datasets an owner may keep, and of how many bytes together."""

    count: int = 10_000
    byte_count: int = 10 * 1024 * 1024 * 1024


class Kept(Protocol):
    """What decides who may read a dataset, and until when."""

    @property
    def id(self) -> str:
        """The server's name for it."""

    @property
    def owner(self) -> str:
        """The subject that created it."""

    @property
    def expire_time(self) -> datetime:
        """When it goes."""

    @property
    def byte_count(self) -> int:
        """About how large it is."""


Dataset = TypeVar("Dataset", bound=Kept)


def find_dataset(
    datasets: Mapping[str, Dataset], id_: str, principal: Principal, now: datetime
) -> Dataset:
    """Return the caller's dataset.

    Raises:
        NotFound: DATASET_NOT_FOUND, also for another's and for one that lived its time.
    """
    dataset = datasets.get(id_)
    if dataset is None or dataset.owner != principal.subject or dataset.expire_time <= now:
        raise NotFound("DATASET_NOT_FOUND", f"no dataset {id_!r}", dataset=id_)
    return dataset


def expired(datasets: Mapping[str, Dataset], now: datetime) -> list[str]:
    """Return the ids of those that lived their time, oldest first."""
    # Copied first: other threads add and remove datasets meanwhile.
    gone = [dataset for dataset in list(datasets.values()) if dataset.expire_time <= now]
    return [dataset.id for dataset in sorted(gone, key=lambda dataset: dataset.expire_time)]


def check_quota(
    datasets: Mapping[str, Dataset], owner: str, quota: Quota, new_bytes: int = 0
) -> None:
    """Refuse the owner one more dataset, of so many bytes, past the quota.

    Raises:
        ResourceExhausted: QUERY_LIMIT.
    """
    # Copied first, as above.
    kept = [dataset for dataset in list(datasets.values()) if dataset.owner == owner]
    if len(kept) >= quota.count:
        raise ResourceExhausted(
            "QUERY_LIMIT",
            f"you keep {len(kept)} datasets, and {quota.count} at the most",
            retry_after=DROP_EVERY,
            datasets=quota.count,
        )
    byte_count = sum(dataset.byte_count for dataset in kept) + new_bytes
    if byte_count > quota.byte_count:
        raise ResourceExhausted(
            "QUERY_LIMIT",
            f"your datasets would have {byte_count} bytes, and may have {quota.byte_count}",
            retry_after=DROP_EVERY,
            bytes=quota.byte_count,
        )
