"""Settling the ledger: rows are priced anew when the figure of their hour has changed since they were written."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from sqlalchemy import Connection

from app.store import ledger

log = logging.getLogger(__name__)

SETTLED = timedelta(days=31)
"""Older rows stay as they are, whatever a source says of their hours by now."""


def settle(connection: Connection, zone: str, basis: str, *, since: datetime, now: datetime) -> int:
    """Give the rows of hours from `since` on the stored figure of their hour; returns how many changed.

    The first figures are kept beside the settled ones. To do it again changes nothing.
    """
    changed = ledger.settle(connection, zone, basis, max(since, now - SETTLED))
    if changed:
        log.info("zone %s: %d rows of the ledger have a newer figure of their hour now", zone, changed)
    return changed
