"""Buckets that all web processes of a lab fill: they lie in its Redis.

What it forgets costs nothing but that somebody may guess again; where it does not answer, each
process counts by itself.
"""

from __future__ import annotations

import redis
from redis.exceptions import RedisError

from app.admission.throttle import Buckets, Limit

_SOCKET = {"socket_connect_timeout": 0.5, "socket_timeout": 0.5}
_LUA = """
local time = redis.call('TIME')
local now, while_s, more = time[1] + time[2] / 1e6, tonumber(ARGV[1]), tonumber(ARGV[2])
local used, wait = {}, 0
for i, key in ipairs(KEYS) do
  local most, kept = tonumber(ARGV[2 + i]), redis.call('HMGET', key, 'used', 'since')
  used[i] = kept[1] and math.max(0, kept[1] - (now - kept[2]) * most / while_s) or 0
  if more > 0 and used[i] + more > most then
    wait = math.max(wait, (used[i] + more - most) * while_s / most)
  end
end
if more ~= 0 and wait == 0 then
  for i, key in ipairs(KEYS) do
    redis.call('HSET', key, 'used', math.max(0, used[i] + more), 'since', now)
    redis.call('PEXPIRE', key, math.ceil(1000 * while_s))
  end
end
return {tostring(wait), tostring(used[1])}
"""
"""As `Buckets`: `more` of each key, all or none, by the server's own clock."""


class SharedBuckets(Buckets):
    """`what`: tells these keys from those of other buckets."""

    def __init__(self, url: str, what: str, while_s: float) -> None:
        super().__init__(while_s)
        self._prefix = f"lab.used.{what}."
        self._client = redis.Redis.from_url(url, **_SOCKET)
        self._script = self._client.register_script(_LUA)

    def take(self, *limits: Limit) -> int | None:
        try:
            wait, _ = self._run(1, limits)
        except RedisError:
            return super().take(*limits)
        return int(wait) + 1 if wait > 0 else None

    def give_back(self, *limits: Limit) -> None:
        try:
            self._run(-1, limits)
        except RedisError:
            super().give_back(*limits)

    def used(self, limit: Limit) -> float:
        try:
            return self._run(0, [limit])[1]
        except RedisError:
            return super().used(limit)

    def _run(self, more: int, limits: list[Limit] | tuple[Limit, ...]) -> tuple[float, float]:
        """Seconds to wait, and how much of the first key was used up before."""
        keys = [f"{self._prefix}{key}" for key, _ in limits]
        wait, used = self._script(keys, [self._while_s, more, *(most for _, most in limits)])
        return float(wait), float(used)
