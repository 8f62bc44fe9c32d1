import { newId } from '@openservice/domain';
import { expect } from 'chai';
import { recordAttempt } from '../src/jobs/attempts.ts';
import { raiseFences } from '../src/jobs/fence-floor.ts';
import { type OwnDatabase, ownDatabase } from './support/database.ts';

describe('fences', () => {
  let own: OwnDatabase | null = null;
  before(async function () {
    this.timeout(30_000);
    own = await ownDatabase();
    if (own === null) this.skip();
  });
  after(() => own?.drop());

  const next = () => recordAttempt(own!.database.manager, newId('job'), 1, 'node-1');

  it('of a new database are larger than all that one before it gave out', async () => {
    const now = Date.now();
    await raiseFences(own!.database, now);
    const first = await next();
    expect(first).to.be.greaterThan(now);
    expect(await next()).to.be.greaterThan(first);
  });

  it('only grow, whatever the clock of a center that starts says, and however many start at once', async () => {
    const before = await next();
    await raiseFences(own!.database, before - 100_000);
    const between = await next();
    expect(between).to.be.greaterThan(before);
    const later = between + 5000;
    await Promise.all([raiseFences(own!.database, later), raiseFences(own!.database, later), raiseFences(own!.database, later)]);
    expect(await next()).to.be.greaterThan(later);
  });
});
