import { progressSchema } from '@openservice/protocol';
import { expect } from 'chai';
import { ProgressMeter } from '../src/jobs/progress-meter.ts';

describe('the progress of a job', () => {
  it('is never behind zero, though a pool has grown since its bytes were counted', () => {
    let now = 0;
    const meter = new ProgressMeter(0, () => now);
    meter.read({ bytesTotal: 1000, bytesDone: 500, bytesSent: 0, bytesSkipped: 0 });
    now = 1000;
    const told = meter.read({ bytesTotal: 1000, bytesDone: 1500, bytesSent: 0, bytesSkipped: 0 });
    expect(progressSchema.parse(told)).to.include({ bytes_total: 1500, bytes_done: 1500, eta_ms: 0 });
  });
});
