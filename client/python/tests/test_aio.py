"""The executor for asyncio."""

import asyncio

import pytest
from scalems_pilot import aio


def square(x):
    return x * x


def fail():
    raise KeyError("no")


def test_everything():
    async def main():
        async with aio.Executor(max_workers=2) as ex:
            assert await ex.submit(square, 7) == 49
            assert await asyncio.gather(*(ex.submit(square, n) for n in range(100))) == [n * n for n in range(100)]
            with pytest.raises(KeyError):
                await ex.submit(fail)
            assert [value async for value in ex.map(square, range(10), chunksize=3)] == [n * n for n in range(10)]
            assert await ex.options(name="named").submit(square, 2) == 4
            wrapped = asyncio.wrap_future(ex.sync.submit(square, 3))
            assert await wrapped == 9
        with pytest.raises(RuntimeError):
            ex.submit(square, 1)

    asyncio.run(main())


def test_it_has_to_be_started():
    with pytest.raises(RuntimeError, match="async with"):
        aio.Executor().sync  # noqa: B018
