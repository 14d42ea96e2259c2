"""Start requests that were answered: the same request gives the same runs, for a day."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from chassis.faults import AlreadyExists
from workflow_service.events import RunStarted

LIFETIME = timedelta(hours=24)
# Past this many the oldest are forgotten early: at one run a request, two a second all day long.
REQUESTS_MAX = 200_000


@dataclass(slots=True, kw_only=True)
class _Answered:
    digest: str
    time: datetime
    run_ids: dict[int, str]


class StartRequests:
    """What was started under which request id, by owner, oldest first."""

    def __init__(self) -> None:
        self._answered: OrderedDict[tuple[str, str], _Answered] = OrderedDict()

    def find(self, owner: str, request_id: str, digest: str, now: datetime) -> list[str]:
        """Return the runs that the request started, in the order of its inputs; empty if it is new.

        Raises:
            AlreadyExists: REQUEST_ID_REUSED if the id came with other content.
        """
        answered = self._answered.get((owner, request_id))
        if answered is None or answered.time < now - LIFETIME:
            return []
        if answered.digest != digest:
            raise AlreadyExists(
                "REQUEST_ID_REUSED",
                "request_id was used for another request",
                request_id=request_id,
            )
        return [answered.run_ids[index] for index in sorted(answered.run_ids)]

    def add(
        self, owner: str, request_id: str, digest: str, time: datetime, run_ids: Sequence[str]
    ) -> None:
        """Remember a request that was carried out."""
        self._forget_old(time)
        self._answered[(owner, request_id)] = _Answered(
            digest=digest, time=time, run_ids=dict(enumerate(run_ids))
        )

    def restore(
        self, owner: str, request_id: str, digest: str, time: datetime, index: int, run_id: str
    ) -> None:
        """Remember one run of a request, as read back from the journal."""
        answered = self._answered.setdefault(
            (owner, request_id), _Answered(digest=digest, time=time, run_ids={})
        )
        answered.run_ids[index] = run_id
        self._forget_old(time)

    def discard(self, owner: str, request_id: str) -> None:
        """Forget a request whose runs came to nothing."""
        self._answered.pop((owner, request_id), None)

    def forget(self, run: RunStarted) -> None:
        """Forget the request of a run that came to nothing."""
        if run.request is not None:
            self.discard(run.owner, run.request.id)

    def _forget_old(self, now: datetime) -> None:
        while self._answered:
            oldest = next(iter(self._answered))
            is_old = self._answered[oldest].time < now - LIFETIME
            if not is_old and len(self._answered) < REQUESTS_MAX:
                return
            del self._answered[oldest]
