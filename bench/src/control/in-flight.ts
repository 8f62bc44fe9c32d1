/** `work(0)` to `work(count - 1)`, `atOnce` of them at a time, as so many clients would. Ends with the first error. */
export async function inFlight(count: number, atOnce: number, work: (i: number) => Promise<void>): Promise<void> {
  let next = 0;
  const client = async (): Promise<void> => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, count) }, client));
}
