/** A node that only runs until it is told to stop. */
setInterval(() => undefined, 60_000);
process.once('SIGTERM', () => process.exit(0));
