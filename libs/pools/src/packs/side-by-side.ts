/** Requests that wait for each other's answers make a store slow; this many are under way at once. */
const AT_ONCE = 16;

/**
 * Calls `work` for each item, at most `atOnce` (16) at a time. Rejects with the first error, once the calls under way have ended; takes no
 * further item then. Memory: that of so many items.
 */
export async function sideBySide<T>(
  items: AsyncIterable<T> | Iterable<T>,
  work: (item: T) => Promise<void>,
  atOnce = AT_ONCE,
): Promise<void> {
  const running = new Set<Promise<void>>();
  let failure: { error: unknown } | null = null;
  try {
    for await (const item of items) {
      const call: Promise<void> = work(item)
        .catch((error: unknown) => {
          failure ??= { error };
        })
        .finally(() => running.delete(call));
      running.add(call);
      if (running.size >= atOnce) await Promise.race(running);
      if (failure !== null) break;
    }
  } finally {
    await Promise.all(running);
  }
  if (failure !== null) throw (failure as { error: unknown }).error;
}
