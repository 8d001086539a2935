"""SQL of the keys that sign join tokens: instances that share a database share them."""

import asyncpg


async def share(connection: "asyncpg.Connection", offered: bytes) -> list[tuple[bytes, float]]:
    rows = await _read(connection)
    if not rows:
        # Of two instances that start at once one is first; the other waits here, and takes that one's.
        await connection.execute("INSERT INTO token_keys (number, key) VALUES (1, $1) ON CONFLICT DO NOTHING", offered)
        rows = await _read(connection)
    return rows


async def _read(connection: "asyncpg.Connection") -> list[tuple[bytes, float]]:
    rows = await connection.fetch(
        "SELECT key, extract(epoch FROM now() - made_at)::float8 FROM token_keys ORDER BY number DESC"
    )
    return [(row[0], row[1]) for row in rows]


async def add(connection: "asyncpg.Connection", key: bytes, *, forget_others: bool) -> None:
    async with connection.transaction():
        await connection.execute("LOCK TABLE token_keys IN EXCLUSIVE MODE")
        number = await connection.fetchval("SELECT coalesce(max(number), 0) + 1 FROM token_keys")
        if forget_others:
            await connection.execute("DELETE FROM token_keys")
        await connection.execute("INSERT INTO token_keys (number, key) VALUES ($1, $2)", number, key)
