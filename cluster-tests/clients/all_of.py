"""How a script makes its attempts and tells what came of them."""
import asyncio


async def all_of(named):
    """makes (name, coroutine) one after the other and prints how each went; the exit code of the script"""
    passed = failed = 0
    for name, attempt in named:
        try:
            await asyncio.wait_for(attempt, 60)
            passed += 1
            print(f"ok    {name}", flush=True)
        except Exception as e:
            failed += 1
            print(f"FAIL  {name}: {type(e).__name__}: {e}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0
