"""Datasets: results that are kept for a while, each for its owner alone.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from chassis.faults import NotFound
from chassis.identity import Principal

TTL_DEFAULT = timedelta(hours=1)


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
